"""The transform against independent references: slow implementation, closed forms, radial integrals.

Where a reference has more digits than single precision, the default, the transform is asked for double.
"""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.polynomial import polynomial
from scipy.integrate import quad, simpson
from scipy.special import eval_genlaguerre, factorial, gamma, spherical_jn

from atomscatter.channels import Channel, channels_for
from atomscatter.grids import Grid
from atomscatter.scattering import Scattering
from tests.atomscatter.tolerances import (
    CRYSTAL_DEFAULT_GRID,
    CRYSTAL_FINE_GRID,
    FINE_GRID,
    MEDIAN,
    assert_within,
    relative_errors,
)
from tests.reference.slow_scattering import (
    POWERS,
    channel_weights,
    frequencies,
    slow_features,
    slow_labels,
)

FINE = Grid(cutoff=8.0, first=((4.0,),), second=((4.0,),), growth=1.0)

CUBIC = 5.6 * np.eye(3)
SMALL_CUBIC = 4.4 * np.eye(3)
ORTHORHOMBIC = np.diag([4.6, 5.4, 6.3])
TRICLINIC = np.array([[5.6, 0.0, 0.0], [1.3, 5.2, 0.0], [-1.1, 0.9, 5.9]])


def structure(formula, cell, seed, apart=1.2):
    """Random positions in a cell, no two atoms (or images) closer than ``apart`` Angstrom."""
    rng = np.random.default_rng(seed)
    while True:
        atoms = Atoms(formula, cell=cell, pbc=True)
        atoms.set_scaled_positions(rng.random((len(atoms), 3)))
        distances = atoms.get_all_distances(mic=True)
        if len(atoms) == 1 or distances[np.triu_indices(len(atoms), 1)].min() > apart:
            return atoms


def reference_grid(atoms, spacing):
    return tuple(2 * int(np.ceil(length / spacing / 2)) for length in atoms.cell.lengths())


CASES = {
    "Li3Si2 cubic, j to 2": ("Li3Si2", SMALL_CUBIC, ("Li", "Si"), 0.36, 3),
    "LiSi2 orthorhombic": ("LiSi2", ORTHORHOMBIC, ("Li", "Si"), 0.5, 2),
    "Li2Si3 triclinic": ("Li2Si3", TRICLINIC, ("Li", "Si"), 0.5, 2),
    "Li2Si2 triclinic, wide": ("Li2Si2", TRICLINIC, ("Li", "Si"), 0.9, 1),
    "Na2Cl2 triclinic": ("Na2Cl2", TRICLINIC, ("Na", "Cl"), 0.45, 2),
    "LiAlO2 orthorhombic": ("LiAlO2", ORTHORHOMBIC, ("Li", "O", "Al"), 0.45, 2),
    "single Si": ("Si", CUBIC, ("Li", "Si"), 0.5, 2),
}


# Channels do not meet: one case shows so with all of them, and the others need only one.
WITH_ALL_CHANNELS = "LiSi2 orthorhombic"


def some_channels(species, *names):
    """Those channels of a set of species that are named: the package's, and the reference's weights."""
    both = zip(channels_for(species), channel_weights(species), strict=True)
    return zip(*((channel, weights) for channel, weights in both if channel.name in names), strict=True)


@pytest.mark.parametrize("species", sorted({species for _, _, species, _, _ in CASES.values()}))
def test_channels_are_those_of_the_reference(species):
    for channel, weights in zip(channels_for(species), channel_weights(species), strict=True):
        assert [channel.weight(s) for s in species] == [weights.get(s, 0.0) for s in species], channel.name


@pytest.mark.parametrize("case", CASES)
def test_default_grid_agrees_with_the_slow_reference(case):
    formula, cell, species, beta, scales = CASES[case]
    atoms = structure(formula, cell, seed=3)
    every = [channel.name for channel in channels_for(species)]
    channels, weights = some_channels(species, *(every if case == WITH_ALL_CHANNELS else ["valence"]))
    expected = slow_features(
        atoms, beta=beta, scales=scales, shape=reference_grid(atoms, 0.25 * beta), channels=weights
    )
    scattering = Scattering(channels=channels, beta=beta, scales=scales, products=None)
    # With the only atom on a point of the grids, the reference's own error would count.
    features = scattering.features(atoms, origin="cell" if len(atoms) == 1 else None)
    assert_within(scattering.labels, features, expected)
    order = np.array([label.order for label in scattering.labels])
    assert np.median(relative_errors(features, expected)[order > 0]) < MEDIAN


