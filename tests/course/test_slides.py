"""Slides: one for each figure of the notebooks, and nothing from elsewhere."""

import re

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure

from co3course.figures import figure_html
from co3course.hover import hover_threshold
from co3course.slides import figures_of, make_slides


def book(title: str, *pages: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", {"text/html": page}) for page in pages]
    text = nbformat.v4.new_markdown_cell(f"# {title}\n\nAll *about* [it](x.ipynb) & `mask_size`.\n\nMore.")
    return nbformat.v4.new_notebook(cells=[text, nbformat.v4.new_code_cell("1", outputs=outputs)])


def figure(caption: str) -> str:
    return figure_html(Figure(figsize=(1, 1)), caption, "A <white> square")


def test_a_slide_for_each_title_and_each_figure(tmp_path):
    threshold = hover_threshold([np.full((40, 60, 3), 90, np.uint8)], [[]], "You will see it.", "A grey photo")
    books = [
        book("One", figure("a < b"), "<p>no figure</p>" + figure("second")),
        book("None"),
        book("Two", threshold._repr_html_()),
    ]
    assert make_slides(books, tmp_path / "slides.html") == 5
    text = (tmp_path / "slides.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\d)"', text) == list("12345")
    assert re.findall(r"<h[12]>(.*?)</h[12]>", text) == ["One", "a &lt; b", "second", "Two", "You will see it."]
    assert re.findall(r'<li><a href="#(\d)">(\w+)</a> \((\d)\)', text) == [("1", "One", "2"), ("4", "Two", "1")]
    assert "All about it &amp; mask_size." in text and 'alt="A &lt;white&gt; square"' in text
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)


def test_figures_are_found_with_their_captions():
    found = list(figures_of(book("One", figure("a"), figure("b"))))
    assert [caption for caption, _ in found] == ["a", "b"]
    assert all(picture.startswith("<img ") and picture.endswith(">") for _, picture in found)


def test_no_slides_without_a_figure(tmp_path):
    with pytest.raises(ValueError, match="must show at least one figure"):
        make_slides([book("None")], tmp_path / "slides.html")
    assert not list(tmp_path.iterdir())
