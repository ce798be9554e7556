"""co3course.run_all: runs go on after a failure, and what is to be run is never written over."""

import re
from pathlib import Path

import nbformat
import pytest

from co3course import run_all
from co3course.runner import NotebookError


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder of three notebooks and a solution; the one called bad fails; no kernel is started."""
    folder = tmp_path / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    for name in ("00_a", "01_b", "02_bad", "solutions/01_b_solutions"):
        nbformat.write(nbformat.v4.new_notebook(), folder / f"{name}.ipynb")

    def run(path: Path, output: Path, parameters):
        assert parameters == {"profile": "smoke"} and output == tmp_path / "out" / path.stem
        if "bad" in path.name:
            raise NotebookError("cell 3: KeyError: 'x'")

    monkeypatch.setattr(run_all, "run_notebook", run)
    return folder


def test_all_are_run_and_the_failed_one_decides_the_exit_code(notebooks, tmp_path, capsys):
    assert run_all.main([str(notebooks), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "3/4 02_bad: cell 3: KeyError: 'x'" in said and "4/4 01_b_solutions: " in said
    assert re.search(r"^ +\d+\.\d s  02_bad  FAILED$", said, re.M) and re.search(r"^ +\d+\.\d s  together$", said, re.M)
    (notebooks / "02_bad.ipynb").unlink()
    assert run_all.main([str(notebooks), "--output", str(tmp_path / "out")]) == 0


def test_a_folder_without_notebooks_is_refused(tmp_path, capsys):
    assert run_all.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "must be a folder with notebooks" in capsys.readouterr().err


def test_folders_of_notebooks_are_no_output(notebooks, tmp_path, monkeypatch, capsys):
    link = tmp_path / "link"
    link.symlink_to(notebooks)
    monkeypatch.chdir(notebooks)
    before = sorted(path for path in notebooks.rglob("*"))
    for wrong in (".", "", str(notebooks), str(link), "solutions", "../notebooks"):
        assert run_all.main([str(notebooks), "--output", wrong]) == 1
        said = capsys.readouterr()
        assert "output must be" in said.err and said.err.count("\n") == 1 and not said.out
    assert sorted(path for path in notebooks.rglob("*")) == before
