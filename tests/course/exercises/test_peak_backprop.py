"""Exercises of notebook 08: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import torch

WRONG_PREDICTIONS = [
    ("08.1", (1, 4, 2, -1), "gradient"),
    ("08.1", (2, 0, 2, 0), "contributions"),
    ("08.1", (3 / 11, 4 / 11, 4 / 11, 0), "minimum"),
    ("08.1", (0.5, 0, 0.5), "four"),
    ("08.1", 0.5, "4 numbers"),
    ("08.1", (0.5, 0, 0.5, float("nan")), "NaN"),
    ("08.1", (0.25, 0, 0.25, 0), "sum to 1"),
    ("08.1", (0.2, 0.2, 0.2, 0.4), "products"),
    ("08.2", 1, "conserved"),
    ("08.2", 0.5, "second"),
    ("08.2", 0, "in full"),
    ("08.2", float("nan"), "NaN"),
    ("08.2", "three quarters", "One number"),
]


def dense(lift=torch.min, positive=lambda w: w.clamp_min(0), divide=True, times=True, safe=True):
    def relevance(x, weight, arrived):
        lifted, kept = x - lift(x), positive(weight)
        total = kept @ lifted
        passed = arrived / total if divide else arrived
        if safe:
            passed = torch.where(total.abs() < 1e-10, 0, passed)
        return kept.T @ passed * (lifted if times else 1)

    return relevance


WRONG_RULES = [
    ("08.3", lambda x, weight, arrived: weight.T @ arrived, "ordinary gradient"),
    ("08.3", dense(lift=lambda x: 0), "minimum"),
    ("08.3", dense(positive=lambda w: w), "positive weights"),
    ("08.3", dense(positive=torch.abs), "size"),
    ("08.3", dense(divide=False), "divide by Z"),
    ("08.3", dense(times=False), "times X'"),
    ("08.3", dense(safe=False), "divide by zero"),
    ("08.3", dense(lift=torch.mean), "sums to"),
    ("08.3", lambda x, weight, arrived: arrived, "shape"),
]


def shared(a, b, arrived):
    a, b = a - a.min(), b - b.min()
    return arrived * a / (a + b), arrived * b / (a + b)


def lifted_together(a, b, arrived):
    low = torch.minimum(a.min(), b.min())
    part = (a - low) / (a + b - 2 * low)
    return arrived * part, arrived * (1 - part)


WRONG_SHARES = [
    ("08.4", lambda a, b, arrived: (arrived, arrived), "doubled"),
    ("08.4", lambda a, b, arrived: (arrived / 2, arrived / 2), "Halves"),
    ("08.4", lambda a, b, arrived: shared(a, b, arrived)[::-1], "swapped"),
    ("08.4", lambda a, b, arrived: (arrived * a / (a + b), arrived * b / (a + b)), "own minimum"),
    ("08.4", lambda a, b, arrived: (shared(a, b, arrived)[0], arrived), "add up"),
    ("08.4", lifted_together, "each minimum"),
    ("08.4", lambda a, b, arrived: shared(a, b, arrived)[:1], "Two tensors"),
]


FOOLED = ([2.0, 3.0, 2.5], [10.0, 1.0, 1.0])
NOT_FOOLED = [
    ("08.5", 3, "pair"),
    ("08.5", ([1, 2], [1, 2, 3]), "inputs: 3 numbers"),
    ("08.5", ([1, 2, 3], [1, 2, float("nan")]), "weights: A number"),
    ("08.5", ([1, 2, 3], [1, 2, float("inf")]), "ordinary size"),
    ("08.5", ([-1, 2, 3], [1, 2, 3]), "ReLU"),
    ("08.5", ([1, 2, 3], [-1, -2, -3]), "above 0"),
    ("08.5", ([1, 1.1, 1.2], [1, 1, 1]), "more than half"),
    ("08.5", ([1, 1, 1], [9, 1, 1]), "lost altogether"),
    ("08.5", ([2, 3, 1], [10, 1, 1]), "Input 1 contributes most and gets 0.83"),
]


def in_doubles(answer):
    """An answer that reckons in float64 whatever it is given."""
    return lambda *given: answer(*(tensor.double() for tensor in given))


RIGHT_ANSWERS = [
    *[("08.3", dense()), ("08.3", in_doubles(dense())), ("08.4", shared), ("08.4", in_doubles(shared))],
    *[("08.1", torch.tensor([0.5, 0, 0.5, 0])), ("08.2", torch.tensor(0.75)), ("08.5", FOOLED)],
]
WRONG_ANSWERS = WRONG_PREDICTIONS + WRONG_RULES + WRONG_SHARES + NOT_FOOLED
