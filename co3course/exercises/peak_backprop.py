"""Exercises of notebook 08: the peak rule, what it loses, additions, and how to fool it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from co3lib.peak_rule import PeakRule, peak_conv2d

from . import Exercise
from .answers import numbers


def _close(actual, expected: torch.Tensor) -> bool:
    actual = torch.as_tensor(actual, dtype=torch.float64)
    return actual.shape == expected.shape and torch.allclose(actual, expected.double(), atol=1e-5)


def _judge_shares(answer) -> str | None:
    values = numbers(answer, 4)
    if isinstance(values, str):
        return f"There are four inputs. {values}."
    answer = torch.tensor(values, dtype=torch.float64)
    if _close(answer, torch.tensor([0.5, 0, 0.5, 0])):
        return None
    if _close(answer, torch.tensor([1.0, 4, 2, -1])):
        return "These are the weights, the ordinary gradient. The rule shares by what each input contributed."
    if _close(answer, torch.tensor([2.0, 0, 2, 0])):
        return "These are the contributions; the shares are what each is of their sum."
    if torch.allclose(answer, torch.tensor([3.0, 4, 4, 0], dtype=torch.float64) / 11, atol=0.01):
        return "You forgot to subtract the minimum of the inputs."
    if abs(answer.sum() - 1) > 1e-6:
        return f"The shares of a relevance of 1 must sum to 1, yours sum to {float(answer.sum()):g}."
    return "Work out X' = X - min X, then W+ = max(W, 0), then the products, then each product over their sum."


def _judge_sum(answer) -> str | None:
    values = numbers(answer, 1)
    if isinstance(values, str):
        return f"{values}."
    if abs(values[0] - 0.75) < 1e-6:
        return None
    if abs(values[0] - 1) < 1e-6:
        return "Heat is conserved only where something contributed through a positive weight; the second unit has none."
    return "What the first unit got is handed on in full. What of the second?"


def _judge_dense(relevance: Callable) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for dead in (False, True):
        x = torch.randn(5, generator=generator) + 2
        weight = torch.randn(4, 5, generator=generator)
        arrived = torch.rand(4, generator=generator)
        if dead:
            weight[1] = -weight[1].abs()
        leaf = x.reshape(1, 5, 1, 1).clone().requires_grad_()
        output = peak_conv2d(leaf, weight[:, :, None, None])
        expected = torch.autograd.grad(output, leaf, arrived.reshape(1, 4, 1, 1))[0].flatten()
        actual = torch.as_tensor(relevance(x.clone(), weight.clone(), arrived.clone()))
        if not _close(actual, expected):
            return _dense_slip(actual, x, weight, arrived, dead)
    return None


def _dense_slip(actual, x, weight, arrived, dead: bool) -> str:
    def rule(lifted, positive):
        total = positive @ lifted
        return lifted * (positive.T @ torch.where(total.abs() < 1e-10, 0, arrived / total))

    lifted, positive = x - x.min(), weight.clamp_min(0)
    if actual.shape != x.shape:
        return f"There must be one number for each of the {len(x)} inputs, got shape {tuple(actual.shape)}."
    if not torch.isfinite(actual).all():
        return "An output without any positive contribution (Z = 0) must pass nothing on; you divide by zero there."
    slips = (
        (weight.T @ arrived, "This is the ordinary gradient: the inputs play no part in it."),
        (rule(x, positive), "You forgot to subtract the minimum of the inputs."),
        (rule(lifted, weight), "You forgot that only positive weights count."),
        (rule(lifted, weight.abs()), "Negative weights count as zero, you took their size."),
        (lifted * (positive.T @ arrived), "You forgot to divide by Z, so more or less comes out than went in."),
        (positive.T @ (arrived / (positive @ lifted)), "The last step is missing: times X', each input's own value."),
    )
    for wrong, said in slips:
        if _close(actual, wrong):
            return said
    if dead:
        return "With an output that has only negative weights it is wrong: that output passes nothing on."
    return f"The relevance that arrived sums to {float(arrived.sum()):.3f}, yours to {float(actual.sum()):.3f}."


def _judge_addition(share: Callable) -> str | None:
    generator = torch.Generator().manual_seed(3)
    first, second, arrived = (torch.rand(2, 3, 4, generator=generator) for _ in range(3))
    first, second = first * 3 - 1, second + 2
    leaves = [summand[None].clone().requires_grad_() for summand in (first, second)]
    with PeakRule():
        total = leaves[0] + leaves[1]
    expected = [part[0] for part in torch.autograd.grad(total, leaves, arrived[None])]
    actual = [torch.as_tensor(part) for part in share(first.clone(), second.clone(), arrived.clone())]
    if len(actual) != 2 or any(part.shape != first.shape for part in actual):
        return f"Two tensors of shape {tuple(first.shape)} are wanted, one for each summand."
    if all(map(_close, actual, expected)):
        return None
    if _close(actual[0], expected[1]) and _close(actual[1], expected[0]):
        return "The two are swapped: the larger summand must get the larger part."
    if _close(actual[0], arrived) and _close(actual[1], arrived):
        return "Copied to both, as an ordinary gradient is, the relevance is doubled."
    if _close(actual[0], arrived / 2):
        return "Halves are not shares: who gives more to the sum must get more."
    if _close(actual[0], arrived * first / (first + second)):
        return "You forgot to subtract each summand's own minimum."
    if not _close(actual[0] + actual[1], arrived):
        return "What the two get must add up to what arrived."
    return "The shares are not those of A - min A and B - min B, each minimum over the summand's whole tensor."


def _judge_fooled(answer) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return "A pair is wanted: three inputs, and three weights."
    inputs, weights = (numbers(part, 3) for part in answer)
    for name, values in (("inputs", inputs), ("weights", weights)):
        if isinstance(values, str):
            return f"Of the {name}: {values}."
        if not all(abs(value) < 1e6 for value in values):
            return f"The {name} must be of ordinary size, below a million."
    x, weight = (torch.tensor(values, dtype=torch.float64) for values in (inputs, weights))
    if (x < 0).any():
        return "The inputs come from a ReLU: none may be below 0."
    contribution = x * weight
    total, best = float(contribution.sum()), int(contribution.argmax())
    if total <= 0:
        return f"The output must be above 0, it is {total:g}."
    if contribution[best] <= total / 2:
        return f"The largest contribution, {contribution[best]:g}, must be more than half of the output, {total:g}."
    shared = (x - x.min()) * weight.clamp_min(0)
    if shared.sum() < 1e-10:
        return "No input gets any heat: it is lost altogether (Z = 0). Some input must get it."
    if shared[best] > 0:
        part = float(shared[best] / shared.sum())
        return f"Input {best + 1} contributes most and gets {part:.2f} of the heat; it must get none."
    return None


EXERCISES = {
    "08.1": Exercise(
        _judge_shares,
        ("The smallest input counts as zero, and so does every negative weight.", "The products are 2, 0, 2, 0."),
    ),
    "08.2": Exercise(
        _judge_sum,
        ("What is W+ of a unit whose weights are all negative, and so its Z?", "Its Z is 0: what it got ends there."),
    ),
    "08.3": Exercise(
        _judge_dense,
        (
            "Z is a matrix product, W+ @ X'; the way back is one with W+ transposed.",
            "X' * (W+.T @ (arrived / Z)), the quotient 0 where Z is 0.",
        ),
    ),
    "08.4": Exercise(
        _judge_addition,
        ("Lift each summand by its own minimum first.", "part = A' / (A' + B'); the other gets 1 - part."),
    ),
    "08.5": Exercise(
        _judge_fooled,
        (
            "Which input never gets any heat, whatever its weight?",
            "The smallest input counts as zero. Give it the largest weight, and see that it is not 0 itself.",
        ),
    ),
}
