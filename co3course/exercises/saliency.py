"""Exercises of notebook 04: the weights and the value of the saliency loss."""

from __future__ import annotations

import torch

from co3lib.losses import saliency_loss, saliency_weight

from ..lessons.correlation import auc
from . import Exercise
from .answers import numeric, tensor


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _batch(seed: int) -> torch.Tensor:
    """Priors of three images (3, 1, 5, 7) whose shares of positive pixels differ much."""
    powers = torch.tensor([1.0, 4.0, 0.3]).view(3, 1, 1, 1)
    return _random(3, 1, 5, 7, seed=seed) ** powers


def _is_tensor(answer, shape: tuple[int, ...]) -> str | None:
    if not isinstance(answer, torch.Tensor):
        return f"It must return a tensor, it returned {type(answer).__name__}"
    if tuple(answer.shape) != shape:
        return f"It must return the shape {shape}, it returned {tuple(answer.shape)}"
    return None


def _judge_number(truth: float, slips: dict[float, str], otherwise: str):
    @numeric
    def judge(answer: float) -> str | None:
        if abs(answer - truth) <= 1e-4:
            return None
        return next((reason for value, reason in slips.items() if abs(answer - value) <= 1e-4), otherwise)

    return judge


def _judge_weight(answer) -> str | None:
    prior = _batch(1)
    truth, given = saliency_weight(prior), answer(prior.clone())
    if problem := _is_tensor(given, tuple(prior.shape)):
        return problem
    if torch.allclose(given.to(truth.dtype), truth):
        return None
    positive = prior > prior.mean()
    share = positive.float().mean()
    slips = {
        "it is the other way round: a pixel weighs the share of the other kind": 1 - truth,
        "each image has its own mean: do not take one mean over the batch": torch.where(positive, 1 - share, share),
    }
    for reason, value in slips.items():
        if torch.allclose(given.to(truth.dtype), value):
            return reason[0].upper() + reason[1:]
    if torch.allclose(given.to(truth.dtype), saliency_weight((prior > 0.5).float())):
        return "A pixel is positive above its image's mean, not above 0.5"
    return f"The first pixel weighs {float(given.flatten()[0]):.3f} where {float(truth.flatten()[0]):.3f} was wanted"


def _masked(saliency, prior, valid, *, within: bool = True, weigh: bool = True, pixels=None, over=torch.sum) -> torch.Tensor:
    """The loss over the valid pixels. within: mean and shares are those of the valid pixels; weigh: with rho; pixels: what to
    divide by, the valid ones' number unless given; over: of the images."""
    number = valid.sum((1, 2, 3), keepdim=True)
    every = number if within else torch.full_like(number, valid[0].numel())
    counted = valid if within else torch.ones_like(valid)
    positive = (prior > (prior * counted).sum((1, 2, 3), keepdim=True) / every) & counted
    share = positive.sum((1, 2, 3), keepdim=True) / every
    rho = torch.where(positive, 1 - share, share) if weigh else torch.ones_like(prior)
    return over((rho * (saliency - prior).square() * valid).sum((1, 2, 3)) / (number.flatten() if pixels is None else pixels))


def _judge_loss(answer) -> str | None:
    saliency, prior = _random(3, 1, 5, 7, seed=2).requires_grad_(), _batch(3)
    valid = _random(3, 1, 5, 7, seed=4) > 0.4
    prior = torch.where(valid, prior, 1 - prior / 2)  # what is not valid would change the mean
    given, truth = answer(saliency, prior, valid), _masked(saliency, prior, valid)
    if problem := _is_tensor(given, ()):
        return problem
    if torch.allclose(given.to(truth.dtype), truth, rtol=1e-4):
        return None if given.requires_grad else "The value is right, but no gradient flows back to the saliency"
    now, nowhere = saliency.detach(), torch.ones_like(valid)
    slips = {
        "All pixels count, valid or not": saliency_loss(now, prior),
        "Mean and shares must be those of the valid pixels": _masked(now, prior, valid, within=False),
        "Divide by the number of valid pixels, not by H W": _masked(now, prior, valid, pixels=valid[0].numel()),
        "Mean, shares and the number of pixels must be those of the valid ones": _masked(
            now, prior, valid, within=False, pixels=valid[0].numel()
        ),
        "Pixels that are set to zero still count in mean, shares and number; leave them out": _masked(
            now * valid, prior * valid, nowhere
        ),
        "You forgot the weights rho": _masked(now, prior, valid, weigh=False),
        "Sum over the images of the batch, do not take their mean": _masked(now, prior, valid, over=torch.mean),
        "Divide by the number of valid pixels": _masked(now, prior, valid, pixels=1),
    }
    for reason, value in slips.items():
        if torch.allclose(given.detach().to(value.dtype), value, rtol=1e-4):
            return reason
    return f"It gives {given.item():.6f} where {truth.item():.6f} was wanted"


def _judge_prior(answer) -> str | None:
    if said := tensor(answer, (4, 4), "The prior", "(4, 4)"):
        return said
    prior = torch.as_tensor(answer, dtype=torch.float32)
    if float(prior.min()) < 0 or float(prior.max()) > 1:
        return f"A prior is from 0 to 1, yours from {float(prior.min()):g} to {float(prior.max()):g}"
    truth = torch.zeros(4, 4, dtype=torch.bool)
    truth[:2, :2] = True
    if float(prior[truth].min()) <= float(prior[~truth].max()):
        return f"Every pixel of the thing must be brighter than every other; the AUC is {auc(prior[truth], prior[~truth]):.2f}"
    maps = (torch.full((4, 4), 0.5), truth.float())
    nothing, right = (float(saliency_loss(one[None, None], prior[None, None])) for one in maps)
    if nothing < right:
        return None
    return f"No opinion costs {nothing:.3f}, the true mask {right:.3f}: the order is right, but which values are near 0.5?"


EXERCISES = {
    "04.1": Exercise(
        _judge_number(0.8, {0.2: "That is a negative pixel's weight"}, "What share of the pixels is of the other kind?"),
        ("A positive pixel weighs the share of the negative ones.",),
    ),
    "04.2": Exercise(
        _judge_weight,
        (
            "prior.mean((1, 2, 3), keepdim=True) is one mean for each image, ready to be compared with.",
            "torch.where(positive, 1 - share, share), where share is each image's share of positive pixels.",
        ),
    ),
    "04.3": Exercise(
        _judge_number(
            0.045,
            {0.25: "You forgot the weights rho", 0.09: "The differences are 0.5, but they must be squared"},
            "Add up: the positives' share times their weight times 0.25, and the negatives' likewise",
        ),
        ("The difference is 0.5 at every pixel, its square 0.25.", "0.1 * 0.9 * 0.25 + 0.9 * 0.1 * 0.25."),
    ),
    "04.4": Exercise(
        _judge_loss,
        (
            "Every mean over the pixels becomes a sum over the valid ones, divided by their number.",
            "(prior * valid).sum((1, 2, 3), keepdim=True) / valid.sum((1, 2, 3), keepdim=True) is each image's mean.",
        ),
    ),
    "04.5": Exercise(
        _judge_prior,
        (
            "Any rising function of a prior keeps its AUC: make the prior pale.",
            "With 0.6 on the thing and 0.4 elsewhere, compare the squares for 0.5 with those for 1 and 0.",
        ),
    ),
}
