import bz2
import codecs
import gzip
import lzma
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from service.reading import images_of, read_structures, structure_digest


def frame(seed=0, energy=-1.5, n=1, **info):
    atoms = bulk("Si", cubic=True).repeat((n, 1, 1))
    atoms.numbers[0] = 3
    atoms.rattle(0.05, seed=seed)
    atoms.info.update(info)
    if energy is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((len(atoms), 3)))
    return atoms


def extxyz(path, frames):
    write(path, frames, format="extxyz")
    return path


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def only(bad):
    assert len(bad) == 1, [str(b) for b in bad]
    return bad[0]


# Good files


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_extended_xyz_plain_and_compressed(tmp_path, suffix):
    frames = [frame(i, energy=-i, path="p", n=1 + i) for i in range(3)]
    path = extxyz(tmp_path / "a.extxyz", frames)
    if suffix:
        compress = {".xz": lzma, ".gz": gzip}[suffix].compress
        path = tmp_path / f"a.extxyz{suffix}"
        path.write_bytes(compress((tmp_path / "a.extxyz").read_bytes()))
    good, bad = read_structures([path], need_energy=True)
    assert bad == []
    assert [s.index for s in good] == [0, 1, 2]
    assert {s.source for s in good} == {str(path)}
    assert [s.energy for s in good] == [0.0, -1.0, -2.0]
    for structure, expected in zip(good, frames, strict=True):
        np.testing.assert_array_equal(structure.atoms.numbers, expected.numbers)
        np.testing.assert_allclose(structure.atoms.positions, expected.positions, atol=1e-8)
        np.testing.assert_allclose(structure.atoms.cell, expected.cell)


@pytest.mark.filterwarnings("ignore:FHI-aims IO is moving")
@pytest.mark.parametrize(
    ("name", "ase_format"),
    [
        ("POSCAR", "vasp"),
        ("CONTCAR.gz", "vasp"),
        ("x.vasp", "vasp"),
        ("x.cif", "cif"),
        ("x.cif.xz", "cif"),
        ("x.xsf", "xsf"),
        ("x.traj", "traj"),
        ("geometry.in", "aims"),
        ("x.gen", "gen"),
        ("x.res", "res"),
    ],
)
def test_other_formats(tmp_path, name, ase_format):
    path = tmp_path / name
    write(path, frame(energy=None), format=ase_format)
    good, bad = read_structures([path])
    assert bad == []
    assert len(good) == 1
    assert sorted(good[0].atoms.numbers) == [3] + [14] * 7


def test_a_trajectory_has_all_its_frames_and_energies(tmp_path):
    path = tmp_path / "x.traj"
    write(path, [frame(i, energy=-i) for i in range(4)])
    good, bad = read_structures([path], need_energy=True)
    assert bad == []
    assert [(s.index, s.energy) for s in good] == [(0, 0.0), (1, -1.0), (2, -2.0), (3, -3.0)]


def test_directories_are_read_in_the_order_of_names_and_skip_what_holds_no_structures(tmp_path):
    (tmp_path / "b").mkdir()
    extxyz(tmp_path / "b" / "1.xyz", [frame(1)])
    extxyz(tmp_path / "a.xyz", [frame(2), frame(3)])
    (tmp_path / "README.md").write_text("# about the data\n")
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / ".hidden.xyz").write_text("rubbish")
    good, bad = read_structures([tmp_path])
    assert bad == []
    assert [Path(s.source).relative_to(tmp_path).as_posix() for s in good] == ["a.xyz", "a.xyz", "b/1.xyz"]


def test_numbers_in_names_are_in_the_order_of_numbers(tmp_path):
    names = [
        "1.xyz",
        "2.xyz",
        "10.xyz",
        "a/step2.xyz",
        "a/step10.xyz",
        "a/step010.xyz",
        "b9/x.xyz",
        "b10/x.xyz",
    ]
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        extxyz(tmp_path / name, [frame(seed)])
    good, _ = read_structures([tmp_path])
    expected = [
        "1.xyz",
        "2.xyz",
        "10.xyz",
        "a/step2.xyz",
        "a/step010.xyz",
        "a/step10.xyz",
        "b9/x.xyz",
        "b10/x.xyz",
    ]
    assert [Path(s.source).relative_to(tmp_path).as_posix() for s in good] == expected


