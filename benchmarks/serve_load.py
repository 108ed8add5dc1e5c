"""Latency and throughput of ``atomscatter serve`` under load from a real HTTP client.

    python benchmarks/serve_load.py [--requests 200] [--overload-seconds 120] [--out DIR]

One 64-atom structure of 11 A in each request. Measured: the bare prediction with the embedded model in this
process; one, two and four clients with one and with two prediction processes; one request with 100
structures; and two minutes of five times as many requests as can be answered, with the latency of the
accepted requests, how many were refused with 503 and Retry-After, and the memory of the service.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from common import REPOSITORY, RESULTS, amorphous_li_si, machine, machine_line, table, write_results

from atomscatter.ensemble import Ensemble
from service.default_model import embedded_model

CAPACITY = 8  # structures accepted at a time in the overload test
OVERLOAD = 5  # times the requests per second that two clients get answered
STRUCTURE = amorphous_li_si(64, 11.0)


def body(count=1):
    one = {
        "lattice_vectors": STRUCTURE.cell.tolist(),
        "cartesian_site_positions": STRUCTURE.positions.tolist(),
        "species_at_sites": STRUCTURE.get_chemical_symbols(),
    }
    return {"structures": [one] * count}


@contextlib.contextmanager
def serving(workers, **environment):
    """A server on as many cores as it has prediction processes; yields (process, URL)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as state:
        options = ["--port", str(port), "--state", state, "--workers", str(workers), "--quiet"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", *options],
            cwd=REPOSITORY,
            env=os.environ | {f"ATOMSCATTER_{k.upper()}": str(v) for k, v in environment.items()},
        )
        psutil.Process(process.pid).cpu_affinity(list(range(workers)))  # inherited by its processes
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{url}/health/ready").status_code == 200:
                        break
                time.sleep(0.1)
            yield process, url
        finally:
            process.terminate()
            process.wait()


def bare(count):
    """Seconds of each prediction in this process."""
    ensemble = Ensemble.load(embedded_model())
    ensemble.predict(STRUCTURE)
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        ensemble.predict(STRUCTURE)
        seconds.append(time.perf_counter() - began)
    return seconds


async def clients(url, count, seconds):
    """``count`` clients, each sending one request after the other: [(status, seconds, Retry-After), ...]."""
    answers, end = [], time.perf_counter() + seconds
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one():
            while time.perf_counter() < end:
                began = time.perf_counter()
                answer = await client.post("/v1/predictions", json=body())
                waited = answer.headers.get("Retry-After")
                answers.append((answer.status_code, time.perf_counter() - began, waited))

        await asyncio.gather(*(one() for _ in range(count)))
    return answers


def memory(process):
    """Resident bytes of a process and its children."""
    total = 0
    for p in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += p.memory_info().rss
    return total


async def arrivals(url, rate, seconds):
    """``rate`` requests per second, whatever becomes of earlier ones: [(status, seconds, Retry-After)]."""
    answers, tasks = [], []
    limits = httpx.Limits(max_connections=1000)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one():
            began = time.perf_counter()
            answer = await client.post("/v1/predictions", json=body())
            waited = answer.headers.get("Retry-After")
            answers.append((answer.status_code, time.perf_counter() - began, waited))

        start = time.perf_counter()
        for i in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + i / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
    return answers


async def overload(process, url, rate, seconds):
    """Answers of the overload, and the memory of the service every second, MiB."""
    service, sizes = psutil.Process(process.pid), []

    async def watch():
        while True:
            sizes.append(memory(service) / 2**20)
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    answers = await arrivals(url, rate, seconds)
    watching.cancel()
    return answers, sizes


def latency(answers):
    accepted = [s for status, s, _ in answers if status == 200]
    return {q: float(np.percentile(accepted, q)) for q in (50, 99)} | {"n": len(accepted)}


def study(requests, overload_seconds):
    result = {"bare": float(np.median(bare(max(20, requests // 4))))}
    span = max(5.0, requests * result["bare"])
    for workers in (1, 2):
        with serving(workers) as (_, url):
            asyncio.run(clients(url, workers, 3.0))  # warm
            for count in (1, 2, 4):
                answers = asyncio.run(clients(url, count, span))
                result[f"{workers} processes, {count} clients"] = latency(answers) | {"seconds": span}
            began = time.perf_counter()
            httpx.post(f"{url}/v1/predictions", json=body(100), timeout=300).raise_for_status()
            result[f"{workers} processes, batch of 100"] = time.perf_counter() - began
    with serving(2, max_pending=CAPACITY) as (process, url):
        nominal = latency(asyncio.run(clients(url, 2, span)))
        rate = OVERLOAD * nominal["n"] / span
        answers, sizes = asyncio.run(overload(process, url, rate, overload_seconds))
    refused = [a for a in answers if a[0] != 200]
    result["overload"] = latency(answers) | {
        "rate": rate,
        "nominal p99": nominal[99],
        "queue bound": CAPACITY / 2 * nominal[50],
        "refused": len(refused),
        "statuses": sorted({a[0] for a in answers}),
        "refused without Retry-After": sum(a[2] is None for a in refused),
        "memory first 10 s (MiB)": float(np.max(sizes[:10])),
        "memory last 10 s (MiB)": float(np.max(sizes[-10:])),
        "seconds": overload_seconds,
    }
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--overload-seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = study(options.requests, options.overload_seconds)
    about = machine("fastapi", "uvicorn", "httpx", "pyFFTW")
    rows = [
        [name, v["n"] / v["seconds"], v[50], v[99]]
        for name, v in found.items()
        if isinstance(v, dict) and "clients" in name
    ]
    rate = {name: row_rate for name, row_rate, *_ in rows}
    one, two = found["1 processes, 1 clients"], found["overload"]
    both_busy = rate["2 processes, 4 clients"] / rate["1 processes, 4 clients"]
    markdown = f"""# The service under load

{machine_line(about)}

One structure of 64 atoms (11 A, cubic) in each request, the embedded model, client and server on the same
machine; one process: the whole service on one core. Bare prediction in one process: {found["bare"]:.4f} s
(median).

{table(["case", "requests / s", "p50 (s)", "p99 (s)"], rows)}

- p50 of single requests / bare prediction: {one[50] / found["bare"]:.2f}
- two cores busy / one (4 clients each): {both_busy:.2f}
- batch of 100 structures: {found["1 processes, batch of 100"]:.2f} s on one core,
  {found["2 processes, batch of 100"]:.2f} s on two

Overload: {two["rate"]:.0f} requests per second for {two["seconds"]:g} s, {OVERLOAD} times what two clients
get answered; {CAPACITY} structures are accepted at a time.

{table(["", "value"], [[k, str(v) if isinstance(v, list) else v] for k, v in two.items()])}

Bound of p99: twice the nominal p99 plus the queue: {2 * two["nominal p99"] + two["queue bound"]:.3f} s.
"""
    data = {"machine": about, "results": dict(found.items())}
    write_results("serve_load", markdown, data, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
