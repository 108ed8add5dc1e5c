"""Some steps of each relaxation path: evenly spaced, with its ends, whatever the order of the paths."""

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError
from service.copies import with_translated_copies
from service.path_steps import rows_of_steps, with_steps
from service.reading import LabelledStructure
from service.spacing import evenly
from service.spool import StructureSpool


@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=40), st.integers(1, 12))
def test_at_most_so_many_of_each_path(path_ids, steps):
    rows = rows_of_steps(path_ids, steps)
    assert (np.diff(rows) > 0).all(), "ascending, none twice"
    for name in set(path_ids):
        there = [i for i, path in enumerate(path_ids) if path == name]
        kept = [i for i in rows if path_ids[i] == name]
        assert len(kept) == min(steps, len(there))
        assert kept[-1] == there[-1], "the most relaxed structure is kept"
        if steps > 1:
            assert kept[0] == there[0]
            gaps = np.diff([there.index(i) for i in kept])
            assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1, "evenly spaced"


def test_evenly():
    assert evenly(226, 4).tolist() == [0, 75, 150, 225]
    assert evenly(3, 20).tolist() == [0, 1, 2]
    assert evenly(10, 0).tolist() == []


def test_what_cannot_be_chosen():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        rows_of_steps(["a"], 0)
    with pytest.raises(ConfigError, match="each of the 3 structures is a relaxation path of its own"):
        rows_of_steps(["a", "b", "c"], 2)
    assert rows_of_steps(["a"], 2).tolist() == [0]
    assert rows_of_steps([], 2).tolist() == []


def test_structures_of_a_spool():
    atoms = bulk("Si")
    names = ["a", "b"] * 5 + ["c"]
    found = [LabelledStructure(atoms, "file", i, name, float(i)) for i, name in enumerate(names)]
    spool = StructureSpool(found)
    assert with_steps(spool, None) is spool
    kept = with_steps(spool, 3)
    assert [s.index for s in kept] == [0, 1, 4, 5, 8, 9, 10]
    assert kept[-1].path_id == "c"
    assert [s.energy for s in kept[1:3]] == [1.0, 4.0]
    rows = with_translated_copies(kept, 0.5)
    copies = [(rows[row].copy_of, rows[row].index, rows[row].path_id) for row in range(7, len(rows))]
    assert copies == [(row, kept[row].index, kept[row].path_id) for row in evenly(7, 4)]
