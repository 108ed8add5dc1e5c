"""Structures from uploaded bytes: formats that are safe to parse, checked before a parser sees them."""

from __future__ import annotations

import codecs
import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from atomscatter.errors import AtomscatterError
from service.disk import room_checked
from service.reading import BadStructure, LabelledStructure, iterate_structures
from service.structure_files import count_xyz_frames

FORMATS = {"extxyz": "structures.extxyz", "cif": "structure.cif", "vasp": "POSCAR"}
"""Format, by ASE's name -> name of the file from which the content is parsed."""

HEAD_BYTES = 8192
"""What is looked at of a content to tell its format."""

MOST_PROBLEMS = 1000
"""Reading an upload ends with these, all of them named: a small file could have millions."""

MAX_CIF_LINES = 20_000
"""In all lists of a CIF together."""

_SUFFIXES = {
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".cif": "cif",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".contcar": "vasp",
}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?"
_VECTOR = re.compile(rf"\s*(?:{_NUMBER}\s+){{2}}{_NUMBER}(?:\s|$)")
_SITES = (b"_atom_site_fract_", b"_atom_site_cartn_", b"_atom_site_label", b"_atom_site_type_symbol")
_COUNTS_BY_LINE = 7  # of a POSCAR: the counts of atoms are on its sixth or seventh line


class UnsupportedUploadError(AtomscatterError):
    """The content is of no format that is read from an upload."""


class UploadError(AtomscatterError):
    """Structures of an upload cannot be used; ``problems`` has one entry for each."""

    def __init__(self, problems: list[tuple[int | None, str]]) -> None:
        super().__init__(problems)  # all that a copy in another process is made of
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(reason for _, reason in self.problems)


def upload_format(name: str, content: bytes) -> str:
    """Format of an upload: "extxyz", "cif" or "vasp", from its name, else from its content.

    Raises UnsupportedUploadError when it is none of these.
    """
    if b"\0" in content[:4096]:
        raise UnsupportedUploadError("binary files are not read; send extended XYZ, CIF or POSCAR text")
    base = PurePosixPath(name.replace("\\", "/")).name
    by_name = _SUFFIXES.get(PurePosixPath(base).suffix.lower())
    if by_name is None and base.upper().startswith(("POSCAR", "CONTCAR")):
        by_name = "vasp"
    found = by_name or _format_of(content)
    if found is None:
        raise UnsupportedUploadError("the content is neither extended XYZ nor CIF nor POSCAR")
    return found


def read_upload(
    name: str,
    content: bytes,
    *,
    max_structures: int,
    max_atoms: int,
) -> list[LabelledStructure]:
    """All structures of an upload, in order.

    Args:
        name: file name given by the sender; only its ending is looked at.
        content: the bytes.
        max_structures, max_atoms: more structures, or atoms in one of them, are refused.

    Raises:
        UnsupportedUploadError: no format that is read.
        UploadError: no structure, a bad one or too many; every problem with its index.
        StorageError: the directory of temporary files is full, or cannot be written.
    """
    kind = upload_format(name, content)
    content = content.removeprefix(codecs.BOM_UTF8)  # parsers and checks would find it in the first word
    if kind == "vasp":
        _check_poscar(content, max_atoms)
    if kind == "cif":
        _check_cif(content, max_atoms)
    with room_checked(temporary := Path(tempfile.gettempdir())):
        scratch = tempfile.TemporaryDirectory(prefix="atomscatter-upload-")
    with scratch as directory:
        path = Path(directory) / FORMATS[kind]
        with room_checked(temporary):
            path.write_bytes(content)
        if kind == "extxyz":  # counting frames costs little beside parsing them
            _check_number(count_xyz_frames(path, max_structures + 1, max_atoms), max_structures)
        bad: list[BadStructure] = []
        # The format is said, not found once more: ASE knows a hundred, some of which open further files.
        found = iterate_structures(
            [path], bad, file_format=kind, max_atoms=max_atoms, on_progress=lambda _: refuse_many(bad)
        )
        good = list(islice(found, max_structures + 1))
    if bad:
        raise UploadError([(b.index, b.reason) for b in bad])
    _check_number(len(good), max_structures)
    return good


def refuse_many(bad: list[BadStructure]) -> None:
    """Raise UploadError once there are ``MOST_PROBLEMS``."""
    if len(bad) >= MOST_PROBLEMS:
        raise UploadError([(b.index, b.reason) for b in bad])


def _format_of(content: bytes) -> str | None:
    lines = content[:HEAD_BYTES].decode("utf-8", errors="replace").lstrip("\ufeff").splitlines()
    filled = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if filled and filled[0].strip().isdigit():
        return "extxyz"
    if filled and filled[0].lower().startswith("data_"):
        return "cif"
    if len(lines) > 5 and all(_VECTOR.match(line) for line in lines[2:5]):
        return "vasp"
    return None


def _check_number(n_structures: int, max_structures: int) -> None:
    if n_structures > max_structures:
        raise UploadError([(None, f"has more than {max_structures} structures, which are not accepted")])


def _check_poscar(content: bytes, max_atoms: int) -> None:
    """Refuse counts of atoms that the file does not have: the parser would make lists of that length.

    Lines end and words are numbers where the parser, which opens the file as text, thinks so.
    """
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="replace")
    header = [text.readline(HEAD_BYTES + 1) for _ in range(_COUNTS_BY_LINE)]
    if any(len(line) > HEAD_BYTES for line in header):
        raise UploadError([(0, f"cannot be parsed: a line of its header is longer than {HEAD_BYTES}")])
    n_lines = content.count(b"\n") + content.count(b"\r") + 1
    for line in header[5:]:
        claimed = sum(_counts(line))
        if claimed > min(max_atoms, n_lines):
            raise UploadError(
                [(0, f"claims {claimed:.6g} atoms; the file does not have them, or more than {max_atoms}")]
            )


def _check_cif(content: bytes, max_atoms: int) -> None:
    """Refuse longer lists than a structure needs: the parser takes its time for each line of them.

    What is counted are lines; a row of a list is never less than one.
    """
    in_list = of_sites = in_names = False
    n_lines = n_sites = 0
    for raw in io.BytesIO(content):
        line = raw.strip().lower()
        if line.startswith((b"loop_", b"data_")):
            in_list = in_names = line.startswith(b"loop_")
            of_sites, n_sites = False, 0
        elif line.startswith(b"_"):
            in_list = in_list and in_names
            of_sites = in_list and (of_sites or line.startswith(_SITES))
        elif in_list and line:
            in_names = False
            n_lines, n_sites = n_lines + 1, n_sites + of_sites
            if n_sites > max_atoms:
                raise UploadError([(0, f"has more than {max_atoms} sites, which are not accepted")])
            if n_lines > MAX_CIF_LINES:
                raise UploadError([(0, f"has more than {MAX_CIF_LINES} lines of lists")])


def _counts(line: str) -> Iterator[int]:
    """Numbers of atoms that the parser finds in a line; to negative ones it gives no atoms."""
    for word in line.split():
        if "!" in word:  # a comment begins
            return
        with contextlib.suppress(ValueError):
            yield max(0, int(word))
