"""Exercises of notebook 11: stubs, solutions and plausible wrong answers."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import torch

from co3course.exercises import NOT_TRIED, RIGHT, WRONG, check, hint
from co3course.exercises.past_the_paper import EXERCISES, _contrasts, _evidence, _map, _photos_of_one_kind, _soft
from co3lib.beyond.priors import class_evidence, shared_classes
from co3lib.beyond.region_ranking import RegionRanker

SOLUTIONS = Path(__file__).parents[2] / "notebooks" / "solutions" / "11_past_the_paper_solutions.ipynb"
CODED = {"11.3", "11.4", "11.5"}


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


def test_the_checkers_truth_is_the_librarys():
    saliency, labels, members = _map(0)
    heat = torch.rand(2, *labels.shape)
    terms = RegionRanker(labels, members).terms(heat, saliency.float())
    torch.testing.assert_close(terms.contrast, _contrasts(saliency, labels, members).float())
    common, size, total = _soft(terms.target[:, labels], members[:, labels])
    torch.testing.assert_close(terms.fit, common / (size + total - common))


def test_evidence_is_what_the_recognized_prior_uses():
    logits = _photos_of_one_kind()
    likely = [logits.softmax(1)]
    torch.testing.assert_close(_evidence(logits), class_evidence(likely, shared_classes(likely).sqrt())[0])


@pytest.mark.parametrize("number", sorted(EXERCISES))
def test_stubs_are_not_tried_and_have_hints(number):
    def stub(*_):
        raise NotImplementedError

    assert check(number, stub if number in CODED else ...).state == NOT_TRIED
    assert hint(number) != hint(number, 2)


@pytest.mark.parametrize(
    "number, answer, said",
    [
        ("11.1", (-0.5, 0.488), "first is the fit"),
        ("11.1", (2 / 4, -0.5), "union"),
        ("11.1", (0.465, -0.5), "share t"),
        ("11.1", (0.6, -0.5), "2 pixels"),
        ("11.1", (0.488, 0.5), "less outside"),
        ("11.1", (0.488, 0.0), "cell 3"),
        ("11.1", (0.488, 1.0), "cell 2"),
        ("11.2", (1, 1), "on a third"),
        ("11.2", (1, 1 / 3), "first is the fit for a single"),
        ("11.2", (0.5, 1), "a third of the thing"),
        ("11.2", (0.25, 1), "subtracted once"),
        ("11.2", (0.2, 1), "subtracted once"),
        ("11.2", (1 / 3, 1 / 3), "added up"),
        ("11.2", (1 / 3, 0.6), "add up"),
    ],
)
def test_wrong_predictions(number, answer, said):
    verdict = check(number, answer)
    assert verdict.state == WRONG and said in verdict.reason


def fit_with(change):
    return lambda share, masks: change(*_soft(share, masks))


@pytest.mark.parametrize(
    "answer, said",
    [
        (fit_with(lambda c, p, t: c / (p + t)), "twice"),
        (fit_with(lambda c, p, t: c / p), "proposal alone"),
        (fit_with(lambda c, p, t: c / t), "target alone"),
        (fit_with(lambda c, p, t: c), "intersection alone"),
        (fit_with(lambda c, p, t: 2 * c / (p + t)), "Dice"),
        (fit_with(lambda c, p, t: (c / (p + t - c)).T), "(Q, K)"),
        (fit_with(lambda c, p, t: c / (p + t - c) + 0.1), "off by"),
        (lambda t, m: ((t > 0.5)[:, None] & m).sum((2, 3)) / ((t > 0.5)[:, None] | m).sum((2, 3)), "soft"),
    ],
)
def test_wrong_fits_are_named(answer, said):
    verdict = check("11.3", answer)
    assert verdict.state == WRONG and said in verdict.reason


def everywhere(saliency, labels, members):
    return torch.stack([saliency[mask].mean() - saliency[~mask].mean() for mask in members[:, labels]])


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda *data: -_contrasts(*data), "inside minus outside"),
        (lambda *data: _contrasts(*data, outside="once"), "not once"),
        (lambda *data: _contrasts(*data, outside="border pixels"), "whole cell"),
        (everywhere, "touch"),
        (lambda s, lab, m: torch.stack([s[mask].mean() for mask in m[:, lab]]), "inside alone"),
        (lambda *data: _contrasts(*data)[:, None], "(K,)"),
        (lambda *data: 2 * _contrasts(*data), "off by"),
    ],
)
def test_wrong_contrasts_are_named(answer, said):
    verdict = check("11.4", answer)
    assert verdict.state == WRONG and said in verdict.reason


def test_a_mean_over_cells_is_named():
    def unweighted(saliency, labels, members):
        cells = torch.stack([saliency[labels == c].mean() for c in range(members.shape[1])])
        outside = torch.stack([saliency[mask].mean() for mask in members[:, labels]]) - _contrasts(saliency, labels, members)
        return torch.stack([cells[m].mean() for m in members]) - outside

    verdict = check("11.4", unweighted)
    assert verdict.state == WRONG and "over pixels" in verdict.reason


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda logits: _evidence(logits, "logits"), "softmax"),
        (lambda logits: _evidence(logits, "photos"), "One photo"),
        (lambda logits: _evidence(logits, "mean"), "quantile"),
        (lambda logits: _evidence(logits, "cells"), "best cell"),
        (lambda logits: _evidence(logits, "square"), "root"),
        (lambda logits: _evidence(logits, "scale"), "largest"),
        (lambda logits: _evidence(logits, "hard"), "soft"),
        (lambda logits: _evidence(logits, "largest"), "Add up"),
        (lambda logits: torch.stack([_evidence(one[None])[0] for one in logits]), "each photo by itself"),
        (lambda logits: _evidence(logits)[0], "(N, h, w)"),
        (lambda logits: _evidence(logits) / 2, "off by"),
    ],
)
def test_wrong_evidence_is_named(answer, said):
    verdict = check("11.5", answer)
    assert verdict.state == WRONG and said in verdict.reason
