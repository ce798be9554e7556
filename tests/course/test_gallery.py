"""co3course.gallery: runs go on after a failure; pages with pictures, words and links that lead somewhere."""

import base64
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure

from co3course import gallery
from co3course.figures import figure_html
from co3course.runner import NotebookError, to_html

TEXT = "# Two & two\n\nThey are **four**\nas a rule.\n\nSee [next](01_b.ipynb#Way), [text](../README.md), [web](https://x.org)."


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder of three notebooks and a solution; the one called bad fails; no kernel is started."""
    folder = tmp_path / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    (tmp_path / "README.md").touch()
    for name in ("00_a", "01_b", "02_bad", "solutions/01_b_solutions"):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(TEXT)]), folder / f"{name}.ipynb")

    def run(path: Path, output: Path, parameters):
        assert parameters == {"profile": "smoke"}
        if "bad" in path.name:
            raise NotebookError("cell 3: KeyError: 'x'")
        book = nbformat.read(path, 4)
        figures = "".join(figure_html(Figure(figsize=(size, size)), "c", f'a "{size}"') for size in (1, 5, 2))
        shown = nbformat.v4.new_output("display_data", {"text/html": figures if path.stem == "00_a" else "none"})
        book.cells.append(nbformat.v4.new_code_cell("1", outputs=[shown]))
        output.mkdir(parents=True)
        nbformat.write(book, output / path.name)
        (output / f"{path.stem}.html").write_text(to_html(output / path.name), encoding="utf-8")

    monkeypatch.setattr(gallery, "run_notebook", run)
    return folder


def test_all_are_run_and_the_failed_one_decides_the_exit_code(notebooks, tmp_path, capsys):
    assert gallery.main([str(notebooks), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "3/4 02_bad: cell 3: KeyError: 'x'" in said and "4/4 01_b_solutions: " in said
    assert re.search(r"^ +\d+\.\d s  02_bad  FAILED$", said, re.M) and re.search(r"^ +\d+\.\d s  together$", said, re.M)
    (notebooks / "02_bad.ipynb").unlink()
    assert gallery.main([str(notebooks), "--output", str(tmp_path / "out2")]) == 0


def test_a_folder_without_notebooks_is_refused(tmp_path, capsys):
    assert gallery.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "must be a folder with notebooks" in capsys.readouterr().err


def test_the_gallery(notebooks, tmp_path):
    pages = tmp_path / "results" / "gallery"
    assert gallery.main([str(notebooks), "--output", str(tmp_path / "out"), "--pages", str(pages)]) == 1
    assert sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.html")) == [
        "00_a.html", "01_b.html", "index.html", "solutions/01_b_solutions.html",
    ]  # fmt: skip
    index = (pages / "index.html").read_text(encoding="utf-8")
    assert '<a href="00_a.html">Two &amp; two</a>' in index and "They are <strong>four</strong>" in index
    assert "solutions" not in index and re.search(r"<p>\d+ s</p>", index)
    ((data, alt),) = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', index)
    assert alt == "a &quot;5&quot;" and base64.b64decode(data).startswith(b"\x89PNG")
    links = re.findall(r'<a href="([^"]*)"', (pages / "00_a.html").read_text(encoding="utf-8"))
    assert {"01_b.html#Way", "../../README.md", "https://x.org"} <= set(links)


def test_folders_of_notebooks_are_neither_output_nor_pages(notebooks, tmp_path, monkeypatch, capsys):
    link = tmp_path / "link"
    link.symlink_to(notebooks)
    monkeypatch.chdir(notebooks)
    before = sorted(path for path in notebooks.rglob("*"))
    for wrong in (".", "", str(notebooks), str(link), "solutions", "../notebooks"):
        for arguments in (["--output", wrong], ["--output", str(tmp_path / "out"), "--pages", wrong]):
            assert gallery.main([str(notebooks), *arguments]) == 1
            said = capsys.readouterr()
            assert f"{arguments[-2][2:]} must be" in said.err and said.err.count("\n") == 1 and not said.out
    assert sorted(path for path in notebooks.rglob("*")) == before


@pytest.mark.parametrize("name", ["index.html", "00_a.html", "solutions/01_b_solutions.html"])
def test_pages_of_others_are_never_overwritten(notebooks, tmp_path, capsys, name):
    pages = tmp_path / "pages"
    (pages / "solutions").mkdir(parents=True)
    (pages / name).write_text("<html>mine</html>")
    assert gallery.main([str(notebooks), "--output", str(tmp_path / "out"), "--pages", str(pages)]) == 1
    said = capsys.readouterr()
    assert f"{name} is in the way: no earlier gallery has made it" in said.err and not said.out
    assert (pages / name).read_text() == "<html>mine</html>"


def test_no_page_of_an_earlier_gallery_stays_beside_a_new_one(notebooks, tmp_path):
    pages = tmp_path / "pages"
    arguments = [str(notebooks), "--output", str(tmp_path / "out"), "--pages", str(pages)]
    gallery.main(arguments)
    (pages / "mine.html").write_text("<html>mine</html>")
    (notebooks / "01_b.ipynb").unlink()
    shutil.rmtree(tmp_path / "out")
    assert gallery.main(arguments) == 1  # the bad one is still there
    assert sorted(path.name for path in pages.rglob("*.html")) == [
        "00_a.html", "01_b_solutions.html", "index.html", "mine.html",
    ]  # fmt: skip
