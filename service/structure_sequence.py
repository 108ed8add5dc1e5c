"""Sequences of structures that are made when they are looked at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from service.reading import LabelledStructure


class StructureSequence(Sequence[LabelledStructure]):
    """What indexing and slicing take; a subclass says how many structures there are and makes one."""

    @abstractmethod
    def _row(self, row: int) -> LabelledStructure:
        """The structure of a row between 0 and the length."""

    @overload
    def __getitem__(self, row: int) -> LabelledStructure: ...
    @overload
    def __getitem__(self, row: slice) -> list[LabelledStructure]: ...
    def __getitem__(self, row: int | slice) -> LabelledStructure | list[LabelledStructure]:
        if isinstance(row, slice):
            return [self._row(i) for i in range(*row.indices(len(self)))]
        return self._row(range(len(self))[row])  # negative ones count from the end; IndexError beyond
