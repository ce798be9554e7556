"""co3course.prose: sentences that a cell says."""

import pytest

from co3course import prose


def test_a_sentence_is_shown_as_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(prose, "display", shown.append)
    prose.say(f"AP of what is shown: **{2 / 3:.2f}**")
    assert shown[0]._repr_markdown_() == "AP of what is shown: **0.67**"


@pytest.mark.parametrize("empty", ["", " \n"])
def test_it_must_say_something(empty):
    with pytest.raises(ValueError, match="text must say something, got "):
        prose.say(empty)
