"""Structures from files: every one is either good, or bad with file, index and reason."""

import functools
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import structlog
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula

from atomscatter.errors import DataError, StructureError
from atomscatter.structures import MIN_DISTANCE, check_atoms
from service.unusable import UnusableError

NOT_PERIODIC = "is not periodic in all three directions"
NO_ENERGY = "has no energy"
_IMAGE_OF_VASP = ("CONTCAR", "POSCAR")  # the one structure of a calculation's folder, best first
_FULL = 0.999  # occupancy, with the digits that files leave out


@dataclass
class LabelledStructure:
    """A structure that can be featurized, with where it came from."""

    atoms: Atoms
    source: str  # the file's name, as given
    index: int  # of the structure in its file, from 0
    path_id: str  # relaxation path that it belongs to
    energy: float | None  # eV, total, of the cell
    copy_of: int | None = None  # row of the original, for a translated copy (service.copies)

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.source}, structure {self.index}"


@dataclass
class BadStructure:
    """A structure (or, with index None, a whole file) that cannot be used."""

    source: str
    index: int | None
    reason: str

    def __str__(self) -> str:
        place = self.source if self.index is None else f"{self.source}, structure {self.index}"
        return f"{place}: {self.reason}"


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Say which structure cannot be featurized: a StructureError becomes a DataError that begins with its
    place."""
    try:
        yield
    except StructureError as error:
        raise DataError(f"{place}: {error.reason}") from None


def read_structures(
    paths: Sequence[Path],
    *,
    path_key: str | None = None,
    path_per_file: bool = False,
    energy_key: str | None = None,
    need_energy: bool = False,
    vacuum: float | None = None,
    species: Collection[str] | None = None,
    min_distance: float = MIN_DISTANCE,
    unique: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[list[LabelledStructure], list[BadStructure]]:
    """Read every structure of files and directories, in any format that ASE reads (.xz, .gz, .bz2 too).

    The format follows from name and content of the file; what ASE would read into a name (``@0:3``,
    database addresses) is not looked at. Databases and pickles are not read.

    Args:
        paths: files; of a directory, all files below it whose format is known, in the order of their names
            (2 before 10).
        path_key: info key that holds the relaxation path's id. Files may share a path.
        path_per_file: each file is one relaxation path. Without either, each structure is its own.
        energy_key: info key of the total energy, eV; None takes the energy that ASE's reader attaches.
        need_energy: structures without a finite energy are bad.
        vacuum: Angstrom; structures that are not periodic are placed in a periodic box with that much empty
            space on each side of the atoms. None: they are bad.
        species: chemical symbols allowed; None allows all.
        min_distance: smallest distance between two atoms, Angstrom.
        unique: for training data. A structure is bad that is exactly the same as an earlier one, or that
            has the path id of one with another composition.
        on_progress: called with the number of structures newly read.

    Returns:
        Good structures in the order of files and frames, and bad ones.
    """
    bad: list[BadStructure] = []
    found = iterate_structures(
        paths,
        bad,
        path_key=path_key,
        path_per_file=path_per_file,
        energy_key=energy_key,
        need_energy=need_energy,
        vacuum=vacuum,
        species=species,
        min_distance=min_distance,
        unique=unique,
        on_progress=on_progress,
    )
    return list(found), bad


def iterate_structures(
    paths: Sequence[Path],
    bad: list[BadStructure],
    *,
    path_key: str | None = None,
    path_per_file: bool = False,
    energy_key: str | None = None,
    need_energy: bool = False,
    vacuum: float | None = None,
    species: Collection[str] | None = None,
    min_distance: float = MIN_DISTANCE,
    unique: bool = False,
    on_progress: Callable[[int], None] | None = None,
    file_format: str | None = None,
    max_atoms: int | None = None,
    check: Callable[[Atoms], None] | None = None,
    called: str | None = None,
) -> Iterator[LabelledStructure]:
    """What :func:`read_structures` reads, one by one; bad ones are appended to ``bad`` on the way.

    Args:
        file_format: ASE's name of the format of all files, whatever they are called and contain; for files
            from senders that must not choose the parser.
        max_atoms: structures with more atoms are bad; of an XYZ file, they are not even parsed.
        check: called with what is good so far; bad is what it raises StructureError for.
        called: name of the only file in sources, path ids and reasons; None: that by which it is read.
    """
    # Only here: ASE's readers load half of SciPy.
    from service.structure_files import MAX_ATOMS, read_file, too_many_atoms

    limit = MAX_ATOMS if max_atoms is None else max_atoms

    files, unusable = _expand(paths)
    bad += unusable

    def usable() -> Iterator[LabelledStructure]:
        for file in files:
            source = str(file) if called is None else called
            for index, read in read_file(file, file_format, limit):
                try:
                    if isinstance(read, str):
                        raise UnusableError(read)
                    if len(read) > limit:
                        raise UnusableError(too_many_atoms(len(read), limit))
                    _usable(read, vacuum, species, min_distance)
                    if check is not None:
                        check(read)
                    energy = _energy(read, energy_key, need_energy)
                    path_id = _path_id(read, source, index, path_key, path_per_file)
                except (UnusableError, StructureError) as error:
                    bad.append(BadStructure(source, index, str(error)))
                else:
                    yield LabelledStructure(read, source, int(index or 0), path_id, energy)
                if on_progress is not None:
                    on_progress(1)

    return _without_repeats(_without_conflicts(usable(), bad), bad) if unique else usable()


# Files


def images_of(paths: Sequence[Path]) -> list[Path]:
    """The files to read when each directory holds the images of a migration path.

    They are those that :func:`read_structures` takes; but of a folder with a CONTCAR, which is relaxed, only
    that, and else of one with a POSCAR only that: VASP has a folder for each image, with much else in it.
    """
    files: list[Path] = []
    for path in paths:
        found = _files_of(path) if path.is_dir() else []
        files += _one_of_each_image(found) or [path]  # reading it tells why there is none
    return files


def _one_of_each_image(files: Sequence[Path]) -> list[Path]:
    from ase.io.formats import get_compression  # as above

    names = {file: get_compression(file.name)[0] for file in files}
    there = {(file.parent, name) for file, name in names.items()}

    def is_image(file: Path) -> bool:
        image = next((name for name in _IMAGE_OF_VASP if (file.parent, name) in there), names[file])
        return names[file] == image

    return [file for file in files if is_image(file)]


def _expand(paths: Sequence[Path]) -> tuple[list[Path], list[BadStructure]]:
    """Files to read, and what was named but cannot be read at all."""
    files: dict[Path, Path] = {}  # resolved -> as given
    bad = []
    for path in map(Path, paths):
        if not path.is_dir():
            inside = [path]
        elif not (inside := _files_of(path)):
            bad.append(BadStructure(_printable(path), None, "directory without a file of a known format"))
        for file in inside:
            if (name := _printable(file)) != str(file):
                bad.append(BadStructure(name, None, "name is not UTF-8; rename it"))
                continue
            first = files.setdefault(file.resolve(), file)
            if first is not file:
                bad.append(BadStructure(str(file), None, f"is the same file as {first}; it is read once"))
    return list(files.values()), bad


def _files_of(directory: Path) -> list[Path]:
    from service.structure_files import format_of  # as above

    files, skipped = [], []
    for file in sorted(directory.rglob("*"), key=_in_order):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(directory).parts):
            continue
        try:
            format_of(file)
            files.append(file)
        except UnusableError:
            skipped.append(file.name)
        except Exception:  # no permission, or damage, for which each compression has its own error
            files.append(file)  # reading it will tell why not
    if skipped:
        structlog.get_logger().info("files that hold no structures", directory=str(directory), files=skipped)
    return files


def _in_order(path: Path) -> tuple[list[list[str | int]], Path]:
    """Key to sort by, in which image 2 comes before image 10."""
    parts = (re.split(r"(\d+)", part) for part in path.parts)
    return [[int(s) if s.isdecimal() else s for s in part] for part in parts], path


def _printable(path: Path) -> str:
    """The path, with bytes that are not UTF-8 as \\xfc; of others, nothing is changed."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _usable(atoms: Atoms, vacuum: float | None, species: Collection[str] | None, min_distance: float) -> None:
    if len(atoms) and not atoms.pbc.all() and np.isfinite(atoms.positions).all():
        if vacuum is None:
            raise UnusableError(NOT_PERIODIC)
        atoms.center(vacuum=vacuum, axis=tuple(np.flatnonzero(~atoms.pbc)))
        atoms.pbc = True
    if _is_disordered(atoms):
        raise UnusableError("is disordered (partial occupancies)")
    check_atoms(atoms, species=species, min_distance=min_distance)


