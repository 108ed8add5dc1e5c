"""Many structures in a temporary file instead of in memory.

ASE's objects take some kilobytes each, and the process that hands out work would hold all of them for hours
to look at each once. Here a structure takes some tens of bytes of memory, and its text.
"""

from __future__ import annotations

import os
import sys
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms

from service.disk import room_checked
from service.reading import LabelledStructure
from service.structure_sequence import StructureSequence

_CELL_BYTES = 9 * 8
_PBC_BYTES = 3
_ATOM_BYTES = 8 + 3 * 8


class StructureSpool(StructureSequence):
    """What was iterated over, to be had again one by one.

    Of the atoms it keeps numbers, positions, cell and periodicity, which is what decides features; results
    of a calculator and other arrays are left behind. The file has no name and ends with the process. It may
    be read from several threads.

    Args:
        structures: read once.

    Raises:
        StoreError: the disk for temporary files is full.
    """

    def __init__(self, structures: Iterable[LabelledStructure]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        self._starts, self._indices, self._originals = array("q", [0]), array("q"), array("q")
        self._energies, self._has_energy = array("d"), bytearray()
        self._texts: list[tuple[str, str]] = []  # source, path id
        with room_checked(Path(tempfile.gettempdir())):
            for structure in structures:
                self._append(structure)
            self._file.flush()

    def _append(self, structure: LabelledStructure) -> None:
        atoms = structure.atoms
        parts = (
            np.ascontiguousarray(atoms.cell.array, dtype=np.float64),
            np.ascontiguousarray(atoms.pbc, dtype=np.uint8),
            np.ascontiguousarray(atoms.numbers, dtype=np.int64),
            np.ascontiguousarray(atoms.positions, dtype=np.float64),
        )
        self._starts.append(self._starts[-1] + self._file.write(b"".join(part.tobytes() for part in parts)))
        self._indices.append(structure.index)
        self._originals.append(-1 if structure.copy_of is None else structure.copy_of)
        self._energies.append(0.0 if structure.energy is None else structure.energy)
        self._has_energy.append(structure.energy is not None)
        self._texts.append((sys.intern(structure.source), sys.intern(structure.path_id)))

    def __len__(self) -> int:
        return len(self._texts)

    def _row(self, row: int) -> LabelledStructure:
        source, path_id = self._texts[row]
        original = self._originals[row]
        return LabelledStructure(
            self._atoms(row),
            source,
            self._indices[row],
            path_id,
            self._energies[row] if self._has_energy[row] else None,
            None if original < 0 else original,
        )

    def _atoms(self, row: int) -> Atoms:
        start, stop = self._starts[row], self._starts[row + 1]
        content = os.pread(self._file.fileno(), stop - start, start)
        n_atoms = (len(content) - _CELL_BYTES - _PBC_BYTES) // _ATOM_BYTES
        numbers_at = _CELL_BYTES + _PBC_BYTES
        positions_at = numbers_at + 8 * n_atoms
        return Atoms(
            numbers=np.frombuffer(content, np.int64, n_atoms, numbers_at),
            positions=np.frombuffer(content, np.float64, 3 * n_atoms, positions_at).reshape(n_atoms, 3),
            cell=np.frombuffer(content, np.float64, 9).reshape(3, 3),
            pbc=np.frombuffer(content, np.uint8, 3, _CELL_BYTES).astype(bool),
        )
