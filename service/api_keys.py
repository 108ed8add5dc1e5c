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

import structlog

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
    """The keys of a file, as it was when :meth:`look` last saw it unchanged: call it every second or so.

    While the file cannot be read any more, or has a line that cannot be used, the keys of before stay valid,
    and the log says so once: a slip of an editor locks nobody out. So deleting the file revokes no key; an
    empty one revokes all.

    Raises ConfigError, naming the line, when the file cannot be read at first, a line is not of the form
    above, or a name or a key is there twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = self._last_seen = _content(path)
        self._keys = _parsed(self._content, path)

    def find(self, key: str) -> ApiKey | None:
        """The key, or None when it is unknown. (A look-up by hash tells nothing by its time.)"""
        return self._keys.get(_hash(key))

    def look(self) -> None:
        """Take over what has changed in the file, once it is as at the look before: not as it is written."""
        # All of it, which is a matter of microseconds: neither size nor time tell every change.
        content = _content(self._path)
        settled, self._last_seen = content == self._last_seen, content
        if content == self._content or not settled:
            return
        self._content = content  # a bad one, too: it is looked at, and told of, once
        try:
            self._keys = _parsed(content, self._path)
            structlog.get_logger().info("the API keys were read again", keys=len(self._keys))
        except ConfigError as error:
            structlog.get_logger().error("the API keys of before stay valid", reason=str(error))


def _content(path: Path) -> bytes | str:
    """Of a file, or why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        return error.strerror or str(error)


def _parsed(content: bytes | str, path: Path) -> dict[str, ApiKey]:
    """Hash -> key. Raises ConfigError that names the line, or says why there is no content."""
    if isinstance(content, str):
        raise ConfigError(f"{path}: {content}")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text") from error
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            _add(line, f"{path}, line {number}", keys)
    return keys


def _add(line: str, place: str, keys: dict[str, ApiKey]) -> None:
    try:
        name, scopes, digest = line.split()
    except ValueError as error:
        raise ConfigError(f"{place}: not of the form 'name scopes {_PREFIX}<hex>'") from error
    named = frozenset(scopes.split(","))
    if not named <= set(SCOPES):
        raise ConfigError(f"{place}: scopes are {' and '.join(SCOPES)}, not {scopes}")
    if not _DIGEST.fullmatch(digest):
        raise ConfigError(f"{place}: the key is not {_PREFIX} and 64 digits of 0-9a-f")
    if name in {key.name for key in keys.values()}:
        raise ConfigError(f"{place}: there is another key of the name {name}")
    if (hashed := digest.removeprefix(_PREFIX)) in keys:
        raise ConfigError(f"{place}: {keys[hashed].name} has the same key")
    keys[hashed] = ApiKey(name, named)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
