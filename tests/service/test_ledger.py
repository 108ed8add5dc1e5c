import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atomscatter.errors import StoreError
from service.ledger import Ledger, Unit, first_file
from service.local_storage import LocalStorage

HASH = "0" * 64


def unit(number, chunk_hash=HASH):
    return Unit(number, "1" * 64, "2" * 64, chunk_hash)


@pytest.fixture
def storage(tmp_path):
    storage = LocalStorage(tmp_path / "store")
    storage.create(first_file({"zarr.json": "3" * 64}))
    return storage


@pytest.fixture
def ledger(storage):
    return Ledger(storage)


def test_a_new_ledger_holds_files_and_no_units(ledger):
    assert ledger.files() == {"zarr.json": "3" * 64}
    assert ledger.units() == {}


def test_units_are_recorded_replaced_and_forgotten(ledger, storage):
    for number in (10, 4, 0, 2):
        ledger.record(unit(number))
    ledger.record(unit(2, chunk_hash="f" * 64))
    ledger.forget([0, 99])
    assert Ledger(storage).units() == {2: unit(2, chunk_hash="f" * 64), 4: unit(4), 10: unit(10)}


def test_the_bytes_depend_on_nothing_but_the_units(tmp_path):
    contents = []
    for name, order in (("a", [0, 1, 2]), ("b", [2, 1, 0, 1])):
        storage = LocalStorage(tmp_path / name)
        storage.create(first_file({}))
        for number in order:
            Ledger(storage).record(unit(number))
        contents.append({file: storage.read(file) for file in storage.names()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_foreign_files_are_no_units(ledger, storage):
    ledger.record(unit(1))
    for name in ("007.json", "-1.json", "x.json", "1.json.0123.partial", ".1.json", "deep/2.json"):
        file = storage.place / "ledger" / "units" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert ledger.units() == {1: unit(1)}


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "{", '{"number": 3}', "\udcff", "1e999"])
def test_a_damaged_record_matches_nothing(ledger, storage, content):
    ledger.record(unit(1))
    ledger.record(unit(2))
    (storage.place / "ledger/units/1.json").write_text(content, errors="surrogateescape")
    assert ledger.units() == {1: Unit(1, "", "", ""), 2: unit(2)}


def test_a_killed_writer_loses_nothing_that_was_recorded(ledger, storage):
    code = f"""
import os, signal
from pathlib import Path
from service.ledger import Ledger, Unit
from service.local_storage import LocalStorage
storage = LocalStorage(Path({str(storage.place)!r}))
for number in range(50):
    Ledger(storage).record(Unit(number, "1" * 64, "2" * 64, "0" * 64))
(storage.place / "ledger/units/50.json.0123.partial").write_text("half")
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert ledger.units() == {n: unit(n) for n in range(50)}


def test_a_missing_or_damaged_list_of_files_is_named(ledger, storage):
    file = storage.place / "ledger" / "files.json"
    file.write_text("no ledger")
    with pytest.raises(StoreError, match=r"store: the ledger ledger/files\.json is damaged"):
        ledger.files()
    file.unlink()
    with pytest.raises(StoreError, match=r"store: the ledger ledger/files\.json is missing"):
        ledger.files()


def test_who_is_not_the_writer_any_more_records_nothing(storage):
    def lost():
        raise StoreError("another process")

    ledger = Ledger(storage, lost)
    for change in (lambda: ledger.record(unit(1)), lambda: ledger.forget([1])):
        with pytest.raises(StoreError, match="another process"):
            change()
    assert ledger.units() == {}
