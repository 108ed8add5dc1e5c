"""One value for the library, the commands and the jobs."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict

from cli.featurize import featurize as featurize_command
from cli.train import train as train_command
from service import defaults
from service.copies import with_translated_copies
from service.job_parameters import FeaturizeParameters, TrainParameters
from service.training import FitSettings

OTHERS = {
    "COPIES": 0.2,
    "FOLDS": 7,
    "BOOTSTRAPS": 8,
    "MAX_FEATURES": 9,
    "SEED": 10,
    "ORDERS": "0-1",
    "SELECTION": "full",
    "INVARIANCE": 11.0,
    "SIZE_FACTOR": 1.5,
    "CHANNEL_SHARE": 0.25,
    "PRODUCTS": False,
}
WITH_OTHERS = f"""
import inspect, json, typer
from dataclasses import asdict
from service import defaults
vars(defaults).update({OTHERS!r})
from cli import featurize, submit, train
from service.copies import with_translated_copies
from service.job_parameters import FeaturizeParameters, TrainParameters
from service.training import FitSettings

def of(command):
    return {{name: p.default for name, p in inspect.signature(command).parameters.items()}}

def help_of(name):
    return " ".join(p.help for p in typer.main.get_command(submit.app).commands[name].params)

job = FeaturizeParameters(dataset="0" * 16)
print(json.dumps({{
    "settings": asdict(FitSettings()),
    "train": [of(train.train), TrainParameters(store="0" * 16).model_dump()],
    "copies": [of(featurize.featurize)["copies"], job.copies, of(with_translated_copies)["share"]],
    "help": [help_of("train"), help_of("featurize")],
}}, default=str))
"""


def defaults_of(function):
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def test_commands_and_jobs_have_the_defaults_of_the_library():
    settings = asdict(FitSettings())
    job = TrainParameters(store="0" * 16).model_dump()
    for found in (job, defaults_of(train_command)):
        assert {name: found[name] for name in settings} == settings
    copies = FeaturizeParameters(dataset="0" * 16).copies
    assert copies == defaults_of(featurize_command)["copies"] == defaults_of(with_translated_copies)["share"]


def test_a_default_is_changed_in_one_place():
    assert set(OTHERS) == {name for name in vars(defaults) if name.isupper()}
    done = subprocess.run(
        [sys.executable, "-c", WITH_OTHERS], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    wanted = {name.lower(): value for name, value in OTHERS.items() if name != "COPIES"}
    assert found["settings"] == wanted
    for given in found["train"]:
        assert {name: given[name] for name in wanted} == wanted
    assert found["copies"] == [0.2] * 3
    train_help, featurize_help = found["help"]
    for value in (7, 8, 9, 10, 11, 1.5, 0.25):
        assert f"Default: {value}." in train_help
    assert "Default: 0.2." in featurize_help
