"""No pickle is loaded from a stored or uploaded file: an audit hook listens, in a process of its own."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from service.feature_store import FeatureStore
from tests.stores import SCATTERING, fill, make_structures

ROOT = Path(__file__).parents[2]

UPLOADS = ["a.xyz", "a.extxyz", "POSCAR", "a.cif", "a.traj", "a.db", "a.pckl", "a"]
LISTEN = """
import sys
heard = []
sys.addaudithook(lambda event, args: heard.append(args) if event == "pickle.find_class" else None)
"""


class Evil:
    """Loading it would print."""

    def __reduce__(self):
        return print, ("loaded",)


def listen(code, *arguments):
    """What the hook heard, and what was printed, while ``code`` ran."""
    result = subprocess.run(
        [sys.executable, "-c", f"{LISTEN}\n{code}\nprint('heard', len(heard))", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_hook_hears_a_pickle(tmp_path):
    (tmp_path / "p").write_bytes(pickle.dumps(Evil()))
    code = "import pickle\npickle.load(open(sys.argv[1], 'rb'))"
    assert listen(code, tmp_path / "p") == "loaded\nheard 1\n"


@pytest.mark.parametrize("protocol", [0, 5])
def test_uploads(tmp_path, protocol):
    (tmp_path / "p").write_bytes(pickle.dumps(Evil(), protocol=protocol))
    code = f"""
from service.uploads import read_upload, UploadError, UnsupportedUploadError
for name in {UPLOADS!r}:
    try:
        read_upload(name, open(sys.argv[1], 'rb').read(), max_structures=10, max_atoms=10)
    except (UploadError, UnsupportedUploadError):
        print(name, "refused", len(heard))
"""
    refused = "".join(f"{name} refused 0\n" for name in UPLOADS)
    assert listen(code, tmp_path / "p") == f"{refused}heard 0\n"


def test_the_embedded_model():
    # NumPy and numba load caches of their own code, which is no data; so listen only while the model is read.
    code = """
from atomscatter.ensemble import Ensemble
from service.default_model import embedded_model
heard.clear()
print(Ensemble.load(embedded_model()).n_models)
"""
    assert listen(code) == "500\nheard 0\n"


def test_a_model_with_pickled_weights_is_refused(tmp_path):
    source = ROOT / "service/data/model"
    (tmp_path / "card.json").write_bytes((source / "card.json").read_bytes())
    with np.load(source / "weights.npz") as arrays:
        kept = dict(arrays)
    kept[next(iter(kept))] = np.array([Evil()], dtype=object)
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **kept)
    (tmp_path / "weights.npz").write_bytes(content.getvalue())
    code = """
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ModelError
heard.clear()
try:
    Ensemble.load(sys.argv[1])
except ModelError:
    print("refused")
"""
    assert listen(code, tmp_path) == "refused\nheard 0\n"


def test_a_feature_store_and_one_with_a_pickle_in_place_of_a_file(tmp_path):
    store = FeatureStore.create(tmp_path / "store", make_structures(8), SCATTERING, chunk_rows=4)
    fill(store)
    code = """
from atomscatter.errors import StoreError
from service.feature_store import FeatureStore
import zarr
heard.clear()
try:
    store = FeatureStore.open(sys.argv[1])
    lengths = len(store.features[:]), len(store.path_ids), len(store.sources), len(store.energies)
    print(*lengths, store.verify())
except StoreError:
    print("refused")
"""
    assert listen(code, tmp_path / "store") == "8 8 8 8 []\nheard 0\n"
    files = [p for p in (tmp_path / "store").rglob("*") if p.is_file() and p.stat().st_size]
    assert len(files) > 10
    for protocol in (0, 5):
        for file in (store.path / "zarr.json", next((store.path / "path_ids" / "c").rglob("0"))):
            content = file.read_bytes()
            file.write_bytes(pickle.dumps(Evil(), protocol=protocol))
            assert listen(code, store.path) == "refused\nheard 0\n", file
            file.write_bytes(content)


def test_stored_data_sets(tmp_path):
    atoms = make_structures(3)[0].atoms
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    (tmp_path / "a.extxyz").write_text(text.getvalue())
    code = """
from pathlib import Path
from atomscatter.errors import AtomscatterError
from service.datasets import DatasetReading, DatasetStore, describe
root, reading = Path(sys.argv[1]), DatasetReading()
kept = DatasetStore(root / "kept")
with open(root / "a.extxyz", "rb") as content, kept.received(content) as path:
    found = kept.add(path, reading, describe("a.extxyz", path, reading))
print(len(kept.structures(found.id)), len(kept.all()))
directory = kept.root / found.id
for name in ("structures.extxyz", "dataset.json"):
    (directory / name).write_bytes(Path(sys.argv[2]).read_bytes())
    try:
        print(len(kept.structures(found.id)))
    except (AtomscatterError, ValueError):
        print("refused")
"""
    (tmp_path / "p").write_bytes(pickle.dumps(Evil()))
    answer = listen(code, tmp_path, tmp_path / "p")
    assert answer in ("1 1\n0\nrefused\nheard 0\n", "1 1\nrefused\nrefused\nheard 0\n")


def test_files_of_jobs_and_their_ledger(tmp_path):
    (tmp_path / "p").write_bytes(pickle.dumps(Evil()))
    code = """
from pathlib import Path
from atomscatter.errors import AtomscatterError
from service.job_files import JobStatus
from service.state import StateDirectory
state, evil = StateDirectory(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
ledger, files = state.ledger(), state.job_files()
job, _ = ledger.submit("featurize", {"dataset": "0" * 16}, "key")
files.write_request(job, on_cluster=False, place="local")
files.write_status(job.id, JobStatus(0))
print(files.request(job.id).type, files.status(job.id, 0).state, ledger.get(job.id).state)
reads = {"request": lambda: files.request(job.id), "status": lambda: files.status(job.id, 0)}
for name, read in reads.items():
    (files.root / f"{job.id}.{name}.json").write_bytes(evil)
    try:
        print("refused" if read() is None else "taken")
    except ValueError:
        print("refused")
for path in state.root.glob("jobs.sqlite*"):
    path.unlink()
ledger.path.write_bytes(evil)
try:
    ledger.get(job.id)
except AtomscatterError:
    print("refused")
"""
    assert listen(code, tmp_path / "state", tmp_path / "p") == (
        "featurize running queued\nrefused\nrefused\nrefused\nheard 0\n"
    )
