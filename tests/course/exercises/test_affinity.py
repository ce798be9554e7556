"""Exercises of notebook 05: answers that are wrong in the ways that come to mind."""

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
    ("05.1", 1.7, "squared"),
    ("05.1", 0.6, "changed places"),
    ("05.1", 0.3, "alpha"),
    ("05.1", 1.0, "two terms"),
    ("05.2", lambda *given: terms(*given, swap=(True, False)).sum(), "both terms"),
    ("05.2", lambda *given: terms(*given, swap=(False, True)).sum(), "one of the terms"),
    ("05.2", lambda *given: terms(*given, square=False).sum(), "squared"),
    ("05.2", lambda *given: terms(*given).mean(), "mean"),
    ("05.2", lambda first, second, likeness, _: terms(first, second, likeness, 4.0).sum(), "whatever alpha"),
    ("05.2", lambda first, second, likeness, _: terms(first, second, likeness, 1.0).sum(), "should be"),
    ("05.3", 0.2, "2 that comes down"),
    ("05.3", 0.125, "1 - T"),
    ("05.3", 0.5, "slope"),
    ("05.4", lambda own, across, other, cells: (own + across + other) / (2 * cells) ** 2, "twice"),
    ("05.4", lambda own, across, other, cells: (own + across + other) / (3 * cells**2), "four"),
    ("05.4", lambda own, across, other, cells: own + 2 * across + other, "mean"),
    ("05.4", lambda own, across, other, cells: (own + 2 * across + other) / (2 * cells), "pairs of cells"),
    ("05.4", lambda own, across, other, cells: (own + 2 * across + other) / cells**2, "should be"),
    ("05.5", lambda *given: gradient(*given, pull=1.0), "factor of 2"),
    ("05.5", lambda *given: gradient(*given, pull=-2.0), "sign"),
    ("05.5", lambda *given: gradient(*given, push=0.0), "first term is missing"),
    ("05.5", lambda *given: gradient(*given).sum(), "shape"),
    ("05.5", lambda *given: gradient(*given) / 8, "should be"),
]
