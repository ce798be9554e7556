"""The runner of notebooks: what it refuses, what it believes, what it removes."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nbformat
import psutil
import pytest
from example_result import result
from PIL import Image

from co3course import runner
from co3course.runner import NotebookError, check_parameters, errors, read_result, run_notebook
from co3course.session import Parameters, PhotoParameters, set_up, write_result
from co3lib import files

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
LONG = 300  # seconds, for what takes one or two: a busy machine starts and ends kernels slowly


def make(path: Path, *cells: str) -> Path:
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[parameters, *(nbformat.v4.new_code_cell(cell) for cell in cells)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


# ------------------------------------------------------------------------------------------------ whole runs


def test_run_leaves_everything_with_this_interpreter(tmp_path, monkeypatch):
    # A kernel of the same name that the user installed must not be taken, whatever the user's settings say.
    shadow = tmp_path / "user" / "kernels" / "python3"
    shadow.mkdir(parents=True)
    (shadow / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
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
        return subprocess.CompletedProcess(command, 0 if callable(outcome) else 1, "", "" if callable(outcome) else outcome)

    monkeypatch.setattr(runner.subprocess, "run", run)
    return calls


def good(executed):
    (executed.parent / "metrics.json").write_text(result().model_dump_json())


def widget_error(executed):
    good(executed)
    outputs = [{"output_type": "error", "ename": "ValueError", "evalue": "hidden", "traceback": []}]
    book = nbformat.v4.new_notebook()
    book.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {"state": {"outputs": outputs}}}}}
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
    # Where the tests themselves run under nohup, which hands on that SIGHUP is ignored.
    heard = partial(signal.signal, how, signal.SIG_DFL) if how != signal.SIGKILL else None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=heard) as process:
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


# ------------------------------------------------------------------------------------------------ errors


def test_errors_are_found_in_cells():
    output = nbformat.v4.new_output("error", ename="E", evalue="two\n  lines", traceback=[])
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("x"), nbformat.v4.new_code_cell(outputs=[output])])
    assert list(errors(book)) == [("cell 2", "E: two lines")]


def test_commands_spare_a_grammar_and_still_know_what_a_notebook_is():
    code = (
        "import sys\nfrom co3course.headless import spare_grammar\nspare_grammar()\nimport nbformat\n"
        "nbformat.validate(nbformat.v4.new_notebook())\n"
        "assert not any(name.split('.')[0] == 'rfc3987_syntax' and module for name, module in sys.modules.items())\n"
        "try:\n    nbformat.validate({'nbformat': 4, 'nbformat_minor': 5, 'metadata': 3, 'cells': []})\n"
        "except nbformat.ValidationError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr
