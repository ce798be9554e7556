"""Sentences with measured numbers: the number is put in where it is computed, so that the two cannot differ."""

from __future__ import annotations

from IPython.display import Markdown, display


def say(text: str) -> None:
    """Show a sentence, written in Markdown, among a cell's outputs."""
    if not text.strip():
        raise ValueError(f"text must say something, got {text!r}")
    display(Markdown(text))
