"""The mechanism of co3course.exercises; the exercises themselves are tested in the folder beside this file."""

import sys
from types import ModuleType

import pytest

from co3course import exercises
from co3course.exercises import NOT_TRIED, RIGHT, WRONG, Exercise, check, hint


def judge_double(answer):
    return None if answer(2) == 4 else "it must double its argument"


def judge_number(answer):
    return None if answer == 7 else f"it is not {answer}"


@pytest.fixture(autouse=True)
def topic(monkeypatch):
    module = ModuleType("co3course.exercises.made_up")
    module.EXERCISES = {
        "99.1": Exercise(judge_double, ("Think of two.", "Multiply by it.")),
        "99.2": Exercise(judge_number, ()),
    }
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(exercises.TOPICS, "99", "made_up")
    monkeypatch.setattr(exercises, "_last", {})


def stub(x):
    raise NotImplementedError


def stops(x):
    return [][x]


@pytest.mark.parametrize(
    "number, answer, state, reason",
    [
        ("99.1", stub, NOT_TRIED, ""),
        ("99.2", ..., NOT_TRIED, ""),
        ("99.1", lambda x: 2 * x, RIGHT, ""),
        ("99.2", 7, RIGHT, ""),
        ("99.1", lambda x: x + 1, WRONG, "it must double its argument"),
        ("99.2", 8, WRONG, "it is not 8"),
        ("99.1", stops, WRONG, "It stops with IndexError: list index out of range"),
        ("99.1", 3, WRONG, "It stops with TypeError: 'int' object is not callable"),
    ],
)
def test_what_is_said_of_an_answer(number, answer, state, reason):
    verdict = check(number, answer)
    assert (verdict.number, verdict.state, verdict.reason) == (number, state, reason)


def test_a_verdict_reads_as_a_sentence_and_counts():
    assert repr(check("99.2", 8)) == "Exercise 99.2: not right yet. it is not 8\nNotebook 99: 0 of 2 right"
    assert repr(check("99.2", 7)) == "✓ Exercise 99.2: right\nNotebook 99: 1 of 2 right"
    assert repr(check("99.1", stub)) == "Exercise 99.1: not tried yet\nNotebook 99: 1 of 2 right"
    assert repr(check("99.1", lambda x: 2 * x)) == "✓ Exercise 99.1: right\nNotebook 99: 2 of 2 right"


def test_the_last_answer_counts():
    check("99.2", 7)
    assert check("99.2", 7).progress == "Notebook 99: 1 of 2 right"
    assert check("99.2", 8).progress == "Notebook 99: 0 of 2 right"


def test_exercises_of_other_notebooks_do_not_count(monkeypatch):
    monkeypatch.setitem(exercises._last, "03.1", RIGHT)
    assert check("99.2", ...).progress == "Notebook 99: 0 of 2 right"


def test_hints_go_from_the_first_to_the_last():
    assert hint("99.1") == hint("99.1", 1) == "Think of two." and hint("99.1", 2) == "Multiply by it."
    assert repr(hint("99.1")) == str(hint("99.1")) == "Think of two."
    for which in (0, 3, -1):
        with pytest.raises(ValueError, match=f"from 1 to 2 for exercise 99.1, got {which}"):
            hint("99.1", which)


@pytest.mark.parametrize("number", ["99.3", "98.1", "", "99", 99.1, None])
def test_a_number_that_is_no_exercise_is_refused(number):
    for ask in (lambda: check(number, 1), lambda: hint(number)):
        with pytest.raises(ValueError, match=r"number must be that of an exercise, like '03\.1', got "):
            ask()
