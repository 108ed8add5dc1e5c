"""Versions, hardware and date, for model cards."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from typing import Any

import psutil  # type: ignore[import-untyped]

from atomscatter.version import package_version


def environment() -> dict[str, Any]:
    """Versions, hardware and date: what is known about the machine, without influence on the model id."""
    packages = ("numpy", "scipy", "numba", "ray", "ase")
    own = package_version() or "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"atomscatter": own, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    """Name of the processor; the platform module does not know it on Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
