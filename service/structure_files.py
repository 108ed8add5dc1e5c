"""Frames of structure files: formats, parsers, and files that are cut off or claim more than they hold.

A frame that cannot be used costs only itself: in its place comes the reason.
"""

import codecs
import contextlib
import functools
import io
import itertools
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from ase import Atoms
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

from service.unusable import UnusableError

# Databases, folders, and input languages that open further files: names in them are not data.
_REFUSED_FORMATS = {
    "acemolecule-input",
    "bundletrajectory",
    "db",
    "gpw",
    "json",
    "mysql",
    "octopus-in",
    "onetep-in",
    "postgresql",
}
_XYZ_FORMATS = {"xyz", "extxyz"}
MAX_ATOMS = 10_000_000
MAX_COLUMNS = 1000  # of an extended XYZ file
MAX_OPERATIONS = 192  # of a space group, those of F m -3 m
MAX_CIF_POSITIONS = 40_000
"""Sites times symmetry operations of a CIF: ASE makes and compares so many positions, in about a second."""

Frame = tuple[int | None, Atoms | str]
"""Index in the file (None: the file as a whole), and the structure or the reason why there is none."""

_CUT_OFF = "file is truncated: its last line is not complete"
_DECIMALS_THAT_MATTER = 12


def format_of(file: Path) -> str:
    """ASE's name of the file's format, from the last part of its name and its first bytes."""
    head = _head(file)
    name = _known_format(head, get_compression(file.name)[0])
    if name in _REFUSED_FORMATS or not ioformats[name].can_read:
        raise UnusableError(f"files of format {name!r} are not read")
    if name == "castep-md" and b"<--" not in head:
        raise UnusableError("format of the file is not known")  # a README.md is no molecular dynamics
    return name


def _head(file: Path) -> bytes:
    with contextlib.closing(open_with_compression(str(file), "rb")) as stream:
        head: bytes = stream.read(PEEK_BYTES).removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        raise UnusableError("file is empty")
    return head


def _known_format(head: bytes, file_name: str) -> str:
    for guess in (True, False):  # an extension may be the name of a format, but is often no such thing
        peek = io.BytesIO(head)
        # ASE looks for database addresses at a name's start, and for directories of that name.
        peek.name = f"/dev/null/{file_name}"
        with contextlib.suppress(UnknownFileTypeError):
            name = str(filetype(peek, guess=guess))
            if name in ioformats:
                return name
    raise UnusableError("format of the file is not known")


def read_file(file: Path, name: str | None = None, max_atoms: int = MAX_ATOMS) -> Iterator[Frame]:
    """Structures of a file with their index, or in their place the reason why there is none.

    Args:
        file: the file.
        name: ASE's name of its format. None: :func:`format_of` finds it, which looks into the content, so
            that a sender could choose the parser.
        max_atoms: frames of an XYZ file with more atoms are not parsed.
    """
    try:
        if name is None:
            name = format_of(file)
        else:
            _head(file)
        frames = _read_xyz(file, max_atoms) if name in _XYZ_FORMATS else _read_other(file, name)
        first = next(frames, None)
        if first is None:
            raise UnusableError(f"file holds no structure; it was taken for the format {name!r}")
        yield first
        yield from frames
    except UnusableError as error:
        yield None, str(error)
    except FileNotFoundError:
        yield None, "file does not exist"
    except Exception as error:  # decompression errors of four libraries, missing permission, ...
        yield None, f"file cannot be read: {_one_line(error)}"


def _read_other(file: Path, name: str) -> Iterator[Frame]:
    if ioformats[name].acceptsfd:
        opened: Callable[[Path], IO[Any]] = _open_bytes if ioformats[name].isbinary else _open_text
        with contextlib.closing(opened(file)) as stream:
            yield from _whole(_guarded(_frames(stream, name)), stream, name)
        return
    # Some readers want a name: they get one in which there is nothing to find.
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "structure"
        with contextlib.closing(_open_bytes(file)) as source, plain.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        yield from _guarded(_frames(str(plain), name))


