"""Seconds for one structure: this transform, its straightforward version, its floor, and DScribe SOAP.

    python benchmarks/transform_speed.py [--rounds 7] [--out DIR]

One structure of 64 atoms in a cubic cell of 11 Angstrom, one core. All are timed in turn, round after round,
so that a busy machine slows all of them; the median and the fastest round are kept.
``pytest benchmarks/test_transform_speed.py --no-cov`` times the same functions with pytest-benchmark.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from common import RESULTS, amorphous_li_si, machine, machine_line, table, write_results
from peer_features import soap

from atomscatter.fft import TransformCache
from atomscatter.labels import second_scales
from atomscatter.scattering import Scattering
from tests.reference.slow_scattering import slow_features

STRUCTURE = amorphous_li_si(64, 11.0)
PAPER = {"beta": 0.9, "scales": 5}  # the width and the number of scales the paper names
INTEGRALS = {"products": None}  # the paper's features
# Double, because its largest scales have only the tails of filters in a cell.
PAPER_DOUBLE = {**PAPER, **INTEGRALS, "precision": "double"}
SLOW_GRID = (32, 32, 32)  # spacing 0.38 beta
REAL = {"single": np.float32, "double": np.float64}


def transform(**settings):
    scattering = Scattering(**settings)
    return lambda: scattering.features(STRUCTURE)


@dataclass(frozen=True)
class Batch:
    """Fields that are transformed together: first- or second-order ones back to space, moduli forth.

    Attributes:
        forward: whether it is first-order moduli that go to frequencies.
        shape: points of the grid.
        fields: how many.
        width: indices along the last axis of the frequencies that are not empty.
    """

    forward: bool
    shape: tuple[int, int, int]
    fields: int
    width: int

    @property
    def points(self):
        return self.fields * int(np.prod(self.shape))


def batches(scattering):
    """All Fourier transforms of one structure, in turn."""
    lengths, grid, beta = STRUCTURE.cell.lengths(), scattering.grid, scattering.beta
    n_channels, angular = len(scattering.channels), range(scattering.n)
    width = [int(grid.half_band(lengths, beta, j)[2]) + 1 for j in range(scattering.scales)]
    for j1, l1 in product(range(scattering.scales), angular):
        shape = grid.first_points(lengths, beta, j1, l1)
        for _ in scattering.species:
            yield Batch(False, shape, 2 * l1 + 1, width[j1])
        yield Batch(True, shape, n_channels, width[max(0, j1 - 1)])
        for j2, l2 in product(second_scales(j1, scattering.scales), angular):
            for _ in range(n_channels):
                yield Batch(False, grid.second_points(lengths, beta, j2, l2), 2 * l2 + 1, width[j2])


def ffts_alone(**settings):
    """Only the Fourier transforms of one structure: same shapes, bands, batches and number, nothing else."""
    scattering = Scattering(**settings)
    known = list(batches(scattering))
    transforms = TransformCache(batch=max(batch.fields for batch in known), real=REAL[scattering.precision])
    transforms.reserve([batch.shape for batch in known])

    def run():
        for batch in known:
            transform = transforms[batch.shape]
            (transform.forward if batch.forward else transform.inverse)(batch.fields, batch.width)

    return run


def one_pass(**settings):
    """The least that is left besides FFTs: every field is read once, every first-order modulus written once.

    BLAS reads (x.x), from where it lies between two FFTs: buffers of the same size, used again and again.
    """
    scattering = Scattering(**settings)
    known = list(batches(scattering))
    fields, moduli = (
        np.ones(max(batch.points for batch in known if batch.forward is forward), REAL[scattering.precision])
        for forward in (False, True)
    )

    def run():
        for batch in known:
            if batch.forward:
                moduli[: batch.points] = 1.0
            else:
                read = fields[: batch.points]
                np.dot(read, read)

    return run


def work(**settings):
    """Fourier transforms of one structure, their floating-point operations (2.5 N log2 N for N real points),
    and the bytes of all fields."""
    scattering = Scattering(**settings)
    known = list(batches(scattering))
    count = np.array([batch.fields for batch in known])
    points = np.array([np.prod(batch.shape) for batch in known])
    size = np.dtype(REAL[scattering.precision]).itemsize
    return (
        int(count.sum()),
        float(np.sum(count * 2.5 * points * np.log2(points))),
        float(size * count @ points),
    )


def averaged_soap(n_max, l_max):
    create = soap("inner", n_max, l_max, 5.0).make()
    return lambda: create(STRUCTURE)


def slow(shape, **settings):
    return lambda: slow_features(STRUCTURE, shape=shape, **settings)


DEFAULT = Scattering()
SLOW_DEFAULT_GRID = (56, 56, 56)  # spacing 0.39 beta
CASES = {
    "this transform, beta 0.9, 5 scales": transform(**PAPER_DOUBLE),
    "its FFTs alone, beta 0.9, 5 scales": ffts_alone(**PAPER_DOUBLE),
    "one pass over its fields alone, beta 0.9, 5 scales": one_pass(**PAPER_DOUBLE),
    "straightforward NumPy, 32^3 grid, beta 0.9, 5 scales": slow(SLOW_GRID, **PAPER),
    "DScribe SOAP, 3000 coefficients": averaged_soap(12, 9),
    "DScribe SOAP, 952 coefficients": averaged_soap(8, 6),
    "this transform, package default": transform(),
    "the same, integrals only": transform(**INTEGRALS),
    "the same, integrals only, in double precision": transform(**INTEGRALS, precision="double"),
    "its FFTs alone, package default": ffts_alone(),
    "one pass over its fields alone, package default": one_pass(),
    "straightforward NumPy, 56^3 grid, integrals of the package default": slow(
        SLOW_DEFAULT_GRID, beta=DEFAULT.beta, scales=DEFAULT.scales
    ),
}
(
    OURS,
    FFTS,
    PASS,
    SLOW,
    SOAP_3000,
    SOAP_952,
    OURS_DEFAULT,
    DEFAULT_INTEGRALS,
    DOUBLE,
    FFTS_DEFAULT,
    PASS_DEFAULT,
    SLOW_DEFAULT,
) = CASES


def measure(rounds):
    """{case: seconds of each round}; the first, untimed call compiles and plans."""
    for run in CASES.values():
        run()
    seconds = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, run in CASES.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(seconds, case, others):
    """Seconds of a case over those of several others together."""
    return seconds[case] / sum(seconds[other] for other in others)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    seconds = measure(options.rounds)
    median = {name: float(np.median(s)) for name, s in seconds.items()}
    fastest = {name: min(s) for name, s in seconds.items()}
    counts = {name: np.size(run()) if "alone" not in name else None for name, run in CASES.items()}
    ratios = {
        "straightforward / this transform (beta 0.9)": (SLOW, [OURS]),
        "this transform (beta 0.9) / SOAP 3000": (OURS, [SOAP_3000]),
        "this transform (beta 0.9) / SOAP 952": (OURS, [SOAP_952]),
        "this transform (beta 0.9) / its FFTs": (OURS, [FFTS]),
        "this transform (beta 0.9) / its FFTs and one pass": (OURS, [FFTS, PASS]),
        "this transform (default) / its integrals": (OURS_DEFAULT, [DEFAULT_INTEGRALS]),
        "straightforward / integrals (default)": (SLOW_DEFAULT, [DEFAULT_INTEGRALS]),
        "double precision / single (integrals, default)": (DOUBLE, [DEFAULT_INTEGRALS]),
        "this transform (default) / SOAP 3000": (OURS_DEFAULT, [SOAP_3000]),
        "integrals (default) / their FFTs": (DEFAULT_INTEGRALS, [FFTS_DEFAULT]),
        "integrals (default) / their FFTs and one pass": (DEFAULT_INTEGRALS, [FFTS_DEFAULT, PASS_DEFAULT]),
    }
    counted = []
    for name, settings, ffts, one in (
        ("beta 0.9, 5 scales", PAPER_DOUBLE, FFTS, PASS),
        ("package default", {}, FFTS_DEFAULT, PASS_DEFAULT),
    ):
        n_ffts, operations, size = work(**settings)
        rates = operations / median[ffts] / 1e9, size / median[one] / 1e9
        counted.append([name, n_ffts, operations / 1e9, rates[0], size / 1e9, rates[1]])
    about = machine("numba", "pyFFTW", "ducc0", "dscribe")
    markdown = f"""# Speed of the transform