def test_images_of_a_vasp_calculation(tmp_path):
    names = [
        "00/POSCAR",
        "00/OUTCAR",
        "01/POSCAR",
        "01/CONTCAR",
        "01/CONTCAR.bak",
        "01/POSCAR.vasp",
        "02/POSCAR.gz",
        "02/CONTCAR.gz",
        "03/POSCAR",
    ]
    for name in [*names, "2.vasp", "10.vasp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, frame(energy=None), format="vasp")
    (tmp_path / "03/CONTCAR").touch()  # of a calculation that has just begun
    (tmp_path / "01/vasp.out").write_text("running on 2 total cores")
    found = [path.relative_to(tmp_path).as_posix() for path in images_of([tmp_path])]
    assert found == ["00/POSCAR", "01/CONTCAR", "02/CONTCAR.gz", "2.vasp", "03/POSCAR", "10.vasp"]
    named = [tmp_path / "01/POSCAR", tmp_path / "nowhere"]
    assert images_of(named) == named


def test_path_ids(tmp_path):
    a = extxyz(tmp_path / "a.xyz", [frame(0, traj=7), frame(1, traj=7)])
    b = extxyz(tmp_path / "b.xyz", [frame(2, traj="x"), frame(3, traj=7)])
    alone, _ = read_structures([a, b])
    assert len({s.path_id for s in alone}) == 4
    per_file, _ = read_structures([a, b], path_per_file=True)
    assert [s.path_id for s in per_file] == [str(a), str(a), str(b), str(b)]
    by_key, bad = read_structures([a, b], path_key="traj", unique=True)
    assert bad == []
    assert [s.path_id for s in by_key] == ["7", "7", "x", "7"]


@pytest.mark.parametrize(
    ("name", "ase_format"),
    [
        ("a.xyz", "extxyz"),
        ("a.cif", "cif"),
        ("a.cif.gz", "cif"),
        ("POSCAR", "vasp"),
        ("a.gen", "gen"),
        ("a.res", "res"),
    ],
)
def test_a_byte_order_mark_is_no_content(tmp_path, name, ase_format):
    path = tmp_path / name
    write(path, frame(energy=None), format=ase_format)
    plain, _ = read_structures([path])
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "rb") as file:
        content = file.read()
    with opened(path, "wb") as file:
        file.write(codecs.BOM_UTF8 + content)
    good, bad = read_structures([path])
    assert bad == []
    assert structure_digest(good[0].atoms) == structure_digest(plain[0].atoms)


def test_energy_from_an_info_key(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0, energy=-1.0, e_dft=-2.5)])
    assert read_structures([path])[0][0].energy == -1.0
    assert read_structures([path], energy_key="e_dft")[0][0].energy == -2.5
    write(tmp_path / "b.xyz", frame(0, energy=None, e_dft=-2.5))
    assert read_structures([tmp_path / "b.xyz"])[0][0].energy is None


def test_progress_counts_every_structure(tmp_path):
    calls = []
    read_structures([extxyz(tmp_path / "a.xyz", [frame(i) for i in range(5)])], on_progress=calls.append)
    assert sum(calls) == 5


# Bad structures in good files: each named with file and index, the others kept


BAD = {
    "nan position": (lambda a: a.positions.__setitem__((2, 1), np.nan), "position of atom 2 is not finite"),
    "inf position": (lambda a: a.positions.__setitem__((0, 0), np.inf), "position of atom 0 is not finite"),
    "singular": (lambda a: a.cell.__setitem__(2, [0, 0, 0]), "singular"),
    "flat": (lambda a: a.cell.__setitem__(2, a.cell[0] + a.cell[1]), "singular"),
    "not periodic": (lambda a: a.set_pbc([True, True, False]), "is not periodic"),
    "untrained": (lambda a: a.numbers.__setitem__(0, 32), "contains Ge; known elements are Li, Si"),
    "unknown": (lambda a: a.numbers.__setitem__(0, 0), "no element"),
    "close": (lambda a: a.positions.__setitem__(1, a.positions[0] + [0, 0, 0.3]), "0.300 Å from atom 1"),
    "no energy": (lambda a: setattr(a, "calc", None), "has no energy"),
    "nan energy": (lambda a: a.calc.results.update(energy=np.nan), "energy is not finite: nan"),
    "inf energy": (lambda a: a.calc.results.update(energy=-np.inf), "energy is not finite: -inf"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_a_bad_structure_is_named_and_costs_only_itself(tmp_path, name, suffix):
    spoil, words = BAD[name]
    frames = [frame(i) for i in range(4)]
    spoil(frames[2])
    path = tmp_path / f"data{suffix}"
    write(path, frames)
    good, bad = read_structures([path], need_energy=True, species=("Li", "Si"))
    assert [s.index for s in good] == [0, 1, 3]
    found = only(bad)
    assert (found.source, found.index) == (str(path), 2)
    assert words in found.reason
    assert str(found).startswith(f"{path}, structure 2: ")


def test_zero_atoms(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0)])
    path.write_text(path.read_text() + '0\nLattice="4 0 0 0 4 0 0 0 4" energy=0.0\n' + path.read_text())
    good, bad = read_structures([path])
    assert [s.index for s in good] == [0, 2]
    assert str(only(bad)) == f"{path}, structure 1: has no atoms"


