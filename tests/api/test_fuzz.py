"""Generated requests: schemathesis over the whole API, and mutations of valid structure files.

FUZZ_CASES says how many requests, and half as many mutations (2,000 and 1,000 in a normal run;
benchmarks/results/fuzz.md has a run of 10,000).
"""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api_keys import new_key
from service.demo_data import load_sample
from service.state import StateDirectory
from tests.api.conftest import serving

CASES = int(os.environ.get("FUZZ_CASES", "2000"))
CHECKS = Path(__file__).with_name("schemathesis.toml")
EXPECTED = {200, 201, 400, 413, 415, 422}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with keys, so that the checks of authentication mean something; yields (URL, key)."""
    folder = tmp_path_factory.mktemp("fuzz")
    key, line = new_key("fuzz", ["predict", "jobs"])
    (folder / "keys").write_text(line + "\n")
    options = {"api_keys": folder / "keys", "timeout": 20, "max_atoms": 200}
    state = StateDirectory(folder / "state")
    ledger = state.ledger()
    job, _ = ledger.submit("evaluate", {"dataset": "0" * 16})
    ledger.finish(job.id, "succeeded", result={})
    log = state.job_files().log(job.id)
    log.parent.mkdir()
    log.write_text("done\n")
    with serving(folder / "state", "--workers", "2", **options) as (_, url):
        yield url, key


@pytest.fixture
def config(guarded, tmp_path):
    """schemathesis.toml, and ids of what is there: an invented one is answered with 404 and nothing else."""
    url, key = guarded
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
        answer = client.post("/v1/datasets", files={"file": ("a.extxyz", FILES["a.extxyz"])})
        ids = {"model_id": client.get("/v1/models").json()["active"], "dataset_id": answer.json()["id"]}
        # A job that has ended: its events do, too, and it takes no processor.
        (job,) = client.get("/v1/jobs").json()["jobs"]
        ids["job_id"] = job["id"]
    lines = ["[dictionaries]", *(f'{name} = {{ values = ["{found}"] }}' for name, found in ids.items())]
    lines += ["[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.5 }}' for name in ids]
    path = tmp_path / "schemathesis.toml"
    path.write_text(CHECKS.read_text() + "\n".join(lines) + "\n")
    return path


def test_schemathesis_over_the_whole_api(guarded, config, tmp_path):
    """All its checks, but for what schemathesis.toml says."""
    url, key = guarded
    # The operations' own edge cases are about 1,100; each example more makes about 26 cases.
    examples = max(10, (CASES - 1000) // 24)
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config)),
        *("run", f"{url}/openapi.json", "--header", f"X-API-Key: {key}"),
        *("--max-examples", str(examples), "--seed", "1", "--no-color", "--request-timeout", "60"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3000, check=False)
    failures = result.stdout.partition(" FAILURES ")[2]
    assert result.returncode == 0, failures[:6000] or result.stdout[-6000:]
    counts = re.search(r"(\d+) generated, (\d+) passed", result.stdout)
    assert counts, result.stdout[-2000:]
    print(counts[0])
    assert int(counts[2]) >= CASES


def valid_files():
    atoms = load_sample("paths")[400].atoms
    for name, form in (("a.extxyz", "extxyz"), ("a.cif", "cif"), ("POSCAR", "vasp")):
        text = io.BytesIO() if form == "cif" else io.StringIO()
        ase.io.write(text, atoms, format=form)
        value = text.getvalue()
        yield name, value if isinstance(value, bytes) else value.encode()


FILES = dict(valid_files())
TOKENS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"999999999999",
    b"\x00",
    b"\xff",
    b'"',
    b"\n",
    b"Lattice=",
    b"Properties=",
    b"_",
    b"+",
    b"\r",
    b"Zz",
]


@st.composite
def mutations(draw, content):
    """Cut, doubled, exchanged or overwritten stretches of a file."""
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, max(0, len(content) - 1)))
        end = min(len(content), begin + draw(st.integers(0, 60)))
        kind = draw(st.sampled_from(["cut", "double", "token", "bytes", "line", "truncate"]))
        middle = {
            "cut": b"",
            "double": content[begin:end] * 2,
            "token": draw(st.sampled_from(TOKENS)),
            "bytes": draw(st.binary(max_size=8)),
            "line": b"\n" + content[:end],
            "truncate": b"",
        }[kind]
        content = content[:begin] + middle + (b"" if kind == "truncate" else content[end:])
    return content


@pytest.mark.parametrize("path", ["/v1/structures/file", "/v1/predictions/file", "/v1/datasets"])
@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_answered_or_refused(guarded, name, path):
    url, key = guarded
    all_refused = path == "/v1/datasets" and name != "a.extxyz"  # other formats hold no energies
    cases = CASES // 9 + 1
    if path == "/v1/structures/file":
        cases = 20  # its parser is that of /v1/predictions/file
    elif all_refused:
        cases = 10
    seen, slowest = [], []
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as client:

        @settings(
            max_examples=cases,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(content=mutations(FILES[name]))
        def upload(content):
            began = time.perf_counter()
            answer = client.post(path, files={"file": (name, content)})
            slowest.append(time.perf_counter() - began)
            seen.append(answer.status_code)
            assert answer.status_code in EXPECTED, (answer.status_code, answer.text[:300])
            if not answer.is_success:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["detail"]

        upload()
    print(
        path,
        name,
        {status: seen.count(status) for status in sorted(set(seen))},
        f"slowest {max(slowest):.2f} s",
    )
    assert len(seen) >= cases
    if all_refused:
        assert set(seen) == {415}
    else:
        assert len(set(seen)) > 1, "mutations of one kind only"
