# ruff: noqa: E741 (l is the angular quantum number, as in the equations)
"""Atomic orbital wavelet scattering written straight from the equations: reference and yardstick.

Equations (5)-(11) and appendices A and B of "Wavelet Scattering Networks for Atomistic Systems with
Extrapolation of Material Properties": complex spherical harmonics, one full grid for everything, complex
FFTs, separate channels, no cropping, no symmetry used. It shares no code with the package.

Conventions. The cell has the lattice vectors as rows of ``cell`` and volume V; the frequencies are the
reciprocal lattice vectors w = k @ (2 pi inv(cell).T), k integer. A periodic function is
h(u) = 1/V sum_w h^(w) exp(i w.u). Appendix B leaves the 1/V out of B3; here the inverse FFT is scaled by
(grid points)/V, so that its values are the periodic convolution (8) itself, whatever grid and cell represent
the crystal.
"""

from itertools import product

import numpy as np
from scipy.special import sph_harm_y

POWERS = (1.0, 4 / 3, 5 / 3, 2.0)  # eq. (6)

ATOMIC_NUMBERS = {"H": 1, "Li": 3, "C": 6, "O": 8, "Na": 11, "Mg": 12, "Al": 13, "Si": 14, "P": 15, "Cl": 17}
VALENCE_ELECTRONS = {"H": 1, "Li": 1, "C": 4, "O": 6, "Na": 1, "Mg": 2, "Al": 3, "Si": 4, "P": 5, "Cl": 7}


def channel_weights(species):
    """The functions f of appendix A: one per species, then valence, core (ionic) and kinetic.

    Returns a list of dictionaries {symbol: f(Z)}; an absent symbol has weight zero.
    """
    Z, valence = ATOMIC_NUMBERS, VALENCE_ELECTRONS
    channels = [{symbol: float(Z[symbol])} for symbol in species]
    channels.append({symbol: float(valence[symbol]) for symbol in species})
    channels.append({symbol: float(Z[symbol] - valence[symbol]) for symbol in species})
    channels.append({symbol: float(np.sqrt(Z[symbol])) for symbol in species})
    return channels


def frequencies(cell, shape):
    """Reciprocal lattice vectors of an FFT grid in FFT order, shape (3, n1, n2, n3), 1/Angstrom."""
    integers = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T  # rows b_i with a_i . b_j = 2 pi delta_ij
    return np.einsum("iabc,ix->xabc", np.array(integers), reciprocal)


def wavelet_hat(omega, n, l, m, beta):
    """Fourier transform of psi_{n,l}^m at the frequencies omega (3, ...), appendix B; zero at omega = 0."""
    r = np.sqrt((omega**2).sum(axis=0))
    polar = np.arccos(np.divide(omega[2], r, out=np.ones_like(r), where=r > 0).clip(-1, 1))
    azimuth = np.arctan2(omega[1], omega[0])
    radial = r ** (2 * (n - 1) - l) * np.exp(-(beta**2) * r**2 / 2)
    return (-1j) ** l * np.sqrt(4 * np.pi / (2 * l + 1)) * radial * sph_harm_y(l, m, polar, azimuth)


def density_hat(atoms, weights, omega):
    """Fourier transform of the density rho^f: sum_k f(Z_k) exp(-i omega.R_k), the sum in B1."""
    total = np.zeros(omega.shape[1:], dtype=complex)
    for symbol, position in zip(atoms.get_chemical_symbols(), atoms.get_positions(), strict=True):
        if weights.get(symbol, 0.0) != 0.0:
            total += weights[symbol] * np.exp(-1j * np.einsum("xabc,x->abc", omega, position))
    return total


def scattering_maps(atoms, *, beta, scales, shape, channels, n=3):
    """First- and second-order maps sigma(...)(u) of every channel on the grid, in the order of the features.

    ``channels``: the functions f, as :func:`channel_weights` gives them.

    Yields (label, map): label (1, channel, j1, l1) or (2, channel, j1, l1, j2, l2), map of shape ``shape``.
    """
    cell = np.asarray(atoms.get_cell())
    omega = frequencies(cell, shape)
    points_per_volume = np.prod(shape) / abs(np.linalg.det(cell))
    filters = {
        (j, l): [wavelet_hat(2**j * omega, n, l, m, beta) for m in range(-l, l + 1)]
        for j, l in product(range(scales), range(n))
    }

    def sigma(signal_hat, j, l):
        return np.sqrt(sum(np.abs(np.fft.ifftn(signal_hat * psi_hat)) ** 2 for psi_hat in filters[j, l]))

    first_order = {}
    for channel, weights in enumerate(channels):
        rho_hat = points_per_volume * density_hat(atoms, weights, omega)
        for j1, l1 in product(range(scales), range(n)):
            first_order[channel, j1, l1] = sigma(rho_hat, j1, l1)
            yield (1, channel, j1, l1), first_order[channel, j1, l1]
    for (channel, j1, l1), first in first_order.items():
        first_hat = np.fft.fftn(first)
        for j2, l2 in product(range(max(0, j1 - 1), scales), range(n)):
            yield (2, channel, j1, l1, j2, l2), sigma(first_hat, j2, l2)


def slow_features(atoms, *, beta, scales, shape, species=("Li", "Si"), channels=None, n=3, powers=POWERS):
    """All features of one periodic structure on one grid of ``shape`` points, float64.

    ``channels``: those of ``species`` by the rule of appendix A, if not given.

    Order 0 (channel, q); order 1 (channel, j1, l1, q); order 2 (channel, j1, l1, j2, l2, q).
    """
    symbols = atoms.get_chemical_symbols()
    channels = channel_weights(species) if channels is None else channels
    volume_element = atoms.get_volume() / np.prod(shape)
    features = [
        sum(abs(weights.get(symbol, 0.0)) ** q for symbol in symbols) for weights in channels for q in powers
    ]
    for _, scattered in scattering_maps(atoms, beta=beta, scales=scales, shape=shape, channels=channels, n=n):
        features.extend((scattered**q).sum() * volume_element for q in powers)
    return np.array(features) / len(atoms)


def slow_labels(scales, n_channels, n=3, powers=POWERS):
    """Labels (order, channel, j1, l1, j2, l2, q) of the features, None where a number does not apply."""
    labels = [(0, c, None, None, None, None, q) for c, q in product(range(n_channels), powers)]
    first = list(product(range(n_channels), range(scales), range(n)))
    labels += [(1, c, j1, l1, None, None, q) for (c, j1, l1), q in product(first, powers)]
    labels += [
        (2, c, j1, l1, j2, l2, q)
        for c, j1, l1 in first
        for j2, l2, q in product(range(max(0, j1 - 1), scales), range(n), powers)
    ]
    return labels
