"""Exercises of notebook 07: pairs, optimisers, one training step.

Shape letters: B images of a batch, N photos, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from co3lib.backbones import Backbone
from co3lib.config import CoSegConfig
from co3lib.model import CoPeakNet, CoPeakOutput
from co3lib.training import total_loss

from . import Exercise
from .answers import numbers, numeric


@numeric
def _reach(value: float) -> str | None:
    if abs(value - 8e-5) < 1e-6:
        return None
    if abs(value - 2e-6) < 1e-9 or abs(value - 1e-6) < 1e-9:
        return "That is one step; how many steps are there in 40 epochs?"
    if abs(value - 2.4e-4) < 1e-6 or abs(value - 4.8e-4) < 1e-6:
        return "Six photos are one batch, and so one step an epoch, not six."
    if abs(value - 4e-5) < 1e-6:
        return "That is how far a weight can go; what rate have the biases?"
    return "Count the steps, and multiply by the length of a first step, which does not depend on the gradient's size."


def _scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (2, 6, 4, 4) of two photos with one thing each, alike in both on another ground, and the things' masks."""
    generator = torch.Generator().manual_seed(10)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2, :2], masks[1, :, 1:4, 2:4] = 1, 1
    thing, ground = torch.rand(2, 1, 6, 1, 1, generator=generator).unbind()
    noise = 0.3 * torch.rand(2, 6, 4, 4, generator=generator)
    return masks * thing + (1 - masks) * ground + noise, masks


def _weights(answer) -> str | None:
    values = numbers(answer, 3)
    if isinstance(values, str):
        return f"{values}: the weights of ls, lt and la."
    if min(values) < 0 or not max(values):
        return "No weight may be negative, and one at least must be above zero."
    config = CoSegConfig(**dict(zip(("saliency_weight", "copeak_weight", "affinity_weight"), values, strict=True)))
    features, masks = _scene()
    found, dark = (
        total_loss(CoPeakOutput(features, score), score.sigmoid(), masks, config)
        for score in (20 * masks - 10, torch.full_like(masks, -10.0))
    )
    if dark.total < found.total:
        return None
    said = f"The network that finds all has {found.total:.4f}, the dark one {dark.total:.4f}"
    return f"{said}. Which of the three losses is lower in the dark? Give the others less weight."


def _pairs(function: Callable) -> str | None:
    generator = torch.Generator().manual_seed(6)
    for count, size in ((6, 6), (12, 6), (10, 4), (9, 6), (8, 6), (1, 6), (7, 4)):
        order = (torch.randperm(count, generator=generator) + 100).tolist()
        given, spare, expected = list(order), 777, []
        for start in range(0, count, size):
            batch = order[start : start + size]
            batch += [spare] * (len(batch) % 2)
            half = len(batch) // 2
            expected += [(batch[k], batch[k + half]) for k in range(half)]
        pairs = [tuple(pair) for pair in function(order, size, spare)]
        case = f"{count} photos in batches of {size}"
        if order != given:
            return "Your function changes the list it is given; work on a copy."
        seen = {photo for pair in pairs for photo in pair}
        if set(order) - seen:
            return f"With {case}, {len(set(order) - seen)} of the photos are in no pair; is the last batch left out or cut?"
        if any(len(pair) != 2 for pair in pairs):
            return f"With {case}, not every pair holds two photos."
        if (spare in seen) != (count % size % 2 == 1):
            return f"With {case}, the spare photo is {'' if spare in seen else 'not '}used: only an odd last batch needs it."
        neighbours = [pair for pair in pairs if pair in zip(order[::2], order[1::2], strict=False)]
        if pairs != expected and len(neighbours) > 1:
            return f"With {case}, neighbours are paired; photo k of a batch goes with k + half the batch."
        if pairs != expected:
            return f"With {case}, the pairs should be {expected}, got {pairs}."
    return None


def _first_step(function: Callable) -> str | None:
    generator = torch.Generator().manual_seed(7)
    rate, decay = 1e-2, 5e-2
    weight = torch.randn(5, generator=generator, dtype=torch.float64)
    gradient = torch.randn(5, generator=generator, dtype=torch.float64)
    gradient[:2] = torch.tensor([0.0, 2e-8])
    for decoupled, kind in ((False, torch.optim.Adam), (True, torch.optim.AdamW)):
        name = f"{kind.__name__} (decoupled={decoupled})"
        parameter = nn.Parameter(weight.clone())
        parameter.grad = gradient.clone()
        kind([parameter], lr=rate, weight_decay=decay).step()
        expected = parameter.detach()
        got = torch.as_tensor(function(weight.clone(), gradient.clone(), rate, decay, decoupled), dtype=torch.float64)
        if got.shape != weight.shape:
            return f"The new weight should have the weight's shape {tuple(weight.shape)}, got {tuple(got.shape)}."
        if torch.allclose(got, expected, rtol=0, atol=1e-7):
            continue
        if torch.allclose(got, expected - weight, rtol=0, atol=1e-7):
            return f"{name}: that is the step; the new weight is asked for."
        if torch.allclose(got[2:], weight[2:] + (weight - expected)[2:], rtol=0, atol=1e-7):
            return f"{name}: the step goes uphill; mind the sign."
        if torch.allclose(got, weight - rate * (gradient + decay * weight), rtol=0, atol=1e-6):
            return f"{name}: that is plain gradient descent; Adam divides by the gradient's own size."
        if abs(float(got[0] - expected[0])) > 1e-7:
            case = f"where the gradient is 0, decay should make {weight[0]:.4f} into {expected[0]:.6f}"
            return f"{name}: {case}, got {got[0]:.6f}."
        if torch.allclose(got[2:], expected[2:], rtol=0, atol=1e-7):
            return f"{name}: a gradient of 2e-8 gives a step of {weight[1] - got[1]:.2e}; you forgot the epsilon."
        case = f"the weight {weight[2]:.4f} with gradient {gradient[2]:.4f} should become {expected[2]:.6f}"
        return f"{name}: {case}, got {got[2]:.6f}."
    return None


