"""In which settings two configurations of features differ, for error messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_LONGEST = 80


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings that differ, each with both values."""
    keys = [k for k in sorted({*there, *now}) if json.dumps(there.get(k)) != json.dumps(now.get(k))]
    return "; ".join(f"{key} is {_short(there, key)} there, {_short(now, key)} now" for key in keys)


def _short(config: Mapping[str, Any], key: str) -> str:
    if key not in config:
        return "not set"
    text = json.dumps(config[key])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
