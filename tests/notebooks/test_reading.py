"""Whether the reader of notebooks sees what it should, on notebooks made for that."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from reading import STATES, Page, asked, dead_links, displayed, pages, verdicts


def test_pictures_are_found_wherever_they_are_shown():
    hidden = {"output_type": "display_data", "data": {"text/html": "<img src=c>"}, "metadata": {}}
    book = new_notebook(cells=[new_code_cell(outputs=[new_output("display_data", {"text/html": "<img src=a alt=' '>"})])])
    book.metadata.widgets = {
        STATES: {
            "state": {
                "1": {"state": {"_model_name": "HTMLModel", "value": "<img src=b alt='a cat'><figcaption>x</figcaption>"}},
                "2": {"state": {"_model_name": "OutputModel", "outputs": [hidden]}},
            }
        }
    }
    found = [Page(page) for page in pages(book)]
    assert sorted(text for page in found for text in page.images) == ["", "", "a cat"]
    assert sum(page.captions for page in found) == 1 and len(displayed(book)) == 2


def test_verdicts_are_read_from_values_and_from_print():
    outputs = [
        new_output("execute_result", {"text/plain": "Exercise 03.1: not right yet. The diagonal is missing"}),
        new_output(
            "stream", name="stdout", text="✓ Exercise 03.2: right\nNotebook 03: 1 of 5 right\nExercise 03.3: not tried yet\n"
        ),
    ]
    said = verdicts(new_notebook(cells=[new_code_cell(outputs=outputs)]))
    assert said == {"03.1": "not right yet. The diagonal is missing", "03.2": "right", "03.3": "not tried yet"}


def test_links_and_checks_are_read_from_the_source(tmp_path):
    text = (
        "# The way\n[a](https://x.org) [b](other.ipynb) [c](#The-way) [d](other.ipynb#No-such) [e](none.md)\n"
        '<img src="gone.png"> `[not](a link)`\n\n[r]: nowhere.md\n'
    )
    cells = [new_markdown_cell(text), new_code_cell('check("03.1", f)'), new_code_cell("check('03.2', g)\nhint('03.2')")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "one.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Other")]), tmp_path / "other.ipynb")
    assert dead_links(tmp_path / "one.ipynb") == ["other.ipynb#No-such", "none.md", "nowhere.md", "gone.png"]
    assert asked(tmp_path / "one.ipynb") == ["03.1", "03.2"]
