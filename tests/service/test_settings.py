"""Which variables of the environment are taken for settings."""

import pytest

from atomscatter.errors import ConfigError
from service.settings import ServeSettings, read_settings


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [("API_KEYSS", "API_KEYS"), ("JOB_ADDRESS", "JOBS_ADDRESS"), ("max_atom", "MAX_ATOMS")],
)
def test_a_variable_that_is_no_setting_is_refused(monkeypatch, variable, nearest):
    monkeypatch.setenv(f"ATOMSCATTER_{variable}", "1")
    told = f"ATOMSCATTER_{variable.upper()} is not known; the nearest name is ATOMSCATTER_{nearest}$"
    with pytest.raises(ConfigError, match=told):
        read_settings(ServeSettings)


@pytest.mark.parametrize(
    "variable",
    ["IMAGE", "VERSION", "JOB", "API_KEY", "ADDRESS", "API_SERVICE_HOST", "API_PORT_8000_TCP_ADDR", "PORT"],
)
def test_variables_that_others_read_are_left_to_them(monkeypatch, variable):
    monkeypatch.setenv(f"ATOMSCATTER_{variable}", "tcp://10.0.0.1:8000")
    read_settings(ServeSettings)
