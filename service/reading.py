"""Structures from files: every one is either good, or bad with file, index and reason."""

import contextlib
import functools
import io
import itertools
import math
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
import structlog
from ase import Atoms
from ase.data import chemical_symbols
from ase.formula import Formula
from ase.io import iread
from ase.io.cif import parse_cif
from ase.io.extxyz import key_val_str_to_dict, read_xyz
from ase.io.formats import (
    PEEK_BYTES,
    UnknownFileTypeError,
    filetype,
    get_compression,
    ioformats,
    open_with_compression,
)

from atomscatter.errors import StructureError
from atomscatter.structures import MIN_DISTANCE, check_atoms

# Databases, folders, and an input language that opens further files: names in them are not data.
_REFUSED_FORMATS = {"db", "json", "mysql", "postgresql", "bundletrajectory", "gpw", "octopus-in"}
NOT_PERIODIC = "is not periodic in all three directions"
NO_ENERGY = "has no energy"
_XYZ_FORMATS = {"xyz", "extxyz"}
_FULL = 0.999  # occupancy, with the digits that files leave out
MAX_ATOMS = 10_000_000
MAX_COLUMNS = 1000  # of an extended XYZ file
MAX_OPERATIONS = 192  # of a space group, those of F m -3 m
MAX_CIF_POSITIONS = 40_000
"""Sites times symmetry operations of a CIF: ASE makes and compares so many positions, in about a second."""


@dataclass
class LabelledStructure:
    """A structure that can be featurized, with where it came from."""

    atoms: Atoms
    source: str  # the file's name, as given
    index: int  # of the structure in its file, from 0
    path_id: str  # relaxation path that it belongs to
    energy: float | None  # eV, total, of the cell
    copy_of: int | None = None  # row of the original, for a translated copy (service.copies)


@dataclass
class BadStructure:
    """A structure (or, with index None, a whole file) that cannot be used."""

    source: str
    index: int | None
    reason: str

    def __str__(self) -> str:
        place = self.source if self.index is None else f"{self.source}, structure {self.index}"
        return f"{place}: {self.reason}"


class _UnusableError(Exception):
    """Why a file or a structure cannot be used; does not leave this module."""


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
        paths: files; of a directory, all files below it whose format is known, in the order of their names.
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
) -> Iterator[LabelledStructure]:
    """What :func:`read_structures` reads, one by one; bad ones are appended to ``bad`` on the way."""
    files, unusable = _expand(paths)
    bad += unusable

    def usable() -> Iterator[LabelledStructure]:
        for file in files:
            for index, read in _read_file(file):
                try:
                    if isinstance(read, str):
                        raise _UnusableError(read)
                    _usable(read, vacuum, species, min_distance)
                    energy = _energy(read, energy_key, need_energy)
                    path_id = _path_id(read, str(file), index, path_key, path_per_file)
                except (_UnusableError, StructureError) as error:
                    bad.append(BadStructure(str(file), index, str(error)))
                else:
                    yield LabelledStructure(read, str(file), int(index or 0), path_id, energy)
                if on_progress is not None:
                    on_progress(1)

    return _without_repeats(_without_conflicts(usable(), bad), bad) if unique else usable()


# Files


def _expand(paths: Sequence[Path]) -> tuple[list[Path], list[BadStructure]]:
    """Files to read, and what was named but cannot be read at all."""
    files: dict[Path, Path] = {}  # resolved -> as given
    bad = []
    for path in map(Path, paths):
        if not path.is_dir():
            inside = [path]
        elif not (inside := _files_of(path)):
            bad.append(BadStructure(str(path), None, "directory without a file of a known format"))
        for file in inside:
            first = files.setdefault(file.resolve(), file)
            if first is not file:
                bad.append(BadStructure(str(file), None, f"is the same file as {first}; it is read once"))
    return list(files.values()), bad


