"""Exercises of notebook 05: regional maxima, co-peaks, the co-peak loss, votes."""

from __future__ import annotations

import time
from itertools import product

import torch
from torch.nn.functional import softplus

from co3lib.correlation import correlate, normalize_features
from co3lib.losses import FORMS, copeak_loss
from co3lib.peaks import copeak_votes, copeaks, regional_maxima, score_peaks

from . import Exercise
from .answers import numeric, tensor

# A map for 05.1; its regional maxima are 2 (a plateau of three cells), 5, 3 and 3.
RIDGES = torch.tensor([[2, 2, 1, 1, 4, 3], [1, 2, 1, 1, 4, 3], [1, 1, 1, 5, 1, 1], [3, 1, 1, 1, 1, 3.0]])
MEAN = 0.05  # the mean correlation of 05.3
_SIDE, _SECONDS = 16, 1.0  # of 05.2's flat map, and how long it may take


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _is_tensor(answer, shape: tuple[int, ...], kinds: tuple[torch.dtype, ...] | None = None) -> str | None:
    if not isinstance(answer, torch.Tensor):
        return f"It must return a tensor, it returned {type(answer).__name__}"
    if tuple(answer.shape) != shape:
        return f"It must return the shape {shape}, it returned {tuple(answer.shape)}"
    if kinds and answer.dtype not in kinds:
        return f"It must return {' or '.join(map(str, kinds))}, it returned {answer.dtype}"
    return None


@numeric
def _judge_count(answer: float) -> str | None:
    wrong = {
        5: "The two 4s are one plateau, and its lower cell has a 5 as a diagonal neighbour",
        6: "Count plateaus, not cells: the three 2s are one maximum",
        3: "One is missing: a maximum need not be high, it need only be higher than everything around it",
    }
    count = int(regional_maxima(RIDGES[None]).sum()) - 2  # the plateau of three counts once
    return None if answer == count else wrong.get(answer, "Go through the plateaus one by one: is anything around it higher?")


def _judge_maxima(answer) -> str | None:
    maps = [(_random(5, 6, seed=k) * 4).floor() for k in range(20)]
    for values in [_random(6, 5, seed=99), RIDGES, torch.ones(3, 4), *maps]:
        given = answer(values.clone())
        if problem := _is_tensor(given, tuple(values.shape), (torch.bool,)):
            return problem
        truth = regional_maxima(values[None])[0]
        if torch.equal(given, truth):
            continue
        missed, too_much = truth & ~given, given & ~truth
        if missed.any():
            wrong, what = missed, "is part of a regional maximum: equal neighbours do not spoil it, nor does the map's border"
        elif (too_much & ~_tops(values)).any():
            wrong, what = too_much & ~_tops(values), "is no maximum: a neighbour is higher; diagonal ones count"
        else:
            wrong, what = too_much, "is no maximum: none of its neighbours is higher, but its plateau has one that is"
        return f"{_patch(values, *wrong.nonzero()[0].tolist())} {what}"
    flat = torch.zeros(_SIDE, _SIDE)
    flat[0, 0] = 1
    started = time.perf_counter()
    given = answer(flat.clone())
    seconds = time.perf_counter() - started
    if not torch.equal(given, regional_maxima(flat[None])[0]):
        return "On a flat map with one higher cell in a corner, that cell is the only maximum"
    if seconds > _SECONDS:
        return f"It is right, but takes {seconds:.1f} s on {_SIDE} x {_SIDE} cells: treat all cells of a plateau at once"
    return None


def _patch(values: torch.Tensor, i: int, j: int) -> str:
    """A cell in words, with the values around it."""
    rows = values[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].tolist()
    around = "; ".join(" ".join(f"{value:.2g}" for value in row) for row in rows)
    cell = f"cell ({i}, {j}), of value {values[i, j]:.2g} (around it: {around}),"
    return f"In a map of {len(values)} x {len(values[0])} cells, {cell}"


