"""docs/teaching.md names what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "teaching.md"
TEXT = GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_is_named(path):
    assert re.search(rf"\b{path.stem}\b", TEXT)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert target.startswith("https://") or (GUIDE.parent / target).exists(), target


def test_exercises_that_are_named_exist():
    asked = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        asked |= set(re.findall(r'check\(\\"(\d\d\.\d)\\"', path.read_text(encoding="utf-8")))
    assert set(re.findall(r"\b[01]\d\.\d\b", TEXT)) <= asked
