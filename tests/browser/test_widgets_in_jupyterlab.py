"""Every notebook with widgets, opened in JupyterLab, run, and its widgets worked with keys."""

from pathlib import Path

import nbformat
import pytest
from lab import CONTROLS, ROOT, cells_run, complaints, cut_labels, move, run_all, spoken_name, widgets
from playwright.sync_api import expect

REDRAWN = 60_000  # ms; far above what a figure takes, as the machine may be busy


def number_of_widgets(path: Path) -> int:
    """Calls of ``explore``, imports not counted."""
    cells = nbformat.read(path, 4).cells
    return sum(cell.source.count("explore(") for cell in cells if cell.cell_type == "code")


WITH_WIDGETS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if number_of_widgets(path)]
ONE = """
from matplotlib.figure import Figure
from co3course.widgets import choice, explore, slider
def draw(power, colour):
    if colour == "none": raise KeyError("no such colour")
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([k**power for k in range(4)], color=colour)
    return figure
controls = {"power": slider("Power of the curve", 1, 4, 4)}
controls["colour"] = choice("Colour, in more words than have room", ["red", "blue", "none"])
words = lambda power, colour: f"A {colour} curve of power {power}."
explore(draw, controls, words, words, "You will see that it gets steeper.")
"""


def write(path: Path, *sources: str) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


def test_what_these_tests_ask_and_whether_they_would_notice(page, suite, screenshot):
    write(suite / "one.ipynb", ONE)
    run_all(page, "one.ipynb")
    (widget,) = widgets(page)
    power, colour = widget.locator(CONTROLS).all()
    assert [spoken_name(power), spoken_name(colour)] == ["Power of the curve", "Colour, in more words than have room"]
    assert cut_labels(page) == ["Colour, in more words than have room"]
    move(power)  # at its end: it goes back
    expect(widget.locator("img")).to_have_attribute("alt", "A red curve of power 3.", timeout=REDRAWN)
    move(colour)
    expect(widget.locator("img")).to_have_attribute("alt", "A blue curve of power 3.", timeout=REDRAWN)
    assert complaints(page) == []
    move(colour)
    expect(widget.get_by_role("alert")).to_contain_text("no such colour", timeout=REDRAWN)
    assert any("no such colour" in one for one in complaints(page))


def test_a_cell_that_stops_is_noticed(page, suite, screenshot):
    # The kernel drops only what it has already been asked to run: the second cell has to be waiting when the first one stops.
    write(suite / "stops.ipynb", "import time\ntime.sleep(2)\n1 / 0", "1")
    run_all(page, "stops.ipynb")
    assert any("ZeroDivisionError" in one for one in complaints(page))
    assert cells_run(page) == (1, 2)


@pytest.mark.parametrize("path", WITH_WIDGETS, ids=lambda path: path.stem)
def test_widgets(path, page, screenshot):
    run_all(page, f"notebooks/{path.name}")
    assert complaints(page) == []
    ran, cells = cells_run(page)
    assert ran == cells > 0
    page.locator(".widget-vbox img").nth(number_of_widgets(path) - 1).wait_for()
    found = widgets(page)
    assert len(found) == number_of_widgets(path)
    assert cut_labels(page) == []
    for widget in found:
        for control in widget.locator(CONTROLS).all():
            assert spoken_name(control), f"a control without a name: {control.evaluate('one => one.outerHTML')}"
        picture = widget.locator("img")
        before = picture.get_attribute("src")
        move(widget.locator(CONTROLS).first)
        expect(picture).not_to_have_attribute("src", before, timeout=REDRAWN)
        assert (picture.get_attribute("alt") or "").strip()
    assert complaints(page) == []
