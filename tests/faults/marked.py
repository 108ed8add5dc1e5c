"""Workers that leave marks: a test knows from them who worked on what when it injected a fault."""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

import workers.featurize
from workers.featurize import Featurizer


@dataclass(frozen=True)
class Mark:
    """What a worker process was about to do (``begin``) or had done (``end``); ``start``: no unit yet."""

    what: str
    unit: int
    pid: int
    node: str
    time: float


class Marks:
    """A file that all workers append to."""

    def __init__(self, file):
        self.file = Path(file)
        self.file.touch()

    def all(self):
        lines = self.file.read_text().splitlines()
        return [Mark(**json.loads(line)) for line in lines]

    def started(self):
        """Marks of the workers that wait at the gate, or have."""
        return [mark for mark in self.all() if mark.what == "start"]

    def begun(self):
        return [mark.unit for mark in self.all() if mark.what == "begin"]

    def ended(self):
        return [mark.unit for mark in self.all() if mark.what == "end"]

    def at_work(self):
        """Last marks of the processes that are alive and in the middle of a unit."""
        last = {mark.pid: mark for mark in self.all()}
        return [mark for pid, mark in last.items() if mark.what == "begin" and Path(f"/proc/{pid}").exists()]

    def wait_for_work(self, accept=lambda mark: True, seconds=300):
        """The mark of a process that is at work now; the newest, so that it stays at it for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = [mark for mark in self.at_work() if accept(mark)]
            if found:
                return max(found, key=lambda mark: mark.time)
            time.sleep(0.01)
        raise AssertionError("no worker was at work")

    def stop_at_work(self, accept=lambda mark: True):
        """Stop a process in the middle of a unit (SIGSTOP), so that it cannot end it; its mark."""
        while True:
            mark = self.wait_for_work(accept)
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(mark.pid)
                process.suspend()
                while (status := process.status()) not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                    time.sleep(0.01)
                if status == psutil.STATUS_STOPPED and mark in self.at_work():
                    return mark
                process.resume()

    def wait_for_workers(self, count, seconds=300):
        """Until so many have left their first mark, at the gate."""
        deadline = time.monotonic() + seconds
        while len(self.started()) < count:
            assert time.monotonic() < deadline, f"{len(self.started())} of {count} workers started"
            time.sleep(0.05)

    def wait_for_end(self, seconds=180):
        """Until the processes that left marks are gone: to be between two units is not to have ended."""
        deadline = time.monotonic() + seconds
        while any(Path(f"/proc/{mark.pid}").exists() for mark in self.all()):
            assert time.monotonic() < deadline, "workers outlive their driver"
            time.sleep(0.05)


def leave_marks(file, *, seconds=0.0, tickets=None, gate=None):
    """Let ``workers.featurize`` use workers that leave marks; for the process that hands out work.

    Args:
        file: see :class:`Marks`.
        seconds: that a unit takes longer than it would, so that faults find it at work.
        tickets: directory of the places in the writing of a chunk where a worker waits to be killed;
            see :func:`pause_while_writing`.
        gate: a file that workers wait for as they start; they leave a mark before.
    """
    paths = [None if path is None else str(path) for path in (tickets, gate)]
    workers.featurize.Featurizer = _marked(str(file), seconds, *paths)


@contextlib.contextmanager
def marks_left(*arguments, **options):
    """The same for the time of a block."""
    leave_marks(*arguments, **options)
    try:
        yield
    finally:
        workers.featurize.Featurizer = Featurizer


def _marked(file, seconds, tickets, gate):
    # Defined in a function, so that Ray ships the class itself.
    class MarkedFeaturizer(Featurizer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            import ray

            self.node = ray.get_runtime_context().get_node_id()
            if tickets is not None:
                pause_while_writing(Path(tickets))
            if gate is not None:
                self.mark("start", -1)
                while not Path(gate).exists():
                    time.sleep(0.05)

        def featurize(self, unit, *arguments):
            self.mark("begin", unit)
            time.sleep(seconds)
            super().featurize(unit, *arguments)
            self.mark("end", unit)

        def mark(self, what, unit):
            mark = {"what": what, "unit": unit, "pid": os.getpid(), "node": self.node, "time": time.time()}
            with Path(file).open("a") as marks:  # one write of a line is never mixed with another's
                marks.write(json.dumps(mark) + "\n")

    return MarkedFeaturizer


STAGES = ("nothing written", "half written", "written", "in place")


def pause_while_writing(tickets):
    """Make this process wait at a place in the writing of a chunk, wherever it finds a ticket for it.

    A chunk is written under a temporary name and then renamed: the places are around the renaming, and
    the file is cut to what would have been written before. Whoever takes a ticket renames it to
    "STAGE@UNIT@PID"; no unit waits twice, since a unit that loses its worker again and again is given up.
    """
    rename = os.replace

    def replace(source, target, **options):
        target = Path(target)
        is_chunk = str(source).endswith(".partial") and target.parent.parent.name == "c"
        ticket = _take_ticket(tickets, target.parent.name) if is_chunk else None
        if ticket is None:
            return rename(source, target, **options)
        stage = ticket.name.split("@")[0]
        if stage == "in place":
            rename(source, target, **options)
        elif stage != "written":
            os.truncate(source, Path(source).stat().st_size // 2 if stage == "half written" else 0)
        ticket.rename(ticket.with_suffix(""))
        time.sleep(300)  # to be killed here
        raise AssertionError("nobody came")

    os.replace = replace


def _take_ticket(tickets, unit):
    if list(tickets.glob(f"*@{unit}@*")):
        return None
    for stage in STAGES:
        with contextlib.suppress(FileNotFoundError):
            return (tickets / stage).rename(tickets / f"{stage}@{unit}@{os.getpid()}.draft")
    return None
