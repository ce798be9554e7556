"""Figures that answer by themselves, in an exported page with no network and in JupyterLab, by pointer and by keys."""

from __future__ import annotations

import re
import time

import nbformat
import numpy as np
import pytest
import torch
from lab import complaints, run_all

from co3course.hover import HoverFigure, hover_copeaks, hover_correlation, hover_heat, hover_threshold
from co3course.page import to_html
from co3lib.instance import Instance
from co3lib.overlap import tight_box

SECONDS = 0.1  # in which a figure must have answered
GRID = 4


def correlation() -> torch.Tensor:
    """Cell (i, j) of A is most like cell (j, i) of B."""
    values = torch.zeros(GRID, GRID, GRID, GRID)
    for i in range(GRID):
        for j in range(GRID):
            values[i, j, j, i] = 0.5 + 0.01 * i
    return values


def figures() -> dict[str, HoverFigure]:
    photos = [np.full((120, 160, 3), 90, np.uint8), np.full((160, 120, 3), 180, np.uint8)]
    see, alt = "You will see that it answers.", "Grey photos."
    cells, values = torch.tensor([[0, 0, 3, 3], [3, 3, 0, 0]]), torch.tensor([0.5, 0.25])
    heats = torch.zeros(2, 120, 160)
    heats[0, :60], heats[1, 60:] = 1, 1
    mask = np.zeros((120, 160), bool)
    mask[20:80, 20:80] = True
    found = [
        Instance(mask, 1.0, (30, 30), tight_box(mask)),
        Instance(mask.T.copy()[:120, :120].repeat(2, 1)[:, :160], 0.02, (0, 0), (0, 0, 9, 9)),
    ]
    points = torch.tensor([[0.2, 0.5], [0.8, 0.5]])
    return {
        "correlation": hover_correlation(photos, {"T": correlation(), "twice": 2 * correlation()}, see, alt),
        "copeaks": hover_copeaks({"1 and 2": (photos, cells, values, (GRID,) * 4)}, see, alt),
        "heat": hover_heat(photos[0], points, heats, ["the upper", "the lower"], see, alt),
        "threshold": hover_threshold(photos[:1], [found], see, alt, [torch.from_numpy(mask)[None]]),
    }


@pytest.fixture(scope="module")
def exported(chromium, tmp_path_factory):
    """A page as a notebook is exported, opened without a network: yields it and what it asked the network for."""
    outputs = [nbformat.v4.new_output("display_data", {"text/html": figure._repr_html_()}) for figure in figures().values()]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("figures", outputs=outputs)])
    file = tmp_path_factory.mktemp("exported") / "figures.ipynb"
    nbformat.write(book, file)
    page_file = file.with_suffix(".html")
    page_file.write_text(to_html(file), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 900, "height": 1000}, offline=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    yield page, asked
    context.close()


def frame(page, kind: str):
    """The figure's own page, once it is drawn."""
    inside = page.locator(".co3-hover iframe").nth(list(figures()).index(kind)).content_frame
    inside.locator("body[data-ready=yes]").wait_for()
    return inside


def said_after(inside, act) -> str:
    """What the figure says after something was done, which must not take long."""
    before = inside.locator("#said").inner_text()
    started = time.perf_counter()
    act()
    while (text := inside.locator("#said").inner_text()) == before and time.perf_counter() - started < 5:
        pass
    assert text != before
    return text


def over(inside, number: int, y: float, x: float):
    """Move the pointer to a place of a photo, in parts of its height and width."""
    canvas = inside.locator("#stage canvas").nth(number)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.hover(position={"x": x * box["width"], "y": y * box["height"]})


def test_nothing_is_asked_of_the_network(exported):
    page, asked = exported
    for kind in figures():
        frame(page, kind)
    assert all(url.startswith(("file:", "data:", "about:", "blob:")) for url in asked)


