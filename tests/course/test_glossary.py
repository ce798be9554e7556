"""docs/glossary.md names what there is, in words that the notebooks use, and gives the default's numbers."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from reading import sources

from co3lib import CoSegConfig

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "glossary.md"
TEXT = PAGE.read_text(encoding="utf-8")
TERMS = TEXT.partition("## Terms")[2].partition("\n## ")[0]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert (PAGE.parent / target).exists(), target


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+\.\w+)`", TEXT))))
def test_functions_exist(name):
    module, _, function = name.partition(".")
    assert callable(getattr(import_module(f"co3lib.{module}"), function))


def test_every_term_is_used_in_a_notebook():
    used = " ".join(text for path in (ROOT / "notebooks").glob("*.ipynb") for text in sources(path, "markdown")).lower()
    terms = re.findall(r"^\| \*\*(.+?)\*\*", TERMS, re.M)
    assert len(terms) > 25
    for term in terms:
        assert re.search(rf"(?<!\w){re.escape(term.lower())}", used), term


def test_equations_are_those_that_docstrings_number():
    for number, function in re.findall(r"^\| (\d) \|.*?\| `(\w+\.\w+)` \|", TEXT, re.M):
        module, _, name = function.partition(".")
        documented = import_module(f"co3lib.{module}").__doc__ + (
            getattr(import_module(f"co3lib.{module}"), name).__doc__ or ""
        )
        assert re.search(rf"Eqs?\. [\d, and]*{number}", documented), (number, function)


def test_numbers_are_those_of_the_default():
    config = CoSegConfig()
    assert "$B$ is 6" in TEXT and config.batch_size == 6
    assert "at most 1000 by default" in TEXT and config.max_proposals == 1000
    assert "14 × 14 at 448 × 448" in TEXT and config.input_size == 448
    assert "| 4 |" in TEXT and config.alpha == 4
    assert "0.8 and 0.00001" in TEXT and (config.beta, config.gamma) == (0.8, 1e-5)
    assert r"\ell_s + 0.5\, \ell_t + 0.1\, \ell_a" in TEXT
    assert (config.saliency_weight, config.copeak_weight, config.affinity_weight) == (1, 0.5, 0.1)
    assert "the default has six, 0.5 to 3 times 448" in TEXT
    assert (len(config.peak_scales), min(config.peak_scales), max(config.peak_scales)) == (6, 0.5, 3)
    assert "lowest fifth" in TEXT and config.noise_percentile == 20
