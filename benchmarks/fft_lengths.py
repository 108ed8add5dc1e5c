"""Which lengths of Fourier transforms are cheap, and by which library: FFTW (ESTIMATE) or ducc0.

    python benchmarks/fft_lengths.py [--out DIR]

Inverse real transforms of a batch of five fields on a cubic grid, one core, single precision, the fastest of
four repetitions. ``atomscatter.grids.FAST_LENGTHS`` and ``atomscatter.fft.FFTW_LENGTHS`` follow from it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import RESULTS, machine, machine_line, table, write_results

from atomscatter.fft import FFTW_LENGTHS, Transform, n_values, new_memory
from atomscatter.grids import FAST_LENGTHS

LENGTHS = (
    *range(9, 26),
    27,
    28,
    30,
    32,
    33,
    35,
    36,
    39,
    40,
    42,
    45,
    48,
    49,
    50,
    55,
    56,
    60,
    63,
    64,
    65,
    72,
    75,
    77,
    80,
    81,
)
BATCH = 5


def seconds(length, use_fftw):
    """Of one field."""
    shape = (length,) * 3
    transform = Transform(shape, BATCH, new_memory(*n_values(shape, BATCH), np.float32))
    transform._use_fftw = use_fftw
    transform.spectrum[:] = 1.0
    repeats = max(1, int(4e5 / length**3))
    best = np.inf
    for _ in range(4):
        began = time.perf_counter()
        for _ in range(repeats):
            transform.inverse(BATCH)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best / BATCH


def main(options):
    records = [{"length": n, "fftw": seconds(n, True), "ducc0": seconds(n, False)} for n in LENGTHS]
    rows = [
        [
            r["length"],
            1e6 * r["fftw"],
            1e6 * r["ducc0"],
            1e9 * min(r["fftw"], r["ducc0"]) / r["length"] ** 3,
            "FFTW" if r["length"] in FFTW_LENGTHS else "ducc0",
            "yes" if r["length"] in FAST_LENGTHS else "",
        ]
        for r in records
    ]
    about = machine("pyFFTW", "ducc0")
    header = ["length", "FFTW, us", "ducc0, us", "best, ns per point", "used here", "grids have it"]
    text = f"""# Lengths of Fourier transforms

{machine_line(about)}

One field on a cubic grid, single precision, one core.

{table(header, rows)}
"""
    write_results("fft_lengths", text, {"machine": about, "lengths": records}, options.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    main(parser.parse_args())
