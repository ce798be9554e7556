"""Exercises of notebook 04: the weights and the value of the saliency loss."""

from __future__ import annotations

import torch

from co3lib.losses import saliency_loss, saliency_weight

from . import Exercise


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    def judge(answer) -> str | None:
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
    share = positive.double().mean()
    slips = {
        "it is the other way round: a pixel weighs the share of the other kind": 1 - truth,
        "each image has its own mean: do not take one mean over the batch": torch.where(positive, 1 - share, share),
    }
    for reason, value in slips.items():
        if torch.allclose(given.to(truth.dtype), value):
            return reason[0].upper() + reason[1:]
    if torch.allclose(given.to(truth.dtype), saliency_weight((prior > 0.5).double())):
        return "A pixel is positive above its image's mean, not above 0.5"
    return f"The first pixel weighs {float(given.flatten()[0]):.3f} where {float(truth.flatten()[0]):.3f} was wanted"


def _judge_loss(answer) -> str | None:
    saliency, prior = _random(3, 1, 5, 7, seed=2).requires_grad_(), _batch(3)
    given, truth = answer(saliency, prior), saliency_loss(saliency, prior)
    if problem := _is_tensor(given, ()):
        return problem
    if torch.allclose(given.to(truth.dtype), truth):
        return None if given.requires_grad else "The value is right, but no gradient flows back to the saliency"
    now = saliency.detach()
    weight, off = saliency_weight(prior), now - prior
    slips = {
        "You forgot the weights rho": off.square().mean((1, 2, 3)).sum(),
        "Sum over the images of the batch, do not take their mean": (weight * off.square()).mean(),
        "Divide by the number of pixels H W": (weight * off.square()).sum(),
        "The difference must be squared": (weight * off.abs()).mean((1, 2, 3)).sum(),
        "rho multiplies the square, it is not squared itself": (weight * off).square().mean((1, 2, 3)).sum(),
        "rho is that of the prior, not of the saliency": (saliency_weight(now) * off.square()).mean((1, 2, 3)).sum(),
    }
    for reason, value in slips.items():
        if torch.allclose(given.detach().to(value.dtype), value):
            return reason
    return f"It gives {given.item():.4f} where {truth.item():.4f} was wanted"


EXERCISES = {
    "04.1": Exercise(
        _judge_number(0.8, {0.2: "That is a negative pixel's weight"}, "What share of the pixels is of the other kind?"),
        ("A positive pixel weighs the share of the negative ones.",),
    ),
    "04.2": Exercise(
        _judge_weight,
        (
            "prior.mean((1, 2, 3), keepdim=True) is one mean an image, ready to be compared with.",
            "torch.where(positive, 1 - share, share), where share is each image's share of positive pixels.",
        ),
    ),
    "04.3": Exercise(
        _judge_number(
            0.09375,
            {0.25: "You forgot the weights rho", 0.1875: "The differences are 0.5, but they must be squared"},
            "Add up: the positives' share times their weight times 0.25, and the negatives' likewise",
        ),
        ("The difference is 0.5 at every pixel, its square 0.25.", "0.25 * 0.75 * 0.25 + 0.75 * 0.25 * 0.25."),
    ),
    "04.4": Exercise(
        _judge_loss,
        (
            "A weighted mean square an image, then the sum over the images.",
            "(rho * (saliency - prior) ** 2).mean((1, 2, 3)).sum(), with rho as in 04.2.",
        ),
    ),
}