def _network() -> CoPeakNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        stages = {
            "first": nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU()),
            "second": nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()),
        }
        model = CoPeakNet(Backbone("small", stages, (0.5,) * 3, (0.25,) * 3))
        nn.init.normal_(model.head.weight, std=0.3)
        return model


def _step_once(model, optimizer, activations, stage, priors, config, longest) -> tuple[float, float]:
    output = model.forward_from(activations, stage)
    total = total_loss(output, model.saliency_at_image_size(output.score), priors, config).total
    optimizer.zero_grad()
    (total / len(activations)).backward()
    length = nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], longest)
    optimizer.step()
    return float(total.detach()), float(length)


def _training_step(function: Callable) -> str | None:
    generator = torch.Generator().manual_seed(9)
    images = torch.rand(4, 3, 64, 64, generator=generator)
    priors = torch.rand(4, 1, 64, 64, generator=generator)
    config, ours, yours = CoSegConfig(input_size=64), _network(), _network()
    with torch.no_grad():
        activations = ours.backbone(images, until="first")
    # Plain gradient descent, which does not hide the length of the gradient as Adam does.
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.5) for model in (ours, yours)]
    for number, longest in (("first", 1e9), ("second", 1e9), ("third", 1e-3)):
        before = deepcopy(yours.head.weight.detach())
        expected, length = _step_once(ours, optimizers[0], activations, "first", priors, config, longest)
        got = function(yours, optimizers[1], activations, "first", priors, config, longest)
        if not (isinstance(got, tuple) and len(got) == 2):
            return f"Your function should return two numbers, the total loss and the gradient's length; it returns {got!r}."
        right = (ours.head.weight - before).detach()
        moved = (yours.head.weight - before).detach()
        if not moved.any():
            return "The weights do not move: is the optimiser's step missing, or the backward pass?"
        ratio = float((moved * right).sum() / right.square().sum())
        if not torch.allclose(moved, right, rtol=1e-3, atol=1e-8):
            if number == "third":
                return (
                    f"Where the gradient is longer than allowed, the step is {ratio:.3g} times as long as it should be: "
                    "shorten the gradient of all weights together, after the backward pass and before the step."
                )
            if abs(ratio - 4) < 0.01:
                return "The step is 4 times too long: divide the loss by the batch size, 4 here, before the backward pass."
            if abs(ratio + 1) < 0.01:
                return "The step goes uphill."
            if number == "second":
                return "The first step is right and the second is not: the gradients of the first are still there."
            return "The step has another direction: is the total that of `total_loss`, with the given priors and config?"
        if any(isinstance(value, torch.Tensor) and value.requires_grad for value in got):
            return "The loss still holds on to its graph; return floats."
        total, norm = map(float, got)
        if abs(total - expected / 4) < 1e-5:
            return "The weights are right; the returned loss is to be the total of the batch, not divided."
        if not abs(total - expected) <= 1e-4:
            return f"The weights are right, but the returned loss should be {expected:.4f}, got {total:.4f}."
        if not abs(norm - length) <= 1e-3 * length:
            return f"The weights are right, but the gradient's length before it was shortened is {length:.4f}, got {norm:.4f}."
    return None


EXERCISES = {
    "07.1": Exercise(
        _reach,
        (
            "From an empty memory, Adam's step is the rate times the sign of the gradient.",
            "Six photos in batches of six are one step an epoch; and biases have twice the rate.",
        ),
    ),
    "07.2": Exercise(
        _weights,
        (
            "What does each loss say of a network that finds nothing? Notebook 06 says it below its six situations.",
            "In the dark the affinity loss is zero, while ls and lt are at their worst.",
        ),
    ),
    "07.3": Exercise(
        _pairs,
        (
            "Cut the list with order[start : start + batch_size].",
            "The two halves of a batch, zipped, are its pairs.",
        ),
    ),
    "07.4": Exercise(
        _first_step,
        (
            "After the bias correction the two averages are g and g squared: the step is rate * g / (|g| + eps).",
            "Not decoupled: g = gradient + decay * weight. Decoupled: the weight is multiplied by 1 - rate * decay instead.",
        ),
    ),
    "07.5": Exercise(
        _training_step,
        (
            "Start from the section 'The loop, written out'; torch.nn.utils has a function that shortens gradients.",
            "clip_grad_norm_ takes all weights, [w for group in optimizer.param_groups for w in group['params']], and returns "
            "the length before.",
        ),
    ),
}
