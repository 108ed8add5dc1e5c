"""Batched real Fourier transforms with reusable plans and buffers.

FFTW is about twice as fast as ducc0 where it has a hard-coded transform of the length ("codelet"), and slower
elsewhere, so each shape gets the faster of the two (benchmarks/fft_lengths.py). FFTW plans are made with
ESTIMATE: MEASURE picks by timing, and the same structure would get other last bits in another process.

Spectra are band-limited: a transform runs along the last axis, where fields are real, and along the other two
only for those frequencies of the last axis that lie in the band.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ducc0
import numpy as np
import pyfftw

from atomscatter.arrays import ComplexArray, RealArray

Shape = tuple[int, int, int]

FFTW_LENGTHS = frozenset({2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 25, 32, 64})
BAND_AXES, REAL_AXIS = (1, 2), (3,)
_MOST_PLANNED = 256  # grids whose plans are kept


_Plan = tuple[Callable[[], object], ComplexArray, RealArray]
"""What runs it, and the parts of the work arrays that it runs on."""

Memory = tuple[ComplexArray, RealArray]
"""Flat arrays for spectra and fields, both of single or both of double precision."""


def n_values(shape: Shape, batch: int) -> tuple[int, int]:
    """Complex values of the spectra, and real values of the fields, of a batch on a grid."""
    n0, n1, n2 = shape
    return batch * n0 * n1 * (n2 // 2 + 1), batch * n0 * n1 * n2


def new_memory(n_spectrum: int, n_fields: int, real: type[np.floating[Any]] = np.float64) -> Memory:
    """Arrays that are aligned for the transforms; ``real`` is the type of the fields."""
    complex_type = np.result_type(real, np.complex64)
    return pyfftw.empty_aligned(n_spectrum, complex_type), pyfftw.empty_aligned(n_fields, real)


class Transform:
    """Inverse and forward transforms of up to ``batch`` real fields on one grid.

    ``spectrum`` has shape (batch, n0, n1, n2//2+1) and ``fields`` (batch, n0, n1, n2). Both are work arrays:
    an inverse transform destroys the spectrum, a later one the fields.

    Args:
        shape: points of the grid along each axis.
        batch: most fields at a time.
        memory: flat arrays to be used as spectrum and fields, at least :func:`n_values` long; None: new ones.
    """

    def __init__(self, shape: Shape, batch: int, memory: Memory | None = None) -> None:
        self.shape = shape
        n_spectrum, n_fields = n_values(shape, batch)
        spectrum, fields = new_memory(n_spectrum, n_fields) if memory is None else memory
        self.spectrum = spectrum[:n_spectrum].reshape(batch, shape[0], shape[1], shape[2] // 2 + 1)
        self.fields = fields[:n_fields].reshape(batch, *shape)
        self._use_fftw = all(n in FFTW_LENGTHS for n in shape)
        self._plans: dict[tuple[bool, int, int], _Plan] = {}

    def inverse(self, count: int, width: int | None = None) -> RealArray:
        """Fields sum over omega of c(omega) exp(i omega u) for the first ``count`` spectra.

        ``width``: all frequencies from it on along the last axis are zero. Default: none need be.
        """
        run, _, fields = self._plan(False, count, width)
        run()
        return fields

    def forward(self, count: int, width: int | None = None) -> ComplexArray:
        """Unnormalised spectra of the first ``count`` fields (half axis last), up to ``width`` frequencies of
        it; default: all."""
        run, spectrum, _ = self._plan(True, count, width)
        run()
        return spectrum

    def _plan(self, forward: bool, count: int, width: int | None) -> _Plan:
        most = self.spectrum.shape[3]
        width = most if width is None else min(width, most)
        plan = self._plans.get((forward, count, width))
        if plan is None:
            spectrum, fields = self.spectrum[:count], self.fields[:count]
            band = spectrum[..., :width]
            make = _fftw if self._use_fftw else _ducc
            steps = make(band, band, BAND_AXES, not forward), make(fields, spectrum, REAL_AXIS, not forward)
            first, second = steps[::-1] if forward else steps

            def run() -> None:
                first()
                second()

            plan = self._plans[forward, count, width] = (run, band, fields)
        return plan


def _fftw(first: Any, second: Any, axes: Sequence[int], backward: bool) -> Callable[[], object]:
    """What transforms the first array to the second along some axes, or back."""
    source, target = (second, first) if backward else (first, second)
    plan = pyfftw.FFTW(
        source,
        target,
        axes=axes,
        direction="FFTW_BACKWARD" if backward else "FFTW_FORWARD",
        flags=("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT"),
        threads=1,
    )
    execute: Callable[[], object] = plan.execute
    return execute


def _ducc(first: Any, second: Any, axes: Sequence[int], backward: bool) -> Callable[[], object]:
    """As :func:`_fftw`."""
    if np.iscomplexobj(first):
        return lambda: ducc0.fft.c2c(first, axes=axes, forward=not backward, out=first, nthreads=1)
    if backward:
        return lambda: ducc0.fft.c2r(
            second,
            axes=axes,
            lastsize=first.shape[-1],
            forward=False,
            out=first,
            nthreads=1,
            allow_overwriting_input=True,
        )
    return lambda: ducc0.fft.r2c(first, axes=axes, out=second, nthreads=1)


class TransformCache:
    """Transforms by grid. All of them work in the same memory, so only one may be in use at a time.

    ``work`` is a flat array of real numbers for its user: it comes and goes with that memory, because fresh
    pages cost more than what is done with them.

    Args:
        batch: most fields at a time.
        real: type of the fields, float32 or float64.
        max_bytes: more memory than this, ``work`` included, is kept only as long as structures need it.
    """

    def __init__(
        self, batch: int, real: type[np.floating[Any]] = np.float64, max_bytes: int = 256 * 2**20
    ) -> None:
        self._batch = batch
        self._real = real
        self._max_bytes = max_bytes
        self._transforms: OrderedDict[Shape, Transform] = OrderedDict()
        self._memory = new_memory(0, 0, self._real)
        self.work: RealArray = np.empty(0, self._real)

    def __getitem__(self, shape: Shape) -> Transform:
        """The transform of a grid for which there is room (:meth:`reserve`)."""
        transform = self._transforms.pop(shape, None)
        if transform is None:
            transform = Transform(shape, self._batch, self._memory)
        self._transforms[shape] = transform
        if len(self._transforms) > _MOST_PLANNED:
            self._transforms.popitem(last=False)
        return transform

    def reserve(self, shapes: Collection[Shape], n_work: int = 0) -> None:
        """Have memory for the largest of some grids, the next that are asked for, and ``n_work`` numbers."""
        sizes = [n_values(shape, self._batch) for shape in shapes]
        needed = max(size[0] for size in sizes), max(size[1] for size in sizes), n_work
        kept = self._memory[0].size, self._memory[1].size, self.work.size
        if self._bytes(*kept) > max(self._max_bytes, 2 * self._bytes(*needed)):
            self._renew(*needed)
        elif any(have < n for have, n in zip(kept, needed, strict=True)):
            # No array gets smaller, or structures that need more of one and less of another would take turns.
            self._renew(*map(max, kept, needed))

    def _bytes(self, n_spectrum: int, n_fields: int, n_work: int) -> int:
        return np.dtype(self._real).itemsize * (2 * n_spectrum + n_fields + n_work)

    def _renew(self, n_spectrum: int, n_fields: int, n_work: int) -> None:
        # The old arrays first: both at a time would be the peak.
        self._transforms.clear()
        self._memory, self.work = new_memory(0, 0, self._real), np.empty(0, self._real)
        self._memory, self.work = new_memory(n_spectrum, n_fields, self._real), np.empty(n_work, self._real)