VALENCE = Channel("valence", {"Li": 1.0, "Si": 4.0})
FIVE_SCALES = {"beta": 0.36, "scales": 5}
SLAB = np.diag([17.6, 18.2, 3.2])  # wide enough for 2^4 beta (times its lowest frequency: 2), and few points


def test_five_scales_agree_with_the_slow_reference():
    """All (j1, l1, j2, l2) of the paper."""
    atoms = structure("Li7Si11", SLAB, seed=3)
    expected = slow_features(
        atoms, shape=reference_grid(atoms, 0.45 * 0.36), channels=[VALENCE.weights], **FIVE_SCALES
    )
    scattering = Scattering(channels=[VALENCE], **FIVE_SCALES, products=None)
    features = scattering.features(atoms)
    assert scattering.n_features == 4 + 60 + 684
    assert (features > 0).all()
    assert_within(scattering.labels, features, expected)


def test_crystal_agrees_with_the_slow_reference():
    """The worst case of a grid: every point of a primitive cell is repeated by symmetry, above all with one
    atom alone."""
    primitive = bulk("NaCl", "rocksalt", a=5.64)
    channels, weights = some_channels(("Na", "Cl"), "Na", "valence")
    expected = slow_features(primitive, beta=0.4, scales=1, shape=(48, 48, 48), channels=weights)
    for grid, tolerances in ((Grid(), CRYSTAL_DEFAULT_GRID), (FINE, CRYSTAL_FINE_GRID)):
        scattering = Scattering(
            channels=channels, beta=0.4, scales=1, grid=grid, precision="double", products=None
        )
        assert_within(scattering.labels, scattering.features(primitive), expected, tolerances)


def test_fine_grid_converges_to_the_slow_reference():
    """Not only within the tolerance of a cheap grid: towards the same limit."""
    atoms = structure("Li2Si3", TRICLINIC, seed=3)
    expected = slow_features(atoms, beta=0.5, scales=2, shape=(54, 54, 60), channels=[VALENCE.weights])
    fine = Scattering(beta=0.5, scales=2, channels=[VALENCE], grid=FINE, precision="double", products=None)
    features = fine.features(atoms)
    assert_within(fine.labels, features, expected, FINE_GRID)
    assert np.median(relative_errors(features, expected)) < MEDIAN / 30


@pytest.mark.parametrize(("scales", "count"), [(3, 1640), (4, 2600), (5, 3740)])
def test_labels_are_those_of_the_reference_in_its_order(scales, count):
    scattering = Scattering(scales=scales, products=None)
    names = [channel.name for channel in scattering.channels]
    labels = [(x.order, names.index(x.channel), x.j1, x.l1, x.j2, x.l2, x.q) for x in scattering.labels]
    assert labels == slow_labels(scales, 5)
    assert len(labels) == scattering.n_features == count


# --------------------------------------------------------------------------- order 0


def test_order_zero_by_hand():
    """Three lithium atoms and one silicon atom, equation (5): channels Li, Si, valence, core, kinetic."""
    scattering = Scattering(scales=1, products=None)
    features = scattering.features(structure("Li3Si", CUBIC, seed=1))[:20]
    by_hand = [
        # q = 1, 4/3, 5/3, 2
        *(2.25, 3.24506153319, 4.68018860187, 6.75),  # (3 * 3^q) / 4
        *(3.5, 8.43549792461, 20.3307500675, 49.0),  # 14^q / 4
        *(1.75, 2.33740105197, 3.26984209979, 4.75),  # (3 * 1 + 4^q) / 4
        *(4.0, 7.27596829992, 13.9850736620, 28.0),  # (3 * 2^q + 10^q) / 4
        *(2.23445245237, 3.01225930068, 4.12801880121, 5.75),  # (3 * 3^(q/2) + 14^(q/2)) / 4
    ]
    np.testing.assert_allclose(features, by_hand, rtol=1e-11)


# --------------------------------------------------------------------------- order 1, q = 2: Parseval


