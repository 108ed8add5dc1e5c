"""Base of everything that is sent to the service as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

MAX_UNKNOWN_KEYS = 3
"""Unknown keys that are named; a body could have a million, and the list of problems a gigabyte."""


class Strict(BaseModel):
    """Unknown keys are errors, and so are numbers as text or truth values."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_keys(cls, given: Any) -> Any:
        if not isinstance(given, dict) or len(given) <= len(cls.model_fields) + MAX_UNKNOWN_KEYS:
            return given
        unknown = [key for key in given if key not in cls.model_fields][:MAX_UNKNOWN_KEYS]
        kept = [key for key in cls.model_fields if key in given]
        return {key: given[key] for key in (*kept, *unknown)}