def _is_disordered(atoms: Atoms) -> bool:
    """Whether a site is shared or at times empty: the atoms would be another material's.

    ASE's reader of CIF keeps the occupancies of each site by species, and the atom of the largest.
    """
    sites = atoms.info.get("occupancy")
    if not isinstance(sites, dict):
        return False
    return any(
        len(site) > 1 or any(isinstance(o, float | int) and o < _FULL for o in site.values())
        for site in sites.values()
        if isinstance(site, dict)
    )


def _energy(atoms: Atoms, key: str | None, needed: bool) -> float | None:
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    value = results.get("energy") if key is None else atoms.info.get(key, results.get(key))
    if value is None:
        if needed:
            raise UnusableError(_no_energy(atoms, key))
        return None
    try:
        energy = float(value)
    except (TypeError, ValueError):
        raise UnusableError(f"energy is not a number: {value!r}") from None
    if math.isfinite(energy):
        return energy
    if needed:
        raise UnusableError(f"energy is not finite: {energy}")
    return None


def _no_energy(atoms: Atoms, key: str | None) -> str:
    numbers = [k for k, v in atoms.info.items() if isinstance(v, float | np.floating)]
    known = f" (numbers in its info: {', '.join(sorted(numbers))})" if numbers else ""
    if key is None:
        return f"{NO_ENERGY}{known}"
    return f"{NO_ENERGY} under the key {key!r}{known}"


