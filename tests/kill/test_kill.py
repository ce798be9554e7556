"""A handful of the kills of ``make kill``, and that the harness finds what it is there to find."""

import random
import subprocess
import sys

import pytest
from kill import ROOT, TARGETS, contents, run_killed, snapshot, survive


# A folder's segmenting fits; a sweep makes experiments; several notebooks are one after another.
@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"fit", "experiment", "notebooks"}))
def test_killed_runs_come_to_the_same_result(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    survive(name, 1, tmp_path, random.Random(name))


def test_a_process_that_runs_on_is_found(monkeypatch):
    monkeypatch.setattr("kill.ENDED", 0.5)
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(20)'])"
    with pytest.raises(AssertionError, match="still running"):
        run_killed([sys.executable, "-c", child], 2)


def test_torn_and_left_over_files_are_found(tmp_path):
    (tmp_path / ".co3-1-00000000-x.part").write_text("")
    assert snapshot(tmp_path, parts=True) == {}
    with pytest.raises(AssertionError, match="is left over"):
        snapshot(tmp_path, parts=False)
    for name, text in (("a.json", "{"), ("b.html", "<html>"), ("c.png", "\x89PNG"), ("d.safetensors", "x"), ("e.ipynb", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(Exception):  # noqa: B017  (each reader's own)
            contents(tmp_path / name)


def test_the_command_says_what_it_did():
    done = subprocess.run([sys.executable, "tests/kill/kill.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "demo_set" in done.stdout