def _files_of(directory: Path) -> list[Path]:
    files, skipped = [], []
    for file in sorted(directory.rglob("*")):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(directory).parts):
            continue
        try:
            _format(file)
            files.append(file)
        except _UnusableError:
            skipped.append(file.name)
        except OSError:
            files.append(file)  # reading it will tell why not
    if skipped:
        structlog.get_logger().info("files that hold no structures", directory=str(directory), files=skipped)
    return files


def _format(file: Path) -> str:
    """ASE's name of the file's format, from the last part of its name and its first bytes."""
    with contextlib.closing(open_with_compression(str(file), "rb")) as stream:
        head = stream.read(PEEK_BYTES)
    if not head.strip():
        raise _UnusableError("file is empty")
    name = _known_format(head, get_compression(file.name)[0])
    if name in _REFUSED_FORMATS or not ioformats[name].can_read:
        raise _UnusableError(f"files of format {name!r} are not read")
    if name == "castep-md" and b"<--" not in head:
        raise _UnusableError("format of the file is not known")  # a README.md is no molecular dynamics
    return name


def _known_format(head: bytes, file_name: str) -> str:
    for guess in (True, False):  # an extension may be the name of a format, but is often no such thing
        peek = io.BytesIO(head)
        # ASE looks for database addresses at a name's start, and for directories of that name.
        peek.name = f"/dev/null/{file_name}"
        with contextlib.suppress(UnknownFileTypeError):
            name = str(filetype(peek, guess=guess))
            if name in ioformats:
                return name
    raise _UnusableError("format of the file is not known")


_Frame = tuple[int | None, Atoms | str]
_CUT_OFF = "file is truncated: its last line is not complete"
_DECIMALS_THAT_MATTER = 12


def _read_file(file: Path) -> Iterator[_Frame]:
    """Structures of a file with their index, or in their place the reason why there is none."""
    try:
        name = _format(file)
        frames = _read_xyz(file) if name in _XYZ_FORMATS else _read_other(file, name)
        first = next(frames, None)
        if first is None:
            raise _UnusableError(f"file holds no structure; it was taken for the format {name!r}")
        yield first
        yield from frames
    except _UnusableError as error:
        yield None, str(error)
    except FileNotFoundError:
        yield None, "file does not exist"
    except Exception as error:  # decompression errors of four libraries, missing permission, ...
        yield None, f"file cannot be read: {_one_line(error)}"


def _read_other(file: Path, name: str) -> Iterator[_Frame]:
    if ioformats[name].acceptsfd:
        mode = "rb" if ioformats[name].isbinary else "r"
        with contextlib.closing(open_with_compression(str(file), mode)) as stream:
            yield from _whole(_guarded(_frames(stream, name)), stream, name)
        return
    # Some readers want a name: they get one in which there is nothing to find.
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "structure"
        with contextlib.closing(open_with_compression(str(file), "rb")) as source, plain.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        yield from _guarded(_frames(str(plain), name))


def _frames(source: str | IO[str] | IO[bytes], name: str) -> Iterator[Atoms]:
    frames: Iterator[Atoms] = (
        _read_cif(source) if name == "cif" else iread(source, index=slice(None), format=name)
    )
    return frames


def _whole(frames: Iterator[_Frame], stream: IO[str], name: str) -> Iterator[_Frame]:
    """Refuse what a parser takes although the end of the file is missing."""
    for index, read in frames:
        if isinstance(read, str):
            yield index, read
        elif name == "cif":
            yield index, _missing_atoms(read) or read
        elif name == "vasp" and _poscar_cut_off(stream):
            yield index, _CUT_OFF
        else:
            yield index, read


def _missing_atoms(atoms: Atoms) -> str | None:
    """Why the atoms of a CIF file are not those of its formula; its tags are taken out of ``info``."""
    tags = {key: atoms.info.pop(key) for key in list(atoms.info) if key.startswith("_")}
    formula = " ".join(str(tags.get("_chemical_formula_sum", "")).split())
    occupancies = [share for site in atoms.info.get("occupancy", {}).values() for share in site.values()]
    # Numbers that are not whole go with sites that are not, which is no matter of missing lines.
    if not re.fullmatch(r"([A-Z][a-z]?\d* *)+", formula) or any(share != 1 for share in occupancies):
        return None
    expected: Counter[str] = Counter()
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        expected["H" if symbol == "D" else symbol] += int(count or 1)
    found = Counter(atoms.get_chemical_symbols())
    units = Fraction(len(atoms), expected.total())
    if found == {s: n * units for s, n in expected.items()} and (len(found) > 1 or units.denominator == 1):
        return None
    return (
        f"has the atoms {atoms.get_chemical_formula()}, which is not its _chemical_formula_sum {formula!r}:"
        " the file is truncated, or one of the two is wrong"
    )


