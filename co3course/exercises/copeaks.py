"""Exercises of notebook 05: regional maxima, co-peaks, the co-peak loss, votes."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from co3lib.correlation import correlate, normalize_features
from co3lib.losses import FORMS, copeak_loss
from co3lib.peaks import copeak_votes, copeaks, regional_maxima

from . import Exercise

# A map for 05.1; its regional maxima are 2 (a plateau of three cells), 5, 3 and 3.
RIDGES = torch.tensor([[2, 2, 1, 1, 4, 3], [1, 2, 1, 1, 4, 3], [1, 1, 1, 5, 1, 1], [3, 1, 1, 1, 1, 3.0]])
MEAN = 0.05  # the mean correlation of 05.3


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _is_tensor(answer, shape: tuple[int, ...], kinds: tuple[torch.dtype, ...] | None = None) -> str | None:
    if not isinstance(answer, torch.Tensor):
        return f"It must return a tensor, it returned {type(answer).__name__}"
    if tuple(answer.shape) != shape:
        return f"It must return the shape {shape}, it returned {tuple(answer.shape)}"
    if kinds and answer.dtype not in kinds:
        return f"It must return {' or '.join(map(str, kinds))}, it returned {answer.dtype}"
    return None


def _judge_count(answer) -> str | None:
    wrong = {
        5: "The two 4s are one plateau, and its lower cell has a 5 as a diagonal neighbour",
        6: "Count plateaus, not cells: the three 2s are one maximum",
        3: "One is missing: a maximum need not be high, it need only be higher than everything around it",
    }
    count = int(regional_maxima(RIDGES[None]).sum()) - 2  # the plateau of three counts once
    return None if answer == count else wrong.get(answer, "Go through the plateaus one by one: is anything around it higher?")


def _judge_maxima(answer) -> str | None:
    maps = [(_random(5, 6, seed=k) * 4).floor() for k in range(20)]
    for values in [_random(6, 5, seed=99), RIDGES.double(), torch.ones(3, 4), *maps]:
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
        return f"In {values.tolist()} the cell {tuple(wrong.nonzero()[0].tolist())} {what}"
    return None


def _tops(values: torch.Tensor) -> torch.Tensor:
    """Cells that none of their eight neighbours exceeds."""
    padded = torch.nn.functional.pad(values[None], (1, 1, 1, 1), value=-torch.inf)[0]
    h, w = values.shape
    around = [padded[1 + a : 1 + a + h, 1 + b : 1 + b + w] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return values >= torch.stack(around).amax(0)


def _judge_ratio(answer) -> str | None:
    mean = torch.tensor(MEAN)
    truth = float(1 / mean / torch.sigmoid(-mean))
    if abs(answer - truth) <= 0.02 * truth:
        return None
    if abs(answer * truth - 1) <= 0.02:
        return "It is the other way round: how many times larger is the published one?"
    if abs(answer - float(-mean.log() / softplus(-mean))) <= 0.1:
        return "That is the ratio of the losses; their derivatives were asked for"
    return "Write both derivatives down: of -log(x) and of log(1 + exp(-x))"


def _judge_loss(answer) -> str | None:
    correlation = _random(3, 3, 4, 4, 3, seed=7) * torch.tensor([1, 0.3, 0.6]).view(3, 1, 1, 1, 1)
    at = copeaks(correlation)
    for form in FORMS:
        ours, theirs = correlation.clone().requires_grad_(), correlation.clone().requires_grad_()
        given, truth = answer(theirs, form), copeak_loss(ours, form)
        if problem := _is_tensor(given, ()):
            return problem
        if not torch.allclose(given, truth, rtol=1e-6):
            return _wrong_loss(given, correlation, at, form)
        if not given.requires_grad:
            return "The value is right, but no gradient flows back to the correlation"
        given.backward()
        truth.backward()
        if theirs.grad is None or not torch.allclose(theirs.grad, ours.grad, rtol=1e-5):
            return f'The value is right, but not the gradient of form="{form}": it must flow through the values at the co-peaks'
    return None


def _wrong_loss(given: torch.Tensor, correlation: torch.Tensor, at: torch.Tensor, form: str) -> str:
    def curve(x, form=form):
        return softplus(-x) if form == "released" else -x.log()

    sums, counts = (correlation * at).sum((1, 2, 3, 4)), at.sum((1, 2, 3, 4))
    every = correlation.mean((1, 2, 3, 4))
    other = "published" if form == "released" else "released"
    slips = {
        "the mean goes over all entries, but only those at the co-peaks count": curve(every).mean(),
        "the sum over the co-peaks must be divided by their number": curve(sums).mean(),
        "the sum must be divided by the number of co-peaks, not of all entries": curve(sums / correlation[0].numel()).mean(),
        "each pair has a mean, and a loss, of its own: do not pool the co-peaks of all pairs": curve(sums.sum() / counts.sum()),
        "take the mean over the pairs, not their sum": curve(sums / counts).sum(),
        "take the loss of each pair's mean, not the mean of each co-peak's loss": (curve(correlation)[at]).mean(),
        f"this is the {other} form": curve(sums / counts, other).mean(),
        "the sign before x is wrong": curve(-sums / counts).mean() if form == "released" else -curve(sums / counts).mean(),
    }
    for reason, value in slips.items():
        if torch.allclose(given.detach().to(value.dtype), value, rtol=1e-6):
            return f'For form="{form}": {reason}'
    return f'For form="{form}" the value is {given.item():.4f} where {float(copeak_loss(correlation, form)):.4f} was wanted'


def _judge_votes(answer) -> str | None:
    for seed in range(3):
        features = normalize_features(_random(1, 4, 4, 5, seed=seed))
        partners = normalize_features(_random(5, 4, 3, 4, seed=seed + 10))
        truth = copeak_votes(features, partners)
        given = answer(features, partners)
        if problem := _is_tensor(given, tuple(truth.shape)):
            return problem
        if torch.equal(given.to(truth.dtype), truth):
            continue
        at = torch.stack([copeaks(correlate(features, partner[None]))[0] for partner in partners])
        if torch.equal(given.to(truth.dtype), at.sum((0, 3, 4)).to(truth.dtype)):
            return "A partner has one vote for each cell, however many co-peaks the cell has with it"
        if torch.equal(given.to(truth.dtype), at.any(0).flatten(2).any(2).to(truth.dtype)):
            return "Count the partners, do not only say whether there is one"
        if torch.allclose(given.to(truth.dtype) * len(partners), truth):
            return "Votes are counts, not shares"
        return f"All cells together should have {int(truth.sum())} votes here, they have {float(given.sum()):g}"
    return None


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
            "Then drop every cell that equals a dropped neighbour, again and again until nothing changes.",
        ),
    ),
    "05.3": Exercise(
        _judge_ratio,
        ("The derivative of -log(x) is -1/x.", "That of log(1 + exp(-x)) is -1 / (1 + exp(x)), about a half for a small x."),
    ),
    "05.4": Exercise(
        _judge_loss,
        (
            "copeaks(correlation) is a mask of the same shape; the rest is a masked mean per pair.",
            "x = (correlation * mask).sum((1, 2, 3, 4)) / mask.sum((1, 2, 3, 4)); then softplus(-x) or -log(x), and the mean.",
        ),
    ),
    "05.5": Exercise(
        _judge_votes,
        (
            "copeaks(correlate(features, partner[None]))[0] has the axes (h, w, s, t): which of them are the partner's?",
            "Ask with any(), not sum(), over (s, t), and add the answers of all partners up.",
        ),
    ),
}
