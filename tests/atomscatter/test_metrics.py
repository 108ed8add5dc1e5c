import pytest

from atomscatter.errors import DataError
from atomscatter.metrics import mae, rmse


def test_errors_by_hand() -> None:
    assert rmse([1.0, 2.0, 3.0], [1.0, 5.0, 7.0]) == pytest.approx((25 / 3) ** 0.5)
    assert mae([1.0, 2.0, 3.0], [1.0, 5.0, 7.0]) == pytest.approx(7 / 3)


@pytest.mark.parametrize("measure", [rmse, mae])
def test_unusable_input(measure) -> None:
    with pytest.raises(DataError, match=r"\(2,\).*\(1,\)"):
        measure([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="no energies"):
        measure([], [])
