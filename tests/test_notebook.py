"""The runner and the session of a notebook: what it refuses, what it believes, what it removes."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from co3course import runner
from co3course.metrics import ClassResult, Result, class_result, mean_precisions, photo_results, precision_table
from co3course.runner import NotebookError, check_parameters, errors, read_result, run_notebook
from co3course.session import Parameters, PhotoParameters, load_classes, set_up, write_result
from co3lib import files
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.datasets.export import PhotoResult
from co3lib.instance import Instance

PARAMETERS = 'profile: str = "smoke"  # a comment\noutput: str = "."\nseed: int = 0\nrate: float = 0.5'
WRITE = """
import sys, time
from pathlib import Path
from co3course.metrics import *
from co3course.session import *
from co3lib.config import CoSegConfig
run = Run(Parameters(profile=profile, output=output, seed=seed), Path(output), time.perf_counter())
(run.output / "made.txt").write_text(sys.executable)
precisions = {"0.25": 1.0, "0.5": rate, "0.75": None}
write_result(run, data="nothing", synthetic=True, config=CoSegConfig(), weights_sha256="0" * 64,
             classes={"cat": ClassResult(photos=1, instances=2, found=3, average_precision=precisions)},
             files=[run.output / "made.txt"])
"""
NOTHING = {"0.25": None, "0.5": None, "0.75": None}
LONG = 300  # seconds, for what takes one or two: a busy machine starts and ends kernels slowly


def make(path: Path, *cells: str) -> Path:
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[parameters, *(nbformat.v4.new_code_cell(cell) for cell in cells)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


def result(**changes) -> Result:
    one = ClassResult(photos=1, instances=1, found=1, average_precision=NOTHING)
    values = {
        "profile": "smoke",
        "data": "x",
        "synthetic": False,
        "seed": 0,
        "seconds": 1.0,
        "config": CoSegConfig(),
        "weights_sha256": "0" * 64,
        "versions": {},
        "classes": {"cat": one},
        "mean_average_precision": NOTHING,
        "files": [],
    }
    return Result(**(values | changes))


# ------------------------------------------------------------------------------------------------ whole runs


def test_run_leaves_everything_with_this_interpreter(tmp_path, monkeypatch):
    # A kernel of the same name that the user installed must not be taken, whatever the user's settings say.
    shadow = tmp_path / "user" / "kernels" / "python3"
    shadow.mkdir(parents=True)
    (shadow / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    path, output = make(tmp_path / "good.ipynb", WRITE), tmp_path / "out"
    before = path.read_bytes()
    found = run_notebook(path, output, {"seed": "3", "rate": "0.25"}, timeout=LONG)
    assert (found.seed, found.mean_average_precision["0.5"], found.files) == (3, 0.25, ["made.txt"])
    assert Path((output / "made.txt").read_text()).resolve() == Path(sys.executable).resolve()
    assert Path((output / "made.txt").read_text()).parent == Path(sys.executable).parent
    assert sorted(os.listdir(output)) == ["good.html", "good.ipynb", "made.txt", "metrics.json"]
    assert "<html" in (output / "good.html").read_text(encoding="utf-8")
    assert path.read_bytes() == before


def test_a_failing_cell_is_named_and_nothing_of_an_earlier_run_stays(tmp_path, capsys):
    path, output = make(tmp_path / "bad.ipynb", "raise KeyError('the reason')"), tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("not ours")
    (output / "old.txt").write_text("of an earlier run")
    (output / "metrics.json").write_text(result(files=["old.txt"]).model_dump_json())
    assert runner.main([str(path), "--output", str(output)]) == 1
    # papermill puts a note above the failed cell, so the cell is the third or the fourth
    assert "KeyError: 'the reason'" in capsys.readouterr().err
    assert sorted(os.listdir(output)) == ["bad.ipynb", "mine.txt"]


# --------------------------------------------------------------- without a kernel: papermill is stood in for


def stand_in(monkeypatch, *outcomes):
    """Each call of papermill takes the next outcome: a function of the output notebook's path, or a
    message."""
    calls = []

    def run(command, **_):
        outcome = outcomes[len(calls)]
        calls.append(command)
        executed = Path(command[4])
        if callable(outcome):
            executed.write_text(nbformat.writes(nbformat.v4.new_notebook()))
            outcome(executed)
        return subprocess.CompletedProcess(
            command, 0 if callable(outcome) else 1, "", "" if callable(outcome) else outcome
        )

    monkeypatch.setattr(runner.subprocess, "run", run)
    return calls


def good(executed):
    (executed.parent / "metrics.json").write_text(result().model_dump_json())


def widget_error(executed):
    good(executed)
    outputs = [{"output_type": "error", "ename": "ValueError", "evalue": "hidden", "traceback": []}]
    book = nbformat.v4.new_notebook()
    book.metadata.widgets = {
        "application/vnd.jupyter.widget-state+json": {"state": {"a": {"state": {"outputs": outputs}}}}
    }
    executed.write_text(nbformat.writes(book))


def undrawn_figure(executed):
    good(executed)
    state = {"value": '<p role="alert" class="co3-error">Error displaying this figure at k = 1: KeyError: x &gt; y</p>'}
    book = nbformat.v4.new_notebook()
    book.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {"state": state}}}}
    executed.write_text(nbformat.writes(book))


def test_one_retry_when_the_kernel_dies_while_starting(tmp_path, monkeypatch):
    died = "RuntimeError: Kernel died before replying to kernel_info"
    calls = stand_in(monkeypatch, died, good)
    run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out")
    assert len(calls) == 2
    calls = stand_in(monkeypatch, died, died, good)
    with pytest.raises(NotebookError, match="Kernel died before replying"):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "out")
    assert len(calls) == 2
    calls = stand_in(monkeypatch, "nbclient.exceptions.DeadKernelError: Kernel died", good)
    with pytest.raises(NotebookError, match="Kernel died"):
        run_notebook(tmp_path / "a.ipynb", tmp_path / "out")
    assert len(calls) == 1


@pytest.mark.parametrize(
    "outcome, message",
    [
        (lambda executed: None, "ended without writing .*metrics.json"),
        (
            lambda executed: (executed.parent / "metrics.json").write_text('{"profile": "smo'),
            "not a valid result",
        ),
        (lambda executed: (executed.parent / "metrics.json").write_text("{}"), "not a valid result: profile"),
        (widget_error, "an error in a widget: ValueError: hidden"),
        (undrawn_figure, "an error in a widget: Error displaying this figure at k = 1: KeyError: x > y"),
    ],
)
def test_exit_code_0_is_not_enough(tmp_path, monkeypatch, outcome, message):
    stand_in(monkeypatch, outcome)
    with pytest.raises(NotebookError, match=message):
        run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out")


def test_a_result_that_names_a_missing_file_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text(result(files=["overlays/a.png"]).model_dump_json())
    with pytest.raises(NotebookError, match=r"names overlays/a\.png"):
        read_result(tmp_path)


def test_an_old_result_is_not_taken_for_a_new_one(tmp_path, monkeypatch):
    output = tmp_path / "out"
    output.mkdir()
    (output / "metrics.json").write_text(result().model_dump_json())
    stand_in(monkeypatch, lambda executed: None)
    with pytest.raises(NotebookError, match="without writing"):
        run_notebook(make(tmp_path / "a.ipynb"), output)


def test_timeout(tmp_path, monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(runner.subprocess, "run", run)
    with pytest.raises(NotebookError, match="did not end within 5 s"):
        run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out", timeout=5)


# ---------------------------------------------------------------------------------------- what is not the run's stays


@pytest.mark.parametrize("spelt", [".", "", "./", "../here", "{folder}", "{link}"])
def test_the_notebooks_own_folder_is_no_output(tmp_path, monkeypatch, capsys, spelt):
    calls = stand_in(monkeypatch, good)
    folder = tmp_path / "here"
    folder.mkdir()
    path = make(folder / "a.ipynb")
    (folder / "a.html").write_text("mine")
    (tmp_path / "link").symlink_to(folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.chdir(folder)
    spelt = spelt.format(folder=folder, link=tmp_path / "link")
    assert runner.main([str(path), "--output", spelt]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "output must be" in said and not calls
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with pytest.raises(ValueError, match="output must be"):
        run_notebook("a.ipynb", spelt)


def test_a_linked_notebook_has_two_folders_of_its_own(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, good)
    for name in ("real", "links"):
        (tmp_path / name).mkdir()
    path = make(tmp_path / "real" / "a.ipynb")
    (tmp_path / "links" / "a.ipynb").symlink_to(path)
    for output in (tmp_path / "real", tmp_path / "links"):
        with pytest.raises(ValueError, match="must be another folder than the notebook's own"):
            run_notebook(tmp_path / "links" / "a.ipynb", output)
    assert path.is_file() and (tmp_path / "links" / "a.ipynb").is_symlink() and not calls


@pytest.mark.parametrize("name", ["a.ipynb", "a.html", "metrics.json"])
@pytest.mark.parametrize("linked", [False, True])
def test_files_that_no_run_has_written_are_never_removed(tmp_path, monkeypatch, name, linked):
    calls = stand_in(monkeypatch, good)
    path, output = make(tmp_path / "a.ipynb"), tmp_path / "out"
    output.mkdir()
    mine = output / name
    text = path.read_text() if name == "a.ipynb" else '{"files": ["other.txt"]}'
    (tmp_path / "elsewhere" if linked else mine).write_text(text)
    if linked:
        mine.symlink_to(tmp_path / "elsewhere")
    (output / "other.txt").write_text("mine, too")
    with pytest.raises(ValueError, match=f"{name} is in the way: no earlier run is known to have written it") as error:
        run_notebook(path, output)
    assert mine.read_text() == text and mine.is_symlink() == linked and "\n" not in str(error.value)
    assert (output / "other.txt").read_text() == "mine, too" and not calls


def test_a_run_may_be_repeated_into_its_folder(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, good, "E: the reason", good, good)
    path, output = make(tmp_path / "a.ipynb"), tmp_path / "out"
    run_notebook(path, output)
    with pytest.raises(NotebookError, match="the reason"):
        run_notebook(path, output)
    assert not os.listdir(output)
    run_notebook(path, output)
    (output / "a.ipynb").unlink()  # its page alone still says whose it is
    run_notebook(path, output)
    assert len(calls) == 4 and sorted(os.listdir(output)) == ["a.html", "a.ipynb", "metrics.json"]


def test_what_an_unfinished_run_left_is_not_beside_the_next(tmp_path):
    output = tmp_path / "out"
    first = set_up(Parameters(output=str(output)))
    for name in ("overlays/old.png", "results.json", "overlays/never_written.png"):
        path = first.file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the first run") if "never" not in name else None
    (output / "overlays" / "mine.png").write_text("mine")
    second = set_up(Parameters(output=str(output)))  # the first was killed before it could write its metrics
    assert (output / "overlays" / "old.png").exists()  # until there is something new
    (path := second.file("overlays/new.png")).write_text("of the second run")
    assert (output / "overlays" / "old.png").exists()
    killed = set_up(Parameters(output=str(output)))  # and so was the second; this one makes one file, and is killed too
    killed.file("b.txt").write_text("of the third run")
    second = set_up(Parameters(output=str(output)))
    (path := second.file("overlays/new.png")).write_text("of the last run")
    (output / "made.txt").write_text("of the last run")
    write_result(second, data="x", synthetic=True, numbers={"n": 1}, files=[output / "made.txt"])
    left = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert left == {"metrics.json", "made.txt", "overlays/mine.png", "overlays/new.png"}
    assert read_result(output).files == ["made.txt", "overlays/new.png"]
    third = set_up(Parameters(output=str(output)))  # of a finished run, too
    write_result(third, data="x", synthetic=True, numbers={"n": 1}, files=[output / "made.txt"])
    assert sorted(os.listdir(output / "overlays")) == ["mine.png"] and (output / "made.txt").exists()
    third = set_up(Parameters(output=str(output)))
    with pytest.raises(ValueError, match=r"mine\.png is in the way"):
        third.file("overlays/mine.png")
    assert (output / "overlays" / "mine.png").read_text() == "mine"
    assert third.file("a.txt") == third.file("a.txt") == output / "a.txt"


def test_pictures_of_an_earlier_run_are_not_removed_where_they_are_the_photos(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, good)
    output = tmp_path / "out"
    (output / "overlays").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 3)).save(output / "overlays" / name)
    (output / "metrics.json").write_text(result(files=["overlays/a.png", "overlays/b.png"]).model_dump_json())
    path = make(tmp_path / "a.ipynb")
    book = nbformat.read(path, 4)
    book.cells[0].source += '\nphotos: str = ""'
    nbformat.write(book, path)
    for attempt in (
        lambda photos: run_notebook(path, output, {"photos": photos}),
        lambda photos: set_up(PhotoParameters(output=str(output), photos=photos)),
    ):
        with pytest.raises(ValueError, match="photos must be no folder that an earlier run wrote"):
            attempt(str(output / "overlays"))
    assert sorted(os.listdir(output / "overlays")) == ["a.png", "b.png"] and not calls


def test_a_damaged_record_removes_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out" / ".unfinished.json").write_text('["../mine.txt"]')
    run = set_up(Parameters(output=str(tmp_path / "out")))
    run.file("a.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    for outside in ("../mine.txt", str(tmp_path / "mine.txt"), ""):
        with pytest.raises(ValueError, match="must be a path inside"):
            run.file(outside)


# ------------------------------------------------------------------------------------ names, folders and full disks

NAME = "\U0001f408 {cat} {} $HOME `x` %20 #1 \U00020bb7 é 'q' back\\slash"


def test_any_name_can_be_in_any_path(tmp_path, monkeypatch):
    folder = tmp_path / NAME
    folder.mkdir()
    output = folder / f"out {NAME}"
    cell = f"from pathlib import Path\nassert Path(output).name == {output.name!a} and rate == 1e-05, (output, rate)\n"
    path = make(folder / f"{NAME}.ipynb", cell + WRITE.replace("made.txt", NAME.replace("\\", "\\\\")))
    found = run_notebook(path, output, {"rate": "1e-05"}, timeout=LONG)
    assert found.files == [NAME] and found.mean_average_precision["0.5"] == 1e-05
    assert sorted(os.listdir(output)) == sorted([NAME, f"{NAME}.ipynb", f"{NAME}.html", "metrics.json"])
    monkeypatch.chdir(folder)
    again = run_notebook(f"{NAME}.ipynb", output.name, {"rate": 1e-05}, timeout=LONG)  # by relative paths
    assert again.files == [NAME]


@pytest.mark.parametrize("wrong", ["", "  ", "a\udcff", "a\0b", "~nobody_of_this_name/x"])
def test_what_can_be_no_path_is_refused_before_anything_runs(tmp_path, monkeypatch, wrong):
    calls = stand_in(monkeypatch, good)
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path / "a.ipynb")
    for attempt in (
        lambda: run_notebook(path, wrong),
        lambda: run_notebook(wrong, "out"),
        lambda: set_up(Parameters(output=wrong)),
    ):
        with pytest.raises(ValueError, match=r"must be a path|at least 1 character|valid string"):
            attempt()
    assert os.listdir(tmp_path) == ["a.ipynb"] and not calls


def test_a_tilde_is_the_home_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, good)
    (tmp_path / "home").mkdir()
    make(tmp_path / "home" / "a.ipynb")
    run_notebook("~/a.ipynb", "~/out")
    assert set_up(Parameters(output="~/here")).output == tmp_path / "home" / "here"
    assert sorted(os.listdir(tmp_path / "home")) == ["a.ipynb", "here", "out"] and os.listdir(tmp_path) == ["home"]


def test_an_output_that_nothing_can_be_written_to_is_one_sentence(tmp_path, monkeypatch, capsys):
    calls = stand_in(monkeypatch, good)
    path = make(tmp_path / "a.ipynb")
    (tmp_path / "file").write_text("mine")
    for wrong, said in ((tmp_path / "file", "which is a file"), (tmp_path / "file" / "x", "Not a directory")):
        assert runner.main([str(path), "--output", str(wrong)]) == 1
        text = capsys.readouterr().err
        assert said in text and "output must be a folder" in text and text.count("\n") == 1
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="must be a folder that can be written to"):
        run_notebook(path, tmp_path / "out")
    assert not calls and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("torn", ["", '{"cells": [{"cell_ty'])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path, monkeypatch, torn):
    def run(command, **_):
        Path(command[4]).write_text(torn)
        said = "Traceback\nOSError: [Errno 28] No space left on device"
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(runner.subprocess, "run", run)
    with pytest.raises(NotebookError, match=r"a\.ipynb failed: OSError: \[Errno 28\] No space left on device$"):
        run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out")
    assert not os.listdir(tmp_path / "out")


def test_a_disk_that_is_full_at_the_end_keeps_the_old_and_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def full(self, text, encoding):
        self.write_bytes(text.encode()[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"):
        files.write_text(tmp_path / "a.txt", "new text")
    assert (tmp_path / "a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_terminal_without_the_characters_does_not_stop_a_run(tmp_path, monkeypatch):
    stand_in(monkeypatch, good)
    path = make(tmp_path / "\U0001f408.ipynb")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert runner.main([str(path), "--output", str(tmp_path / "out\xe9")]) == 0
    terminal.flush()
    assert b"\\U0001f408.ipynb" in terminal.buffer.getvalue()


def test_what_is_no_notebook_is_one_sentence(tmp_path):
    for text in ("not JSON", "{}", "[]"):
        (tmp_path / "a.ipynb").write_text(text)
        with pytest.raises(ValueError, match=r"a\.ipynb is not a notebook that can be read") as error:
            run_notebook(tmp_path / "a.ipynb", tmp_path / "out")
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------- nothing runs on

# Longer than the tests wait, so that a kernel that is still there has not been ended.
SLEEP = """
import os, time
open(os.path.join(output, "pids.txt"), "w").write(f"{os.getpid()} {os.getppid()}")
os.rename(os.path.join(output, "pids.txt"), os.path.join(output, "pids"))
time.sleep(900)
"""


def pids_in(output: Path) -> list[int]:
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if (output / "pids").exists():
            return [int(word) for word in (output / "pids").read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the notebook did not start")


def ended(pids: list[int]) -> bool:
    def runs(pid):
        return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

    until = time.monotonic() + LONG
    while time.monotonic() < until and any(map(runs, pids)):
        time.sleep(0.05)
    return not any(map(runs, pids))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_kernel_and_papermill_end_with_the_command(tmp_path, how):
    path, output = make(tmp_path / "a.ipynb", SLEEP), tmp_path / "out"
    command = [sys.executable, "-m", "co3course.runner", str(path), "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            kernel, papermill = pids_in(output)
            process.send_signal(how)
            process.wait(LONG)
        finally:
            process.kill()
    assert papermill != process.pid and ended([kernel, papermill])


def test_kernel_and_papermill_end_with_the_time(tmp_path, monkeypatch):
    timers = []

    class Noted(threading.Timer):
        def __init__(self, *arguments):
            timers.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(runner.threading, "Timer", Noted)
    path, output = make(tmp_path / "a.ipynb", SLEEP), tmp_path / "out"
    with ThreadPoolExecutor() as pool:
        run = pool.submit(run_notebook, path, output, timeout=3600)
        pids = pids_in(output)
        timers[0].function()  # as if the time were over
        with pytest.raises(NotebookError, match="did not end within 3600 s"):
            run.result(LONG)
    assert ended(pids) and not list(output.glob(".co3*"))


# ------------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"sede": 1}, "no parameter 'sede'; it has: profile, output, seed, rate"),
        ({"seed": "one"}, "seed of a.ipynb must be of type int, got 'one'"),
        ({"seed": 0.5}, "must be of type int"),
        ({"rate": "fast"}, "must be of type float"),
        ({"profile": 3}, "must be of type str"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(tmp_path, monkeypatch, parameters, message):
    calls = stand_in(monkeypatch, good)
    with pytest.raises(ValueError, match=message):
        run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out", parameters)
    assert not calls and not (tmp_path / "out").exists()


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ipynb is not a notebook"):
        check_parameters(tmp_path / "none.ipynb", {})


@pytest.mark.parametrize(
    "wrong", [{"profile": "fast"}, {"seed": -1}, {"seed": "1"}, {"output": ""}, {"epochs": 3}]
)
def test_the_model_in_the_notebook_is_strict(wrong):
    with pytest.raises(ValidationError):
        Parameters(**({"output": "x"} | wrong))


def test_photos_must_be_a_folder(tmp_path):
    with pytest.raises(ValidationError, match="photos must be a folder"):
        PhotoParameters(output="x", photos=str(tmp_path / "none"))
    assert PhotoParameters(output="x", photos=str(tmp_path)).photos == str(tmp_path)


# ---------------------------------------------------------------------------------------- set-up and results


def test_set_up_makes_runs_repeatable(tmp_path):
    draws = []
    for _ in range(2):
        run = set_up(Parameters(output=str(tmp_path / "a" / "b"), seed=7))
        draws.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert draws[0] == draws[1] and run.output.is_dir()


def test_own_photos_are_one_class_without_masks(tmp_path):
    folder = tmp_path / "my dogs"
    folder.mkdir()
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        Image.new("RGB", (4, 3)).save(folder / name, format="PNG")
    classes = load_classes(PhotoParameters(output="x", photos=str(folder)), "cat")
    assert {name: [sample.name for sample in samples] for name, samples in classes.items()} == {
        "my dogs": ["a.png", "b.JPG"]
    }
    assert classes["my dogs"][0].image.shape == (3, 4, 3)
    assert classes["my dogs"][0].masks.shape == (0, 3, 4)
    (folder / "a.png").unlink()
    with pytest.raises(ValueError, match=r"at least two photos, got .*my dogs with 1"):
        load_classes(PhotoParameters(output="x", photos=str(folder)), "cat")


def test_photo_results_know_the_truth_where_there_are_masks(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg")
    Image.new("L", (4, 3), 255).save(tmp_path / "m.png")
    known = Sample("a", "cat", tmp_path / "a.jpg", (tmp_path / "m.png",))
    unknown = Sample("a", "cat", tmp_path / "a.jpg", ())
    one = instance(np.ones((3, 4), bool), 0.5)
    photos = photo_results([known, unknown], [[one], []])
    assert [photo.size for photo in photos] == [(3, 4)] * 2 and photos[0].name == "a.jpg"
    assert photos[0].truth.all() and photos[1].truth is None
    assert class_result(photos[:1]).average_precision["0.75"] == 1
    assert class_result(photos).average_precision == NOTHING
    table = precision_table({"cat": class_result(photos[:1])})
    assert table.loc["cat", "AP at IoU 0.5"] == 1 and table.loc["cat", "found"] == 1


def test_the_bundled_photos_by_profile():
    smoke = load_classes(PhotoParameters(output="x"), "cat")
    full = load_classes(PhotoParameters(output="x", profile="full"), "cat")
    assert list(smoke) == ["cat"] and len(full) > 1 and full["cat"][:6] == smoke["cat"]


def test_write_result_is_read_back(tmp_path):
    run = set_up(Parameters(output=str(tmp_path), seed=2))
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "a.png").write_bytes(b"")
    written = write_result(
        run, data="x", synthetic=True, config=CoSegConfig(size=224), weights_sha256="a" * 64,
        classes={"cat": ClassResult(photos=1, instances=0, found=0, average_precision=NOTHING)},
        files=[tmp_path / "overlays" / "a.png"],
    )  # fmt: skip
    read = read_result(tmp_path)
    assert read == written
    assert (read.seed, read.config.size, read.files) == (2, 224, ["overlays/a.png"])
    assert {"python", "torch", "timm", "co3lib"} <= set(read.versions)


def test_a_result_may_be_numbers_without_classes(tmp_path, capsys):
    run = set_up(Parameters(output=str(tmp_path)))
    written = write_result(run, data="x", synthetic=True, numbers={"loss": np.float32(0.25), "peaks": torch.tensor(3)})
    read = read_result(tmp_path)
    assert read == written and read.numbers == {"loss": 0.25, "peaks": 3.0}
    assert (read.config, read.weights_sha256, read.classes, read.mean_average_precision) == (None, None, {}, {})
    report = runner._report(read, tmp_path / "a.ipynb")
    assert "loss 0.25" in report and "synthetic data" in report and "mAP" not in report


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": {}, "numbers": {}}, "at least one class or one number"),
        ({"config": None}, "with which config and weights_sha256"),
        ({"weights_sha256": None}, "with which config and weights_sha256"),
        ({"numbers": {"loss": float("nan")}}, "finite"),
        ({"numbers": {"loss": float("inf")}}, "finite"),
    ],
)
def test_a_result_that_says_nothing_or_half_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        result(**changes)


def instance(mask, score):
    return Instance(mask, score, (0, 0), (0, 0, 1, 1))


def found(*instances, truth=None):
    return PhotoResult("a.jpg", "cat", (4, 4), instances, truth)


def test_class_results_and_their_mean():
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, :2], truth[1, 0, 2:] = True, True
    right, wrong = truth[0, 0].numpy(), ~truth[0, 0].numpy()
    half = right.copy()
    half[:, 2:] = False  # IoU 0.5, which is not above 0.5
    cat = class_result(
        [found(instance(wrong, 0.1), instance(right, 0.9), truth=truth[0]), found(truth=truth[1])]
    )
    assert cat == ClassResult(photos=2, instances=2, found=2, average_precision=dict.fromkeys(NOTHING, 0.5))
    dog = class_result([found(instance(half, 0.9), truth=truth[0])])
    assert dog.average_precision == {"0.25": 1, "0.5": 0, "0.75": 0}
    assert mean_precisions({"cat": cat, "dog": dog}) == {"0.25": 0.75, "0.5": 0.25, "0.75": 0.25}
    own = class_result([found(instance(half, 0.9))])
    assert own == ClassResult(photos=1, instances=0, found=1, average_precision=NOTHING)
    assert mean_precisions({"own": own}) == NOTHING
    assert mean_precisions({"cat": cat, "own": own})["0.5"] == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"files": ["../a"]}, {"files": ["/a"]}, {"weights_sha256": "0"}, {"classes": {}}, {"extra": 1},
     {"mean_average_precision": {"0.3": 0.1}}, {"mean_average_precision": {"0.5": 1.1}}],
)  # fmt: skip
def test_results_are_validated(wrong):
    with pytest.raises(ValidationError):
        result(**wrong)


def test_errors_are_found_in_cells():
    output = nbformat.v4.new_output("error", ename="E", evalue="two\n  lines", traceback=[])
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("x"), nbformat.v4.new_code_cell(outputs=[output])]
    )
    assert list(errors(book)) == [("cell 2", "E: two lines")]