def test_a_cell_under_the_pointer_shows_its_best(exported):
    inside = frame(exported[0], "correlation")
    said = said_after(inside, lambda: over(inside, 0, 2.5 / GRID, 1.5 / GRID))
    assert "row 2, column 1 of A" in said and "row 1, column 2, with T = 0.52" in said
    said = said_after(inside, lambda: inside.locator("select").select_option("1"))
    assert "with twice = 1.04" in said
    inside.locator("#stage canvas").first.focus()
    said = said_after(inside, lambda: inside.locator("#stage canvas").first.press("ArrowRight"))
    assert "row 2, column 2 of A" in said and "row 2, column 2, with" in said


def test_it_answers_at_once(exported):
    inside = frame(exported[0], "correlation")
    canvas = inside.locator("#stage canvas").first
    took = canvas.evaluate(
        """canvas => {
          const said = document.getElementById("said"), started = performance.now();
          for (let k = 0; k < 20; k++)
            canvas.dispatchEvent(new KeyboardEvent("keydown", { key: k % 2 ? "ArrowUp" : "ArrowDown" }));
          return (performance.now() - started) / 20 / 1000;
        }"""
    )
    assert took < SECONDS


def test_a_copeak_names_its_partner(exported):
    inside = frame(exported[0], "copeaks")
    said = said_after(inside, lambda: over(inside, 0, 0.9, 0.9))
    assert "row 3, column 3 of A with row 0, column 0 of B, value 0.250" in said
    assert inside.locator("svg line").count() == 2
    said = said_after(inside, lambda: inside.locator("#stage canvas").first.press("ArrowRight"))
    assert "Co-peak 1 of 2" in said


def test_a_peak_shows_its_heat(exported):
    inside = frame(exported[0], "heat")
    said = said_after(inside, lambda: over(inside, 0, 0.9, 0.5))
    assert said == "Peak 1 (of 2, counted from 0): the lower."
    canvas = inside.locator("#stage canvas").first
    light = canvas.evaluate(
        """canvas => [0.1, 0.6].map(y => {
          const pixel = canvas.getContext("2d").getImageData(10, y * canvas.height, 1, 1).data;
          return pixel[0] + pixel[1] + pixel[2];
        })"""
    )
    assert light[1] > light[0] + 100


def test_a_threshold_says_what_stays(exported):
    inside = frame(exported[0], "threshold")
    assert inside.locator("#said").inner_text() == "Threshold 5 % of the best score: 1 shown, 1 right, 0 missed."
    slider = inside.locator("input[type=range]")
    slider.focus()
    said = said_after(inside, lambda: slider.press("Home"))
    assert said == "Threshold 1 % of the best score: 2 shown, 1 right, 0 missed."


@pytest.mark.parametrize("width", [360])
def test_nothing_is_wider_than_a_telephone(exported, width):
    page, _ = exported
    page.set_viewport_size({"width": width, "height": 800})
    for kind in figures():
        inside = frame(page, kind)
        assert inside.locator("html").evaluate("one => one.scrollWidth <= one.clientWidth")
    page.set_viewport_size({"width": 900, "height": 1000})


MADE = """
import torch
from co3course.hover import hover_correlation
import numpy as np
photos = [np.full((120, 160, 3), 90, np.uint8)] * 2
values = torch.zeros(2, 2, 2, 2)
values[1, 1, 0, 1] = 0.75
hover_correlation(photos, {"T": values}, "You will see that it answers.", "Two grey photos.")
"""


def test_it_answers_in_jupyterlab(page, suite, screenshot):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(MADE)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, suite / "hover.ipynb")
    run_all(page, "hover.ipynb")
    assert complaints(page) == []
    inside = page.locator(".co3-hover iframe").content_frame
    inside.locator("body[data-ready=yes]").wait_for()
    said = said_after(inside, lambda: over(inside, 0, 0.75, 0.75))
    assert re.search(r"row 1, column 1 of A.*row 0, column 1, with T = 0.75", said)
    said = said_after(inside, lambda: inside.locator("#stage canvas").first.press("ArrowUp"))
    assert "row 0, column 1 of A" in said and page.locator(".jp-Notebook .jp-Cell").count() == 1  # the key was not JupyterLab's
