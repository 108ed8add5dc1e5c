"""Tables: units in the headers, numbers as computed."""

import numpy as np
import pytest

from service.evaluation import Errors, PropertyErrors
from service.tables import (
    error_rows,
    errors_json,
    markdown_table,
    plus_minus,
    property_rows,
    rich_table,
    terminal,
)

ERRORS = Errors("large states", 84, np.array([0.010, 0.014]), np.array([0.008, 0.009]), 0.25)


def test_error_rows_are_mev_with_spread() -> None:
    assert error_rows([ERRORS]) == [["large states", "84", "12.0 ± 2.0", "8.5 ± 0.5", "", "25 %"]]


def test_errors_as_json() -> None:
    values = errors_json(ERRORS)
    assert values["rmse_mean"] == pytest.approx(12.0)
    assert values["rmse_std"] == pytest.approx(2.0)
    assert values["unit"] == "meV/atom"


def test_properties_without_values_are_not_hidden() -> None:
    nothing = PropertyErrors("bulk moduli", "GPa", 3, np.array([np.nan, np.nan]), float("nan"), 6)
    assert property_rows([nothing]) == [["bulk moduli", "3", "not finite GPa", "no value"]]
    some = PropertyErrors("bulk moduli", "GPa", 3, np.array([10.0, np.nan, 12.0]), 9.0, 1)
    assert property_rows([some])[0][2:] == ["11.0 ± 1.0 GPa", "9.0 GPa"]


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(7.44, 0.44, "7.4 ± 0.4"), (2e15, 1e14, "2.0e+15 ± 1.0e+14"), (float("inf"), 0.0, "not finite")],
)
def test_plus_minus(mean: float, std: float, text: str) -> None:
    assert plus_minus(mean, std) == text


def test_markdown_table() -> None:
    text = markdown_table(("set", "n\n(eV)"), [["  part", "1"]])
    assert text.splitlines() == ["| set | n (eV) |", "| --- | ---: |", "| &nbsp;&nbsp;part | 1 |"]


def test_names_of_files_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    console.print(rich_table("in relax[1]", ("file",), [["relax[final].xyz"], ["a:smiley:.xyz"]]))
    console.print("model in models[2]")
    shown = capsys.readouterr().out
    for name in ("in relax[1]", "relax[final].xyz", "a:smiley:.xyz", "model in models[2]"):
        assert name in shown
