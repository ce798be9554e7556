"""Exercises of notebook 07: stubs, solutions and plausible wrong answers."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import torch

from co3course.exercises import NOT_TRIED, RIGHT, WRONG, check, hint
from co3course.exercises.peak_backprop import EXERCISES

SOLUTIONS = Path(__file__).parents[2] / "notebooks" / "solutions" / "07_peak_backprop_solutions.ipynb"
CODED = {"07.3", "07.4", "07.5"}


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """What the solutions notebook's cells leave behind."""
    names: dict = {}
    for cell in nbformat.read(SOLUTIONS, 4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names["output"] = str(tmp_path_factory.mktemp("solutions"))
    return names


def test_every_solution_is_right(solved):
    assert [verdict.number for verdict in solved["verdicts"]] == sorted(EXERCISES)
    assert {verdict.state for verdict in solved["verdicts"]} == {RIGHT}


@pytest.mark.parametrize("number", sorted(EXERCISES))
def test_stubs_are_not_tried_and_have_hints(number):
    def stub(*_):
        raise NotImplementedError

    assert check(number, stub if number in CODED else ...).state == NOT_TRIED
    assert hint(number) != hint(number, 2)


@pytest.mark.parametrize(
    "number, answer, said",
    [
        ("07.1", (1, 4, 2, -1), "gradient"),
        ("07.1", (2, 0, 2, 0), "contributions"),
        ("07.1", (3 / 11, 4 / 11, 4 / 11, 0), "minimum"),
        ("07.1", (0.5, 0, 0.5), "four"),
        ("07.1", (0.25, 0, 0.25, 0), "sum to 1"),
        ("07.1", (0.2, 0.2, 0.2, 0.4), "products"),
        ("07.2", 1, "conserved"),
        ("07.2", 0.5, "second"),
        ("07.2", 0, "in full"),
    ],
)
def test_wrong_predictions(number, answer, said):
    verdict = check(number, answer)
    assert verdict.state == WRONG and said in verdict.reason


def dense(lift=torch.min, positive=lambda w: w.clamp_min(0), divide=True, times=True, safe=True):
    def relevance(x, weight, arrived):
        lifted, kept = x - lift(x), positive(weight)
        total = kept @ lifted
        passed = arrived / total if divide else arrived
        if safe:
            passed = torch.where(total.abs() < 1e-10, 0, passed)
        return kept.T @ passed * (lifted if times else 1)

    return relevance


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x, weight, arrived: weight.T @ arrived, "ordinary gradient"),
        (dense(lift=lambda x: 0), "minimum"),
        (dense(positive=lambda w: w), "positive weights"),
        (dense(positive=torch.abs), "size"),
        (dense(divide=False), "divide by Z"),
        (dense(times=False), "times X'"),
        (dense(safe=False), "divide by zero"),
        (dense(lift=torch.mean), "sums to"),
        (lambda x, weight, arrived: arrived, "shape"),
    ],
)
def test_wrong_rules_are_named(answer, said):
    assert check("07.3", dense()).state == RIGHT
    verdict = check("07.3", answer)
    assert verdict.state == WRONG and said in verdict.reason


def shared(a, b, arrived):
    a, b = a - a.min(), b - b.min()
    return arrived * a / (a + b), arrived * b / (a + b)


def lifted_together(a, b, arrived):
    low = torch.minimum(a.min(), b.min())
    part = (a - low) / (a + b - 2 * low)
    return arrived * part, arrived * (1 - part)


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda a, b, arrived: (arrived, arrived), "doubled"),
        (lambda a, b, arrived: (arrived / 2, arrived / 2), "Halves"),
        (lambda a, b, arrived: shared(a, b, arrived)[::-1], "swapped"),
        (lambda a, b, arrived: (arrived * a / (a + b), arrived * b / (a + b)), "own minimum"),
        (lambda a, b, arrived: (shared(a, b, arrived)[0], arrived), "add up"),
        (lifted_together, "each minimum"),
        (lambda a, b, arrived: shared(a, b, arrived)[:1], "Two tensors"),
    ],
)
def test_wrong_shares_are_named(answer, said):
    assert check("07.4", shared).state == RIGHT
    verdict = check("07.4", answer)
    assert verdict.state == WRONG and said in verdict.reason


def folding(factor=lambda v, g, eps: g / (v + eps).sqrt(), rest=lambda b, m, f, s: (b - m) * f + s):
    def fold(weight, bias, mean, variance, scale, shift, eps):
        f = factor(variance, scale, eps)
        return weight * f[:, None, None, None], rest(bias, mean, f, shift)

    return fold


@pytest.mark.parametrize(
    "answer, said",
    [
        (folding(lambda v, g, eps: g / v.sqrt()), "eps"),
        (folding(lambda v, g, eps: g / (v + eps)), "root"),
        (folding(lambda v, g, eps: 1 / (v + eps).sqrt()), "scale is missing"),
        (folding(lambda v, g, eps: g * (v + eps).sqrt()), "weight is wrong"),
        (folding(rest=lambda b, m, f, s: b + s), "bias is not"),
        (folding(rest=lambda b, m, f, s: b - m * f + s), "bias is not"),
        (folding(rest=lambda b, m, f, s: s - m * f), "bias is not"),
        (lambda weight, bias, *rest: (weight[0], bias), "wanted"),
    ],
)
def test_wrong_folds_are_named(answer, said):
    assert check("07.5", folding()).state == RIGHT
    verdict = check("07.5", answer)
    assert verdict.state == WRONG and said in verdict.reason
