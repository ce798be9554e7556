"""co3course.source: the library's lines as they are."""

import html
import re
from pathlib import Path

import pytest

from co3course import source as module
from co3course.source import lines_of, source
from co3lib.instance import Instance
from co3lib.losses import copeak_loss
from co3lib.segmentation import CoSegmenter

ROOT = Path(__file__).parents[2]
THINGS = [copeak_loss, CoSegmenter.fit, CoSegmenter, Instance]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__qualname__)
def test_lines_are_those_of_the_file(thing):
    file, lines = lines_of(thing)
    written = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert len(lines) > 2 and all(written[number - 1].strip() == line.strip() for number, line in lines.items())
    name = thing.__name__
    assert re.search(rf"^(def|class) {name}\b", "\n".join(lines.values()), re.M)


def test_docstrings_are_left_out_and_nothing_else():
    _, lines = lines_of(copeak_loss)
    text = "\n".join(lines.values())
    assert "Parameters" not in text and '"""' not in text and "checks.choice" in text and text.endswith(".mean()")
    missing = set(range(min(lines), max(lines) + 1)) - set(lines)
    assert missing == set(range(min(missing), max(missing) + 1))


def test_what_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(module, "display", lambda bundle, raw: shown.append(bundle))
    source(copeak_loss)
    file, lines = lines_of(copeak_loss)
    ((page, plain),) = [(one["text/html"], one["text/plain"]) for one in shown]
    assert plain == "\n".join([file, *lines.values()]) and file == "co3lib/losses.py"
    words = html.unescape(re.sub("<[^>]*>", "", page))
    for number, line in lines.items():
        assert f"{number:4}  {line}" in words
    assert f"lines {min(lines)} to {max(lines)}" in words and "<style" not in page and "color: #" in page


@pytest.mark.parametrize("thing", [len, 3, "copeak_loss", None])
def test_what_has_no_code_is_refused(thing):
    with pytest.raises(TypeError, match="source takes a function, a method or a class with Python code, got "):
        source(thing)
