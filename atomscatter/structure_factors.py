"""Structure factors of each species: the spectra of densities of points (equation B1 with f = 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atomscatter.arrays import ComplexArray, FloatArray, IntArray

_PAIRS_IN_MEMORY = 2**22  # complex numbers, 64 MiB


def structure_factors(
    scaled: FloatArray, symbols: NDArray[np.str_], species: Sequence[str], half: IntArray
) -> ComplexArray:
    """Sum over atoms of exp(-i omega . R), of each species.

    The exponential factorises over the three axes, so that one matrix product replaces atoms x frequencies
    exponentials.

    Args:
        scaled: fractional coordinates of the atoms, shape (n_atoms, 3).
        symbols: their chemical symbols, shape (n_atoms,).
        species: chemical symbols.
        half: largest frequency h along each axis, shape (3,).

    Returns:
        complex128, shape (len(species), 2 h0 + 1, 2 h1 + 1, h2 + 1), frequencies as of
        :func:`atomscatter.origin.moving_origin`.
    """
    tables = [
        np.exp(-2j * np.pi * np.outer(np.arange(first, h + 1), scaled[:, axis]))
        for axis, (first, h) in enumerate(((-half[0], half[0]), (-half[1], half[1]), (0, half[2])))
    ]
    box = tuple(len(t) for t in tables)
    density = np.empty((len(species), *box), dtype=np.complex128)
    block = max(1, _PAIRS_IN_MEMORY // (box[0] * box[1]))
    for s, symbol in enumerate(species):
        atoms = np.flatnonzero(symbols == symbol)
        for start in range(0, max(1, len(atoms)), block):
            e0, e1, e2 = (t[:, atoms[start : start + block]] for t in tables)
            pairs = (e0[:, None, :] * e1[None, :, :]).reshape(box[0] * box[1], e0.shape[1])
            part = (pairs @ e2.T).reshape(box)
            density[s] = part if start == 0 else density[s] + part
    return density