def _frames(source: str | IO[str] | IO[bytes], name: str) -> Iterator[Atoms]:
    frames: Iterator[Atoms] = (
        _read_cif(source) if name == "cif" else iread(source, index=slice(None), format=name)
    )
    return frames


def _whole(frames: Iterator[Frame], stream: IO[str], name: str) -> Iterator[Frame]:
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
                raise UnusableError(
                    f"has {n_sites} sites and {n_operations} symmetry operations; possible are"
                    f" {MAX_OPERATIONS} operations and {MAX_CIF_POSITIONS} positions made by them"
                )
        # With its tags, it tells how many atoms it should hold.
        yield block.get_atoms(store_tags=True)


def _guarded(frames: Iterator[Atoms]) -> Iterator[Frame]:
    """Number the frames; a parser's failure becomes the reason of the frame that it would have been."""
    index = 0
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on spelling; what matters is checked here
                atoms = next(frames)
        except StopIteration:
            return
        except UnusableError as error:
            yield index, str(error)
            return
        except Exception as error:  # parsers raise whatever they stumble upon
            yield index, f"cannot be parsed: {_one_line(error)}"
            return
        yield index, atoms
        index += 1


def _read_xyz(file: Path, max_atoms: int) -> Iterator[Frame]:
    """XYZ and extended XYZ, frame after frame, so that one bad frame costs only itself."""
    index = 0
    with contextlib.closing(_open_text(file)) as stream:
        while True:
            try:
                lines, n_atoms = _next_frame(stream, max_atoms)
            except (UnusableError, OSError, EOFError) as error:
                yield index, str(error)
                return
            except Exception as error:  # lzma.LZMAError, zlib.error: the compressed data is damaged
                yield index, f"file is damaged here: {_one_line(error)}"
                return
            if not lines:
                return
            if n_atoms > max_atoms:
                yield index, too_many_atoms(n_atoms, max_atoms)
            else:
                yield index, _parse_frame(lines, n_atoms)
            index += 1


def count_xyz_frames(file: Path, most: int, max_atoms: int) -> int:
    """How many frames an XYZ file that is not compressed begins with, at most ``most``, without parsing them.

    The first that is cut off, no frame at all or of more than ``max_atoms`` atoms ends the count.
    """
    n_frames = 0
    with contextlib.closing(_open_text(file)) as stream, contextlib.suppress(UnusableError):
        while n_frames < most:
            lines, n_atoms = _next_frame(stream, max_atoms)
            if not lines or n_atoms > max_atoms:
                break
            n_frames += 1
    return n_frames


def _open_text(file: Path) -> IO[str]:
    stream = open_with_compression(str(file), "rb")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")


def _open_bytes(file: Path) -> IO[bytes]:
    """The content after the byte-order mark of UTF-8, which parsers take for a part of the first word."""
    stream = open_with_compression(str(file), "rb")
    if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        stream.seek(0)
    return stream


def too_many_atoms(n_atoms: int, max_atoms: int) -> str:
    """Why a structure is refused."""
    return f"has {n_atoms} atoms; at most {max_atoms} are accepted"


def _next_frame(stream: IO[str], max_atoms: int) -> tuple[list[str], int]:
    """Lines of the next frame, header included; none at the end of the file, only the first for a frame with
    more atoms than ``max_atoms``.

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
        raise UnusableError(
            f"expected a number of atoms, found {shown!r}; nothing is read from here on"
        ) from None
    if not 0 <= n_atoms <= MAX_ATOMS:
        raise UnusableError(
            f"claims {n_atoms} atoms, possible are 0 to {MAX_ATOMS}; nothing is read from here on"
        )
    lines = [count]
    for n_lines in range(n_atoms + 1):
        line = stream.readline()
        if not line:
            raise UnusableError(f"file is truncated: {max(n_lines - 1, 0)} of {n_atoms} atoms are there")
        if n_atoms <= max_atoms:
            lines.append(line)
    if _cut_off(lines[2:]):
        raise UnusableError(_CUT_OFF)
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
    except UnusableError as error:
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
        raise UnusableError(
            f"Properties announces {sum(columns)} columns; its first atom has {n_words},"
            f" and each property needs 1 to {MAX_COLUMNS}"
        )
    return info


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