def parseval(atoms, weights, beta, scale, l, cutoff):  # noqa: E741
    """1/(N V) sum over reciprocal lattice vectors of |rho^|^2 k^(2(4-l)) exp(-beta^2 k^2), k = 2^j omega.

    Up to 2^j beta |omega| <= cutoff; the sum over m of |psi^|^2 by the addition theorem.
    """
    cell = np.asarray(atoms.cell)
    half = np.floor(cutoff / (2**scale * beta) * atoms.cell.lengths() / (2 * np.pi)).astype(int)
    integers = np.mgrid[tuple(slice(-h, h + 1) for h in half)].reshape(3, -1)
    omega = 2 * np.pi * np.linalg.inv(cell) @ integers
    k = 2**scale * np.linalg.norm(omega, axis=0)
    omega, k = omega[:, beta * k <= cutoff], k[beta * k <= cutoff]
    f = np.array([weights.get(s, 0.0) for s in atoms.get_chemical_symbols()])
    density = np.exp(-1j * atoms.positions @ omega).T @ f
    total = (np.abs(density) ** 2 * k ** (2 * (4 - l)) * np.exp(-((beta * k) ** 2))).sum()
    return total / atoms.get_volume() / len(atoms)


@pytest.mark.parametrize("grid", [Grid(), Grid(cutoff=8.0)], ids=["default", "wide band"])
@pytest.mark.parametrize("cell", [CUBIC, ORTHORHOMBIC, TRICLINIC], ids=["cubic", "orthorhombic", "triclinic"])
def test_order_one_q_two_is_the_sum_of_parseval(cell, grid):
    atoms = structure("Li3Si4", cell, seed=5)
    scattering = Scattering(beta=0.5, scales=2, grid=grid, precision="double", products=None)
    features = scattering.features(atoms)
    weights = {channel.name: channel.weights for channel in scattering.channels}
    checked = 0
    for label, feature in zip(scattering.labels, features, strict=True):
        if label.order == 1 and label.q == 2.0:
            exact = parseval(atoms, weights[label.channel], 0.5, label.j1, label.l1, grid.cutoff)
            assert feature == pytest.approx(exact, rel=1e-10), label
            checked += 1
    assert checked == 5 * 2 * 3


def test_cutoff_of_the_default_grid_costs_less_than_a_millionth():
    """What the band leaves out, against all frequencies."""
    atoms = structure("Li3Si4", TRICLINIC, seed=5)
    for scale in range(2):
        for l in range(3):  # noqa: E741
            everything = parseval(atoms, {"Li": 3.0, "Si": 14.0}, 0.5, scale, l, 10.0)
            band = parseval(atoms, {"Li": 3.0, "Si": 14.0}, 0.5, scale, l, Grid().cutoff)
            assert band == pytest.approx(everything, rel=2e-6)


def test_slow_reference_itself_obeys_parseval():
    atoms = structure("Li3Si4", TRICLINIC, seed=5)
    features = slow_features(atoms, beta=0.5, scales=1, shape=(60, 60, 60), channels=[{"Si": 14.0}])
    for index, label in enumerate(slow_labels(1, 1)):
        if label[0] == 1 and label[-1] == 2.0:
            assert features[index] == pytest.approx(
                parseval(atoms, {"Si": 14.0}, 0.5, 0, label[3], 12.0), rel=1e-10
            )


def test_reference_frequencies_are_reciprocal_lattice_vectors():
    omega = frequencies(TRICLINIC, (4, 5, 6)).reshape(3, -1)
    turns = TRICLINIC @ omega / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)


# --------------------------------------------------------------------------- one atom in a large cell


def radial_wavelet(r, beta, l):  # noqa: E741
    """Radial function of psi_{3,l}^m, equation (7) with the constant that belongs to appendix B.

    psi = Q(r) Y, times sqrt(2l+1) / sqrt(4 pi) from the sum over m: this is sigma(psi)(r) up to its sign.
    """
    p = 2 - l
    laguerre = eval_genlaguerre(p, l + 0.5, r**2 / (2 * beta**2))
    constant = np.sqrt(np.pi / 2) * 2**p * factorial(p) * beta ** -(2 * p + 2 * l + 3) / (2 * np.pi**2)
    return constant * r**l * laguerre * np.exp(-(r**2) / (2 * beta**2))


@pytest.mark.parametrize("l", [0, 1, 2])
def test_equation_seven_is_the_inverse_transform_of_appendix_b(l):  # noqa: E741
    for r in (0.1, 0.7, 1.9):
        inverse, _ = quad(lambda k, r=r: k ** (6 - l) * np.exp(-0.125 * k**2) * spherical_jn(l, k * r), 0, 40)
        assert inverse / (2 * np.pi**2) == pytest.approx(radial_wavelet(r, 0.5, l), rel=1e-7)


