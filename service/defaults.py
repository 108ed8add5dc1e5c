"""What library, commands and jobs do unless asked otherwise.

What the values mean is said by :class:`service.training.FitSettings` and :mod:`service.copies`. They are here
because the help of the command states them, and that must load nothing heavy.
"""

from __future__ import annotations

from typing import Final

COPIES = 0.4
"""Translated copies for each structure."""

FOLDS = 5
BOOTSTRAPS = 100
MAX_FEATURES = 1000
SEED = 0
ORDERS: Final = "0-2"
SELECTION: Final = "bagged"
INVARIANCE = 50.0
SIZE_FACTOR = 1.0
CHANNEL_SHARE = 0.5
PRODUCTS = True
