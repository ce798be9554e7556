"""Exercises of notebook 11: fit, contrast, groups of peaks, and the classifier's evidence.

Shape letters: N photos, H W image size, ``h w`` feature grid, K proposals, S superpixels, Q peaks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import Exercise


def _judge_toy(answer) -> str | None:
    fit, contrast = (float(value) for value in answer)
    expected = 2 / (4 + 2.1 - 2)
    if abs(contrast - expected) < 5e-3 and abs(fit + 0.5) < 5e-3:
        return "The numbers are right, but the first is the fit and the second the contrast."
    if abs(fit - 2 / 4) < 5e-3 or abs(fit - 2 / 2.1) < 5e-3:
        return "Fit: what is common, over the union of both: |P| + sum(u) less what is common."
    if abs(fit - 40 / 21 / (4 + 2 - 40 / 21)) < 5e-3:
        return "Fit: that is with the share t; the target u is the share over its largest value."
    if abs(fit - expected) >= 5e-3:
        return "Fit: in common are 2 pixels. How many has P, and what does u sum to over the whole row?"
    if abs(contrast - 0.5) < 5e-3:
        return "Contrast is inside less outside, and here it is brighter outside than inside."
    if abs(contrast) < 5e-3:
        return "Contrast: only what lies just outside counts, which is superpixel 2 and not superpixel 3."
    wrong = "Contrast: the mean inside is over superpixels 0 and 1; just outside lies superpixel 2."
    return None if abs(contrast + 0.5) < 5e-3 else wrong


def _judge_three_peaks(answer) -> str | None:
    single, group = (float(value) for value in answer)
    if abs(single - 1) < 5e-3 and abs(group - 1 / 3) < 5e-3:
        return "The numbers are right, but the first is the fit for a single peak and the second that for the group."
    if abs(single - 1) < 5e-3:
        return "For one peak, 1 would be right if its heat were all over the thing: here it is on a third of it."
    if abs(single - 0.25) < 5e-3 or abs(single - 0.2) < 5e-3:
        return "For one peak: the common third must be subtracted once in the union, so that the union is the thing."
    if abs(single - 1 / 3) >= 5e-3:
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
        target = torch.rand(3, 9, 7, generator=generator, dtype=torch.float64)
        masks = torch.rand(4, 9, 7, generator=generator) > 0.6
        parts = _soft(target, masks)
        common, size, total = parts
        expected = common / (size + total - common)
        actual = torch.as_tensor(fit(target.clone(), masks.clone())).double()
        if actual.shape != expected.shape:
            return f"The fits must have shape (Q, K), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual, expected, atol=1e-6):
            continue
        for said, wrong in _FIT_SLIPS:
            if torch.allclose(actual, wrong(*parts), atol=1e-6):
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
        chosen = {"length": beside, "once": sorted(set(beside)), "border pixels": beside}[outside]
        values = [mean[k] for k in chosen]
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
    saliency = torch.rand(7, 9, generator=generator, dtype=torch.float64)
    members = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]).bool()
    return saliency, labels, members


def _judge_contrast(contrast: Callable) -> str | None:
    for seed in range(2):
        data = _map(seed)
        saliency, labels, members = data
        expected = _contrasts(*data)
        actual = torch.as_tensor(contrast(*(tensor.clone() for tensor in data))).double()
        if actual.shape != expected.shape:
            return f"The contrasts must have shape (K,), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual, expected, atol=1e-6):
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
        )  # fmt: skip
        for said, wrong in slips:
            if torch.allclose(actual, wrong, atol=1e-6):
                return said
        means = torch.stack([saliency[labels == k].mean() for k in range(members.shape[1])])
        inside = torch.stack([means[m].mean() - saliency[mask].mean() for m, mask in zip(members, masks, strict=True)])
        if torch.allclose(actual, expected + inside, atol=1e-6):
            return "The mean inside is over pixels: a large superpixel counts more than a small one."
        return f"The contrasts are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _evidence(logits, how: str = "right") -> torch.Tensor:
    likely = logits if how == "logits" else logits.softmax(1)
    held = likely.mean((2, 3)) if how == "cells" else likely.flatten(2).amax(2)
    shared = {"photos": held.amax(0), "mean": held.mean(0)}.get(how, held.quantile(0.35, dim=0)).clamp_min(0)
    shared = shared if how == "scale" else shared / shared.max()
    counts = {"square": shared, "hard": (shared == 1).to(shared)}.get(how, shared.sqrt())
    weighted = likely * counts[:, None, None]
    return weighted.amax(1) if how == "largest" else weighted.sum(1)


def _judge_evidence(evidence: Callable) -> str | None:
    logits = _photos_of_one_kind()
    expected = _evidence(logits)
    actual = torch.as_tensor(evidence(logits.clone())).double()
    if actual.shape != expected.shape:
        return f"The evidence must have shape (N, h, w), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
    if torch.allclose(actual, expected, atol=1e-6):
        return None
    for how, said in (
        ("logits", "Logits are no probabilities: take the softmax over the classes first."),
        ("photos", "One photo is not enough: take what two thirds of the photos reach, not the maximum over them."),
        ("mean", "That is the mean over the photos, which a single photo can raise: take the quantile."),
        ("cells", "A thing fills few cells: take each photo's best cell, not the mean over cells."),
        ("square", "By its root: a class of which the photos share a fourth counts half."),
        ("scale", "The most shared class counts 1: divide by the largest."),
        ("hard", "The choice is soft: each class counts as much as it is shared, not the most shared one alone."),
        ("largest", "Add up the classes' probabilities: one thing goes by several names."),
    ):
        if torch.allclose(actual, _evidence(logits, how), atol=1e-6):
            return said
    every = torch.stack([_evidence(of_photo[None])[0] for of_photo in logits])
    if torch.allclose(actual, every, atol=1e-6):
        return "What is shared is the same for all photos, not another for each photo by itself."
    return f"The evidence is off by up to {(actual - expected).abs().max():.3g}."


def _photos_of_one_kind() -> torch.Tensor:
    """Logits at every cell: (4, 8, 4, 5)."""
    logits = torch.randn(4, 8, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[:, 1, 2, 2] += 6  # in every photo, in one cell: what they have in common
    logits[1:, 5, 1, 1] += 4
    logits[0, 3, 0, 0] += 14  # very likely, in one photo only
    logits[:, 6] += 2.0  # a little everywhere: the mean over cells counts it
    logits[:, 7] -= 12.0  # next to nothing anywhere
    return logits


EXERCISES = {
    "11.1": Exercise(
        _judge_toy,
        (
            "P has 4 pixels, u sums to 2.1, in common are the 2 of superpixel 1.",
            "Fit 2 / (4 + 2.1 - 2); contrast: (0 + 1) / 2 inside, 1 in superpixel 2, the only neighbour.",
        ),
    ),
    "11.2": Exercise(
        _judge_three_peaks,
        (
            "What is each peak's share t on the thing, and what is it over its largest value? What do all three sum to?",
            "With area A, for one peak: common A / 3, |P| = A, sum(u) = A / 3. For the group all three are A.",
        ),
    ),
    "11.3": Exercise(
        _judge_fit,
        (
            "common = target.flatten(1) @ masks.flatten(1).T, with masks turned into floats: (Q, K).",
            "common / (sizes of the masks as a row + sums of the targets as a column - common).",
        ),
    ),
    "11.4": Exercise(
        _judge_contrast,
        (
            "Go through all neighbouring pixels; a pair with one pixel in and one out adds the outer pixel's superpixel once.",
            "saliency[mask].mean() less the mean, over those pairs, of the outer superpixel's mean co-saliency.",
        ),
    ),
    "11.5": Exercise(
        _judge_evidence,
        (
            "Softmax over dimension 1; each photo's best cell for each class; then the quantile over the photos, its root.",
            "likely.flatten(2).amax(2).quantile(0.35, dim=0).sqrt(), over its maximum, weighs the sum.",
        ),
    ),
}
