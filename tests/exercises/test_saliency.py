"""Exercises of notebook 03: not tried, right, and wrong in the ways that come to mind."""

from pathlib import Path

import nbformat
import pytest
import torch

from co3course.exercises import NOT_TRIED, RIGHT, WRONG, check, hint
from co3course.exercises.saliency import EXERCISES
from co3lib.losses import saliency_loss, saliency_weight

SOLUTIONS = Path(__file__).parents[2] / "notebooks/solutions/03_cosaliency_and_saliency_loss_solutions.ipynb"


def todo(*_):
    raise NotImplementedError


@pytest.mark.parametrize("number", EXERCISES)
def test_what_is_not_tried_is_said_to_be(number):
    assert check(number, ...).state == NOT_TRIED
    if number in ("03.2", "03.4"):
        assert check(number, todo).state == NOT_TRIED
    assert all(hint(number, k + 1) for k in range(len(EXERCISES[number].hints)))


def test_solutions_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in nbformat.read(SOLUTIONS, 4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert [verdict.number for verdict in names["verdicts"]] == list(EXERCISES)
    assert all(verdict.state == RIGHT for verdict in names["verdicts"]), names["verdicts"]


def one_mean_for_all(prior):
    positive = prior > prior.mean()
    share = positive.double().mean()
    return torch.where(positive, 1 - share, share)


def squares(saliency, prior):
    return (saliency - prior).square()


WRONG_ANSWERS = [
    ("03.1", 0.2, "negative pixel"),
    ("03.1", 20, "other kind"),
    ("03.2", lambda p: 1 - saliency_weight(p), "other way round"),
    ("03.2", one_mean_for_all, "own mean"),
    ("03.2", lambda p: saliency_weight((p > 0.5).double()), "not above 0.5"),
    ("03.2", lambda p: saliency_weight(p)[:, 0], "shape"),
    ("03.2", torch.ones_like, "first pixel"),
    ("03.3", 0.25, "forgot the weights"),
    ("03.3", 0.1875, "squared"),
    ("03.3", 1.0, "Add up"),
    ("03.4", lambda s, p: squares(s, p).mean((1, 2, 3)).sum(), "forgot the weights"),
    ("03.4", lambda s, p: (saliency_weight(p) * squares(s, p)).mean(), "do not take their mean"),
    ("03.4", lambda s, p: (saliency_weight(p) * squares(s, p)).sum(), "Divide by"),
    ("03.4", lambda s, p: (saliency_weight(p) * (s - p).abs()).mean((1, 2, 3)).sum(), "squared"),
    ("03.4", lambda s, p: (saliency_weight(p) * (s - p)).square().mean((1, 2, 3)).sum(), "not squared itself"),
    ("03.4", lambda s, p: (saliency_weight(s) * squares(s, p)).mean((1, 2, 3)).sum(), "that of the prior"),
    ("03.4", lambda s, p: saliency_loss(s.detach(), p), "no gradient"),
    ("03.4", lambda s, p: saliency_loss(s, p)[None], "shape"),
    ("03.4", lambda s, p: saliency_loss(s, p) + 1, "was wanted"),
]


@pytest.mark.parametrize(("number", "answer", "reason"), WRONG_ANSWERS)
def test_wrong_answers_are_told_what_is_wrong(number, answer, reason):
    verdict = check(number, answer)
    assert verdict.state == WRONG and reason in verdict.reason, verdict
