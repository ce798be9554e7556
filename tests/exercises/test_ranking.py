"""Exercises of notebook 08: stubs, solutions and plausible wrong answers."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from co3course.exercises import NOT_TRIED, RIGHT, WRONG, check, hint
from co3course.exercises.ranking import EXERCISES
from co3lib.overlap import mask_iou
from co3lib.ranking import mask_nms

SOLUTIONS = Path(__file__).parents[2] / "notebooks" / "solutions" / "08_ranking_proposals_solutions.ipynb"
CODED = {"08.3", "08.4", "08.5"}


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
        ("08.1", (160, 160), "border"),
        ("08.1", (96, 44), "erosion"),
        ("08.1", (80, 160), "first is the middle"),
        ("08.1", (100, 100), "side length"),
        ("08.1", (160, 120), "two sides"),
        ("08.2", (1e-5, 2e-5), "area"),
        ("08.2", (1e-5, 1e-5), "quarter of the background"),
        ("08.2", (1e-5, 2.5e-6), "quarter of the background"),
        ("08.2", (4e-5, 4e-5), "as hot as before"),
        ("08.2", (2.5e-6, 4e-5), "as hot as before"),
        ("08.2", (4e-5, 1e-5), "first is for values"),
    ],
)
def test_wrong_predictions(number, answer, said):
    verdict = check(number, answer)
    assert verdict.state == WRONG and said in verdict.reason


def variant(change):
    """Eq. 7 with its parts changed: change(parts) returns the parts to be used."""

    def score(heat, saliency, masks, edges, beta, gamma):
        parts = {"o": heat, "s": saliency, "r": heat * saliency, "p": masks.double(), "e": edges.double()}
        parts |= {"outside": 1 - saliency, "beta": beta, "one": 1.0, "gamma": gamma}
        parts |= change(parts)
        inside, along = (torch.einsum("qyx,kyx->qk", parts["r"], parts[key]) for key in ("p", "e"))
        return parts["beta"] * inside + parts["one"] * along - parts["gamma"] * (parts["outside"] * parts["p"]).sum((1, 2))

    return score


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda parts: {"r": parts["o"]}, "heat alone"),
        (lambda parts: {"gamma": -parts["gamma"]}, "subtracted"),
        (lambda parts: {"one": 0}, "contour term"),
        (lambda parts: {"gamma": 0}, "background term"),
        (lambda parts: {"beta": 1, "one": parts["beta"]}, "not to the contour"),
        (lambda parts: {"one": parts["beta"]}, "inside only"),
        (lambda parts: {"outside": parts["s"]}, "1 - S"),
        (lambda parts: {"r": parts["r"] ** 2}, "off by"),
    ],
)
def test_wrong_scores_are_named(change, said):
    assert check("08.3", variant(lambda parts: {})).state == RIGHT
    verdict = check("08.3", variant(change))
    assert verdict.state == WRONG and said in verdict.reason


def test_scores_of_the_wrong_shape():
    verdict = check("08.3", lambda *given: variant(lambda parts: {})(*given).T)
    assert verdict.state == WRONG and "(Q, K)" in verdict.reason


def suppression(overlap, dropped=lambda share, limit: share > limit, compare="kept", order="best"):
    def suppress(masks, scores, share):
        kept, seen = [], []
        for k in scores.argsort(descending=True).tolist():
            others = kept if compare == "kept" else seen
            if not any(dropped(overlap(masks[k], masks[m]), share) for m in others):
                kept.append(k)
            seen.append(k)
        return sorted(kept) if order == "index" else kept

    return suppress


def smaller(one, other):
    return float((one & other).sum() / min(one.sum(), other.sum()))


@pytest.mark.parametrize(
    "answer, said",
    [
        (suppression(lambda a, b: float(mask_iou(a[None], b[None]))), "smaller"),
        (suppression(lambda a, b: float((a & b).sum() / max(a.sum(), b.sum()))), "smaller"),
        (suppression(lambda a, b: float((a & b).sum() / a.sum())), "whichever"),
        (suppression(smaller, compare="all"), "dropped"),
        (suppression(smaller, lambda share, limit: share >= limit), "Exactly"),
        (suppression(smaller, order="index"), "better one first"),
        (mask_nms, "smaller"),
        (lambda masks, scores, share: list(range(len(masks))), "better one first"),
    ],
)
def test_wrong_suppressions_are_named(answer, said):
    assert check("08.4", suppression(smaller)).state == RIGHT
    verdict = check("08.4", answer)
    assert verdict.state == WRONG and said in verdict.reason


def filtering(method="hazen", rescue=True, pooled=True, strictly=False):
    def keep(scores, percentile):
        result = []
        for one in scores:
            values = torch.cat(scores) if pooled else one
            limit = np.percentile(values.numpy(), percentile, method=method) if len(values) else 0
            kept = one > limit if strictly else one >= limit
            if rescue and len(one) and not kept.any():
                kept[one.argmax()] = True
            result.append(kept)
        return result

    return keep


@pytest.mark.parametrize(
    "answer, said",
    [
        (filtering("linear"), "19"),
        (filtering(rescue=False), "single best"),
        (filtering(pooled=False), "together"),
        (filtering(strictly=True), "equal"),
        (lambda scores, percentile: [torch.ones(len(one), dtype=torch.bool) for one in scores], "19"),
    ],
)
def test_wrong_filters_are_named(answer, said):
    assert check("08.5", filtering()).state == RIGHT
    verdict = check("08.5", answer)
    assert verdict.state == WRONG and said in verdict.reason