def _path_id(atoms: Atoms, source: str, index: int | None, key: str | None, per_file: bool) -> str:
    if per_file:
        return source
    if key is None:
        return f"{source}#{index}"
    value = atoms.info.get(key)
    if value is None:
        known = f" (there: {', '.join(sorted(map(str, atoms.info)))})" if atoms.info else ""
        raise UnusableError(f"has no path id: no {key!r} in its info{known}")
    if isinstance(value, np.ndarray | list | dict):
        raise UnusableError(f"path id {key!r} is not a single value")
    return str(value)


def _without_conflicts(
    good: Iterable[LabelledStructure], bad: list[BadStructure]
) -> Iterator[LabelledStructure]:
    """Move to ``bad`` what has the path id of an earlier structure but not its numbers of atoms.

    Atoms neither appear nor vanish along a relaxation path: such an id was given twice.
    """
    first: dict[str, tuple[_Counts, str, int]] = {}
    for structure in good:
        counts = _counts(structure.atoms)
        here = counts, structure.source, structure.index
        there, source, index = first.setdefault(structure.path_id, here)
        if there == counts:
            yield structure
            continue
        reason = (
            f"path id {structure.path_id!r} is a duplicate: {_formula(counts)} here,"
            f" {_formula(there)} in {source}, structure {index}"
        )
        bad.append(BadStructure(structure.source, structure.index, reason))


def _without_repeats(
    good: Iterable[LabelledStructure], bad: list[BadStructure]
) -> Iterator[LabelledStructure]:
    """Move exact copies of earlier structures to ``bad``: they would sit on both sides of a validation."""
    first: dict[bytes, tuple[str, int, float | None]] = {}
    for structure in good:
        digest = structure_digest(structure.atoms)
        if digest not in first:
            first[digest] = structure.source, structure.index, structure.energy
            yield structure
            continue
        source, index, energy = first[digest]
        reason = f"is a duplicate of {source}, structure {index}"
        if energy != structure.energy:
            reason += f", with another energy ({structure.energy} eV here, {energy} eV there)"
        bad.append(BadStructure(structure.source, structure.index, reason))


def reduced_formula(atoms: Atoms) -> str:
    """Reduced formula in Hill order, as ``Li15Si4``."""
    return _reduced_formula(_counts(atoms))


_Counts = tuple[tuple[int, int], ...]  # atomic number and how many, in the order of atomic numbers


def _counts(atoms: Atoms) -> _Counts:
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


@functools.lru_cache(maxsize=4096)  # thousands of structures share a composition, and ASE takes its time
def _reduced_formula(counts: _Counts) -> str:
    formula = Formula.from_dict({chemical_symbols[z]: n for z, n in counts})
    return str(formula.reduce()[0].format("hill"))


def _formula(counts: _Counts) -> str:
    return str(Formula.from_dict({chemical_symbols[z]: n for z, n in counts}).format("hill"))


def structure_digest(atoms: Atoms) -> bytes:
    """SHA-256 of numbers, positions, cell and periodicity; equal for structures equal to the last bit."""
    digest = sha256()
    for array, kind in ((atoms.numbers, "<i8"), (atoms.positions, "<f8"), (atoms.cell.array, "<f8")):
        values = np.ascontiguousarray(array, dtype=kind)
        digest.update(str(values.shape).encode())
        digest.update(values.tobytes())
    digest.update(np.asarray(atoms.pbc, dtype=np.uint8).tobytes())
    return digest.digest()
