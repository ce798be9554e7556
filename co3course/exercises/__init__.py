"""Checking the notebooks' exercises: ``check("03.1", answer)``, ``hint("03.1")``.

The exercises of a notebook are in the module of its topic, as ``EXERCISES``: number -> ``Exercise``. A check tries the
answer on data of its own, never reads its code, and says what is wrong rather than that something is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    "11": "classifier_prior",
    "12": "choosing",
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
    """What ``check`` says of an answer: its state, one of "not tried yet", "right", "not right yet"; the reason; and progress,
    how many of the notebook's exercises are right by now."""

    number: str
    state: str
    reason: str = ""
    progress: str = ""

    def __repr__(self) -> str:
        said = f"Exercise {self.number}: {self.state}" + (f". {self.reason}" if self.reason else "")
        tick = "\N{CHECK MARK} " if self.state == RIGHT else ""
        return tick + said + (f"\n{self.progress}" if self.progress else "")


class Hint(str):
    """A hint, shown as it reads: without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


_last: dict[str, str] = {}  # the state of what was last checked in this session, by the exercise's number


def check(number: str, answer) -> Verdict:
    """Judge an answer, and count the notebook's exercises whose last answer in this session was right. A function that raises
    ``NotImplementedError``, and the value ``...``, are not tried yet."""
    state, reason = _judge(_find(number), answer)
    _last[number] = state
    exercises = _exercises(number)
    right = sum(_last.get(one) == RIGHT for one in exercises)
    return Verdict(number, state, reason, f"Notebook {number.partition('.')[0]}: {right} of {len(exercises)} right")


def _judge(exercise: Exercise, answer) -> tuple[str, str]:
    if answer is ...:
        return NOT_TRIED, ""
    try:
        reason = exercise.judge(answer)
    except NotImplementedError:
        return NOT_TRIED, ""
    except Exception as error:  # whatever a student's code raises is part of the answer
        reason = f"It stops with {type(error).__name__}: {error}"
    return (RIGHT, "") if reason is None else (WRONG, reason)


def hint(number: str, which: int = 1) -> Hint:
    """The first hint for an exercise, or the ``which``-th."""
    hints = _find(number).hints
    if not 1 <= which <= len(hints):
        raise ValueError(f"which must be from 1 to {len(hints)} for exercise {number}, got {which}")
    return Hint(hints[which - 1])


def _exercises(number: str) -> Mapping[str, Exercise]:
    topic = TOPICS.get(str(number).partition(".")[0])
    return import_module(f".{topic}", __name__).EXERCISES if topic else {}


def _find(number: str) -> Exercise:
    exercises = _exercises(number)
    if number not in exercises:
        raise ValueError(f"number must be that of an exercise, like '03.1', got {number!r}")
    return exercises[number]
