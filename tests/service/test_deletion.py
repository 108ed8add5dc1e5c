"""What is deleted is gone as a whole, also when the process that deletes it is killed."""

import os
import signal
import subprocess
import sys

from service.deletion import delete_directory, delete_leftovers
from tests.repository import ROOT


def test_a_directory_goes_with_all_that_is_in_it_and_others_stay(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_text("x")
    delete_directory(tmp_path / "one")
    assert [p.name for p in tmp_path.iterdir()] == ["other"]
    assert (tmp_path / "other/deep/file").is_file()


def test_what_a_killed_process_leaves_has_no_name_of_before(tmp_path):
    (tmp_path / "one").mkdir()
    for name in "ab":
        (tmp_path / "one" / name).write_text("x")
    code = f"""
import os, signal
from pathlib import Path
from service import deletion
def killed_after_the_first_file(directory, **_):
    next(directory.iterdir()).unlink()
    os.kill(os.getpid(), signal.SIGKILL)
deletion.shutil.rmtree = killed_after_the_first_file
deletion.delete_directory(Path({str(tmp_path / "one")!r}))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".deleted-one-")
    assert len(list(left.iterdir())) == 1
    delete_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    delete_leftovers(tmp_path / "never made")
