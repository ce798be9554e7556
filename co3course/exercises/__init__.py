"""Checking the notebooks' exercises: ``check("03.1", answer)``, ``hint("03.1")``.

The exercises of a notebook are in the module of its topic, as ``EXERCISES``: number -> ``Exercise``. A check tries the
answer on data of its own, never reads its code, and says what is wrong rather than that something is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

# The number of a notebook -> the module with its exercises.
TOPICS = {
    "01": "data",
    "02": "evaluation",
    "03": "correlation",
    "04": "saliency",
    "05": "copeaks",
    "06": "affinity",
    "07": "training",
    "08": "peak_backprop",
    "09": "ranking",
    "10": "localization",
    "11": "past_the_paper",
    "13": "own_photos",
    "14": "reproduction",
}
NOT_TRIED, RIGHT, WRONG = "not tried yet", "right", "not right yet"


@dataclass(frozen=True)
class Exercise:
    """judge: takes the answer (a function to be called, or a value) and returns None if it is right, else one sentence that
    says what is wrong; hints: one sentence each, from a nudge to nearly the answer."""

    judge: Callable[..., str | None]
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What ``check`` says of an answer: its state, one of "not tried yet", "right", "not right yet", and the reason."""

    number: str
    state: str
    reason: str = ""

    def __repr__(self) -> str:
        return f"Exercise {self.number}: {self.state}" + (f". {self.reason}" if self.reason else "")


def check(number: str, answer) -> Verdict:
    """Judge an answer. A function that raises ``NotImplementedError``, and the value ``...``, are not tried yet."""
    exercise = _find(number)
    if answer is ...:
        return Verdict(number, NOT_TRIED)
    try:
        reason = exercise.judge(answer)
    except NotImplementedError:
        return Verdict(number, NOT_TRIED)
    except Exception as error:  # whatever a student's code raises is part of the answer
        reason = f"It stops with {type(error).__name__}: {error}"
    return Verdict(number, RIGHT) if reason is None else Verdict(number, WRONG, reason)


def hint(number: str, which: int = 1) -> str:
    """The first hint for an exercise, or the ``which``-th."""
    hints = _find(number).hints
    if not 1 <= which <= len(hints):
        raise ValueError(f"which must be from 1 to {len(hints)} for exercise {number}, got {which}")
    return hints[which - 1]


def _find(number: str) -> Exercise:
    topic = TOPICS.get(str(number).partition(".")[0])
    exercises = import_module(f".{topic}", __name__).EXERCISES if topic else {}
    if number not in exercises:
        raise ValueError(f"number must be that of an exercise, like '03.1', got {number!r}")
    return exercises[number]
