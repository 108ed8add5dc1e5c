"""Products at the atoms: against sums over waves, two atoms by hand, and what must not change them."""

import itertools
import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import binom, eval_genlaguerre

from atomscatter.channels import Channel
from atomscatter.errors import ConfigError
from atomscatter.labels import product_labels
from atomscatter.needed import needed
from atomscatter.products import Products
from atomscatter.scattering import Scattering
from tests.reference.slow_scattering import frequencies, wavelet_hat

SPECIES = ("Li", "Si")
PRODUCTS = Products(widths=(0.6, 0.9), n=4)


def features(atoms: Atoms, products: Products = PRODUCTS) -> np.ndarray:
    species = np.array([SPECIES.index(s) for s in atoms.get_chemical_symbols()])
    return products.features(atoms.positions, atoms.cell.array, species, len(SPECIES))


@pytest.fixture
def atoms() -> Atoms:
    rng = np.random.default_rng(3)
    cell = np.diag([4.0, 4.4, 5.0]) + np.tril(rng.uniform(-0.6, 0.6, (3, 3)), -1)
    crystal = Atoms("LiSi2LiSi", cell=cell, pbc=True)
    crystal.set_scaled_positions([[0, 0, 0], [0.5, 0.4, 0.1], [0, 0.55, 0.5], [0.5, 0, 0.6], [0.3, 0.8, 0.9]])
    crystal.rattle(0.1, seed=1)
    return crystal


def waves_at_atoms(atoms: Atoms, width: float, angular: int, n: int) -> dict[str, np.ndarray]:
    """Fields of equation (10) of each species at the atoms, complex, without the atom itself: the wavelets of
    appendix B in Fourier space; shape (2l + 1, n_atoms)."""
    shape = (45, 49, 55)
    omega = frequencies(atoms.cell.array, shape)
    fields = {}
    for symbol in SPECIES:
        sources = atoms.positions[atoms.symbols == symbol]
        spectrum = np.exp(-1j * np.einsum("xabc,nx->nabc", omega, sources)).sum(axis=0)
        phases = np.exp(1j * np.einsum("xabc,nx->nabc", omega, atoms.positions))
        filters = [wavelet_hat(omega, n, angular, m, width) for m in range(-angular, angular + 1)]
        values = [[(spectrum * psi * phase).sum() for phase in phases] for psi in filters]
        fields[symbol] = np.array(values) / atoms.get_volume()
        if angular == 0:
            fields[symbol] -= prefactor(width, 0, n) * binom(n - 0.5, n - 1) * (atoms.symbols == symbol)
    return fields


def prefactor(width: float, angular: int, n: int) -> float:
    """What the inverse Fourier transform gives, over the functions that products.py defines, but for the
    sign."""
    p = n - 1 - angular
    return 2**p * math.factorial(p) / ((2 * np.pi) ** 1.5 * width ** (2 * p + angular + 3))


def test_against_sums_over_waves(atoms):
    n, expected = PRODUCTS.n, []
    fields = {
        (symbol, width, angular): values / prefactor(width, angular, n)
        for width in PRODUCTS.widths
        for angular in range(n)
        for symbol, values in waves_at_atoms(atoms, width, angular, n).items()
    }
    pairs = list(itertools.combinations_with_replacement(itertools.product(SPECIES, PRODUCTS.widths), 2))
    for center in SPECIES:
        at = atoms.symbols == center
        expected += [fields[s, w, 0][0, at].sum() for s, w in itertools.product(SPECIES, PRODUCTS.widths)]
        expected += [
            np.vdot(fields[*one, angular][:, at], fields[*two, angular][:, at])
            for angular in range(n)
            for one, two in pairs
        ]
    expected = np.array(expected) / len(atoms)
    found = features(atoms)
    assert np.abs(expected.imag).max() < 1e-9 * np.abs(found).max()
    np.testing.assert_allclose(found, expected.real, rtol=1e-6, atol=1e-7 * np.abs(found).max())


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_two_atoms_by_hand(n):
    distance, widths = 1.3, (0.5, 0.8)
    pair = Atoms("LiSi", [[0, 0, 0], np.array([2, -1, 2]) / 3 * distance], cell=[30] * 3, pbc=True)

    def radial(width, angular):
        t = distance**2 / (2 * width**2)
        return (
            eval_genlaguerre(n - 1 - angular, angular + 0.5, t) * np.exp(-t) * (distance / width) ** angular
        )

    for label, value in zip(product_labels(SPECIES, 2, n), features(pair, Products(widths, n)), strict=True):
        expected = 0.0
        if label.center not in label.species:
            expected = (
                math.prod(radial(widths[j], label.l1) for j in (label.j1, label.j2) if j is not None) / 2
            )
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-15), str(label)


