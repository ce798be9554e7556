"""Links to Colab and Binder, and the cell that installs co3 there."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest

from co3course import badges
from co3course.badges import INSTALL, add_badges, repository

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/co3"
NAME = "notebooks/00_quickstart.ipynb"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one notebook, whose address is known."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / NAME, tmp_path / NAME)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nurls = {{ Repository = "{ADDRESS}/" }}\n')
    return tmp_path


def installing(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if INSTALL in cell.metadata.get("tags", [])]


def test_links_and_cell_are_written_once(checkout):
    assert badges.main([str(checkout / "notebooks")]) == 0
    once = (checkout / NAME).read_bytes()
    book = nbformat.read(checkout / NAME, 4)
    nbformat.validate(book)
    last = book.cells[0].source.splitlines()[-1]
    assert re.findall(r"\]\((\S+)\)", last) == [
        "https://colab.research.google.com/github/someone/co3/blob/HEAD/notebooks/00_quickstart.ipynb",
        "https://mybinder.org/v2/gh/someone/co3/HEAD?urlpath=lab/tree/notebooks/00_quickstart.ipynb",
    ]
    assert installing(book) == [book.cells[1]] and ADDRESS in book.cells[1].source
    assert badges.main([str(checkout / "notebooks")]) == 0 and (checkout / NAME).read_bytes() == once
    assert [cell.id for cell in book.cells] == [str(number) for number in range(len(book.cells))]  # as nbstripout wants them


def test_another_address_takes_the_place_of_the_first():
    book = add_badges(nbformat.read(ROOT / NAME, 4), NAME, ADDRESS)
    book = add_badges(book, NAME, "https://github.com/other/co3")
    assert "someone" not in nbformat.writes(book) and len(installing(book)) == 1


@pytest.mark.parametrize("urls", ["", 'urls = { Repository = "https://example.org/co3" }'])
def test_without_an_address_nothing_is_written(checkout, urls, capsys):
    (checkout / "pyproject.toml").write_text(f"[project]\n{urls}\n")
    before = (checkout / NAME).read_bytes()
    assert badges.main([str(checkout / "notebooks")]) == 1
    assert "must be https://github.com/OWNER/NAME" in capsys.readouterr().err
    assert (checkout / NAME).read_bytes() == before


def test_notebooks_have_the_links_once_the_address_is_known():
    """Until then they have none, so that no link leads to a stranger's repository."""
    try:
        address = repository(ROOT)
    except ValueError:
        address = None
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, 4)
        if address is None:
            assert not installing(book) and "**Open it in**" not in book.cells[0].source
        else:
            assert nbformat.writes(add_badges(nbformat.read(path, 4), f"notebooks/{path.name}", address)) == nbformat.writes(
                book
            )


def test_the_cell_does_nothing_where_co3_is_installed():
    from IPython.core.inputtransformer2 import TransformerManager

    (cell,) = installing(add_badges(nbformat.read(ROOT / NAME, 4), NAME, ADDRESS))
    code = TransformerManager().transform_cell(cell.source)

    def run_line_magic(*said):
        raise AssertionError(said)

    exec(code, {"get_ipython": lambda: type("Shell", (), {"run_line_magic": staticmethod(run_line_magic)})})


def test_the_command_of_the_cell_installs_co3_into_an_empty_environment(tmp_path):
    """From this checkout in place of the web, and without what co3 requires, which would be a gigabyte."""
    (cell,) = installing(add_badges(nbformat.read(ROOT / NAME, 4), NAME, ADDRESS))
    (what,) = re.findall(r'%pip install --quiet "(.+?)"', cell.source)
    source = tmp_path / "source"
    for name in ("co3lib", "co3cli", "co3course", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "cache"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@t"]
    for more in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *more], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    here = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{source.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": ADDRESS}
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install", "--no-deps", "--no-index"]
    # What builds the wheel is that of these tests, as an isolated build would fetch it.
    built = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*built, what], check=True, stdin=subprocess.DEVNULL, env={**os.environ, **here})
    subprocess.run([*pip, str(next(tmp_path.glob("*.whl")))], check=True, stdin=subprocess.DEVNULL)
    said = subprocess.run(
        [python, "-I", "-c", "import co3lib, importlib.util as u; print(co3lib.__file__, u.find_spec('co3course').origin)"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    ).stdout  # fmt: skip
    assert all(Path(file).is_relative_to(tmp_path / "empty") for file in said.split())
