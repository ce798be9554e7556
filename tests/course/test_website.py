"""The site of a small checkout: pages, pictures and formulas, nothing from elsewhere, and links that lead somewhere."""

import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure

from co3course import website
from co3course.figures import figure_html
from co3course.page import WIDGET

ROOT = Path(__file__).parents[2]
CODE = '''"""One module.\n\nShape letters: H W image size.\n"""\n
def double(value: float) -> float:
    """Twice a value.\n
    Parameters
    ----------
    value : any number, not an *odd one.\n
    Returns
    -------
    Its double.
    """
    return 2 * value
'''


def notebook(text: str, outputs=()) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell(text, id="text"), nbformat.v4.new_code_cell("1", outputs=list(outputs), id="code")]
    return nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


@pytest.fixture
def checkout(tmp_path):
    """A small checkout with a package, two pages, a notebook and a solution, and where these were executed."""
    root, executed = tmp_path / "root", tmp_path / "executed"
    write(
        root / "README.md", "# Read me\n\n[all](notebooks/00_a.ipynb#The-way) [solved](notebooks/solutions) [free](LICENSE)\n"
    )
    write(root / "docs" / "glossary.md", "# Words\n\n| $T^S$ | a |\n|---|---|\n| $x_1$ | b |\n\n[back](../README.md)\n")
    write(root / "docs" / "teaching.md", "# Teach\n")
    write(root / "results" / "README.md", "# Measured\n")
    write(root / "LICENSE", "free")
    (root / "docs" / "site").symlink_to(ROOT / "docs" / "site")
    write(root / "tiny" / "__init__.py", '"""A package."""')
    write(root / "tiny" / "one.py", CODE.replace("*odd", "odd"))
    text = "# 00 · A & b\n\nOf *all*.\n\n## The way\n\n$$\\frac{a}{b} \\tag{1}$$\n\n[read](../README.md) `[no](link)`"
    shown = {"text/html": figure_html(Figure(figsize=(1, 1)), "A caption", "A square"), WIDGET: {"model_id": "1"}}
    write_executed(root, executed, "00_a", text, [nbformat.v4.new_output("display_data", shown)])
    write_executed(root, executed, "solutions/00_a_solutions", "# Solved\n\n[back](../00_a.ipynb)")
    return root, executed, tmp_path / "site"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_executed(root: Path, executed: Path, name: str, text: str, outputs=()) -> None:
    path = root / "notebooks" / f"{name}.ipynb"
    write(path, nbformat.writes(notebook(text)))
    book = notebook(text, outputs)
    injected = nbformat.v4.new_code_cell("output = '/home/me'", metadata={"tags": ["injected-parameters"]})
    book.cells.insert(1, injected)
    write(executed / path.stem / path.name, nbformat.writes(book))


def test_a_site(checkout):
    root, executed, output = checkout
    index = website.make_site(root, executed, output, "tiny")
    text = index.read_text(encoding="utf-8")
    assert '<a href="notebooks/00_a.html">00 · A &amp; b</a><p>Of all.</p>' in text
    assert 'alt="A square"' in text and (output / "_static" / "00_a.png").is_file()
    page = (output / "notebooks" / "00_a.html").read_text(encoding="utf-8")
    assert "<math" in page and "<mfrac>" in page and "<figcaption>A caption" in page
    assert "/home/me" not in page and "widget" not in re.sub(r"<style.*?</style>", "", page, flags=re.S)
    assert "<msup>" in (output / "docs" / "glossary.html").read_text(encoding="utf-8")
    reference = re.sub("<[^>]*>", "", (output / "api" / "tiny.one.html").read_text(encoding="utf-8"))
    assert "value – any number" in reference and "Its double." in reference
    assert 'href="notebooks/00_a.html#the-way"' in (output / "README.html").read_text(encoding="utf-8")
    assert not (output / ".doctrees").exists()
    assert "A caption" in (output / "slides.html").read_text(encoding="utf-8")
    assert {path.name for path in output.parent.iterdir()} == {"root", "executed", "site"}

    (output / "old.html").touch()
    write(root / "README.md", "# Read me\n\n[gone](nowhere.md)\n")
    write(root / "tiny" / "one.py", CODE)
    with pytest.raises(ValueError, match=r"(?s)Sphinx is not content.*emphasis start-string.*nowhere\.md"):
        website.make_site(root, executed, output, "tiny")
    assert (output / "old.html").exists() and {path.name for path in output.parent.iterdir()} == {"root", "executed", "site"}


def test_what_was_not_executed_as_it_is_now_is_named(checkout):
    root, executed, output = checkout
    write(root / "notebooks" / "00_a.ipynb", nbformat.writes(notebook("# Other")))
    with pytest.raises(ValueError, match=r"00_a\.ipynb has changed since it was executed"):
        website.make_site(root, executed, output, "tiny")
    (executed / "00_a" / "00_a.ipynb").unlink()
    with pytest.raises(ValueError, match=r"00_a\.ipynb must be executed first"):
        website.make_site(root, executed, output, "tiny")
    assert not output.exists()


def test_what_is_no_site_is_never_replaced(checkout, capsys):
    root, executed, output = checkout
    write(output / "mine.html", "mine")
    assert website.main(["--root", str(root), "--executed", str(executed), "--output", str(output)]) == 1
    said = capsys.readouterr().err
    assert "is in the way: no earlier site was made there" in said and said.count("\n") == 1
    assert (output / "mine.html").read_text() == "mine"


def test_dead_links_and_what_comes_from_elsewhere_are_found(tmp_path):
    frame = "&lt;img src=&quot;//x.org/c.png&quot;&gt;"
    write(
        tmp_path / "a.html",
        '<p id="here"><a href="#here">1</a><a href="#gone">2</a><a href="b/c.html#too%20far">3</a><a href="https://x.org">4</a>'
        f'<a href="no.html">5</a><script src="https://x.org/a.js"></script><iframe srcdoc="{frame}"></iframe><img src="no.png">'
        '<link rel="stylesheet" href="b/s.css"><img src="data:image/png;base64,AA">',
    )
    write(tmp_path / "b" / "c.html", "<a href='../a.html#here'>1</a>")
    write(tmp_path / "b" / "s.css", "@import 'https://x.org/s.css'; p { background: url(x.png) }")
    assert website.dead_links(tmp_path) == [
        "a.html: the link #gone leads nowhere",
        "a.html: the link b/c.html#too%20far leads nowhere",
        "a.html: the link no.html leads nowhere",
        "a.html: the link no.png leads nowhere",
    ]
    assert website.foreign(tmp_path) == [
        "a.html: would fetch https://x.org/a.js",
        "a.html: would fetch //x.org/c.png",
        "b/s.css: would fetch https://x.org/s.css",
    ]


def test_the_pages_link_to_no_folder_that_the_site_has_no_page_of():
    pages = [path for pattern in website._PAGES for path in ROOT.glob(pattern)]
    assert len(pages) > 10
    for page in pages:
        for _, name in website._LINK.findall(page.read_text(encoding="utf-8")):
            folder = page.parent / name
            assert not folder.is_dir() or list(folder.glob("*.ipynb")), f"{page.name} links to {name}"
