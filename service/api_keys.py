"""API keys of the web service: random, stored as SHA-256, each with scopes.

A file of keys has one line for each, ``name scope,scope sha256:<hex>``; lines that begin with # are remarks.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from atomscatter.errors import ConfigError

SCOPES = ("predict", "jobs")
_PREFIX = "sha256:"
_DIGEST = re.compile(_PREFIX + "[0-9a-f]{64}")  # lower case, as hashlib writes it


@dataclass(frozen=True)
class ApiKey:
    """What is known about a key."""

    name: str
    scopes: frozenset[str]


def new_key(name: str, scopes: Collection[str]) -> tuple[str, str]:
    """A new key and its line for the file of keys. Raises ConfigError for an unknown scope or a bad name."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ConfigError(f"scopes are {' and '.join(SCOPES)}, not {', '.join(sorted(unknown)) or 'none'}")
    if not name or name.split() != [name] or name.startswith("#"):
        raise ConfigError(f"the name of a key is one word, not {name!r}")
    key = secrets.token_urlsafe(32)
    return key, f"{name} {','.join(sorted(scopes))} {_PREFIX}{_hash(key)}"


class ApiKeys:
    """The keys of a file.

    Raises ConfigError, naming the line, when the file cannot be read, a line is not of the form above, or a
    name or a key is there twice.
    """

    def __init__(self, path: Path) -> None:
        self._keys: dict[str, ApiKey] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is no UTF-8 text") from error
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                self._add(line, f"{path}, line {number}")

    def find(self, key: str) -> ApiKey | None:
        """The key, or None when it is unknown. (A look-up by hash tells nothing by its time.)"""
        return self._keys.get(_hash(key))

    def _add(self, line: str, place: str) -> None:
        try:
            name, scopes, digest = line.split()
        except ValueError as error:
            raise ConfigError(f"{place}: not of the form 'name scopes {_PREFIX}<hex>'") from error
        named = frozenset(scopes.split(","))
        if not named <= set(SCOPES):
            raise ConfigError(f"{place}: scopes are {' and '.join(SCOPES)}, not {scopes}")
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{place}: the key is not {_PREFIX} and 64 digits of 0-9a-f")
        if name in {key.name for key in self._keys.values()}:
            raise ConfigError(f"{place}: there is another key of the name {name}")
        if (hashed := digest.removeprefix(_PREFIX)) in self._keys:
            raise ConfigError(f"{place}: {self._keys[hashed].name} has the same key")
        self._keys[hashed] = ApiKey(name, named)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
