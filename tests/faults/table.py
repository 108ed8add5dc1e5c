"""The fault table: what the tests of a run injected and how it ended, kept for ``pytest -m chaos``."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
# The order of the rows; a fault that is not here cannot be counted.
FAULTS = (
    "kill -9 of a worker process while it writes a chunk",
    "kill -9 of a raylet (a whole node)",
    "kill -9 of the driver",
    "kill -9 of the driver of short units",
    "kill -9 of the process of a job",
    "kill -9 of the head (GCS and all of its node) under a job",
    "kill -9 of the GCS alone under a driver",
    "network between head and worker cut for a while",
    "network between head and worker cut for good",
    "kill -9 of the server while jobs are accepted and run",
    "SIGTERM to the server under load",
    "SIGSTOP of a worker for a while",
    "full disk under the store",
    "full disk under the ledger",
    "full disk under the model",
    "full disk under a job and its server",
    "flipped byte in a store",
    "truncated file in a store",
    "deleted file in a store",
    "500 models on 1, 2 and 4 workers",
    "kill -9 of a worker process that fits some of 500 models",
)


class FaultTable:
    """Rows by fault; each is replaced by a newer run of the same fault."""

    def __init__(self):
        self.rows = {}

    def add(self, fault, times, outcome, test):
        assert fault in FAULTS, fault
        row = self.rows.setdefault(fault, {"times": 0, "outcome": "", "tests": []})
        row["times"] += times
        row["outcome"] = outcome
        row["tests"].append(test)

    def write(self, folder=RESULTS):
        file = folder / "faults.json"
        about = _about()
        rows = json.loads(file.read_text())["rows"] if file.exists() else {}
        rows |= {fault: {**row, **about} for fault, row in self.rows.items()}
        rows = {fault: rows[fault] for fault in FAULTS if fault in rows}
        file.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
        (folder / "faults.md").write_text(_markdown(rows))


def _about():
    cpuinfo = Path("/proc/cpuinfo")
    names = [s.split(":", 1)[1].strip() for s in cpuinfo.read_text().splitlines() if "model name" in s]
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("ray", "zarr", "numpy")},
    }


def _markdown(rows):
    lines = [
        "# Faults injected into running work",
        "",
        "Written by `pytest --no-cov -m chaos tests/faults`; each row by the latest run of its test, which",
        "counts the faults where it injects them and fails when one did not hit work in progress.",
        "",
        "| fault | times | what held | date | commit |",
        "|---|---:|---|---|---|",
    ]
    for fault, row in rows.items():
        lines.append(f"| {fault} | {row['times']} | {row['outcome']} | {row['date']} | {row['commit']} |")
    machines = sorted({(row["machine"], _versions(row["versions"])) for row in rows.values()})
    lines += ["", *(f"{machine}; {versions}." for machine, versions in machines)]
    return "\n".join(lines) + "\n"


def _versions(versions):
    return ", ".join(f"{name} {number}" for name, number in versions.items())
