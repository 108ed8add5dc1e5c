"""A large data set is read from disk: it costs the service no memory, and has time of its own."""

import io

import ase.io
import httpx
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from service.demo_data import load_sample
from tests.api.conftest import assert_problem, serving
from tests.api.usage import Usage

MEBIBYTE = 2**20


def frame():
    """Text of one structure with its energy, and a place for a number that makes it another one."""
    atoms = load_sample("paths")[400].atoms
    atoms.calc, atoms.info = SinglePointCalculator(atoms, energy=-3.0 * len(atoms)), {}
    atoms.cell[0, 0] = 12.3456789
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    before, middle, after = text.getvalue().partition("12.3456789")
    assert middle
    return before, after, len(atoms)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 20 MiB; its path and its numbers of structures and atoms."""
    before, after, n_atoms = frame()
    path = tmp_path_factory.mktemp("large") / "large.extxyz"
    count = 20 * MEBIBYTE // (len(before) + len(after))
    with path.open("w") as file:
        for i in range(count):
            file.write(f"{before}{16 + i / count:.9f}{after}")
    assert path.stat().st_size > 19 * MEBIBYTE
    return path, count, count * n_atoms


def sent(client, path):
    with path.open("rb") as content:
        return client.post("/v1/datasets", files={"file": ("a.extxyz", content)})


def test_memory_and_time_of_a_large_data_set(large, tmp_path):
    path, n_structures, n_atoms = large
    before, after, _ = frame()
    # One second for any other work: reading this file takes longer, on any machine.
    with (
        serving(tmp_path / "state", timeout=1) as (process, url),
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        small = {"file": ("a.extxyz", f"{before}20{after}")}
        assert client.post("/v1/datasets", files=small).status_code == 201, "the process that reads is there"
        with Usage(process.pid) as usage:
            answer = sent(client, path)
        assert answer.status_code == 201, answer.text
        found = answer.json()
        assert (found["n_structures"], found["n_atoms"]) == (n_structures, n_atoms)
        print(f"{n_structures} structures: {usage.megabytes:.0f} MB, {usage.seconds:.1f} s of a processor")
        assert usage.megabytes < 20, "less than one copy of the file"
        assert usage.seconds > 1
        assert [p.name for p in (tmp_path / "state/datasets").iterdir() if p.name.startswith(".")] == []
        kept = tmp_path / "state/datasets" / found["id"] / "structures.extxyz"
        assert kept.stat().st_size == path.stat().st_size


def test_a_data_set_that_takes_too_long_is_refused_and_nothing_stays(large, tmp_path):
    serve = serving(tmp_path / "state", dataset_timeout=1)
    with serve as (_, url), httpx.Client(base_url=url, timeout=600) as client:
        assert "longer than 1 s" in assert_problem(sent(client, large[0]), 422)["detail"]
        assert list((tmp_path / "state/datasets").iterdir()) == []
        assert client.get("/v1/datasets").json() == {"datasets": []}
