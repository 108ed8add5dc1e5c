"""What a service spends on a request: its process and all below it."""

import contextlib
from pathlib import Path

import psutil


class Usage:
    """Context; afterwards ``seconds`` of processor time, and ``megabytes`` that the peak lay above the start.

    The kernel keeps each process's peak and is told to start anew: nothing is sampled, no peak is missed.
    """

    def __init__(self, pid):
        self._root = psutil.Process(pid)

    def __enter__(self):
        self._before = {}
        for process in self._tree():
            Path(f"/proc/{process.pid}/clear_refs").write_text(
                "5"
            )  # the peak is the present size from now on
            self._before[process] = _seconds(process), _kilobytes(process, "VmRSS")
        return self

    def __exit__(self, *_):
        self.seconds = self.megabytes = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                seconds, kilobytes = self._before.get(process, (0.0, 0.0))
                self.seconds += _seconds(process) - seconds
                self.megabytes += max(0.0, _kilobytes(process, "VmHWM") - kilobytes) / 1000

    def _tree(self):
        return [self._root, *self._root.children(recursive=True)]


def _seconds(process):
    times = process.cpu_times()
    return times.user + times.system


def _kilobytes(process, name):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1])
    return 0.0  # a process that has ended and was not yet waited for
