"""A process that hands out work, for tests that kill it or watch it from outside:

    python -m tests.faults.driver DATA STORE MARKS [--address A] [--workers N] [--seconds S] [--gate FILE]

It prints, as lines of JSON, the number of structures that were completed since the last line.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from atomscatter.scattering import Scattering
from service.logs import configure_logging
from service.reading import read_structures
from tests.faults.marked import leave_marks
from tests.repository import ROOT
from workers.featurize import featurize

SETTINGS = {"beta": 1.0, "scales": 2}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("marks", type=Path)
    parser.add_argument("--address")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--gate", type=Path)
    parser.add_argument("--chunk-rows", type=int, required=True)
    options = parser.parse_args()
    configure_logging("verbose")
    leave_marks(options.marks, seconds=options.seconds, gate=options.gate)
    structures, _ = read_structures([options.data], need_energy=True)
    featurize(
        structures,
        Scattering(**SETTINGS),
        options.store,
        workers=options.workers,
        address=options.address,
        chunk_rows=options.chunk_rows,
        on_progress=lambda n: print(json.dumps(n), flush=True),
    )


@contextlib.contextmanager
def driver(data, store, marks, *, chunk_rows, prefix=(), environment=None, **options):
    """The process; it is ended with the block. ``prefix``: a command that runs it, such as ip netns exec."""
    flags = [f"--{name}={value}" for name, value in {**options, "chunk-rows": chunk_rows}.items()]
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.faults.driver", str(data), str(store), str(marks), *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException as error:
        error.add_note(f"the driver said:\n{_end(process)}")
        raise
    finally:
        _end(process)


def _end(process):
    """Kill it with its children; what it has written to standard error and nobody has read."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return "" if process.stderr.closed else process.communicate()[1]


def wait_for_line(process, text):
    """Until the process has said something on standard error."""
    while line := process.stderr.readline():
        if text in line:
            return
    raise AssertionError(f"the driver ended without saying {text!r}")


def ended_well(process, seconds=600):
    """Wait for the end of the process; what it completed, line by line."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


if __name__ == "__main__":
    main()
