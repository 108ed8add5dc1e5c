"""What a sender can make the service do by the content of a file: nothing but parsing what was asked for."""

import codecs
import io
import tempfile

import pytest
from ase.build import bulk
from ase.io import write

from atomscatter.errors import StorageError
from service.datasets import DatasetReading, describe
from service.reading import read_structures
from service.uploads import MOST_PROBLEMS, UploadError, read_upload

FRAME = b'1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T" energy=-3\nSi 0 0 0\n'
SECRET = "the-secret-of-this-machine"


@pytest.fixture
def onetep(tmp_path):
    """A file in a language that ASE knows by its content, and that names another file."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET} 1 2 3\n")
    return f"include_file:{secret} ! lock species \n%endblock positions_abs\n".encode()


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.cif", "POSCAR"])
def test_the_content_does_not_choose_the_parser(onetep, name):
    with pytest.raises(UploadError) as refused:
        read_upload(name, onetep, max_structures=10, max_atoms=10)
    assert SECRET not in str(refused.value)
    if name.endswith("xyz"):
        assert "expected a number of atoms" in str(refused.value)


def test_nor_that_of_a_training_set(onetep, tmp_path):
    path = tmp_path / "structures.extxyz"
    path.write_bytes(onetep)
    with pytest.raises(UploadError, match="expected a number of atoms"):
        describe("a.xyz", path, DatasetReading())


def test_files_that_name_others_are_not_read_by_commands_either(onetep, tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(onetep)
    good, bad = read_structures([path])
    assert good == []
    assert [b.reason for b in bad] == ["files of format 'onetep-in' are not read"]


def test_a_frame_with_too_many_atoms_is_not_parsed_and_the_next_one_is(tmp_path):
    large = b"4\n\n" + b"no row of atoms\n" * 4
    path = tmp_path / "structures.extxyz"
    path.write_bytes(FRAME + large + FRAME.replace(b"Si", b"Qq"))
    for read in (
        lambda: read_upload("a.xyz", path.read_bytes(), max_structures=10, max_atoms=3),
        lambda: describe("a.xyz", path, DatasetReading(max_atoms=3)),
    ):
        with pytest.raises(UploadError) as refused:
            read()
        (first, too_many), (second, no_element) = refused.value.problems
        assert (first, second) == (1, 2)
        assert too_many == "has 4 atoms; at most 3 are accepted"
        assert "no element" in no_element


@pytest.mark.parametrize(
    ("name", "ase_format"), [("a.xyz", "extxyz"), ("a.cif", "cif"), ("POSCAR", "vasp"), ("", "cif")]
)
def test_a_byte_order_mark_is_no_content(name, ase_format):
    file = io.BytesIO() if ase_format == "cif" else io.StringIO()
    write(file, bulk("Si"), format=ase_format)
    content = file.getvalue() if ase_format == "cif" else file.getvalue().encode()
    (found,) = read_upload(name, codecs.BOM_UTF8 + content, max_structures=1, max_atoms=2)
    assert str(found.atoms.symbols) == "Si2"


def test_a_training_set_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "structures.extxyz"
    path.write_bytes(codecs.BOM_UTF8 + FRAME)
    assert describe("a.txt", path, DatasetReading()).n_structures == 1


def test_too_many_frames_are_counted_before_one_is_parsed():
    assert len(read_upload("a.xyz", FRAME * 2, max_structures=2, max_atoms=3)) == 2
    with pytest.raises(UploadError, match="more than 2 structures"):
        read_upload("a.xyz", FRAME.replace(b"Si", b"Qq") * 3, max_structures=2, max_atoms=3)


def test_a_frame_that_is_cut_off_is_not_one_too_many():
    with pytest.raises(UploadError, match="truncated") as refused:
        read_upload("a.xyz", FRAME * 2 + b"4\n\nSi 0 0 0\n", max_structures=2, max_atoms=4)
    assert [index for index, _ in refused.value.problems] == [2]


def test_no_more_than_a_thousand_problems_are_named():
    with pytest.raises(UploadError) as refused:
        read_upload("a.xyz", b"0\n\n" * 1500, max_structures=2000, max_atoms=3)
    assert [index for index, _ in refused.value.problems] == list(range(MOST_PROBLEMS))


def test_a_frame_with_too_many_atoms_may_be_cut_off():
    with pytest.raises(UploadError, match="truncated: 2 of 4 atoms are there"):
        read_upload("a.xyz", b"4\n\n" + b"Si 0 0 0\n" * 2, max_structures=10, max_atoms=3)


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_nothing(content):
    with pytest.raises(UploadError, match="empty"):
        read_upload("a.xyz", content, max_structures=10, max_atoms=3)


def test_a_full_temporary_directory_is_nobodys_bad_file(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk("64k")))
    with pytest.raises(StorageError, match="no space left"):
        read_upload("a.xyz", FRAME * 2000, max_structures=2000, max_atoms=1)
