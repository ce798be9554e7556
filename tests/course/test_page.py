"""co3course.page: formulas, widgets, and nothing from elsewhere; tests/browser opens such a page."""

import base64
import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from reading import outside, sources

from co3course.figures import figure_html
from co3course.page import _FORMULAS, STATES, WIDGET, thumbnail, title_and_purpose, to_html, with_mathml

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


def page_of(folder: Path, *cells, **metadata) -> str:
    file = folder / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata=metadata), file)
    return to_html(file)


def test_a_page_loads_nothing(tmp_path):
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell("# One\n\n$a_1$ and [a link](https://example.org)"))
    assert outside(page) == [] and "<math" in page and "font/woff" in page
    assert outside('<script src="https://x.org/a.js">') == ["https://x.org/a.js"]
    assert "font/woff" not in page_of(tmp_path, nbformat.v4.new_markdown_cell("no formula"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_is_read(path):
    for text in sources(path, "markdown"):
        for match in _FORMULAS.finditer(text):
            if match["block"] or match["line"]:
                assert with_mathml(match[0]).startswith("<math"), match[0]
        assert "$" not in re.sub(r"\\\$", "", _FORMULAS.sub("", text))


@pytest.mark.parametrize("text", ["`$a$`", "```\n$a$\n```", "costs \\$5", "no formula at all", "5 $"])
def test_what_is_no_formula_stays(text):
    assert with_mathml(text) == text


def test_formulas_in_tables_and_lists_survive_markdown(tmp_path):
    text = "| a | b |\n|---|---|\n| $|x|$ | $a_1 * b_2 * c$ |\n\n* $T[b, i]$\n\n$$\\arg\\max_v x \\tag{4}$$"
    page = page_of(tmp_path, nbformat.v4.new_markdown_cell(text.replace("$|x|$", "$\\lvert x \\rvert$")))
    assert page.count("<math") == 4 and "<em>" not in page and "\\arg" not in page and "\\tag" not in page
    assert 'display="block"' in page


def test_a_formula_that_cannot_be_read_is_shown_as_written():
    assert with_mathml("$\\foo < x$") == "<code>\\foo &lt; x</code>"
    assert with_mathml("$\\frac{$") == "<code>\\frac{</code>"


def widget(model: str, **more):
    return nbformat.v4.new_code_cell(
        "w", outputs=[nbformat.v4.new_output("display_data", {WIDGET: {"model_id": model}, **more})]
    )


def test_of_a_widget_its_first_picture_is_shown(tmp_path):
    state = {
        "box": {"state": {"_model_name": "VBoxModel", "children": ["IPY_MODEL_text", "IPY_MODEL_slider"]}},
        "text": {"state": {"_model_name": "HTMLModel", "value": "<b>kept</b>"}},
        "slider": {"state": {"_model_name": "IntSliderModel", "value": 3}},
    }
    cells = [widget("box", **{"text/plain": "VBox()"}), widget("slider"), widget("x", **{"text/html": "<i>beside</i>"})]
    page = page_of(tmp_path, *cells, widgets={STATES: {"state": state, "version_major": 2, "version_minor": 0}})
    assert "<b>kept</b>" in page and "<i>beside</i>" in page and page.count("Run the notebook to see this.") == 1
    assert "VBox()" not in page and "model_id" not in page and outside(page) == []


def test_the_largest_figure_stands_for_a_notebook():
    figures = "".join(figure_html(Figure(figsize=(size, size)), "c", f'a "{size}"') for size in (1, 5, 2))
    cells = [nbformat.v4.new_markdown_cell("# Two & two\n\nThey are **four**\nas a rule.\n\nMore.")]
    book = nbformat.v4.new_notebook(cells=cells)
    assert title_and_purpose(book) == ("Two & two", "They are **four**\nas a rule.") and thumbnail(book) is None
    shown = nbformat.v4.new_output("display_data", {"text/html": figures})
    book.cells.append(nbformat.v4.new_code_cell("1", outputs=[shown]))
    data, alt = thumbnail(book)
    assert alt == "a &quot;5&quot;" and base64.b64decode(data).startswith(b"\x89PNG")