def test_negative_and_absurd_elements(tmp_path):
    rows = {"Xx": "contains 'Xx', which is no element", "Q9": "contains 'Q9', which is no element"}
    for symbol, words in rows.items():
        path = tmp_path / f"{symbol}.xyz"
        path.write_text(f'1\nLattice="4 0 0 0 4 0 0 0 4"\n{symbol} 0 0 0\n')
        good, bad = read_structures([path])
        assert good == []
        assert words in only(bad).reason
    path = tmp_path / "z.xyz"
    path.write_text('1\nLattice="4 0 0 0 4 0 0 0 4" Properties=Z:I:1:pos:R:3\n-5 0 0 0\n')
    assert "atomic number -5" in only(read_structures([path])[1]).reason


def test_a_row_that_cannot_be_parsed_costs_only_its_frame(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(i) for i in range(3)])
    lines = lines_of(path)
    lines[10 + 5] = "Si 0.0 oops 1.0 0 0 0\n"
    path.write_text("".join(lines))
    good, bad = read_structures([path])
    assert [s.index for s in good] == [0, 2]
    assert only(bad).index == 1
    assert "cannot be parsed" in bad[0].reason


def test_missing_and_many_valued_path_ids(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0, traj=1), frame(1), frame(2, traj=np.array([1, 2]))])
    good, bad = read_structures([path], path_key="traj")
    assert [s.index for s in good] == [0]
    assert "no 'traj' in its info" in bad[0].reason
    assert "not a single value" in bad[1].reason


def test_duplicate_path_ids_name_both_places(tmp_path):
    a = extxyz(tmp_path / "a.xyz", [frame(0, traj=1), frame(1, traj=2)])
    other = frame(2, traj=2)
    other.numbers[1] = 3
    b = extxyz(tmp_path / "b.xyz", [frame(3, traj=1), other])
    good, bad = read_structures([a, b], path_key="traj", unique=True)
    assert [(s.source, s.index) for s in good] == [(str(a), 0), (str(a), 1), (str(b), 0)]
    found = only(bad)
    assert (found.source, found.index) == (str(b), 1)
    assert found.reason == f"path id '2' is a duplicate: Li2Si6 here, LiSi7 in {a}, structure 1"


def test_a_path_does_not_change_its_number_of_atoms(tmp_path):
    atoms = frame(0, traj=1)
    path = extxyz(tmp_path / "a.xyz", [atoms, atoms.repeat((2, 1, 1))])
    good, bad = read_structures([path], path_key="traj", unique=True)
    assert [s.index for s in good] == [0]
    assert only(bad).reason == f"path id '1' is a duplicate: Li2Si14 here, LiSi7 in {path}, structure 0"
    assert len(read_structures([path], unique=True)[0]) == 2


def test_copies_of_structures_are_named_when_asked_for(tmp_path):
    a = extxyz(tmp_path / "a.xyz", [frame(0), frame(1), frame(0)])
    b = extxyz(tmp_path / "b.xyz", [frame(1, energy=-9.0)])
    assert len(read_structures([a, b])[0]) == 4
    good, bad = read_structures([a, b], unique=True)
    assert len(good) == 2
    assert [str(x) for x in bad] == [
        f"{a}, structure 2: is a duplicate of {a}, structure 0",
        f"{b}, structure 0: is a duplicate of {a}, structure 1,"
        " with another energy (-9.0 eV here, -1.5 eV there)",
    ]


def test_the_same_file_twice_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extxyz(Path("a.xyz"), [frame(0)])
    Path("b.xyz").symlink_to("a.xyz")
    good, bad = read_structures([Path("a.xyz"), tmp_path / "a.xyz", Path("b.xyz")])
    assert len(good) == 1
    assert [x.index for x in bad] == [None, None]
    assert all("is the same file as a.xyz" in x.reason for x in bad)


