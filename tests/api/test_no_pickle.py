"""A running server and its jobs load no pickle that was uploaded or stored; the interpreter itself listens.

Its processes do send each other pickles through pipes, and numba keeps its compiled code so: these are told
apart by the file of the code that loads them. None of them may name the global of the planted pickles.
"""

import io
import os
import pickle
import re
from pathlib import Path

import ase.io
import httpx

from service.demo_data import load_sample
from tests.api.conftest import ROOT, as_json, serving
from tests.api.test_jobs import ended, submit, training_set

LISTENING = Path(__file__).with_name("listening")
PIPES_AND_CODE = re.compile(r"/(multiprocessing|concurrent/futures|numba|ray|cloudpickle)/")


class Evil:
    """Loading it would make a directory."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def heard(log):
    """(global, loading file) of each pickled global so far."""
    return [line.rsplit(" ", 1) for line in log.read_text().splitlines()]


def others(log):
    return [pair for pair in heard(log) if not PIPES_AND_CODE.search(pair[1])]


def test_a_server_with_jobs(tmp_path, monkeypatch):
    log, state, marker = tmp_path / "heard", tmp_path / "state", tmp_path / "loaded"
    monkeypatch.setenv("PYTHONPATH", f"{LISTENING}{os.pathsep}{ROOT}")
    monkeypatch.setenv("PICKLE_LOG", str(log))
    atoms = load_sample("paths")[0].atoms
    pickles = [pickle.dumps(Evil(str(marker)), protocol=p) for p in (0, 2, 5)]
    with serving(state, timeout=30) as (_, url), httpx.Client(base_url=url, timeout=120) as client:
        for evil in pickles:
            for name in ("a.extxyz", "a.cif", "POSCAR", "a.traj", "a.pckl", "a.db", "a"):
                for path in ("/v1/structures/file", "/v1/predictions/file", "/v1/datasets"):
                    answer = client.post(path, files={"file": (name, evil)})
                    assert answer.status_code in (415, 422), (path, name, answer.text)
            for path in ("/v1/predictions", "/v1/jobs"):
                answer = client.post(path, content=evil, headers={"content-type": "application/json"})
                assert answer.status_code == 400
        text = io.StringIO()
        ase.io.write(text, atoms, format="extxyz")
        sent = {"file": ("a.extxyz", text.getvalue())}
        assert client.post("/v1/predictions/file", files=sent).status_code == 200
        assert client.post("/v1/predictions", json={"structures": [as_json(atoms)]}).status_code == 200
        content, _ = training_set()
        sent = {"file": ("a.extxyz", content)}
        dataset = client.post("/v1/datasets", files=sent, data={"path_key": "path_id"}).json()["id"]
        store = submit(client, "featurize", {"dataset": dataset, "beta": 0.9, "scales": 2})
        assert ended(client, store)["state"] == "succeeded", client.get(f"/v1/jobs/{store}/log").text
        wanted = {"store": store, "folds": 2, "bootstraps": 3, "max_features": 20}
        trained = ended(client, submit(client, "train", wanted))
        assert trained["state"] == "succeeded", trained
        model = trained["result"]["model"]
        assert client.post(f"/v1/models/{model}/activate").status_code == 200
        client.post("/v1/predictions", json={"structures": [as_json(atoms)]}).raise_for_status()

        # Pickles in place of what is stored: read, and refused or failed, but not loaded.
        evil = pickles[-1]
        (state / "datasets" / dataset / "structures.extxyz").write_bytes(evil)
        for file in (state / "stores" / store / "features").rglob("c/**/*"):
            if file.is_file():
                file.write_bytes(evil)
        for kind, parameters in (("featurize", {"dataset": dataset}), ("train", wanted)):
            failed = ended(client, submit(client, kind, parameters))
            assert failed["state"] == "failed"
            assert str(state) not in failed["error"]
    assert heard(log), "the processes listened"
    assert others(log) == []
    assert not [name for name, _ in heard(log) if name.endswith(".mkdir")]
    assert not marker.exists()
