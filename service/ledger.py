"""The ledger of a feature store: which units of work are complete, and what their bytes must be.

A chunk's file proves nothing by being there, nor by being absent (an empty chunk is not stored). What counts
is the ledger, small JSON files. A worker notes what it has written and read back; that a unit is not complete
is noted by the process that hands out the work::

    ledger/files.json       SHA-256 of each file that is never rewritten; a store is one when this is there
    ledger/units/7.json     unit 7 is complete: hashes of its input, of the configuration and of its chunk

Each is written at once (a rename on a disk, one PUT on an object storage) and needs no locks, so that the
ledger is the same, and safe, on a local disk, on one that machines share, and on an object storage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from atomscatter.errors import StoreError
from service.storage import Storage, in_parallel

DIRECTORY = "ledger/"
FILES = f"{DIRECTORY}files.json"
_UNITS = f"{DIRECTORY}units"
_UNIT = re.compile(rf"{_UNITS}/(0|[1-9][0-9]*)\.json")


@dataclass(frozen=True)
class Unit:
    """A completed unit of work: one chunk of the feature matrix; hashes are SHA-256, hexadecimal."""

    number: int  # of the chunk
    input_hash: str  # of the unit's structures, energies and path ids
    config_hash: str  # of the scattering configuration
    chunk_hash: str  # of the chunk's file


class Ledger:
    """Completed units, and the hashes of the files that were written when the store was made.

    Args:
        storage: of the store.
        require_writer: raises StoreError when this process may not hand out work any more.

    Raises:
        StoreError: from every method, where a file is missing, damaged or cannot be written.
    """

    def __init__(self, storage: Storage, require_writer: Callable[[], None] = lambda: None) -> None:
        self._storage = storage
        self._require_writer = require_writer

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that is never rewritten, by its name in the store."""
        content = self._storage.read(FILES)
        if content is None:
            raise StoreError(f"{self._storage.place}: the ledger {FILES} is missing")
        files = _parsed(content)
        if not files:
            raise StoreError(f"{self._storage.place}: the ledger {FILES} is damaged")
        return files

    def units(self) -> dict[int, Unit]:
        """All completed units by number. A damaged record comes with empty hashes, which match nothing."""
        numbers = [int(found[1]) for name in self._storage.names(_UNITS) if (found := _UNIT.fullmatch(name))]
        return {unit.number: unit for unit in in_parallel(self._unit, sorted(numbers)) if unit is not None}

    def require_writer(self) -> None:
        """Raise StoreError when this process may not hand out work any more."""
        self._require_writer()

    def record(self, unit: Unit) -> None:
        """Note a unit as complete; stored when this returns."""
        self._require_writer()
        hashes = asdict(unit)
        self._storage.write(_unit_name(hashes.pop("number")), _encoded(hashes))

    def forget(self, units: Iterable[int]) -> None:
        """Note units as not complete."""
        self._require_writer()
        for number in units:
            self._storage.delete(_unit_name(number))

    def _unit(self, number: int) -> Unit | None:
        content = self._storage.read(_unit_name(number))
        if content is None:  # forgotten since it was listed
            return None
        try:
            return Unit(number, **_parsed(content))
        except TypeError:  # other keys
            return Unit(number, "", "", "")


def first_file(files: Mapping[str, str]) -> dict[str, bytes]:
    """The ledger of a new store; ``files`` maps names in the store to SHA-256."""
    return {FILES: _encoded(files)}


def _unit_name(number: int) -> str:
    return f"{_UNITS}/{number}.json"


def _encoded(values: Mapping[str, str]) -> bytes:
    return (json.dumps(values, sort_keys=True, indent=1) + "\n").encode()


def _parsed(content: bytes) -> dict[str, Any]:
    """What was encoded; empty if a single byte is not as it was written."""
    try:
        values = json.loads(content)
        return values if isinstance(values, dict) and _encoded(values) == content else {}
    except ValueError:
        return {}