# Vacuum


def test_vacuum_makes_molecules_and_slabs_periodic(tmp_path):
    slab = fcc111("Cu", (2, 2, 3))
    slab.info.clear()
    path = tmp_path / "a.xyz"
    write(path, [molecule("H2O"), slab])
    good, bad = read_structures([path])
    assert good == []
    assert all("is not periodic" in x.reason for x in bad)
    good, bad = read_structures([path], vacuum=6.0)
    assert bad == []
    water, copper = (s.atoms for s in good)
    assert water.pbc.all()
    assert copper.pbc.all()
    np.testing.assert_allclose(water.cell.lengths(), np.ptp(molecule("H2O").positions, axis=0) + 12.0)
    np.testing.assert_allclose(water.positions.min(axis=0), 6.0)
    np.testing.assert_allclose(copper.cell[:2], slab.cell[:2], atol=1e-6)
    np.testing.assert_allclose(copper.cell.lengths()[2], np.ptp(slab.positions[:, 2]) + 12.0, atol=1e-6)


def test_vacuum_leaves_periodic_structures_alone(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0)])
    good, _ = read_structures([path], vacuum=6.0)
    plain, _ = read_structures([path])
    assert structure_digest(good[0].atoms) == structure_digest(plain[0].atoms)


def test_vacuum_does_not_hide_positions_that_are_not_finite(tmp_path):
    atoms = molecule("H2O")
    atoms.positions[1] = np.nan
    write(tmp_path / "a.xyz", atoms)
    _, bad = read_structures([tmp_path / "a.xyz"], vacuum=6.0)
    assert "not finite" in only(bad).reason


# Bad files


