"""Exercises of notebook 06: the affinity loss.

Shape letters: ``h w`` and ``s t`` feature grids, P = h w cells of a photo.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import Exercise
from .answers import numeric, tensor


@numeric
def _cost(value: float) -> str | None:
    if abs(value - 0.9) < 0.005:
        return None
    if abs(value - 1.7) < 0.005:
        return "The difference of the saliencies is squared."
    if abs(value - 0.6) < 0.005:
        return "T and 1 - T have changed places."
    if abs(value - 0.3) < 0.005:
        return "You forgot alpha = 4."
    return "Put S(p) = 1, S(q) = 0.5, T = 0.8 and alpha = 4 into the two terms and add them."


@numeric
def _threshold(value: float) -> str | None:
    if abs(value - 1 / 9) < 0.002:
        return None
    if abs(value - 1 / 5) < 0.002:
        return "Mind the 2 that comes down when the square is differentiated."
    if abs(value - 1 / 8) < 0.002:
        return "That is without the 1 - T of the first term: (1 - T) - 8 T is zero at another T."
    return "At S(q) = 0, the slope of the cost over S(q) must be zero: (1 - T) - 2 alpha T."


def _sum(first, second, likeness, alpha: float, swap: tuple[bool, bool] = (False, False)) -> torch.Tensor:
    own, other = first[:, :, None, None], second[None, None]
    factors = [likeness if swap[0] else 1 - likeness, 1 - likeness if swap[1] else likeness]
    return (own * other * factors[0] + alpha * (own - other).square() * factors[1]).sum()


def _draw(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, 3), (4, 2), (2, 3, 4, 2))
    first, second, likeness = (torch.rand(size, generator=generator) for size in sizes)
    return first, second, likeness


def _pair_loss(function: Callable) -> str | None:
    for seed, alpha in ((1, 4.0), (2, 0.5), (3, 0.0)):
        first, second, likeness = _draw(seed)
        got, expected = float(function(first, second, likeness, alpha)), float(_sum(first, second, likeness, alpha))
        if abs(got - expected) < 1e-4:
            continue
        for swap in ((True, True), (True, False), (False, True)):
            if abs(got - float(_sum(first, second, likeness, alpha, swap))) < 1e-4:
                return "T and 1 - T have changed places, in " + ("both terms." if all(swap) else "one of the terms.")
        if abs(got * likeness.numel() - expected) < 1e-3:
            return "That is the mean over the pairs of cells; Eq. 4 is their sum."
        if abs(got - float(_sum(first, second, likeness, 4.0))) < 1e-4:
            return f"You use alpha = 4, whatever alpha is given (here {alpha})."
        own, other = first[:, :, None, None], second[None, None]
        straight = own * other * (1 - likeness) + alpha * (own - other).abs() * likeness
        if abs(got - float(straight.sum())) < 1e-4:
            return "The difference of the saliencies is squared."
        return f"With alpha = {alpha}, the sum should be {expected:.4f}, got {got:.4f}."
    return None


def _released(function: Callable) -> str | None:
    generator = torch.Generator().manual_seed(4)
    own, across, other = (10 * torch.rand(3, generator=generator, dtype=torch.float64)).tolist()
    for cells in (6, 196):
        got, expected = float(function(own, across, other, cells)), (own + other + 2 * across) / (2 * cells) ** 2
        if abs(got / expected - 1) < 1e-6:
            continue
        if abs(got / ((own + other + across) / (2 * cells) ** 2) - 1) < 1e-6:
            return "Over all cells of the batch (n, m) comes twice: once from either side."
        if abs(got / ((own + other + across) / (3 * cells**2)) - 1) < 1e-6:
            return "That is the mean of Eq. 5's three blocks; the released code has four, (m, n) as well."
        if abs(got / (own + other + 2 * across) - 1) < 1e-6:
            return "That is the sum; the released code takes the mean."
        if abs(got / ((own + other + 2 * across) / (2 * cells)) - 1) < 1e-6:
            return "The mean is over pairs of cells, not over cells."
        return f"With sums {own:.3f}, {across:.3f}, {other:.3f} and {cells} cells it should be {expected:.5f}, got {got:.5f}."
    return None


def _gradient(function: Callable) -> str | None:
    for seed, alpha in ((5, 4.0), (6, 1.0)):
        first, second, likeness = _draw(seed)
        leaf = first.clone().requires_grad_()
        (expected,) = torch.autograd.grad(_sum(leaf, second, likeness, alpha), leaf)
        got = torch.as_tensor(function(first, second, likeness, alpha))
        if got.shape != expected.shape:
            return f"The gradient has the shape of the first saliency, {tuple(expected.shape)}, got {tuple(got.shape)}."
        if torch.allclose(got.to(expected.dtype), expected, rtol=1e-4):
            continue
        pull = (alpha * (first[:, :, None, None] - second) * likeness).sum((2, 3))
        push = (second * (1 - likeness)).sum((2, 3))
        if torch.allclose(got.to(expected.dtype), push + pull, rtol=1e-4):
            return "The square's derivative has a factor of 2."
        if torch.allclose(got.to(expected.dtype), push - 2 * pull, rtol=1e-4):
            return "The second term pulls S(p) away from S(q): a sign is wrong."
        if torch.allclose(got.to(expected.dtype), 2 * pull, rtol=1e-4):
            return "The first term is missing: S(p) S(q) (1 - T) depends on S(p) too."
        return f"With alpha = {alpha}, the first cell's should be {expected[0, 0]:.4f}, got {float(got[0, 0]):.4f}."
    return None


def _walls(answer) -> str | None:
    if said := tensor(answer, (2, 2), "The answer", "(2, 2), from cat and wall to cat and wall"):
        return f"{said}."
    likeness = torch.as_tensor(answer, dtype=torch.float64)
    if likeness.min() < 0 or likeness.max() > 1:
        return "Likeness is from 0 to 1 here."
    if likeness[0, 0] != 1:
        return "The two cats are to be wholly alike: the first number is 1."
    if max(likeness[0, 1], likeness[1, 0]) > 0.5:
        return "A cat is to be no more than half like a wall: 0.5 at most beside the diagonal."
    cats, every = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    right, wrong = (float(_sum(one, one, likeness.reshape(1, 2, 1, 2), 4.0)) for one in (cats, every))
    if wrong < right:
        return None
    return f"Cats alone cost {right:.2f}, everything {wrong:.2f}. Which of the four numbers make salient walls cheap?"


EXERCISES = {
    "06.1": Exercise(_cost, ("The two terms are 1 * 0.5 * 0.2 and 4 * 0.5^2 * 0.8.", "0.1 and 0.8.")),
    "06.2": Exercise(
        _pair_loss,
        (
            "Two loops over the cells of each photo will do.",
            "first[:, :, None, None] and second[None, None] meet as (h, w, s, t).",
        ),
    ),
    "06.3": Exercise(
        _threshold,
        (
            "Differentiate s (1 - T) + alpha (1 - s)^2 T with respect to s.",
            "At s = 0 the slope is (1 - T) - 2 alpha T; it is zero at T = 1 / (1 + 2 alpha).",
        ),
    ),
    "06.4": Exercise(
        _released,
        (
            "Both photos together have 2 P cells; how many pairs of cells is that?",
            "Of the four blocks, (n, m) and (m, n) have one sum.",
        ),
    ),
    "06.5": Exercise(
        _gradient,
        (
            "Differentiate each term with respect to S(p), and sum over q.",
            "S(q) (1 - T) + 2 alpha (S(p) - S(q)) T, summed over q.",
        ),
    ),
    "06.6": Exercise(
        _walls,
        (
            "If walls are salient, unlike pairs pay 1 - T; if not, a cat and a wall that are a little alike pay 4 T.",
            "Walls that are wholly alike pay nothing together; then 1 - T < 4 T is enough, so T above one fifth.",
        ),
    ),
}