def _poscar_cut_off(stream: IO[str]) -> bool:
    """Whether the last line of a POSCAR file is not complete, as far as the rows before it show."""
    stream.seek(0)
    *others, last = stream.readlines()
    words = len(last.split())
    if 0 < words < 3 and not last.endswith("\n"):
        return bool(others[-1].strip())  # of a row with one number, ASE makes three equal coordinates
    rows = list(itertools.takewhile(lambda line: len(line.split()) >= words, reversed(others)))
    return _cut_off([*reversed(rows), last])


def _read_cif(stream: str | IO[str] | IO[bytes]) -> Iterator[Atoms]:
    """As ASE reads it, but that the work of applying the symmetry is known before it is done."""
    for block in parse_cif(stream):
        if not block.has_structure():
            continue
        if block.get_cell().rank == 3:
            n_sites = len(block.get_symbols())
            n_operations = len(block.get_spacegroup(subtrans_included=True).get_symop())
            if n_operations > MAX_OPERATIONS or n_sites * n_operations > MAX_CIF_POSITIONS:
                raise _UnusableError(
                    f"has {n_sites} sites and {n_operations} symmetry operations; possible are"
                    f" {MAX_OPERATIONS} operations and {MAX_CIF_POSITIONS} positions made by them"
                )
        # With its tags, it tells how many atoms it should hold.
        yield block.get_atoms(store_tags=True)


def _guarded(frames: Iterator[Atoms]) -> Iterator[_Frame]:
    """Number the frames; a parser's failure becomes the reason of the frame that it would have been."""
    index = 0
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on spelling; what matters is checked here
                atoms = next(frames)
        except StopIteration:
            return
        except _UnusableError as error:
            yield index, str(error)
            return
        except Exception as error:  # parsers raise whatever they stumble upon
            yield index, f"cannot be parsed: {_one_line(error)}"
            return
        yield index, atoms
        index += 1


def _read_xyz(file: Path) -> Iterator[_Frame]:
    """XYZ and extended XYZ, frame after frame, so that one bad frame costs only itself."""
    index = 0
    with contextlib.closing(_open_text(file)) as stream:
        while True:
            try:
                lines, n_atoms = _next_frame(stream)
            except (_UnusableError, OSError, EOFError) as error:
                yield index, str(error)
                return
            except Exception as error:  # lzma.LZMAError, zlib.error: the compressed data is damaged
                yield index, f"file is damaged here: {_one_line(error)}"
                return
            if not lines:
                return
            yield index, _parse_frame(lines, n_atoms)
            index += 1


def _open_text(file: Path) -> IO[str]:
    stream = open_with_compression(str(file), "rb")
    return io.TextIOWrapper(stream, encoding="utf-8", errors="replace")


def _next_frame(stream: IO[str]) -> tuple[list[str], int]:
    """Lines of the next frame, header included; none at the end of the file.

    The count is checked before anything is made of that size.
    """
    count = stream.readline()
    while count and not count.strip():
        count = stream.readline()
    if not count:
        return [], 0
    try:
        n_atoms = int(count)
    except ValueError:
        shown = count.strip()[:40]
        raise _UnusableError(
            f"expected a number of atoms, found {shown!r}; nothing is read from here on"
        ) from None
    if not 0 <= n_atoms <= MAX_ATOMS:
        raise _UnusableError(
            f"claims {n_atoms} atoms, possible are 0 to {MAX_ATOMS}; nothing is read from here on"
        )
    lines = [count]
    for _ in range(n_atoms + 1):
        line = stream.readline()
        if not line:
            raise _UnusableError(f"file is truncated: {max(len(lines) - 2, 0)} of {n_atoms} atoms are there")
        lines.append(line)
    if _cut_off(lines[2:]):
        raise _UnusableError(_CUT_OFF)
    return lines, n_atoms


