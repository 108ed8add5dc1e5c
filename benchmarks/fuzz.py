"""Fuzz the web service with many generated requests and mutated files, and record the counts.

    python benchmarks/fuzz.py [CASES]      # 10,000 by default; some minutes

Runs tests/api/test_fuzz.py against a real server: schemathesis over the whole OpenAPI document, and half as
many mutations of valid extended XYZ, CIF and POSCAR files by hypothesis. Any 5xx or violation of the schema
fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import common


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    command = [sys.executable, "-m", "pytest", "--no-cov", "-q", "-s", "-p", "no:cacheprovider"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--timeout=3600", "tests/api/test_fuzz.py"],
        cwd=common.REPOSITORY,
        env=os.environ | {"FUZZ_CASES": str(cases)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    generated = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)
    mutated = re.findall(r"(/v1/\S+) (\S+) (\{\d[^}]*\}) slowest ([\d.]+) s", done.stdout)
    summary = re.findall(r"\d+ (?:passed|failed).* in .*", done.stdout)
    if done.returncode or not generated or not mutated:
        sys.exit(done.stdout[-4000:])
    about = common.machine("schemathesis", "hypothesis", "fastapi")
    lines = [
        "# Fuzzing the service",
        "",
        common.machine_line(about),
        "",
        summary[-1].strip("= "),
        "",
        f"- schemathesis over the OpenAPI document: {generated[0][0]} generated, {generated[0][1]} passed",
        *(
            f"- mutations of {name} to {path}: answers by status {counts}, slowest {s} s"
            for path, name, counts, s in mutated
        ),
        "",
        "No 5xx, no violation of the schema.",
    ]
    data = {"machine": about, "cases": cases, "seconds": seconds, "generated": generated, "mutated": mutated}
    common.write_results("fuzz", "\n".join(lines), data)


if __name__ == "__main__":
    main()
