"""No pickle is loaded from a stored or uploaded file: an audit hook listens, in a process of its own."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

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


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "POSCAR", "a.cif", "a.traj", "a.db", "a.pckl", "a"])
@pytest.mark.parametrize("protocol", [0, 5])
def test_uploads(tmp_path, name, protocol):
    (tmp_path / "p").write_bytes(pickle.dumps(Evil(), protocol=protocol))
    code = f"""
from service.uploads import read_upload, UploadError, UnsupportedUploadError
try:
    read_upload({name!r}, open(sys.argv[1], 'rb').read(), max_structures=10, max_atoms=10)
except (UploadError, UnsupportedUploadError):
    print("refused")
"""
    assert listen(code, tmp_path / "p") == "refused\nheard 0\n"


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
