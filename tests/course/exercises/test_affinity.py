"""Exercises of notebook 06: answers that are wrong in the ways that come to mind."""

from __future__ import annotations


def terms(first, second, likeness, alpha, square=True, swap=(False, False)):
    one, other = first[:, :, None, None], second[None, None]
    apart = (one - other) ** 2 if square else abs(one - other)
    near, far = (likeness, 1 - likeness) if swap[0] else (1 - likeness, likeness)
    if swap[1]:
        far = 1 - far
    return one * other * near + alpha * apart * far


def gradient(first, second, likeness, alpha, push=1.0, pull=2.0):
    one, other = first[:, :, None, None], second[None, None]
    return (push * other * (1 - likeness) + pull * alpha * (one - other) * likeness).sum((2, 3))


WRONG_ANSWERS = [
    ("06.6", [[1, 0], [0, 1]], "Cats alone cost 0.00, everything 2.00"),
    ("06.6", [[1, 0.3], [0.3, 0]], "everything 2.40"),
    ("06.6", [[1, 0.6], [0.6, 1]], "half like a wall"),
    ("06.6", [[0.9, 0.3], [0.3, 1]], "first number is 1"),
    ("06.6", [[1, -0.3], [0.3, 1]], "from 0 to 1"),
    ("06.6", [1, 0.3], "must have shape"),
    ("06.1", 1.7, "squared"),
    ("06.1", 0.6, "changed places"),
    ("06.1", 0.3, "alpha"),
    ("06.1", 1.0, "two terms"),
    ("06.1", (0.1, 0.8), "one number, it is tuple"),
    ("06.3", float("nan"), "finite"),
    ("06.5", lambda *given: gradient(*given) * float("nan"), "should be"),
    ("06.2", lambda *given: terms(*given, swap=(True, False)).sum(), "both terms"),
    ("06.2", lambda *given: terms(*given, swap=(False, True)).sum(), "one of the terms"),
    ("06.2", lambda *given: terms(*given, square=False).sum(), "squared"),
    ("06.2", lambda *given: terms(*given).mean(), "mean"),
    ("06.2", lambda first, second, likeness, _: terms(first, second, likeness, 4.0).sum(), "whatever alpha"),
    ("06.2", lambda first, second, likeness, _: terms(first, second, likeness, 1.0).sum(), "should be"),
    ("06.3", 0.2, "2 that comes down"),
    ("06.3", 0.125, "1 - T"),
    ("06.3", 0.5, "slope"),
    ("06.4", lambda own, across, other, cells: (own + across + other) / (2 * cells) ** 2, "twice"),
    ("06.4", lambda own, across, other, cells: (own + across + other) / (3 * cells**2), "four"),
    ("06.4", lambda own, across, other, cells: own + 2 * across + other, "mean"),
    ("06.4", lambda own, across, other, cells: (own + 2 * across + other) / (2 * cells), "pairs of cells"),
    ("06.4", lambda own, across, other, cells: (own + 2 * across + other) / cells**2, "should be"),
    ("06.5", lambda *given: gradient(*given, pull=1.0), "factor of 2"),
    ("06.5", lambda *given: gradient(*given, pull=-2.0), "sign"),
    ("06.5", lambda *given: gradient(*given, push=0.0), "first term is missing"),
    ("06.5", lambda *given: gradient(*given).sum(), "shape"),
    ("06.5", lambda *given: gradient(*given) / 8, "should be"),
]

RIGHT_ANSWERS = [
    ("06.6", [[1, 0.5], [0, 1]]),
    ("06.2", lambda first, second, likeness, alpha: terms(first.double(), second.double(), likeness.double(), alpha).sum()),
    ("06.5", lambda first, second, likeness, alpha: gradient(first.double(), second.double(), likeness.double(), alpha)),
]