@settings(max_examples=20, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_must_not_matter(seed):
    """Place, orientation, order of the atoms, number of cells, and which vectors span the lattice."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    atoms.symbols[rng.permutation(8)[:3]] = "Li"
    atoms.rattle(0.3, rng=rng)
    atoms.set_cell(atoms.cell.array + rng.uniform(-0.5, 0.5, (3, 3)), scale_atoms=True)

    moved = atoms.copy()
    moved.translate(rng.uniform(-20, 20, 3))
    turned = atoms.copy()
    rotation = Rotation.random(random_state=rng).as_matrix() * rng.choice([-1, 1])
    turned.set_cell(turned.cell.array @ rotation.T)
    turned.positions = turned.positions @ rotation.T
    skewed = atoms.copy()
    skewed.set_cell([[1, 0, 0], [3, 1, 0], [0, -2, 1]] @ atoms.cell.array)

    expected = features(atoms)
    for other in (moved, turned, atoms[rng.permutation(8)], atoms.repeat((1, 2, 1)), skewed):
        np.testing.assert_allclose(features(other), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_follow_the_transform_and_leave_its_features_alone(atoms):
    plain, both = Scattering(products=None), Scattering(products=PRODUCTS)
    found = both.features(atoms)
    assert found[: plain.n_features].tobytes() == plain.features(atoms).tobytes()
    np.testing.assert_array_equal(found[plain.n_features :], features(atoms))
    assert both.labels[plain.n_features :] == product_labels(SPECIES, 2, 4)


def test_configuration_comes_back():
    both = Scattering(products=PRODUCTS)
    again = Scattering.from_config(both.config)
    assert (again.products, again.config_hash) == (PRODUCTS, both.config_hash)
    # As in stores and models from before there were any.
    assert "products" not in Scattering(products=None).config
    assert Scattering.from_config(Scattering(products=None).config).products is None
    assert Scattering.from_config({"products": True}).products == Scattering().products == Products()
    assert Scattering.from_config({"products": False}).products is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": []}, "widths"),
        ({"widths": [0.5, float("nan")]}, "widths"),
        ({"widths": 0.5}, "widths"),
        ({"widths": ["wide"]}, "widths"),
        ({"n": 5}, "n of products"),
        ({"n": "many"}, "n of products"),
        ({"n": 2.7}, "n of products"),
        ({"n": True}, "n of products"),
        ({"widths": "12"}, "widths"),
        ({"widths": [0.8, 0.8]}, "widths of products must differ"),
        ({"cutoff": 5}, "cutoff"),
        ("all", "products"),
    ],
)
def test_wrong_settings_are_named(given, message):
    for make in (lambda: Scattering.from_config({"products": given}), lambda: Scattering(products=given)):
        with pytest.raises(ConfigError, match=message):
            make()


def test_what_needs_products_gets_them_and_nothing_else_does(atoms):
    both = Scattering(products=PRODUCTS)
    expected, start = both.features(atoms), Scattering(products=None).n_features
    some = both.features(atoms, only=needed(both.labels, [start + 5]))
    np.testing.assert_array_equal(some[start:], expected[start:])
    assert not some[20:start].any()  # 20 of order 0
    assert not both.features(atoms, only=needed(both.labels, [25]))[start:].any()


def test_too_many_species_and_a_channel_of_that_name():
    species = ["H", "Li", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "V"]
    with pytest.raises(ConfigError, match=r"products of 17 species.* at most"):
        Scattering.for_species(species, products=Products((0.5, 0.7, 0.9)))
    with pytest.raises(ConfigError, match="products"):
        Scattering(channels=[Channel("products", {"Li": 1.0})])


def test_labels_read_well():
    labels = product_labels(SPECIES, 2, 4)
    assert len(set(labels)) == len(labels) == PRODUCTS.count(2)
    assert str(labels[1]) == "products Li, Li j=1 l=0"
    assert str(labels[-1]) == "products Si, Si j=1 Si j=1 l=3"


def test_an_atom_far_from_others_has_none():
    lonely = Atoms("Li", cell=[40, 40, 40], pbc=True)
    assert not features(lonely).any()