def _tops(values: torch.Tensor) -> torch.Tensor:
    """Cells that none of their eight neighbours exceeds."""
    padded = torch.nn.functional.pad(values[None], (1, 1, 1, 1), value=-torch.inf)[0]
    h, w = values.shape
    around = [padded[1 + a : 1 + a + h, 1 + b : 1 + b + w] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return values >= torch.stack(around).amax(0)


@numeric
def _judge_ratio(answer: float) -> str | None:
    mean = torch.tensor(MEAN)
    truth = float(1 / mean / torch.sigmoid(-mean))
    if abs(answer - truth) <= 0.02 * truth:
        return None
    if abs(answer * truth - 1) <= 0.02:
        return "It is the other way round: how many times larger is the published one?"
    if abs(answer - float(-mean.log() / softplus(-mean))) <= 0.1:
        return "That is the ratio of the losses; their derivatives were asked for"
    return "Write both derivatives down: of -log(x) and of log(1 + exp(-x))"


def _best(correlation: torch.Tensor, at: torch.Tensor, k: int) -> list[torch.Tensor]:
    """The k highest co-peaks of each pair."""
    chosen = [of_pair[mask] for of_pair, mask in zip(correlation, at, strict=True)]
    return [values.topk(min(k, len(values))).values for values in chosen]


def _curve(x: torch.Tensor, form: str) -> torch.Tensor:
    return softplus(-x) if form == "released" else -x.log()


def _judge_loss(answer) -> str | None:
    correlation = _random(3, 3, 4, 4, 3, seed=7) * torch.tensor([1, 0.3, 0.6]).view(3, 1, 1, 1, 1)
    at = copeaks(correlation)
    for form, k in product(FORMS, (3, 1, 1000)):
        ours, theirs = correlation.clone().requires_grad_(), correlation.clone().requires_grad_()
        truth = _curve(torch.stack([values.mean() for values in _best(ours, at, k)]), form).mean()
        given = answer(theirs, form, k)
        if problem := _is_tensor(given, ()):
            return problem
        if not torch.allclose(given.to(truth.dtype), truth, rtol=1e-5):
            return _wrong_loss(given, correlation, at, form, k)
        if not given.requires_grad:
            return "The value is right, but no gradient flows back to the correlation"
        given.backward()
        truth.backward()
        if theirs.grad is None or not torch.allclose(theirs.grad, ours.grad, rtol=1e-4):
            return f'The value is right, but not the gradient of form="{form}": it must flow through the values at the co-peaks'
    return None


def _wrong_loss(given: torch.Tensor, correlation: torch.Tensor, at: torch.Tensor, form: str, k: int) -> str:
    best = _best(correlation, at, k)
    means, pooled = torch.stack([values.mean() for values in best]), torch.cat(best)
    fixed = torch.stack([values.sum() / k for values in best])
    sums = torch.stack([values.sum() for values in best])
    highest = correlation.flatten(1).topk(min(k, correlation[0].numel())).values.mean(1)
    one_for_all = correlation[at].topk(min(k, int(at.sum()))).values.mean()
    other = "published" if form == "released" else "released"
    slips = {
        "the mean goes over all co-peaks, but only the k highest count": copeak_loss(correlation, form),
        "the k highest entries are not all co-peaks: only those at the co-peaks count": _curve(highest, form).mean(),
        "the sum over the co-peaks must be divided by their number": _curve(sums, form).mean(),
        "a pair with fewer than k co-peaks has fewer to divide by": _curve(fixed, form).mean(),
        "each pair has its own k highest: do not take k of all pairs together": _curve(one_for_all, form),
        "each pair has a mean, and a loss, of its own: do not pool the co-peaks of all pairs": _curve(pooled.mean(), form),
        "take the mean over the pairs, not their sum": _curve(means, form).sum(),
        "take the loss of each pair's mean, not the mean of each co-peak's loss": _curve(pooled, form).mean(),
        f"this is the {other} form": _curve(means, other).mean(),
        "the sign before x is wrong": _curve(-means, form).mean() if form == "released" else -_curve(means, form).mean(),
    }
    for reason, value in slips.items():
        if torch.allclose(given.detach().to(value.dtype), value, rtol=1e-5):
            return f'For form="{form}" and k = {k}: {reason}'
    return f'For form="{form}" and k = {k} the value is {given.item():.5f}, wanted was {float(_curve(means, form).mean()):.5f}'


def _judge_votes(answer) -> str | None:
    for seed in range(3):
        features = normalize_features(_random(1, 4, 4, 5, seed=seed))
        partners = normalize_features(_random(5, 4, 3, 4, seed=seed + 10))
        values = torch.stack([correlate(features, partner[None])[0] for partner in partners])
        at_copeaks = torch.where(copeaks(values), values, 0).flatten(3)
        truth = at_copeaks.amax(3).sum(0)
        given = answer(features, partners)
        if problem := _is_tensor(given, tuple(truth.shape)):
            return problem
        if torch.allclose(given.to(truth.dtype), truth, rtol=1e-4):
            continue
        slips = {
            "These are the votes of the page: a partner should give its height, not 1": copeak_votes(features, partners),
            "Of a partner's co-peaks with a cell only the highest counts: do not add them up": at_copeaks.sum((0, 3)),
            "Add up what the partners give, do not take the highest of them": at_copeaks.amax((0, 3)),
            "Only co-peaks count: set all other entries to zero first": values.flatten(3).amax(3).sum(0),
            "Add up what the partners give, do not take their mean": truth / len(partners),
        }
        for reason, value in slips.items():
            if torch.allclose(given.to(truth.dtype), value, rtol=1e-4):
                return reason
        return f"All cells together should have {float(truth.sum()):.3f} here, they have {float(given.sum()):.3f}"
    return None


def _judge_hidden(answer) -> str | None:
    if problem := tensor(answer, (7,), "The answer", "(7,), one score for each cell"):
        return problem
    scores = torch.as_tensor(answer, dtype=torch.float64)
    cats = scores[1:5]
    beside = torch.cat([scores[:1], scores[5:]])
    if cats.min() <= beside.max():
        return f"Every cell of a cat must score above all other cells; {cats.min():g} is not above {beside.max():g}"
    peaks = score_peaks(scores.view(1, 1, 1, 7)).flatten()
    first, second = bool(peaks[1:3].any()), bool(peaks[3:5].any())
    if first != second:
        return None
    where = ", ".join(str(k) for k in peaks.nonzero().flatten().tolist())
    return f"Both cats have a peak: the peaks are the cells {where}. A peak needs something lower on each side"


EXERCISES = {
    "05.1": Exercise(
        _judge_count,
        (
            "Eight neighbours, not four.",
            "Take the plateaus one by one, the 2s, the 4s, the 3s: a higher neighbour of one cell drops the whole plateau.",
        ),
    ),
    "05.2": Exercise(
        _judge_maxima,
        (
            "First drop every cell that has a higher neighbour. What is left that should not be?",
            "Then drop every cell that equals a dropped neighbour, for all cells at once, until nothing changes.",
            "The neighbours of all cells at once are nine shifted views of the map with a rim of minus infinity.",
        ),
    ),
    "05.3": Exercise(
        _judge_ratio,
        ("The derivative of -log(x) is -1/x.", "That of log(1 + exp(-x)) is -1 / (1 + exp(x)), about a half for a small x."),
    ),
    "05.4": Exercise(
        _judge_loss,
        (
            "copeaks(correlation) is a mask of the same shape; of_pair[mask] are one pair's values at its co-peaks.",
            "values.topk(min(k, len(values))).values.mean() is a pair's x; then softplus(-x) or -log(x), and the mean.",
        ),
    ),
    "05.5": Exercise(
        _judge_votes,
        (
            "torch.where(copeaks(T), T, 0) keeps the heights at the co-peaks; T has the axes (1, h, w, s, t).",
            "Take amax, not sum, over the partner's axes (s, t), and add up what all partners give.",
        ),
    ),
    "05.6": Exercise(
        _judge_hidden,
        (
            "Two maxima need a valley between them. Where could there be none?",
            "Let the scores fall all the way from the first cell of the one cat to the last cell of the other.",
        ),
    ),
}
