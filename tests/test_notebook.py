"""co3lib.notebook: what it refuses, what it believes, what it removes."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from co3lib import notebook
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.export import PhotoResult
from co3lib.notebook import (
    ClassResult,
    NotebookError,
    Parameters,
    PhotoParameters,
    Result,
    check_parameters,
    class_result,
    errors,
    load_classes,
    mean_precisions,
    photo_results,
    precision_table,
    read_result,
    run_notebook,
    set_up,
    write_result,
)
from co3lib.ranking import Instance

PARAMETERS = 'profile: str = "smoke"  # a comment\noutput: str = "."\nseed: int = 0\nrate: float = 0.5'
WRITE = """
from co3lib.notebook import *
from co3lib.notebook import Run
run = Run(Parameters(profile=profile, output=output, seed=seed), Path(output), time.perf_counter())
(run.output / "made.txt").write_text(sys.executable)
precisions = {"0.25": 1.0, "0.5": rate, "0.75": None}
write_result(run, data="nothing", synthetic=True, config=CoSegConfig(), weights_sha256="0" * 64,
             classes={"cat": ClassResult(photos=1, instances=2, found=3, average_precision=precisions)},
             files=[run.output / "made.txt"])
"""
NOTHING = {"0.25": None, "0.5": None, "0.75": None}


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
    found = run_notebook(path, output, {"seed": "3", "rate": "0.25"}, timeout=120)
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
    assert notebook.main([str(path), "--output", str(output)]) == 1
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

    monkeypatch.setattr(notebook.subprocess, "run", run)
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

    monkeypatch.setattr(notebook.subprocess, "run", run)
    with pytest.raises(NotebookError, match="did not end within 5 s"):
        run_notebook(make(tmp_path / "a.ipynb"), tmp_path / "out", timeout=5)


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
    report = notebook._report(read, tmp_path / "a.ipynb")
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
