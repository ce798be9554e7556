"""The prose is true: a decimal number in it is one that the notebook's code or its run has, or has a source that is named in
``numbers.txt`` and holds it; what is said of the defaults is what ``CoSegConfig()`` has."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from reading import displayed, pages, sources

from co3lib.config import CoSegConfig
from co3lib.experiment import PAPER

ROOT = Path(__file__).parents[2]
WALK = sorted((ROOT / "notebooks").glob("*.ipynb"))
SAID = [*WALK, ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LISTED = Path(__file__).with_name("numbers.txt")

_NUMBER = re.compile(r"(?<![\w.,])\d+\.\d+(?![\w]|[.,]\d)")
# Code, formulas, links, the numbers of exercises and of the paper's sections are no measured numbers.
_APART = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)"
    r"|\*\*\d\d\.\d[^*]*\*\*|\b\d\d\.\d\b(?= to \d\d\.\d)|Sections? [\d., and]+",
    re.S,
)
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}

_CONFIG = CoSegConfig()
_STRIDE = 32  # of every backbone that the prose speaks of
_CELLS = _CONFIG.input_size // _STRIDE
FACTS = {
    r"\b(\w+) (?:scales|sizes in all)\b": len(_CONFIG.peak_scales),
    r"\b1/(42|\d\d) of the photo's (?:side|width)": round(_CELLS * max(_CONFIG.peak_scales)),
    r"\b(\d+) (?:x|×) \d+ (?:cells|grid)\b": _CELLS,
    r"(\d+) epochs at \$10\^\{-4\}\$": _CONFIG.epochs,
}
"""What is said of the defaults, with one number or word for a number, and what it must be. Other words ("all scales") say
nothing that could be wrong."""
OTHERS = {
    ("02", "6 × 6 cells"): "a toy",
    ("05", "16 x 16 cells"): "an exercise",
    ("10", "four scales"): "an earlier default",
    ("10", "3 × 3 cells"): "a toy",
    ("11", "2 × 2 cells"): "a toy",
}
"""What reads like it and speaks of something else."""


def prose(path: Path) -> str:
    text = "\n\n".join(sources(path, "markdown")) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    return _APART.sub(" ", text)


def listed() -> dict[str, list[tuple[str, str]]]:
    """Notebook's number -> (source, number) of every number that is listed."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in LISTED.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            notebook, source, numbers = (part.strip() for part in line.split("|"))
            found.setdefault(notebook, []).extend((source, number) for number in numbers.split())
    return found


@pytest.mark.parametrize("path", WALK, ids=lambda path: path.stem)
def test_every_number_is_of_the_run_or_has_a_source(path, run_of):
    executed = nbformat.read(run_of(path).output / path.name, 4)
    texts = ["".join(one.get("text", "")) + "".join(one.get("data", {}).get("text/plain", "")) for one in displayed(executed)]
    texts += ["".join(one.get("data", {}).get("text/markdown", "")) for one in displayed(executed)]
    texts += [re.sub(r"base64,[^\"]*", "", page) for page in pages(executed)]
    known = "\n".join([*texts, *sources(path, "code")])
    own = {number for _, number in listed().get(path.stem[:2], [])}
    said = set(_NUMBER.findall(prose(path)))
    unknown = {number for number in said - own if not re.search(rf"(?<![\d.]){re.escape(number)}", known)}
    assert not unknown, f"{path.name} says {sorted(unknown)}: no output has it; insert it with say, or name its source"
    assert own <= said, f"{LISTED.name} lists {sorted(own - said)} for {path.name}, which does not say it"


@pytest.mark.parametrize("notebook, source, number", [(key, *one) for key, some in listed().items() for one in some])
def test_the_named_source_has_the_number(notebook, source, number):
    if source != "by hand":  # a small example, worked out in the text
        text = PAPER.read_text(encoding="utf-8") if source == "paper" else (ROOT / source).read_text(encoding="utf-8")
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text), f"{source} has no {number}"


@pytest.mark.parametrize("pattern", FACTS)
def test_what_is_said_of_the_defaults_is_so(pattern):
    found = []
    for path in SAID:
        text = "\n\n".join(sources(path, "markdown")) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        for match in re.finditer(pattern, text):
            word = match[1].lower()
            number = _WORDS.get(word, int(word) if word.isdigit() else None)
            if number is not None and (path.name[:2], match[0]) not in OTHERS:
                found.append((path.name, match[0], number))
    assert found, f"nothing matches {pattern}: has it been put in other words?"
    wrong = [(name, text) for name, text, number in found if number != FACTS[pattern]]
    assert not wrong, f"it must be {FACTS[pattern]}"