def test_truncated_files_keep_their_good_frames(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(i) for i in range(3)])
    whole = path.read_bytes()
    n_frame = len(whole) // 3
    for cut, words in (
        (2 * n_frame + 3, "truncated: 0 of 8 atoms"),
        (2 * n_frame + n_frame // 2, "truncated"),
        (len(whole) - 3, "truncated: its last line"),
        (len(whole) - 30, "truncated: its last line"),
    ):
        path.write_bytes(whole[:cut])
        good, bad = read_structures([path])
        assert [s.index for s in good] == [0, 1], cut
        assert only(bad).index == 2
        assert words in bad[0].reason, cut
    path.write_bytes(whole.rstrip(b"\n"))  # only the last line break is missing: nothing is lost
    assert len(read_structures([path])[0]) == 3


def test_every_cut_of_a_file_is_found_or_harmless(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(i) for i in range(2)])
    whole = path.read_bytes()
    complete = read_structures([path])[0]
    path_cut = tmp_path / "cut.xyz"
    for cut in range(len(whole) // 2 + 1, len(whole) - 1, 7):
        path_cut.write_bytes(whole[:cut])
        good, bad = read_structures([path_cut])
        assert (len(good), len(bad)) == (1, 1), cut
        assert structure_digest(good[0].atoms) == structure_digest(complete[0].atoms)


def unaligned(atoms, form):
    """Rows of a file whose columns are not filled up with spaces."""
    rows = zip(atoms.symbols, atoms.positions.tolist(), strict=True)
    return [f"{s} {' '.join(format(v, form) for v in xyz)}" for s, xyz in rows]


@pytest.mark.parametrize("form", [".6f", ".16f", ".9e"])
@pytest.mark.parametrize("name", ["cut.xyz", "POSCAR"])
def test_every_cut_of_rows_of_uneven_width_is_found_or_harmless(tmp_path, name, form):
    atoms = frame(3)
    atoms.positions[4] *= -10  # rows of different width
    rows = unaligned(atoms, form)
    if name == "POSCAR":
        rows = [row.split(maxsplit=1)[1] for row in rows]
        head = ["x", "1.0", "54.3 0 0", "0 54.3 0", "0 0 54.3", "Li Si", "1 7", "Cartesian"]
    else:
        head = ["8", 'Lattice="54.3 0 0 0 54.3 0 0 0 54.3" Properties=species:S:1:pos:R:3 pbc="T T T"']
    whole = "\n".join([*head, *rows])
    path = tmp_path / name
    path.write_text(whole)
    complete = only(read_structures([path])[0])
    for cut in range(len(whole) - len(rows[-1]) - 1, len(whole)):
        path.write_text(whole[:cut])
        good, bad = read_structures([path])
        assert len(good) + len(bad) == 1, cut
        if good:
            np.testing.assert_allclose(good[0].atoms.positions, complete.atoms.positions, rtol=0, atol=1e-11)


@pytest.mark.parametrize("last", ["0.0 0.0 0.0", "2.715 2.715 0.0", "0 0 0", "1.3575 2.715 0.5"])
@pytest.mark.parametrize("first", ["1.3575 1.3575 1.3575", "2.715 1.3575 0.123456", "1.25 1.25 1.25"])
@pytest.mark.parametrize("name", ["a.xyz", "POSCAR"])
def test_whole_rows_of_few_decimals_need_no_line_break(tmp_path, name, first, last):
    cell = '2\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3\n'
    content = {
        "a.xyz": f"{cell}Si {first}\nSi {last}",
        "POSCAR": f"x\n1.0\n9 0 0\n0 9 0\n0 0 9\nSi\n2\nCartesian\n{first}\n{last}",
    }
    (tmp_path / name).write_text(content[name])
    assert read_structures([tmp_path / name])[1] == []


def test_whole_rows_of_shortest_decimals_need_no_line_break(tmp_path):
    for seed in range(60):
        atoms = bulk("Si").repeat((1 + seed % 3, 1, 1))
        atoms.rattle(0.1, seed=seed)
        lattice = " ".join(map(str, atoms.cell.array.ravel()))
        head = f'{len(atoms)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3\n'
        (tmp_path / "a.xyz").write_text(head + "\n".join(unaligned(atoms, "")))
        assert read_structures([tmp_path / "a.xyz"])[1] == [], seed


@pytest.mark.parametrize("name", ["x.cif", "x.cif.gz"])
def test_a_cif_file_without_some_of_its_atoms(tmp_path, name):
    path = tmp_path / "x.cif"
    write(path, frame(energy=None))
    lines = lines_of(path)
    for end, n_bad in ((len(lines), 0), (-1, 1), (-2, 1)):
        content = "".join(lines[:end]).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        good, bad = read_structures([tmp_path / name])
        assert (len(good), len(bad)) == (1 - n_bad, n_bad)
    assert "LiSi5, which is not its _chemical_formula_sum 'Li1 Si7': the file is truncated" in bad[0].reason
    write(path, bulk("Si", cubic=True))
    path.write_text("".join(lines_of(path)[:-1]))
    assert "Si7, which is not" in only(read_structures([path])[1]).reason


@pytest.mark.parametrize("formula", ["'Li2 Si14'", "'Si7 Li'", "?", "'Li0.5 Si3.5'", None])
def test_a_cif_file_with_another_way_to_write_its_formula(tmp_path, formula):
    path = tmp_path / "x.cif"
    write(path, frame(energy=None))
    lines = [line for line in lines_of(path) if not line.startswith("_chemical_formula_s")]
    path.write_text(
        "".join([lines[0], *([f"_chemical_formula_sum {formula}\n"] if formula else []), *lines[1:]])
    )
    good, bad = read_structures([path])
    assert bad == []
    assert not any(key.startswith("_") for key in good[0].atoms.info)


@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_truncated_and_damaged_compressed_files_keep_their_good_frames(tmp_path, suffix):
    plain = extxyz(tmp_path / "a.xyz", [frame(i) for i in range(200)]).read_bytes()
    compressed = {"xz": lzma, "gz": gzip}[suffix].compress(plain)
    path = tmp_path / f"b.xyz.{suffix}"
    path.write_bytes(compressed[: len(compressed) // 2])
    good, bad = read_structures([path])
    assert 10 < len(good) < 190
    assert only(bad).index == len(good)
    path.write_bytes(b"no archive at all")
    good, bad = read_structures([path])
    assert good == []
    assert only(bad).index is None


@pytest.mark.parametrize("suffix", ["xz", "gz", "bz2"])
@pytest.mark.parametrize("content", [b"no archive at all", None])
def test_damaged_compressed_files_in_a_directory(tmp_path, suffix, content):
    packed = {"xz": lzma, "gz": gzip, "bz2": bz2}[suffix].compress(np.random.default_rng(0).bytes(9999))
    (tmp_path / f"a.xyz.{suffix}").write_bytes(content or packed[:50])
    extxyz(tmp_path / "b.xyz", [frame(0)])
    good, bad = read_structures([tmp_path])
    assert len(good) == 1
    assert only(bad).source == str(tmp_path / f"a.xyz.{suffix}")
    assert "cannot be read" in bad[0].reason


def test_a_header_that_claims_a_trillion_atoms_ends_at_once(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0)])
    path.write_text(path.read_text() + "1000000000000\nenergy=1\nSi 0 0 0\n")
    good, bad = read_structures([path])
    assert len(good) == 1
    assert "claims 1000000000000 atoms" in only(bad).reason
    path.write_text("5000000\n\nSi 0 0 0\n")
    assert "1 of 5000000 atoms" in only(read_structures([path])[1]).reason
    path.write_text("-3\n\nSi 0 0 0\n")
    assert "claims -3 atoms" in only(read_structures([path])[1]).reason


def test_text_between_frames_is_named(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0)])
    path.write_text(path.read_text() + "the end\n")
    good, bad = read_structures([path])
    assert len(good) == 1
    assert only(bad).index == 1
    assert "'the end'" in bad[0].reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.xyz", b"", "empty"),
        ("blank.xyz", b"\n \n\n", "empty"),
        ("empty.cif", b"", "empty"),
        ("binary.xyz", bytes(range(256)) * 20, "expected a number of atoms"),
        ("binary", bytes(range(256)) * 20, "not known"),
        ("text.txt", b"a table of contents\n", "not known"),
        ("x.cif", b"data_x\n_cell_length_a oops\n", "no structure; it was taken for the format 'cif'"),
        ("POSCAR", b"rubbish\n1.0\n", "cannot be parsed"),
        ("x.json", b"{}", "not read"),
        ("x.db", b"SQLite format 3\x00" + bytes(100), "not read"),
        ("x.traj", b"- of UlmASE-Trajectory" + bytes(100), ""),
    ],
)
def test_files_without_structures(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    good, bad = read_structures([path])
    assert good == []
    assert only(bad).source == str(path)
    assert words in bad[0].reason


def test_missing_files_and_empty_directories(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    _, bad = read_structures([tmp_path / "nowhere.xyz", empty])
    assert {(b.source, b.index) for b in bad} == {(str(empty), None), (str(tmp_path / "nowhere.xyz"), None)}
    assert any("does not exist" in b.reason for b in bad)
    assert any("without a file" in b.reason for b in bad)


def test_names_that_are_not_utf_8_are_reported_in_print(tmp_path):
    extxyz(tmp_path / "a.xyz", [frame(0)])
    folder, latin = tmp_path / os.fsdecode(b"b\xe9"), tmp_path / os.fsdecode(b"m\xfcller.xyz")
    folder.mkdir()
    extxyz(latin, [frame(1)])
    for paths in ([tmp_path, folder], [tmp_path / "a.xyz", latin, folder]):
        good, bad = read_structures(paths)
        assert [s.source for s in good] == [str(tmp_path / "a.xyz")]
        assert {str(b) for b in bad} == {
            f"{tmp_path}/m\\xfcller.xyz: name is not UTF-8; rename it",
            f"{tmp_path}/b\\xe9: directory without a file of a known format",
        }


def test_names_are_not_instructions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a.xyz@0:1", "postgresql:__x.xyz", "mysql:__x.xyz", "a@:.xyz", "-.xyz"]
    for name in names:
        extxyz(Path(name), [frame(0), frame(1)])
    Path("a.xyz").mkdir()
    good, bad = read_structures([Path(n) for n in names[1:]])
    assert bad == []
    assert len(good) == 8
    # "a.xyz@0:1" has no extension that says XYZ; its content does
    good, bad = read_structures([Path(names[0])])
    assert bad == []
    assert len(good) == 2
    _, bad = read_structures([Path("postgresql://user@nowhere/db"), Path("structures.db@1")])
    assert all("does not exist" in b.reason for b in bad)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_pickles_are_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.traj", "x.trj", "x.pckl", "x", "x.xyz", "x.bundle"):
        Path(name).write_bytes(pickle.dumps(Bomb()))
        _, bad = read_structures([Path(name)])
        assert only(bad).reason
    Path("y.traj").write_bytes(b"PickleTrajectory" + pickle.dumps(Bomb()))
    _, bad = read_structures([Path("y.traj")])
    assert only(bad).reason
    assert not Path("exploded").exists()


def test_atoms_of_all_frames_are_independent(tmp_path):
    path = extxyz(tmp_path / "a.xyz", [frame(0), frame(0)])
    good, _ = read_structures([path])
    good[0].atoms.positions += 1.0
    assert isinstance(good[1].atoms, Atoms)
    assert structure_digest(good[0].atoms) != structure_digest(good[1].atoms)
