"""Batched real Fourier transforms with reusable plans and buffers.

FFTW is about twice as fast as ducc0 where it has a hard-coded transform of the length ("codelet"), and slower
elsewhere, so each shape gets the faster of the two (benchmarks/fft_lengths.py). FFTW plans are made with
ESTIMATE: MEASURE picks by timing, and the same structure would get other last bits in another process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import ducc0
import numpy as np
import pyfftw
from numpy.typing import NDArray

Shape = tuple[int, int, int]

FFTW_LENGTHS = frozenset({2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 25, 32, 64})
AXES = (1, 2, 3)

_Plan = tuple[Callable[[], object], NDArray[np.complex128], NDArray[np.float64]]
"""What runs it, and the parts of the work arrays that it runs on."""


class Transform:
    """Inverse and forward transforms of up to ``batch`` real fields on one grid.

    ``spectrum`` has shape (batch, n0, n1, n2//2+1) and ``fields`` (batch, n0, n1, n2). Both are work arrays:
    an inverse transform destroys the spectrum, a later one the fields.
    """

    def __init__(self, shape: Shape, batch: int) -> None:
        self.shape = shape
        self.spectrum = pyfftw.empty_aligned((batch, shape[0], shape[1], shape[2] // 2 + 1), np.complex128)
        self.fields = pyfftw.empty_aligned((batch, *shape), np.float64)
        self._use_fftw = all(n in FFTW_LENGTHS for n in shape)
        self._plans: dict[tuple[bool, int], _Plan] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return int(self.spectrum.nbytes + self.fields.nbytes)

    def inverse(self, count: int) -> NDArray[np.float64]:
        """Fields sum over omega of c(omega) exp(i omega u) for the first ``count`` spectra."""
        run, _, fields = self._plan(False, count)
        run()
        return fields

    def forward(self, count: int) -> NDArray[np.complex128]:
        """Unnormalised spectra of the first ``count`` fields (half axis last)."""
        run, spectrum, _ = self._plan(True, count)
        run()
        return spectrum

    def _plan(self, forward: bool, count: int) -> _Plan:
        plan = self._plans.get((forward, count))
        if plan is None:
            make = self._fftw if self._use_fftw else self._ducc
            spectrum, fields = self.spectrum[:count], self.fields[:count]
            plan = self._plans[forward, count] = (make(forward, spectrum, fields), spectrum, fields)
        return plan

    def _fftw(
        self, forward: bool, spectrum: NDArray[np.complex128], fields: NDArray[np.float64]
    ) -> Callable[[], object]:
        source, target = (fields, spectrum) if forward else (spectrum, fields)
        plan = pyfftw.FFTW(
            source,
            target,
            axes=AXES,
            direction="FFTW_FORWARD" if forward else "FFTW_BACKWARD",
            flags=("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT"),
            threads=1,
        )
        execute: Callable[[], object] = plan.execute
        return execute

    def _ducc(
        self, forward: bool, spectrum: NDArray[np.complex128], fields: NDArray[np.float64]
    ) -> Callable[[], object]:
        if forward:
            return lambda: ducc0.fft.r2c(fields, axes=AXES, out=spectrum, nthreads=1)
        return lambda: ducc0.fft.c2r(
            spectrum,
            axes=AXES,
            lastsize=self.shape[2],
            forward=False,
            out=fields,
            nthreads=1,
            allow_overwriting_input=True,
        )


class TransformCache:
    """Transforms by grid, the least recently used dropped once their work arrays exceed ``max_bytes``."""

    def __init__(self, batch: int, max_bytes: int = 256 * 2**20) -> None:
        self._batch = batch
        self._max_bytes = max_bytes
        self._transforms: OrderedDict[Shape, Transform] = OrderedDict()

    def __getitem__(self, shape: Shape) -> Transform:
        transform = self._transforms.pop(shape, None)
        if transform is None:
            transform = Transform(shape, self._batch)
        self._transforms[shape] = transform
        return transform

    def trim(self) -> None:
        """Drop old transforms down to the limit; to be called when no work array is in use."""
        while (
            len(self._transforms) > 1 and sum(t.nbytes for t in self._transforms.values()) > self._max_bytes
        ):
            self._transforms.popitem(last=False)

    def _nbytes(self) -> int:
        return sum(t.nbytes for t in self._transforms.values())
