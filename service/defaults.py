"""What library, commands and jobs do unless asked otherwise, and the words to choose from.

What the values mean is said by :class:`service.training.FitSettings` and :mod:`service.copies`. They are here
because the help of the command states them, and that must load nothing heavy.
"""

from __future__ import annotations

from typing import Literal

Orders = Literal["0-2", "0-1"]
Selection = Literal["bagged", "full"]

COPIES = 0.4
"""Translated copies for each structure."""

FOLDS = 5
BOOTSTRAPS = 100
MAX_FEATURES = 1000
SEED = 0
ORDERS: Orders = "0-2"
SELECTION: Selection = "bagged"
INVARIANCE = 50.0
SIZE_FACTOR = 1.0
CHANNEL_SHARE = 0.5
PRODUCTS = True
