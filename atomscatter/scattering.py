"""The atomic-orbital wavelet scattering transform: periodic structures to invariant features.

Paper: Sinz, Swift et al., J. Chem. Phys. (2020), section II D and appendices A and B.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from atomscatter.arrays import ComplexArray, FloatArray, RealArray
from atomscatter.channels import Channel, channel_species, channels_for
from atomscatter.errors import ConfigError
from atomscatter.fft import Shape, TransformCache
from atomscatter.grids import Grid
from atomscatter.kernels import PAPER_POWERS, apply_filters, channel_moduli, power_sums
from atomscatter.labels import PRODUCTS, FeatureLabel, feature_labels, product_labels, second_scales
from atomscatter.needed import Needed, needed
from atomscatter.origin import from_origin, moving_origin
from atomscatter.products import Products
from atomscatter.structure_factors import structure_factors
from atomscatter.structures import check_atoms
from atomscatter.wavelets import MAX_N, filters

Precision = Literal["single", "double"]
Origin = Literal["atoms", "cell"]
Shapes = list[list[Shape]]
"""Grids by scale and angular number."""

_SECONDS_PER_FIELD, _SECONDS_PER_POINT = 1.5e-5, 2e-9  # for estimated_seconds; an AMD EPYC of 2026
_SETTINGS = {"beta", "scales", "n", "powers", "channels", "grid", "precision", "origin", "products"}
MAX_SCALES = 8
MAX_PRODUCTS = 20_000


class Scattering:
    """Invariant wavelet scattering features of periodic structures.

    Args:
        beta: width of the smallest wavelet, Angstrom; scale j has width 2^j beta.
        scales: number of scales J; j = 0 .. J-1. Five give the paper's 3,740 features, beside products; but
            the largest wavelet must fit into the cells: 2^(J-1) beta times the lowest lattice frequency
            should stay below 3, or features vanish and change by orders of magnitude with the cell.
        n: principal number of the wavelets; angular numbers l = 0 .. n-1.
        powers: exponents q of the integrals.
        channels: weights f(Z); see :func:`atomscatter.channels.channels_for`. Default: those of lithium and
            silicon, the paper's; :meth:`for_species` makes those of other elements.
        grid: accuracy of the numerics; a :class:`atomscatter.grids.Grid`, or its attributes by name.
        precision: "single" or "double", of the fields; features are float64 in any case. Single precision is
            faster and rounds: by less than 1e-6 of a feature with the default scales
            (benchmarks/results/precision.md), by more where a cell holds only the tail of the filters, as
            with beta = 0.9 and five scales.
        origin: where the grids begin. "atoms": at a point that moves with the atoms
            (:mod:`atomscatter.origin`), so that translating a structure changes nothing but last digits.
            "cell": at the corner of the cell.
        products: which products of wavelet fields at the atoms to append (:mod:`atomscatter.products`):
            features that need no grid. True: those of :class:`Products` by default; None or False: none.
            Their number grows with the third power of the number of species.

    All arguments are attributes of the same name, which cannot be changed. An instance reuses its work
    arrays, so threads that share one wait for each other; copies, pickled ones too, have their own. The same
    structure gives the same bytes in every process with the same libraries, the same kind of processor and
    one BLAS thread; otherwise, and with another ``only``, the last digits may differ.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        beta: float = 0.5,
        scales: int = 3,
        n: int = 3,
        powers: Sequence[float] = PAPER_POWERS,
        channels: Sequence[Channel] | None = None,
        grid: Grid | Mapping[str, Any] | None = None,
        precision: Precision = "single",
        origin: Origin = "atoms",
        products: Products | Mapping[str, Any] | bool | None = True,
    ) -> None:
        try:
            self.beta = float(beta)
            self.scales = operator.index(scales)
            self.n = operator.index(n)
            self.powers = tuple(float(q) for q in powers)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"beta and powers must be numbers, scales and n whole ones: {error}") from error
        self.channels = channels_for(("Li", "Si")) if channels is None else tuple(channels)
        self.grid = grid if isinstance(grid, Grid) else Grid.from_dict(grid or {})
        self.precision = precision
        self.origin = origin
        self.products = _products(products)
        self._check()
        self.species = channel_species(self.channels)
        self._nuclear_charges = np.array([float(atomic_numbers[s]) for s in self.species])
        self._weights = np.array([[c.weight(s) for s in self.species] for c in self.channels])
        self._real: type[np.floating[Any]] = np.float32 if precision == "single" else np.float64
        self._complex = np.result_type(self._real, np.complex64)
        self._field_weights: RealArray = self._weights.astype(self._real)
        self._powers = np.array(self.powers)
        self._paper = self.powers == PAPER_POWERS
        self._transforms = TransformCache(batch=max(2 * self.n - 1, len(self.channels)), real=self._real)
        self._lock = threading.Lock()  # of work arrays and filters
        self._cell_key = b""
        self._filters: list[RealArray] = []
        self._silent: list[bool] = []  # scales whose band holds no frequency of the cell: features are 0

    def __setattr__(self, name: str, value: Any) -> None:
        # Filters, work arrays and labels are made for the settings.
        if name in _SETTINGS and name in self.__dict__:
            raise AttributeError(f"{name} of a transform cannot be changed; make another Scattering")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of plans would run on the original's work arrays.
        return type(self).from_config, (self.config,)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {', '.join(self.species)}: {self.n_features} features, "
            f"beta {self.beta:g} Angstrom, {self.scales} scales>"
        )

    @classmethod
    def for_species(cls, species: Iterable[str], **settings: Any) -> Scattering:
        """Scattering with the channels that the rule gives for a set of chemical symbols."""
        return cls(channels=channels_for(species), **settings)

    @cached_property
    def labels(self) -> tuple[FeatureLabel, ...]:
        """One label for each feature column, in order."""
        integrals = feature_labels([c.name for c in self.channels], self.scales, self.n, self.powers)
        return integrals + self._product_labels

    @cached_property
    def _product_labels(self) -> tuple[FeatureLabel, ...]:
        if self.products is None:
            return ()
        return product_labels(self.species, len(self.products.widths), self.products.n)

    @cached_property
    def _everything(self) -> Needed:
        return needed(self.labels, range(self.n_features))

    @property
    def n_features(self) -> int:
        """Number of feature columns: 3,740 for the paper's parameters, without products."""
        return len(self.labels)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the features, as plain JSON values.

        ``products`` is only there where they are: a transform without any has the hash of one that has never
        heard of them.
        """
        return {
            "beta": self.beta,
            "scales": self.scales,
            "n": self.n,
            "powers": list(self.powers),
            "channels": [{"name": c.name, "weights": dict(c.weights)} for c in self.channels],
            "grid": self.grid.to_dict(),
            "precision": self.precision,
            "origin": self.origin,
            **({} if self.products is None else {"products": self.products.to_dict()}),
        }

    @property
    def config_hash(self) -> str:
        """SHA-256 of the canonical JSON of :attr:`config`."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Scattering:
        """Inverse of :attr:`config`; entries may be left out, ConfigError names what is unknown or wrong.

        One without ``origin`` is older than that setting: its grids stay in the cell. One without
        ``products`` has none.
        """
        settings = {"origin": "cell", "products": None, **config}
        unknown = set(settings) - _SETTINGS
        if unknown:
            raise ConfigError(f"unknown scattering setting: {', '.join(sorted(unknown))}")
        try:
            if "channels" in settings:
                settings["channels"] = [Channel(c["name"], dict(c["weights"])) for c in settings["channels"]]
            if "grid" in settings:
                settings["grid"] = Grid.from_dict(settings["grid"])
            return cls(**settings)
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"scattering settings: {error}") from error

    def grid_points(self, atoms: Atoms) -> float:
        """Points of the largest grid that a structure needs, about; time and memory grow with them.

        Known without any work, of any structure: nothing is checked, and a cell that is not finite has 0.
        """
        spacing = min(self.grid.spacing(self.beta, 0, l1, self.grid.first) for l1 in range(self.n))
        with np.errstate(all="ignore"):
            lengths = np.linalg.norm(np.asarray(atoms.cell.array, dtype=np.float64), axis=1)
            points = float(np.prod(self.grid.gridded(lengths, self.beta) / spacing))
        return points if math.isfinite(points) else 0.0

    def require_room(self, atoms: Atoms) -> None:
        """Raise StructureError, before any work is done, if a cell needs more points than grids may have.

        That is what :meth:`features` refuses beyond :func:`atomscatter.structures.check_atoms`, which the
        structure has to satisfy.
        """
        self._grids(np.asarray(atoms.cell.lengths(), dtype=np.float64))

    def estimated_seconds(self, atoms: Atoms) -> float:
        """Rough time of :meth:`features` on one core, the same on every machine; they may differ severalfold.

        Each field costs a call, and something for each point; the paper's four powers cost what another does.
        Products cost little beside the fields.
        """
        n_fields = (self.n_features - len(self._product_labels)) / len(self.powers)
        return n_fields * (_SECONDS_PER_FIELD + _SECONDS_PER_POINT * self.grid_points(atoms))

    def features(
        self, atoms: Atoms, *, only: Needed | None = None, origin: Origin | None = None
    ) -> FloatArray:
        """Features of one periodic structure, per atom, in the order of :attr:`labels`.

        Order 0: sum over atoms of f(Z)^q / N (equation 5). Order 1: integral over the cell of
        sigma(rho * psi_1)^q / N (equation 10). Order 2: the same of sigma(sigma(rho * psi_1) * psi_2)
        (equation 11). Products: sums over the atoms of a species / N, see :mod:`atomscatter.products`.

        Args:
            atoms: periodic in three directions; any cell shape; positions in Angstrom, anywhere.
            only: what to compute (:func:`atomscatter.needed.needed` of :attr:`labels`); other columns are 0.
                Default: everything.
            origin: where the grids begin, for this structure only. Default: :attr:`origin`.

        Returns:
            float64, shape (n_features,).

        Raises:
            StructureError: the structure cannot be featurized; the message says why.
            ConfigError: ``origin`` is neither "atoms" nor "cell".
        """
        origin = origin or self.origin
        _check_origin(origin)
        check_atoms(atoms, species=self.species)
        lengths = np.asarray(atoms.cell.lengths(), dtype=np.float64)
        # The grids first: they refuse cells whose filters would not fit into memory.
        sources, targets = self._grids(lengths)
        wanted = self._everything if only is None else only
        with self._lock:
            self._reserve(sources, targets)
            self._prepare_filters(np.asarray(atoms.cell.array), lengths)
            density = self._density(atoms, lengths, origin)
            per_atom = float(atoms.get_volume()) / len(atoms)
            first, second = self._integrals(density, sources, targets, per_atom, wanted)
        features = [self._zeroth_order(atoms).ravel(), first, second]
        if self.products is not None:
            features.append(self._at_atoms(self.products, atoms, wanted))
        return np.concatenate(features)

    def _grids(self, lengths: FloatArray) -> tuple[Shapes, Shapes]:
        """Grids of first and second order for a cell with edges of these lengths."""
        sources = [
            [self.grid.first_points(lengths, self.beta, j1, l1) for l1 in range(self.n)]
            for j1 in range(self.scales)
        ]
        targets = [
            [self.grid.second_points(lengths, self.beta, j2, l2) for l2 in range(self.n)]
            for j2 in range(self.scales)
        ]
        return sources, targets

    def _reserve(self, sources: Shapes, targets: Shapes) -> None:
        """Have memory for the fields on these grids."""
        fields = [(2 * l1 + 1) * math.prod(shape) for scale in sources for l1, shape in enumerate(scale)]
        self._transforms.reserve(
            [shape for scale in [*sources, *targets] for shape in scale], len(self.species) * max(fields)
        )

    def _zeroth_order(self, atoms: Atoms) -> FloatArray:
        """Shape (channels, powers)."""
        symbols = np.array(atoms.get_chemical_symbols())
        counts = np.array([np.count_nonzero(symbols == s) for s in self.species], dtype=np.float64)
        weights = self._weights[..., None] ** self._powers
        return np.asarray(np.einsum("s,csq->cq", counts, weights) / len(atoms))

    def _integrals(
        self, density: ComplexArray, sources: Shapes, targets: Shapes, volume_per_atom: float, wanted: Needed
    ) -> tuple[FloatArray, FloatArray]:
        """Features of orders 1 and 2 in the order of the labels; those that are not wanted are 0."""
        n_channels, n_powers = len(self.channels), len(self.powers)
        first = np.zeros((n_channels, self.scales, self.n, n_powers))
        second = [
            np.zeros((n_channels, self.n, len(second_scales(j, self.scales)), self.n, n_powers))
            for j in range(self.scales)
        ]
        index = {channel.name: c for c, channel in enumerate(self.channels)}
        for (j1, l1), names in wanted.first.items():
            if self._silent[j1]:
                continue
            source = sources[j1][l1]
            again = [index[name] for name in wanted.spectra(j1, l1)]
            active = again + [index[name] for name in names if index[name] not in again]
            first[active, j1, l1], moduli = self._first_order(
                density, source, j1, l1, volume_per_atom, active, len(again)
            )
            spectra = dict(zip(again, moduli, strict=True))
            for i, j2 in enumerate(second_scales(j1, self.scales)):
                if self._silent[j2]:
                    continue
                for l2 in range(self.n):
                    chosen = [index[name] for name in wanted.second.get((j1, l1, j2, l2), ())]
                    if chosen:
                        second[j1][chosen, l1, i, l2] = self._second_order(
                            [spectra[c] for c in chosen], source, targets[j2][l2], j2, l2, volume_per_atom
                        )
        second_by_channel = [second[j1][c].ravel() for c in range(n_channels) for j1 in range(self.scales)]
        return first.ravel(), np.concatenate(second_by_channel)

    def _first_order(
        self,
        density: ComplexArray,
        shape: Shape,
        j1: int,
        l1: int,
        volume_per_atom: float,
        channels: Sequence[int],
        n_spectra: int,
    ) -> tuple[FloatArray, ComplexArray]:
        """Order-1 features of one (j1, l1) for some channels, shape (len(channels), powers), and the spectra
        of the moduli of the first ``n_spectra`` of them."""
        bank = self._filters[j1][l1 * l1 : (l1 + 1) ** 2]
        offset0 = (density.shape[1] - bank.shape[1]) // 2
        offset1 = (density.shape[2] - bank.shape[2]) // 2
        map0 = np.arange(bank.shape[1]) + offset0
        map1 = np.arange(bank.shape[2]) + offset1
        transform = self._transforms[shape]
        points = math.prod(shape)
        fields = self._work_array((len(self.species), len(bank), points))
        for s in range(len(self.species)):
            apply_filters(density[s], map0, map1, bank, l1 % 2 == 1, transform.spectrum)
            fields[s] = transform.inverse(len(bank), bank.shape[3]).reshape(len(bank), points)
        scale = volume_per_atom / points
        moduli = transform.fields[: len(channels)].reshape(-1, points)
        weights = self._field_weights[list(channels)]
        features = channel_moduli(fields, weights, self._powers, self._paper, scale, moduli)
        if n_spectra == 0:
            return features, np.empty((0, 0, 0, 0), dtype=self._complex)
        widest = self._filters[max(0, j1 - 1)].shape[3]  # of the filters that go onto these spectra
        return features, transform.forward(n_spectra, widest) * (1.0 / points)

    def _second_order(
        self,
        moduli: Sequence[ComplexArray],
        source: Shape,
        target: Shape,
        j2: int,
        l2: int,
        volume_per_atom: float,
    ) -> FloatArray:
        """Order-2 features of one (j1, l1, j2, l2), shape (len(moduli), powers)."""
        bank = self._filters[j2]
        half0, half1 = bank.shape[1] // 2, bank.shape[2] // 2
        map0 = np.arange(-half0, half0 + 1) % source[0]
        map1 = np.arange(-half1, half1 + 1) % source[1]
        features = np.empty((len(moduli), len(self.powers)))
        part = bank[l2 * l2 : (l2 + 1) ** 2]
        transform = self._transforms[target]
        points = math.prod(target)
        scale = volume_per_atom / points
        for i, spectrum in enumerate(moduli):
            apply_filters(spectrum, map0, map1, part, l2 % 2 == 1, transform.spectrum)
            fields = transform.inverse(len(part), part.shape[3]).reshape(len(part), points)
            features[i] = power_sums(fields, self._powers, self._paper, scale)
        return features

    def _work_array(self, shape: tuple[int, ...]) -> RealArray:
        """An array for passing use, always from the same memory (:meth:`_reserve`)."""
        return self._transforms.work[: math.prod(shape)].reshape(shape)

    def _prepare_filters(self, cell: FloatArray, lengths: FloatArray) -> None:
        """Filters of all scales for a cell; kept, because the structures of a path share their cell."""
        key = cell.tobytes()
        if key == self._cell_key:
            return
        reciprocal = np.asarray(2 * np.pi * np.linalg.inv(cell).T, dtype=np.float64)
        self._filters = [
            filters(
                reciprocal, self.grid.half_band(lengths, self.beta, j), self.beta, j, self.n, self.grid.cutoff
            ).astype(self._real, copy=False)
            for j in range(self.scales)
        ]
        self._silent = [not bank.any() for bank in self._filters]
        self._cell_key = key

    def _density(self, atoms: Atoms, lengths: FloatArray, origin: Origin) -> ComplexArray:
        """Spectrum of the density of each species over the cell's volume, as seen from the grids' origin."""
        scaled = np.asarray(atoms.get_scaled_positions(wrap=True))
        half = self.grid.half_band(lengths, self.beta, 0)
        density = structure_factors(scaled, np.array(atoms.get_chemical_symbols()), self.species, half)
        if origin == "atoms":
            charge = np.tensordot(self._nuclear_charges, density, 1)
            density = from_origin(density, moving_origin(charge, scaled, atoms.numbers))
        return (density / float(atoms.get_volume())).astype(self._complex, copy=False)

    def _at_atoms(self, products: Products, atoms: Atoms, wanted: Needed) -> FloatArray:
        """Products at the atoms, shape (n_products,); 0 where none is wanted."""
        if not wanted.products:
            return np.zeros(len(self._product_labels))
        species = np.searchsorted(self._nuclear_charges, atoms.numbers)
        return products.features(atoms.positions, atoms.cell.array, species, len(self.species))

    def _check(self) -> None:
        if not (math.isfinite(self.beta) and 0.05 <= self.beta <= 10.0):
            raise ConfigError(f"beta must lie between 0.05 and 10 Angstrom, not {self.beta}")
        if not 1 <= self.scales <= MAX_SCALES:
            raise ConfigError(f"scales must lie between 1 and {MAX_SCALES}, not {self.scales}")
        if self.precision not in ("single", "double"):
            raise ConfigError(f"precision must be 'single' or 'double', not {self.precision!r}")
        _check_origin(self.origin)
        if not 1 <= self.n <= MAX_N:
            raise ConfigError(f"n must lie between 1 and {MAX_N}, not {self.n}")
        if not self.powers or not all(0.5 <= q <= 4.0 for q in self.powers):
            raise ConfigError(f"powers q must be numbers between 0.5 and 4, not {self.powers}")
        if not all(isinstance(c, Channel) for c in self.channels):
            raise ConfigError("channels must be Channel objects, which Scattering.for_species makes")
        names = [c.name for c in self.channels]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"channels need distinct names, not {names}")
        if PRODUCTS in names:
            raise ConfigError(f"a channel cannot be called {PRODUCTS!r}")
        n_species = len(channel_species(self.channels))
        if self.products is not None and self.products.count(n_species) > MAX_PRODUCTS:
            raise ConfigError(
                f"products of {n_species} species and {len(self.products.widths)} widths would be "
                f"{self.products.count(n_species)} features, and at most {MAX_PRODUCTS} may be: take fewer "
                "widths, or no products"
            )


def _products(given: Products | Mapping[str, Any] | bool | None) -> Products | None:
    if given is None or isinstance(given, Products):
        return given
    return Products.from_config(given)


def _check_origin(origin: str) -> None:
    if origin not in ("atoms", "cell"):
        raise ConfigError(f"origin must be 'atoms' or 'cell', not {origin!r}")
