"""Job files: YAML, TOML and JSON say the same; what is wrong is named with file and key."""

import json

import pytest

from atomscatter.errors import ConfigError
from cli.job_file import job_parameters
from tests.cli.conftest import run

STORE = "0123456789abcdef"
YAML = f"""
type: train
parameters:
  store: "{STORE}"
  folds: 3
  invariance: 0
  references: {{Li: -1.9, Si: -5.4}}
"""
TOML = f"""
type = "train"
[parameters]
store = "{STORE}"
folds = 3
invariance = 0
references = {{ Li = -1.9, Si = -5.4 }}
"""
EXPECTED = {"store": STORE, "folds": 3, "invariance": 0, "references": {"Li": -1.9, "Si": -5.4}}


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.yaml", YAML),
        ("job.yml", YAML.replace("type: train", "")),
        ("job.toml", TOML),
        ("job.json", json.dumps({"type": "train", "parameters": EXPECTED})),
    ],
)
def test_formats_and_options(tmp_path, name, text):
    file = written(tmp_path, name, text)
    assert job_parameters("train", file, {"seed": None}) == EXPECTED
    assert job_parameters("train", file, {"folds": 7, "seed": 1}) == EXPECTED | {"folds": 7, "seed": 1}


BAD = {
    "unknown key": ("job.yaml", YAML.replace("folds", "fold"), "parameters.fold: Extra inputs"),
    "unknown key at the top": ("job.toml", TOML.replace("type", "kind"), "kind: Extra inputs"),
    "another type": ("job.yaml", YAML.replace("train", "evaluate"), "type: is evaluate, not train"),
    "no type": ("job.yaml", YAML.replace("train", "dance"), "type: Input should be"),
    "bad value": ("job.yaml", YAML.replace("3", "one"), "parameters.folds: Input should be a valid integer"),
    "bad entry": ("job.toml", TOML.replace("-1.9", '"x"'), "parameters.references.Li: Input should be"),
    "out of range": ("job.toml", TOML.replace("folds = 3", "folds = 1"), "parameters.folds: Input should be"),
    "not YAML": ("job.yaml", "a: [", "expected the node content"),
    "objects": ("job.yaml", "!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "not TOML": ("job.toml", "a = ", "Invalid value"),
    "not JSON": ("job.json", "{", "Expecting property name"),
    "not text": ("job.yaml", "\0", "special characters are not allowed"),
    "a list": ("job.yaml", "- 1", "the whole file: Input should be"),
    "empty": ("job.yaml", "", "the whole file: Input should be"),
    "another ending": ("job.txt", YAML, "ends in .yaml, .yml, .toml or .json"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(tmp_path, case):
    name, text, expected = BAD[case]
    file = written(tmp_path, name, text)
    done = run("submit", "train", "--file", file, "--state", tmp_path / "state")
    assert done.exit_code == 2
    assert f"Error: {file}: " in done.stderr
    assert expected in done.stderr
    assert not (tmp_path / "state").exists()


def test_options_and_missing_keys_are_named(tmp_path):
    with pytest.raises(ConfigError, match="--store is missing"):
        job_parameters("train", None, {})
    with pytest.raises(ConfigError, match=r"--max-features: Input should be greater.*, not 0"):
        job_parameters("train", None, {"store": STORE, "max_features": 0})
    with pytest.raises(ConfigError, match=r"nothing\.yaml: No such file"):
        job_parameters("train", tmp_path / "nothing.yaml", {})