{machine_line(about)}

One structure (64 atoms, 11 A cubic cell), one core; {options.rounds} rounds in turn, seconds.
The floor: the Fourier transforms alone, and reading every field once (BLAS).
Default of the package: beta {DEFAULT.beta:g} A, {DEFAULT.scales} scales, {DEFAULT.precision} precision,
grid `{DEFAULT.grid.to_dict()}`. Straightforward, and with beta 0.9: double precision.
SOAP: r_cut 5 A, averaged over the atoms ("inner"). At beta 0.9 A the largest scales lie at or below the
lowest frequency of this cell: {int((CASES[OURS]() == 0).sum())} of the 3,740 features are zero.

{table(["case", "numbers", "median s", "fastest s"], [[c, counts[c], median[c], fastest[c]] for c in CASES])}

{
        table(
            ["ratio", "of medians", "of fastest"],
            [[name, ratio(median, *pair), ratio(fastest, *pair)] for name, pair in ratios.items()],
        )
    }

The floor in numbers: Fourier transforms, their operations (2.5 N log2 N for N real points; bands that are
known to be empty are left out of the work, not of the count), the bytes of all fields, and the rates at which
this machine did both in the cases "alone".

{
        table(
            ["transform", "FFTs", "10^9 operations", "10^9 operations per s", "GB of fields", "GB per s"],
            counted,
        )
    }
"""
    data = {"machine": about, "seconds": seconds, "default": DEFAULT.config, "floor": counted}
    data["ratios"] = {name: ratio(median, *pair) for name, pair in ratios.items()}
    write_results("transform_speed", markdown, data, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
