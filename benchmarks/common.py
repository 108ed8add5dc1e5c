"""What the benchmark scripts share: the repository on the path, machine description, tables, structures."""

import io
import json
import lzma
import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

for _library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy: one thread in each process
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
RESULTS = REPOSITORY / "benchmarks" / "results"


def machine(*packages):
    """Where and when the numbers were made, and how busy the machine was (load average of 15 minutes)."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [s.split(":", 1)[1].strip() for s in cpuinfo.read_text().splitlines() if "model name" in s]
        processor = names[0] if names else processor
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("numpy", "scipy", "ase", *packages)},
    }


def machine_line(about):
    """One line of markdown about the machine."""
    packages = ", ".join(f"{k} {v}" for k, v in about["packages"].items())
    return (
        f"{about['date']}; {about['processor']}, {about['cores']} cores; Python {about['python']}; {packages}"
    )


def table(header, rows):
    """Markdown table; floats with four significant digits, None as a dash."""

    def cell(value):
        if value is None:
            return "-"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def command():
    """The command line of this process, as from the repository; of absolute paths, the last name alone."""
    words = [re.sub(r"(^|=)/(.*/)?(?=[^/]+/?$)", r"\1.../", word) for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def write_results(name, markdown, data, folder=RESULTS):
    """Write NAME.md and NAME.json, each with the command that does so, into the results folder and say so."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(f"{markdown.rstrip()}\n\nWritten by `{command()}`.\n")
    (folder / f"{name}.json").write_text(json.dumps({**data, "command": command()}, indent=1) + "\n")
    print(f"wrote {folder / name}.md and .json")


def transform_line(config, products=True):
    """A transform in a few words, with its products at the atoms or without."""
    products = config.get("products") if products else None
    at_atoms = ""
    if products is not None:
        widths = ", ".join(f"{w:g}" for w in products["widths"])
        at_atoms = f", products at the atoms of widths {widths} Å with l < {products['n']}"
    return f"β {config['beta']} Å, {config['scales']} scales{at_atoms}"


def write_atomically(path, write):
    """Call write(file) on a temporary file beside ``path`` and rename it: a file that exists is complete."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        write(file)
    temporary.replace(path)


def read_frames(path):
    """All structures of an extended XYZ file, also compressed with xz, which ASE's seeking makes slow."""
    from ase.io.extxyz import read_xyz

    opener = lzma.open if Path(path).suffix == ".xz" else open
    with opener(path, "rt") as file:
        return list(read_xyz(io.StringIO(file.read()), slice(None)))


def amorphous_li_si(n_atoms=64, length=11.0, seed=0):
    """Random Li-Si (equal parts) in a cubic cell, no two atoms closer than 1.8 Angstrom: for timing only."""
    import numpy as np
    from ase import Atoms

    rng = np.random.default_rng(seed)
    positions = np.empty((0, 3))
    while len(positions) < n_atoms:
        trial = rng.random(3) * length
        apart = positions - trial
        apart -= length * np.round(apart / length)
        if not len(positions) or (np.linalg.norm(apart, axis=1) > 1.8).all():
            positions = np.vstack([positions, trial])
    symbols = ["Li"] * (n_atoms // 2) + ["Si"] * (n_atoms - n_atoms // 2)
    return Atoms(symbols, positions=positions, cell=[length] * 3, pbc=True)
