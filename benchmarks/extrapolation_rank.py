"""Does the extrapolation score rank the errors? Spearman correlation of score and |error|, set by set.

    atomscatter demo --out RUN
    python benchmarks/extrapolation_rank.py RUN [--out DIR]

Reads the predictions that the demo writes. The uncertainty (spread of the models) is put to the same test.
"all but paths" takes the three extrapolation sets together.
"""

import argparse
import csv
from pathlib import Path

from common import RESULTS, machine, machine_line, table, write_results
from scipy.stats import spearmanr

SETS = ("paths", "diffusion", "large", "bulk")
JOINED = "all but paths"


def read(path):
    """[(|error| in meV/atom, score, uncertainty in meV/atom)] of one CSV file."""
    with path.open(newline="") as file:
        return [
            (
                abs(float(row["error (meV/atom)"])),
                float(row["extrapolation score"]),
                float(row["uncertainty (meV/atom)"]),
            )
            for row in csv.DictReader(file)
        ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    values = {name: read(options.run / "predictions" / f"{name}.csv") for name in SETS}
    values[JOINED] = [row for name in SETS[1:] for row in values[name]]
    found = {}
    for name, rows in values.items():
        error, score, uncertainty = zip(*rows, strict=True)
        flagged = [e for e, s in zip(error, score, strict=True) if s > 1]
        others = [e for e, s in zip(error, score, strict=True) if s <= 1]
        found[name] = {
            "structures": len(rows),
            "spearman_score": float(spearmanr(score, error).statistic),
            "spearman_uncertainty": float(spearmanr(uncertainty, error).statistic),
            "flagged": len(flagged),
            "mae_flagged": sum(flagged) / len(flagged) if flagged else None,
            "mae_others": sum(others) / len(others) if others else None,
        }
    about = machine()
    titles = ["set", "structures", "score", "uncertainty", "flagged", "MAE flagged", "MAE others"]
    markdown = f"""# Rank correlation of extrapolation score and error

{machine_line(about)}

Spearman's correlation with |error| of the averaged model, and mean |error| (meV/atom) of the structures that
are flagged as extrapolating (score > 1) and of the others.

{table(titles, [[name, *row.values()] for name, row in found.items()])}
"""
    write_results("extrapolation_rank", markdown, {"machine": about, "sets": found}, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