def _cut_off(rows: list[str]) -> bool:
    """Whether the last row, without a line break, ends inside of its last word, as the rows before it show.

    Numbers written with as many decimals as each of them needs, or with one or two, show nothing.
    """
    *others, last = rows or [""]
    if last.endswith("\n") or not last.split():
        return False
    columns = [[_decimals(word) for word in column] for column in zip(*map(str.split, others), strict=False)]
    *before, here = map(_decimals, last.split())
    if len(columns) <= len(before):
        return False
    if any(n < min(column) for n, column in zip(before, columns, strict=False)):
        return False  # this writer leaves zeros out
    column = columns[len(before)]
    if any(column) and len(columns) == len(before) + 1:
        return len(set(column)) == 1 and column[0] > 2 and here < min(column[0], _DECIMALS_THAT_MATTER)
    lengths = {len(row.rstrip("\r\n")) for row in others}
    return len(others) > 1 and len(lengths) == 1 and len(last) < lengths.pop()


def _decimals(word: str) -> int:
    """Characters after the point of a number; with an exponent, its characters, too."""
    return len(word.partition(".")[2])


def _parse_frame(lines: list[str], n_atoms: int) -> Atoms | str:
    if n_atoms == 0:
        return "has no atoms"
    try:
        info = functools.partial(_frame_info, n_words=len(lines[2].split()))
        frames = read_xyz(io.StringIO("".join(lines)), index=slice(0, 1), properties_parser=info)
        atoms: Atoms = next(frames)
        return atoms
    except _UnusableError as error:
        return str(error)
    except Exception as error:  # ASE lets KeyError, ValueError, XYZError and others through
        # Of a symbol that it does not know, ASE says no more than KeyError: 'Qq'.
        if isinstance(error, KeyError) and any(str(error).strip("'") in line.split() for line in lines[2:]):
            return f"contains {error}, which is no element"
        return f"cannot be parsed: {_one_line(error)}"


def _frame_info(comment: str, n_words: int) -> dict[str, Any]:
    """What a frame's second line says; columns that its first atom does not have are refused.

    ASE makes something for each column that is announced, before it looks at the atoms.
    """
    info: dict[str, Any] = key_val_str_to_dict(comment)
    columns = [int(count) for count in str(info.get("Properties", "")).split(":")[2::3]]
    if any(count < 1 for count in columns) or sum(columns) > min(n_words, MAX_COLUMNS):
        raise _UnusableError(
            f"Properties announces {sum(columns)} columns; its first atom has {n_words},"
            f" and each property needs 1 to {MAX_COLUMNS}"
        )
    return info


# Structures


def _usable(atoms: Atoms, vacuum: float | None, species: Collection[str] | None, min_distance: float) -> None:
    if len(atoms) and not atoms.pbc.all() and np.isfinite(atoms.positions).all():
        if vacuum is None:
            raise _UnusableError(NOT_PERIODIC)
        atoms.center(vacuum=vacuum, axis=tuple(np.flatnonzero(~atoms.pbc)))
        atoms.pbc = True
    if _is_disordered(atoms):
        raise _UnusableError("is disordered (partial occupancies)")
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
            raise _UnusableError(_no_energy(atoms, key))
        return None
    try:
        energy = float(value)
    except (TypeError, ValueError):
        raise _UnusableError(f"energy is not a number: {value!r}") from None
    if math.isfinite(energy):
        return energy
    if needed:
        raise _UnusableError(f"energy is not finite: {energy}")
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
        raise _UnusableError(f"has no path id: no {key!r} in its info")
    if isinstance(value, np.ndarray | list | dict):
        raise _UnusableError(f"path id {key!r} is not a single value")
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


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
