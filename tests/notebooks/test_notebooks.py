"""Every notebook and every solution, as committed and as run: headless, from the bundled data, in the profile "smoke"."""

import re
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from headless_run import BY_COMMAND
from reading import Page, asked, dead_links, displayed, outside, pages, sources, verdicts

from co3course.badges import INSTALL
from co3course.exercises import NOT_TRIED, RIGHT, TOPICS
from co3course.runner import errors, read_result, run_notebook

ROOT = Path(__file__).parents[2]
WALK = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
NOTEBOOKS = WALK + SOLUTIONS
WITH_EXERCISES = [path for path in WALK if asked(path)]
LONGEST_CELL, MEDIAN_CELL = 25, 6


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def solution_of(path: Path) -> Path:
    return path.parent / "solutions" / f"{path.stem}_solutions.ipynb"


def test_there_are_notebooks():
    assert "00_quickstart.ipynb" in {path.name for path in WALK}


def test_all_are_stripped():
    command = [sys.executable, "-m", "nbstripout", "--verify", *map(str, NOTEBOOKS)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@each(NOTEBOOKS)
class TestSource:
    def test_cells_are_short(self, path):
        lengths = [len(source.splitlines()) for source in sources(path, "code")]
        assert max(lengths) <= LONGEST_CELL
        assert path in SOLUTIONS or statistics.median(lengths) <= MEDIAN_CELL

    def test_parameters_are_typed_and_validated_in_the_next_cell(self, path):
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        cells = [cell for cell in cells if INSTALL not in cell.metadata.get("tags", [])]
        tagged = [k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
        assert tagged == [0]
        names = [re.fullmatch(r"(\w+): \w+ = .+", line)[1] for line in cells[0].source.splitlines()]
        assert {"profile", "output", "seed"} <= set(names)
        for name in names:
            assert f"{name}={name}" in cells[1].source and "set_up(" in cells[1].source

    def test_whoever_is_told_of_hints_can_ask_for_one(self, path):
        told = any("hint(" in source for source in sources(path, "markdown"))
        imported = r"^from co3course\.exercises import .*\bhint\b"
        assert not told or any(re.search(imported, source, re.M) for source in sources(path, "code"))

    def test_links_lead_somewhere(self, path):
        assert dead_links(path) == []

    def test_an_unknown_parameter_is_refused_before_anything_runs(self, path, tmp_path):
        with pytest.raises(ValueError, match="has no parameter 'profil'"):
            run_notebook(path, tmp_path / "out", {"profil": "smoke"})
        assert not (tmp_path / "out").exists()


@each(WITH_EXERCISES)
def test_exercises_are_those_of_the_topic_and_of_the_solutions(path):
    number = path.stem[:2]
    known = import_module(f"co3course.exercises.{TOPICS[number]}").EXERCISES
    assert asked(path) == list(known) and all(one.startswith(f"{number}.") for one in known)
    assert asked(solution_of(path)) == asked(path)


def test_every_solution_has_its_notebook():
    assert set(SOLUTIONS) == {solution_of(path) for path in WITH_EXERCISES}


@each(WALK)
def test_runs_and_leaves_its_results(path, run_of, record_property):
    run = run_of(path)
    record_property("notebook", (path.stem, run.seconds))
    result = read_result(run.output)
    if done := run.done:
        assert done.returncode == 0, done.stderr
        assert str(run.output) in done.stdout and ("mAP" in done.stdout) == bool(result.classes)
    page = (run.output / f"{path.stem}.html").read_text(encoding="utf-8")
    assert all(Page(page).images) and outside(page) == []


def test_some_are_run_as_a_user_runs_one():
    assert set(BY_COMMAND) < {path.stem for path in WALK}


@each(NOTEBOOKS)
def test_its_pages_are_whole_and_its_exercises_judged(path, run_of, record_property):
    run = run_of(path)
    record_property("notebook", (path.stem, run.seconds))
    result = read_result(run.output)
    assert result.seconds > 0 and result.profile == "smoke"
    executed = nbformat.read(run.output / path.name, 4)
    assert not list(errors(executed))
    outputs = displayed(executed)
    assert not [one for one in outputs if one.output_type == "stream" and one.name == "stderr"]
    assert not [one for one in outputs if "image/png" in one.get("data", {})]  # it would have no caption
    shown = [Page(page) for page in pages(executed)]
    images = [text for page in shown for text in page.images]
    assert all(images) and len(images) == sum(page.captions for page in shown)
    assert images or path in SOLUTIONS
    assert all(title for page in shown for title in page.frames)

    said = verdicts(executed)
    assert said == dict.fromkeys(asked(path), RIGHT if path in SOLUTIONS else NOT_TRIED)
