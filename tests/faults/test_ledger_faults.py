"""A disk that is full for the ledger of a feature store."""

import pytest

from atomscatter.errors import StoreError
from service.ledger import Ledger, Unit, first_file
from service.local_storage import LocalStorage


def unit(number):
    return Unit(number, "1" * 64, "2" * 64, "3" * 64)


def test_a_disk_that_is_full_for_the_ledger_is_a_clear_error(small_disk):
    storage = LocalStorage(small_disk("256k") / "store")
    storage.create(first_file({"zarr.json": "4" * 64}))
    ledger = Ledger(storage)
    recorded = []

    def record_until_full():
        for number in range(10_000):
            ledger.record(unit(number))
            recorded.append(number)

    with pytest.raises(StoreError, match=r"ledger/units/\d+\.json: no space left"):
        record_until_full()
    assert recorded
    assert ledger.units() == {number: unit(number) for number in recorded}
    assert not list(storage.place.rglob("*.partial"))
    small_disk("1m")
    ledger.record(unit(99_999))
    assert sorted(ledger.units()) == [*recorded, 99_999]
    assert ledger.files() == {"zarr.json": "4" * 64}
