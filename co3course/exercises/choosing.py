"""Exercises of notebook 12: fit, contrast, groups of peaks, and a mask's outline.

Shape letters: H W image size, K proposals, S superpixels, Q peaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import exp

import torch

from co3lib.beyond.grouping import group_peaks

from . import Exercise
from .answers import numbers, tensor


def _judge_toy(answer) -> str | None:
    given = numbers(answer, 2)
    if isinstance(given, str):
        return given
    fit, contrast = given
    expected = 2 / (4 + 2.1 - 2)
    if abs(contrast - expected) < 5e-3 and abs(fit + 0.5) < 5e-3:
        return "The numbers are right, but the first is the fit and the second the contrast."
    if abs(fit - 2 / 4) < 5e-3 or abs(fit - 2 / 2.1) < 5e-3:
        return "Fit: what is common, over the union of both: |P| + sum(u) less what is common."
    if abs(fit - 40 / 21 / (4 + 2 - 40 / 21)) < 5e-3:
        return "Fit: that is with the share t; the target u is the share over its largest value."
    if not abs(fit - expected) < 5e-3:
        return "Fit: in common are 2 pixels. How many has P, and what does u sum to over the whole row?"
    if abs(contrast - 0.5) < 5e-3:
        return "Contrast is inside less outside, and here it is brighter outside than inside."
    if abs(contrast) < 5e-3:
        return "Contrast: only what lies just outside counts, which is superpixel 2 and not superpixel 3."
    wrong = "Contrast: the mean inside is over superpixels 0 and 1; just outside lies superpixel 2."
    return None if abs(contrast + 0.5) < 5e-3 else wrong


def _judge_three_peaks(answer) -> str | None:
    given = numbers(answer, 2)
    if isinstance(given, str):
        return given
    single, group = given
    if abs(single - 1) < 5e-3 and abs(group - 1 / 3) < 5e-3:
        return "The numbers are right, but the first is the fit for a single peak and the second that for the group."
    if abs(single - 1) < 5e-3:
        return "For one peak, 1 would be right if its heat were all over the thing: here it is on a third of it."
    if abs(single - 0.25) < 5e-3 or abs(single - 0.2) < 5e-3:
        return "For one peak: the common third must be subtracted once in the union, so that the union is the thing."
    if not abs(single - 1 / 3) < 5e-3:
        return "For one peak: u is 1 on a third of the thing and 0 elsewhere; put that into the soft IoU."
    if abs(group - 1 / 3) < 5e-3:
        return "A group's fit is not its peaks': their shares are added up, which makes 1 all over the thing."
    return None if abs(group - 1) < 5e-3 else "For the group: add up the three shares first, then the fit."


def _soft(target, masks):
    masks = masks.to(target.dtype)
    common = torch.einsum("qyx,kyx->qk", target, masks)
    return common, masks.sum((1, 2))[None], target.sum((1, 2))[:, None]


# What a plausible slip computes from (common, |P|, sum u), and how to name it.
_FIT_SLIPS: tuple[tuple[str, Callable], ...] = (
    ("In the union what is common is counted twice: subtract it once.", lambda c, p, u: c / (p + u)),
    ("You divided by the proposal alone; the target outside it must cost something too.", lambda c, p, u: c / (p + 0 * u)),
    ("You divided by the target alone; a large proposal must pay for its size.", lambda c, p, u: c / (u + 0 * p)),
    ("That is the intersection alone; divide it by the union.", lambda c, p, u: c),
    ("That is twice the intersection over the sum (Dice), not intersection over union.", lambda c, p, u: 2 * c / (p + u)),
)  # fmt: skip


def _judge_fit(fit: Callable) -> str | None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        target = torch.rand(3, 9, 7, generator=generator)
        masks = torch.rand(4, 9, 7, generator=generator) > 0.6
        parts = _soft(target, masks)
        common, size, total = parts
        expected = common / (size + total - common)
        actual = fit(target.clone(), masks.clone())
        wrong = tensor(actual, expected.shape, "The fits", "(Q, K)")
        if wrong:
            return wrong
        actual, parts = torch.as_tensor(actual).double(), tuple(part.double() for part in parts)
        if torch.allclose(actual, expected.double(), atol=1e-5):
            continue
        for said, slip in _FIT_SLIPS:
            if torch.allclose(actual, slip(*parts), atol=1e-5):
                return said
        hard = ((target > 0.5)[:, None] & masks).sum((2, 3)) / ((target > 0.5)[:, None] | masks).sum((2, 3))
        if torch.allclose(actual, hard.double(), atol=1e-6):
            return "You made the target a mask first; it is soft, each pixel counts as much as its value."
        return f"The fits are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _contrasts(saliency, labels, members, outside: str = "length") -> torch.Tensor:
    """Contrast pixel pair by pixel pair; ``outside``: what the pixels or superpixels outside are weighted by."""
    result = []
    for row in members:
        mask = row[labels]
        pairs = [(a, b) for a, b in _neighbouring(*labels.shape) if mask[a] != mask[b]]
        beside = [int(labels[b] if mask[a] else labels[a]) for a, b in pairs]
        mean = {k: float(saliency[labels == k].mean()) for k in range(members.shape[1])}
        values = [mean[k] for k in (sorted(set(beside)) if outside == "once" else beside)]
        if outside == "image border":
            values += [0.0] * int(sum(side.sum() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])))
        if outside == "border pixels":
            values = [float(saliency[b] if mask[a] else saliency[a]) for a, b in pairs]
        result.append(float(saliency[mask].mean()) - sum(values) / max(len(values), 1))
    return torch.tensor(result, dtype=torch.float64)


def _neighbouring(height: int, width: int):
    for y in range(height):
        for x in range(width):
            if x + 1 < width:
                yield (y, x), (y, x + 1)
            if y + 1 < height:
                yield (y, x), (y + 1, x)


def _map(seed: int):
    generator = torch.Generator().manual_seed(seed)
    # Blocks of unequal size: superpixels with borders of unequal length, and some that do not touch.
    labels = torch.zeros(7, 9, dtype=torch.long)
    for k, (rows, columns) in enumerate(
        ((slice(0, 3), slice(0, 4)), (slice(0, 3), slice(4, 9)), (slice(3, 7), slice(0, 2)), (slice(3, 7), slice(2, 7)),
         (slice(3, 7), slice(7, 9)))
    ):  # fmt: skip
        labels[rows, columns] = k
    saliency = torch.rand(7, 9, generator=generator)
    members = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]).bool()
    return saliency, labels, members


def _judge_contrast(contrast: Callable) -> str | None:
    for seed in range(2):
        data = _map(seed)
        saliency, labels, members = data
        expected = _contrasts(*data)
        actual = contrast(*(given.clone() for given in data))
        wrong = tensor(actual, expected.shape, "The contrasts", "(K,)")
        if wrong:
            return wrong
        actual = torch.as_tensor(actual).double()
        if torch.allclose(actual, expected, atol=1e-5):
            continue
        masks = members[:, labels]
        everywhere = torch.stack([saliency[m].mean() - saliency[~m].mean() for m in masks])
        slips = (
            ("Outside is less, not more: inside minus outside.", -expected),
            ("Each superpixel just outside counts as often as its border with the proposal is long, not once.",
             _contrasts(*data, outside="once")),
            ("Only the superpixels that touch the proposal count, not all that lies outside.", everywhere),
            ("It is the mean of the whole superpixel just outside that counts, not of the pixels at the border.",
             _contrasts(*data, outside="border pixels")),
            ("That is the mean inside alone.", torch.stack([saliency[m].mean() for m in masks])),
            ("Outside the image is nothing: what lies beyond its border does not count, not even as 0.",
             _contrasts(*data, outside="image border")),
        )  # fmt: skip
        for said, slip in slips:
            if torch.allclose(actual, slip.double(), atol=1e-5):
                return said
        means = torch.stack([saliency[labels == k].mean() for k in range(members.shape[1])])
        inside = torch.stack([means[m].mean() - saliency[mask].mean() for m, mask in zip(members, masks, strict=True)])
        if torch.allclose(actual, expected + inside, atol=1e-5):
            return "The mean inside is over pixels: a large superpixel counts more than a small one."
        return f"The contrasts are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _energy(mask: Sequence[int]) -> float:
    steps = zip((20, 2, 2), mask, mask[1:], strict=False)
    evidence = sum(e * x for e, x in zip((20, 5, -4, -20), mask, strict=True))
    return sum(20 * exp(-c / 10) * (a != b) for c, a, b in steps) - evidence


def _judge_outline(answer) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return f"Two things are wanted, the mask and its energy: ((x0, x1, x2, x3), E), got {answer!r}."
    mask, energy = numbers(answer[0], 4), numbers(answer[1], 1)
    for given in (mask, energy):
        if isinstance(given, str):
            return given
    if any(value not in (0, 1) for value in mask):
        return f"A mask is of 0 and 1, got {answer[0]!r}."
    best = min(product((0, 1), repeat=4), key=_energy)
    if tuple(mask) != best:
        if tuple(mask) == (1, 1, 0, 0):
            return "That was the outline before: the colours now change elsewhere, and the outline goes with them."
        return f"That mask has E = {_energy(mask):.1f}, and another has less."
    right = abs(energy[0] - _energy(best)) <= 0.06
    return None if right else "The mask is right. Its E: less the evidence in it, plus the cost of each border that it cuts."


def _judge_groups(answer) -> str | None:
    saliency = numbers(answer, 7)
    if isinstance(saliency, str):
        return saliency
    if not all(0 <= value <= 1 for value in saliency):
        return f"A co-saliency is from 0 to 1, got {answer!r}."
    for cell in (0, 2, 4):
        if any(saliency[k] >= saliency[cell] for k in (cell - 1, cell + 1) if k >= 0):
            return f"Cell {cell} is no peak: a cell beside it is as high or higher."
    row, places = torch.tensor([saliency], dtype=torch.float64), torch.tensor([[0, 0], [0, 2], [0, 4]])
    groups = list(zip(*group_peaks(row, places), strict=True))
    joined = [float(depth) for members, depth in groups if members[:2].all()]
    if joined:
        return f"Cells 0 and 2, one cat, are still in a group, whose depth is {joined[0]:.2f}; under 0.3 it would be none."
    if not any(members[1:].all() for members, _ in groups):
        depth = saliency[3] / min(saliency[2], saliency[4])
        return f"Cells 2 and 4, two cats, are in no group: its depth would be {depth:.2f}, and 0.3 or more is wanted."
    return None


EXERCISES = {
    "12.1": Exercise(
        _judge_toy,
        (
            "P has 4 pixels, u sums to 2.1, in common are the 2 of superpixel 1.",
            "Fit 2 / (4 + 2.1 - 2); contrast: (0 + 1) / 2 inside, 1 in superpixel 2, the only neighbour.",
        ),
    ),
    "12.2": Exercise(
        _judge_three_peaks,
        (
            "What is each peak's share t on the thing, and what is it over its largest value? What do all three sum to?",
            "With area A, for one peak: common A / 3, |P| = A, sum(u) = A / 3. For the group all three are A.",
        ),
    ),
    "12.3": Exercise(
        _judge_fit,
        (
            "common = target.flatten(1) @ masks.flatten(1).T, with masks turned into floats: (Q, K).",
            "common / (sizes of the masks as a row + sums of the targets as a column - common).",
        ),
    ),
    "12.4": Exercise(
        _judge_contrast,
        (
            "Go through all neighbouring pixels; a pair with one pixel in and one out adds the outer pixel's superpixel once.",
            "saliency[mask].mean() less the mean, over those pairs, of the outer superpixel's mean co-saliency.",
        ),
    ),
    "12.5": Exercise(
        _judge_outline,
        (
            "Borders now cost 20 exp(-2) = 2.7, then 16.4 and 16.4. Compare the first alone, the first two and all four.",
            "The first alone: -20 + 2.7; the first two: -25 + 16.4.",
        ),
    ),
    "12.6": Exercise(
        _judge_groups,
        (
            "Peaks merge at the lowest cell between them. What does a stripe across a cat do, and what two cats that touch?",
            "Cell 1 must be lower than 0.3 times the lower peak beside it; cell 3 must be nearly as high as its neighbours.",
        ),
    ),
}
