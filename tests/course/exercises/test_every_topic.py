"""What holds for the exercises of every notebook. A topic's own file beside this one has its table of wrong answers, and what
is to be tested of that topic alone; ``-k ranking`` runs all that is tested of one topic."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from reading import verdicts

from co3course.exercises import NOT_TRIED, RIGHT, TOPICS, WRONG, check, hint

SOLUTIONS = Path(__file__).parents[3] / "notebooks" / "solutions"
EXERCISES = {number: import_module(f"co3course.exercises.{topic}").EXERCISES for number, topic in TOPICS.items()}
ANSWERS = {number: import_module(f".test_{topic}", __package__) for number, topic in TOPICS.items()}

# Exercises whose answer is a function; that of the others is a value.
CODED = {
    *("01.3", "01.4", "01.5"),
    *("02.2", "02.3"),
    *("03.3", "03.4", "03.5"),
    *("04.2", "04.4"),
    *("05.2", "05.4", "05.5"),
    *("06.2", "06.4", "06.5"),
    *("07.3", "07.4", "07.5"),
    *("08.3", "08.4"),
    *("09.3", "09.4"),
    *("10.2", "10.4"),
    *("11.3",),
    *("12.3", "12.4"),
    *("13.2", "13.3", "13.4"),
    *("14.2", "14.3", "14.4"),
}


def stub(*_):
    raise NotImplementedError


def solutions() -> list:
    """Every topic's number and solutions notebook."""
    found = [(number, topic, *SOLUTIONS.glob(f"{number}_*.ipynb")) for number, topic in TOPICS.items()]
    return [pytest.param(number, path, id=topic) for number, topic, path in found]


def each_exercise() -> list:
    return [pytest.param(one, id=f"{TOPICS[number]}-{one}") for number, exercises in EXERCISES.items() for one in exercises]


def each_answer(table: str) -> list:
    answers = [(topic, one) for number, topic in TOPICS.items() for one in getattr(ANSWERS[number], table, [])]
    return [pytest.param(*one, id="-".join([topic, one[0], *one[2:]])) for topic, one in answers]


@pytest.mark.parametrize(("number", "path"), solutions())
def test_every_solution_is_right(number, path, run_of):
    executed = nbformat.read(run_of(path).output / path.name, 4)
    assert list(verdicts(executed).items()) == [(one, RIGHT) for one in sorted(EXERCISES[number])]


@pytest.mark.parametrize("number", each_exercise())
def test_what_is_not_tried_is_said_to_be_and_has_hints(number):
    assert check(number, ...).state == NOT_TRIED
    if number in CODED:
        assert check(number, stub).state == NOT_TRIED
    hints = [hint(number, which) for which in range(1, len(EXERCISES[number[:2]][number].hints) + 1)]
    assert hints[0] == hint(number) and all(hints) and len(set(hints)) == len(hints)
    assert len(hints) > 1 or number == "04.1"
    sentences = hints[:-1] if number in ("01.3", "01.5") else hints  # the last hint of these two is a line of code
    assert all(one.endswith((".", "?")) for one in sentences)


@pytest.mark.parametrize("number", TOPICS, ids=TOPICS.get)
def test_every_exercise_has_wrong_answers(number):
    assert {one for one, *_ in ANSWERS[number].WRONG_ANSWERS} == set(EXERCISES[number])


@pytest.mark.parametrize(("number", "answer"), each_answer("RIGHT_ANSWERS"))
def test_right_answers_are_right(number, answer):
    verdict = check(number, answer)
    assert verdict.state == RIGHT, verdict


@pytest.mark.parametrize(("number", "answer", "word"), each_answer("WRONG_ANSWERS"))
def test_wrong_answers_are_told_what_is_wrong(number, answer, word):
    verdict = check(number, answer)
    assert verdict.state == WRONG and word in verdict.reason, verdict