def nodes(beta, l):  # noqa: E741
    """Radii where the wavelet vanishes: zeros of the associated Laguerre polynomial L_{2-l}^{l+1/2}."""
    nu = l + 0.5
    coefficients = {0: [(nu + 1) * (nu + 2) / 2, -(nu + 2), 0.5], 1: [nu + 1, -1.0], 2: [1.0]}[l]
    return beta * np.sqrt(2 * np.sort(polynomial.polyroots(coefficients).real))


# Of a grid with nine points per beta: |psi|^q has a kink on the spheres where psi changes sign.
RADIAL_TOLERANCE = {1.0: 3e-4, 4 / 3: 1e-4, 5 / 3: 2e-5, 2.0: 1e-9}
SILICON = [Channel("Si", {"Si": 14.0})]
ONE_ATOM = Atoms("Si", positions=[[0.3, 0.4, 0.2]], cell=[12.0, 12.0, 12.0], pbc=True)


def test_one_atom_first_order_q_two_in_closed_form():
    """f^2 / (2 pi^2) 8^-j times the integral of k^(2(4-l)+2) exp(-beta^2 k^2): a gamma function."""
    scattering = Scattering(
        beta=0.5, scales=2, channels=SILICON, grid=Grid(cutoff=8.0), precision="double", products=None
    )
    features = scattering.features(ONE_ATOM)
    for label, feature in zip(scattering.labels, features, strict=True):
        if (label.order, label.q) == (1, 2.0):
            exponent = 2 * (4 - label.l1) + 3
            integral = gamma(exponent / 2) / 2 / 0.5**exponent
            assert feature == pytest.approx(14.0**2 / (2 * np.pi**2) * 8.0**-label.j1 * integral, rel=1e-9)


def test_one_atom_first_order_by_radial_quadrature():
    """The integral of |f psi_j|^q over all space for each q, exact between the nodes of the wavelet."""
    grid = Grid(cutoff=6.0, first=((3.0,),), growth=1.0)
    scattering = Scattering(
        beta=0.5, scales=2, channels=SILICON, grid=grid, precision="double", origin="cell", products=None
    )
    features = scattering.features(ONE_ATOM)
    for label, feature in zip(scattering.labels, features, strict=True):
        if label.order != 1:
            continue
        edges = [0.0, *nodes(0.5, label.l1), 8.0]
        integral = sum(
            quad(lambda r, x=label: r**2 * abs(radial_wavelet(r, 0.5, x.l1)) ** x.q, a, b, epsrel=1e-10)[0]
            for a, b in pairwise(edges)
        )
        # psi_j(u) = 2^-3j psi(2^-j u)
        expected = 4 * np.pi * integral * 14.0**label.q * 8.0 ** (label.j1 * (1 - label.q))
        assert feature == pytest.approx(expected, rel=RADIAL_TOLERANCE[label.q]), label


def test_one_atom_second_order_by_radial_transforms():
    """Around one atom the first-order map is radial: so order 2 needs one-dimensional transforms only."""
    grid = Grid(cutoff=6.0, first=((3.0,),), second=((2.0,),), growth=1.0)
    scattering = Scattering(beta=0.5, scales=1, channels=SILICON, grid=grid, origin="cell", products=None)
    features = scattering.features(ONE_ATOM)
    r, k = np.linspace(0, 6.0, 3001), np.linspace(0, 30.0, 3001)
    bessel = [spherical_jn(l, np.outer(k, r)) for l in range(3)]  # noqa: E741
    second = {}
    for l1 in range(3):
        first = 14.0 * np.abs(radial_wavelet(r, 0.5, l1))
        spectrum = 4 * np.pi * simpson(r**2 * first * bessel[0], x=r, axis=1)
        for l2 in range(3):
            filtered = k ** (6 - l2) * np.exp(-0.125 * k**2) * spectrum
            second[l1, l2] = np.abs(simpson(filtered[:, None] * bessel[l2], x=k, axis=0)) / (2 * np.pi**2)
    checked = 0
    for label, feature in zip(scattering.labels, features, strict=True):
        if label.order == 2:
            expected = 4 * np.pi * simpson(r**2 * second[label.l1, label.l2] ** label.q, x=r)
            assert feature == pytest.approx(expected, rel=3e-4), label
            checked += 1
    assert checked == 3 * 3 * len(POWERS)
