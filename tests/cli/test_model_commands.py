"""Commands that make a model from a model."""

import json
import shutil

import numpy as np

from atomscatter import Ensemble
from service.demo_data import load_sample, thinned
from service.result_files import write_extxyz
from tests.cli.conftest import Workplace, run


def test_a_pruned_model_predicts(workplace: Workplace, tmp_path):
    out = tmp_path / "pruned"
    shutil.copytree(workplace.model, out)  # which is replaced, and its report goes
    known = ("--model", workplace.model, "--store", f"file://{workplace.store}", "--out", out)
    refused = run("prune", *known, "--features", 20)
    assert refused.exit_code == 2
    assert "--out" in refused.stderr
    assert "there is a model already" in refused.stderr
    assert Ensemble.load(out).model_id == Ensemble.load(workplace.model).model_id
    result = run("prune", *known, "--features", 20, "--force")
    assert result.exit_code == 0, result.output
    assert "features; RMSE on held-out paths" in result.stdout
    assert not (out / "report").exists()
    model = Ensemble.load(out)
    assert np.count_nonzero(model.weights.any(axis=0)) == model.card["pruned"]["features"] <= 20
    told = run("predict", workplace.data, "--model", out, "--json")
    assert json.loads(told.stdout.splitlines()[0])["model"] == model.model_id
    few = run("prune", *known, "--features", 1, "--force")
    assert few.exit_code == 2
    assert "the smallest pruned model has" in few.stderr


def test_a_model_with_new_paths(workplace: Workplace, tmp_path):
    every = load_sample("paths")
    there = {s.path_id for s in thinned(every, 3)}
    new = next(s.path_id for s in every if s.path_id not in there)
    sample = [s for s in every if s.path_id == new]
    data, store, out = tmp_path / "new.extxyz", tmp_path / "store", tmp_path / "extended"
    write_extxyz(data, [s.atoms for s in sample], [s.energy or 0.0 for s in sample], [{} for _ in sample])
    config = workplace.data.parent / "transform.toml"
    made = run(
        "featurize", data, "--store", store, "--path-key", "path_id", "--config", config, "--workers", 1
    )
    assert made.exit_code == 0, made.output
    shutil.copytree(workplace.model, out)
    known = ("--model", out, "--store", f"file://{workplace.store}", "--out", out)
    refused = run("extend", *known, "--new", f"file://{store}")
    assert refused.exit_code == 2
    assert "there is a model already" in refused.stderr
    result = run("extend", *known, "--new", f"file://{store}", "--force")
    assert result.exit_code == 0, result.output
    assert "models changed; RMSE on held-out paths" in result.stdout
    assert Ensemble.load(out).card["added_paths"] == [new]
    assert not (out / "report").exists()
    once_more = ("--model", workplace.model, "--store", workplace.store, "--out", out)
    again = run("extend", *once_more, "--new", workplace.store, "--force")
    assert again.exit_code == 2
    assert "is known already" in again.stderr
