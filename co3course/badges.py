"""Links at the head of each notebook that open it in Colab or Binder, and the cell that installs co3 there.

    python -m co3course.badges notebooks      # write them, or write them anew

The repository's address is ``Repository`` of ``[project.urls]`` in ``pyproject.toml``, the only place where it stands. Until it
is there nothing is written. Binder installs ``environment.yml`` by itself; on Colab the cell installs co3 from the repository.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import nbformat

from co3lib.files import path_of, print_anything, write_text

INSTALL = "install"
"""The tag of the cell that installs co3 where it is not installed."""
_LINE = re.compile(r"\n\n\*\*Open it in\*\* .*$")
_CELL = """# Does nothing where co3 is installed.
from importlib.util import find_spec

if find_spec("co3course") is None:
    %pip install --quiet "co3lib[course] @ git+{address}\""""


def repository(root: Path) -> str:
    """The address on GitHub of the checkout at ``root``; ``ValueError`` if ``pyproject.toml`` has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "").rstrip("/")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(
            f"Repository of [project.urls] in pyproject.toml must be https://github.com/OWNER/NAME, got {address or 'none'}"
        )
    return address


def add_badges(book: nbformat.NotebookNode, name: str, address: str) -> nbformat.NotebookNode:
    """Give a notebook its links, at the end of its first cell, and the installing cell after it. Earlier ones are replaced.

    Parameters
    ----------
    name : of the notebook within the repository, as "notebooks/00_quickstart.ipynb".
    address : of the repository on GitHub.
    """
    first = book.cells[0]
    if first.cell_type != "markdown":
        raise ValueError(f"{name} must begin with a cell of text, got one of {first.cell_type}")
    place = address.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{place}/blob/HEAD/{name}"
    binder = f"https://mybinder.org/v2/gh/{place}/HEAD?urlpath=lab/tree/{name}"
    first.source = f"{_LINE.sub('', first.source)}\n\n**Open it in** [Colab]({colab}) or [Binder]({binder})"
    book.cells = [cell for cell in book.cells if INSTALL not in cell.metadata.get("tags", [])]
    book.cells.insert(1, nbformat.v4.new_code_cell(_CELL.format(address=address), metadata={"tags": [INSTALL]}))
    for number, cell in enumerate(book.cells):  # as nbstripout numbers them
        cell.id = str(number)
    return book


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3course.badges", description="Write links to Colab and Binder.")
    parser.add_argument("notebooks", help="the folder of the notebooks, in the checkout")
    options = parser.parse_args(arguments)
    print_anything()
    try:
        folder = path_of(options.notebooks, "notebooks").resolve()
        address = repository(folder.parent)
        for path in sorted(folder.glob("*.ipynb")):
            book = add_badges(nbformat.read(path, 4), f"{folder.name}/{path.name}", address)
            write_text(path, nbformat.writes(book) + "\n")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
