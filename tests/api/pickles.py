"""What processes unpickle, as the interpreter itself tells.

Those of a server do send each other pickles through pipes, and numba keeps its compiled code so: these are
told apart by the file of the code that loads them. None of them may name the global of a planted pickle.
"""

import contextlib
import os
import re
from pathlib import Path

import pytest

from tests.api.conftest import ROOT

LISTENING = Path(__file__).with_name("listening")
PIPES_AND_CODE = re.compile(r"/(multiprocessing|concurrent/futures|numba|ray|cloudpickle)/")


class Evil:
    """Loading it would make a directory."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@contextlib.contextmanager
def noting_pickles(log):
    """For the processes that are started meanwhile, and those that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{LISTENING}{os.pathsep}{ROOT}")
        patch.setenv("PICKLE_LOG", str(log))
        yield


def heard(log):
    """(global, loading file) of each pickled global so far."""
    return [line.rsplit(" ", 1) for line in log.read_text().splitlines()]


def own(pair):
    """Whether a global was named by a pickle of the processes themselves."""
    return PIPES_AND_CODE.search(pair[1]) is not None
