"""Every notebook, as committed and as run: headless, from the bundled data, in the profile "smoke"."""

import re
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from co3lib.notebook import errors, read_result

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SKIPPED: dict[str, str] = {}  # name -> why; a notebook that cannot be run here
SECONDS = 300  # far above the minute that a run may take: this machine may be busy
LONGEST_CELL, MEDIAN_CELL = 25, 6


def test_there_are_notebooks():
    assert {path.name for path in NOTEBOOKS} >= {"00_quickstart.ipynb", *SKIPPED}


def code_of(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestSource:
    def test_is_stripped(self, path):
        command = [sys.executable, "-m", "nbstripout", "--verify", str(path)]
        assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    def test_cells_are_short(self, path):
        lengths = [len(source.splitlines()) for source in code_of(path)]
        assert max(lengths) <= LONGEST_CELL and statistics.median(lengths) <= MEDIAN_CELL

    def test_parameters_are_typed_and_validated_in_the_next_cell(self, path):
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        tagged = [k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
        assert tagged == [0]
        names = [re.fullmatch(r"(\w+): \w+ = .+", line)[1] for line in cells[0].source.splitlines()]
        assert {"profile", "output", "seed"} <= set(names)
        for name in names:
            assert f"{name}={name}" in cells[1].source and "set_up(" in cells[1].source

    def test_links_resolve(self, path):
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert target.startswith("https://") or (path.parent / target).exists(), target


def run(path: Path, output: Path, *parameters: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "co3lib.notebook", str(path), "--output", str(output)]
    for name, value in zip(parameters[::2], parameters[1::2], strict=True):
        command += ["-p", name, value]
    return subprocess.run(
        command, cwd=output.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_unknown_parameter_is_refused_before_anything_runs(path, tmp_path):
    done = run(path, tmp_path / "out", "profil", "smoke")
    assert done.returncode == 1 and "has no parameter 'profil'" in done.stderr
    assert not (tmp_path / "out").exists()


class Images(HTMLParser):
    """The pictures of a page: how many, how many say what they show, and how many have a caption."""

    def __init__(self, page: str):
        super().__init__()
        self.images, self.described, self.captions = 0, 0, 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.images += tag == "img"
        self.described += tag == "img" and bool((dict(attributes).get("alt") or "").strip())
        self.captions += tag == "figcaption"


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.name not in SKIPPED], ids=lambda path: path.stem
)
def test_runs_and_leaves_its_results(path, tmp_path):
    output = tmp_path / "out"
    done = run(path, output, "profile", "smoke")
    assert done.returncode == 0, done.stderr
    result = read_result(output)
    assert str(output) in done.stdout and ("mAP" in done.stdout) == bool(result.classes)
    assert result.seconds > 0 and result.profile == "smoke"
    executed = nbformat.read(output / path.name, 4)
    assert not list(errors(executed))
    displayed = [out for cell in executed.cells for out in cell.get("outputs", [])]
    assert not [out for out in displayed if out.output_type == "stream" and out.name == "stderr"]
    assert not [out for out in displayed if "image/png" in out.get("data", {})]  # they would have no caption
    pages = "".join("".join(out.data["text/html"]) for out in displayed if "text/html" in out.get("data", {}))
    pictures = Images(pages)
    assert pictures.images == pictures.described == pictures.captions > 0
    in_page = Images((output / path.with_suffix(".html").name).read_text(encoding="utf-8"))
    assert in_page.images == in_page.described == pictures.images
