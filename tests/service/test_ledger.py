import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from atomscatter.errors import StoreError
from service.ledger import Ledger, Unit

HASH = "0" * 64


def unit(number, chunk_hash=HASH):
    return Unit(number, "1" * 64, "2" * 64, chunk_hash)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger #1?mode=ro&x.sqlite"  # a name that an address could misread
    Ledger.create(path, {"zarr.json": "3" * 64})
    return path


def test_a_new_ledger_holds_files_and_no_units(path):
    with Ledger.open(path) as ledger:
        assert ledger.files() == {"zarr.json": "3" * 64}
        assert ledger.units() == {}
    assert path.is_file()


def test_units_are_recorded_replaced_and_forgotten(path):
    with Ledger.open(path, write=True) as ledger:
        for number in (4, 0, 2):
            ledger.record(unit(number))
        ledger.record(unit(2, chunk_hash="f" * 64))
        ledger.forget([0, 99])
    with Ledger.open(path) as ledger:
        assert ledger.units() == {2: unit(2, chunk_hash="f" * 64), 4: unit(4)}


def test_what_is_recorded_can_be_read_at_once_by_others(path):
    with Ledger.open(path, write=True) as ledger:
        ledger.record(unit(1))
        with Ledger.open(path) as reader:
            assert list(reader.units()) == [1]


def test_a_closed_ledger_is_one_file_and_can_be_read_where_nothing_can_be_written(path):
    with Ledger.open(path, write=True) as ledger:
        ledger.record(unit(1))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with Ledger.open(path) as ledger, pytest.raises(StoreError, match="readonly"):
        ledger.record(unit(2))


def test_a_killed_writer_loses_nothing_that_was_recorded(path):
    code = f"""
import os, signal
from pathlib import Path
from service.ledger import Ledger, Unit
ledger = Ledger.open(Path({str(path)!r}), write=True)
for number in range(50):
    ledger.record(Unit(number, "1" * 64, "2" * 64, "0" * 64))
ledger._connection.execute("DELETE FROM units")  # not committed
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    with Ledger.open(path) as ledger:
        assert ledger.units() == {n: unit(n) for n in range(50)}


def test_missing_and_foreign_files_are_named(path):
    with pytest.raises(StoreError, match=r"nothing\.sqlite: the ledger is missing"):
        Ledger.open(path.with_name("nothing.sqlite"))
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"x\.sqlite: the ledger cannot be used"):
        Ledger.open(path)


def test_a_truncated_ledger_is_an_error(path):
    with Ledger.open(path, write=True) as ledger:
        for number in range(500):
            ledger.record(unit(number))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError, match="ledger"), Ledger.open(path) as ledger:
        ledger.units()


def test_hashes_are_required(path):
    with (
        Ledger.open(path, write=True) as ledger,
        pytest.raises(StoreError) as caught,
    ):
        ledger.record(Unit(1, None, "2" * 64, HASH))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
