"""Exercises of notebook 11: fit, contrast, and the classifier's evidence."""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import Exercise


def _judge_toy(answer) -> str | None:
    fit, contrast = (float(value) for value in answer)
    expected = 1.9 / (4 + 2 - 1.9)
    if abs(contrast - expected) < 5e-3 and abs(fit + 0.5) < 5e-3:
        return "The numbers are right, but the first is the fit and the second the contrast."
    if abs(fit - 1.9 / 4) < 5e-3 or abs(fit - 1.9 / 2) < 5e-3:
        return "Fit: what is common, over the union of both: |P| + sum(t) less what is common."
    if abs(fit - expected) >= 5e-3:
        return "Fit: in common are 1.9 pixels. How many has P, and what does t sum to over the whole row?"
    if abs(contrast - 0.5) < 5e-3:
        return "Contrast is inside less outside, and here it is brighter outside than inside."
    if abs(contrast) < 5e-3:
        return "Contrast: only what lies just outside counts, which is cell 2 and not cell 3."
    return None if abs(contrast + 0.5) < 5e-3 else "Contrast: the mean inside is over cells 0 and 1; just outside lies cell 2."


def _judge_three_peaks(answer) -> str | None:
    if abs(float(answer) - 1 / 3) < 5e-3:
        return None
    if abs(float(answer) - 1) < 5e-3:
        return "1 would be right for a single peak: here three share the thing's co-saliency among themselves."
    if abs(float(answer) - 0.2) < 5e-3:
        return "1/5 counts the common third twice in the union: it must be subtracted there once."
    return "Each peak's share is a third on the thing and zero elsewhere; put that into the soft intersection over union."


def _soft(share, masks):
    masks = masks.to(share.dtype)
    common = torch.einsum("qyx,kyx->qk", share, masks)
    return common, masks.sum((1, 2))[None], share.sum((1, 2))[:, None]


# What a plausible slip computes from (common, |P|, sum t), and how to name it.
_FIT_SLIPS: tuple[tuple[str, Callable], ...] = (
    ("In the union what is common is counted twice: subtract it once.", lambda c, p, t: c / (p + t)),
    ("You divided by the proposal alone; the share outside it must cost something too.", lambda c, p, t: c / (p + 0 * t)),
    ("You divided by the share alone; a large proposal must pay for its size.", lambda c, p, t: c / (t + 0 * p)),
    ("That is the intersection alone; divide it by the union.", lambda c, p, t: c),
    ("That is twice the intersection over the sum (Dice), not intersection over union.", lambda c, p, t: 2 * c / (p + t)),
)  # fmt: skip


def _judge_fit(fit: Callable) -> str | None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        share = torch.rand(3, 9, 7, generator=generator, dtype=torch.float64)
        masks = torch.rand(4, 9, 7, generator=generator) > 0.6
        parts = _soft(share, masks)
        common, size, total = parts
        expected = common / (size + total - common)
        actual = torch.as_tensor(fit(share.clone(), masks.clone())).double()
        if actual.shape != expected.shape:
            return f"The fits must have shape (Q, K), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual, expected, atol=1e-6):
            continue
        for said, wrong in _FIT_SLIPS:
            if torch.allclose(actual, wrong(*parts), atol=1e-6):
                return said
        hard = ((share > 0.5)[:, None] & masks).sum((2, 3)) / ((share > 0.5)[:, None] | masks).sum((2, 3))
        if torch.allclose(actual, hard.double(), atol=1e-6):
            return "You made the share a mask first; it is soft, each pixel counts as much as its share."
        return f"The fits are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _contrasts(saliency, labels, members, outside: str = "length") -> torch.Tensor:
    """Contrast pixel pair by pixel pair; ``outside``: what the pixels or cells outside are weighted by."""
    result = []
    for row in members:
        mask = row[labels]
        pairs = [(a, b) for a, b in _neighbouring(*labels.shape) if mask[a] != mask[b]]
        cells = [int(labels[b] if mask[a] else labels[a]) for a, b in pairs]
        mean = {c: float(saliency[labels == c].mean()) for c in range(members.shape[1])}
        chosen = {"length": cells, "once": sorted(set(cells)), "border pixels": cells}[outside]
        values = [mean[c] for c in chosen]
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
    # Blocks of unequal size: cells with borders of unequal length, and cells that do not touch.
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
        actual = torch.as_tensor(contrast(*(one.clone() for one in data))).double()
        if actual.shape != expected.shape:
            return f"The contrasts must have shape (K,), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual, expected, atol=1e-6):
            continue
        masks = members[:, labels]
        everywhere = torch.stack([saliency[m].mean() - saliency[~m].mean() for m in masks])
        slips = (
            ("Outside is less, not more: inside minus outside.", -expected),
            ("Each cell just outside counts as often as its border with the proposal is long, not once.",
             _contrasts(*data, outside="once")),
            ("Only the cells that touch the proposal count, not all that lies outside.", everywhere),
            ("It is the mean of the whole cell just outside that counts, not of the pixels at the border.",
             _contrasts(*data, outside="border pixels")),
            ("That is the mean inside alone.", torch.stack([saliency[m].mean() for m in masks])),
        )  # fmt: skip
        for said, wrong in slips:
            if torch.allclose(actual, wrong, atol=1e-6):
                return said
        cells = torch.stack([saliency[labels == c].mean() for c in range(members.shape[1])])
        inside = torch.stack([cells[m].mean() - saliency[mask].mean() for m, mask in zip(members, masks, strict=True)])
        if torch.allclose(actual, expected + inside, atol=1e-6):
            return "The mean inside is over pixels: a large cell counts more than a small one."
        return f"The contrasts are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _evidence(logits, count, how: str = "right") -> torch.Tensor:
    likely = logits if how == "logits" else logits.softmax(1)
    certainty = {"photos": lambda p: p.flatten(2).amax(2).amax(0), "cells": lambda p: p.mean((0, 2, 3))}.get(
        how, lambda p: p.flatten(2).amax(2).mean(0)
    )(likely)
    shared = certainty.topk(count).indices
    return logits.softmax(1)[:, shared].amax(1) if how == "largest" else likely[:, shared].sum(1)


def _judge_evidence(evidence: Callable) -> str | None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 8, 4, 5, generator=generator, dtype=torch.float64)
    logits[:, 1, 2, 2] += 6  # in every photo, in one cell: what they have in common
    logits[1:, 5, 1, 1] += 4
    logits[0, 3, 0, 0] += 14  # very sure, in one photo only
    logits[:, 6] += 2.0  # a little everywhere: the mean over cells falls for it
    for count in (1, 2):
        expected = _evidence(logits, count)
        actual = torch.as_tensor(evidence(logits.clone(), count)).double()
        if actual.shape != expected.shape:
            return f"The evidence must have shape (N, h, w), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual, expected, atol=1e-6):
            continue
        for how, said in (
            ("logits", "Logits are no probabilities: take the softmax over the classes first."),
            ("photos", "A class must be likely in every photo: average its best cell over the photos, don't take the maximum."),
            ("cells", "A thing fills few cells: take each photo's best cell, not the mean over cells."),
            ("largest", "Add up the classes' probabilities: one thing goes by several names."),
        ):
            if torch.allclose(actual, _evidence(logits, count, how), atol=1e-6):
                return said
        every = torch.stack([_evidence(one[None], count)[0] for one in logits])
        if torch.allclose(actual, every, atol=1e-6):
            return "The classes are chosen once for all photos, not for each photo by itself."
        return f"With {count} classes the evidence is off by up to {(actual - expected).abs().max():.3g}."
    return None


EXERCISES = {
    "11.1": Exercise(
        _judge_toy,
        (
            "P has 4 pixels, t sums to 2, in common are the 1.9 of cell 1.",
            "Fit 1.9 / (4 + 2 - 1.9); contrast: (0 + 1) / 2 inside, 1 in cell 2, the only neighbour.",
        ),
    ),
    "11.2": Exercise(
        _judge_three_peaks,
        ("What is each peak's share t on the thing?", "With area A: common A / 3, |P| = A, sum(t) = A / 3."),
    ),
    "11.3": Exercise(
        _judge_fit,
        (
            "common = share.flatten(1) @ masks.flatten(1).T, with masks turned into floats: (Q, K).",
            "common / (sizes of the masks as a row + sums of the shares as a column - common).",
        ),
    ),
    "11.4": Exercise(
        _judge_contrast,
        (
            "Go through all neighbouring pixels; a pair with one pixel in and one out adds the outer pixel's cell once.",
            "saliency[mask].mean() less the mean, over those pairs, of the outer cell's mean co-saliency.",
        ),
    ),
    "11.5": Exercise(
        _judge_evidence,
        (
            "Softmax over dimension 1; then each photo's best cell for each class; then the mean over the photos.",
            "likely.flatten(2).amax(2).mean(0).topk(count).indices, then likely[:, these].sum(1).",
        ),
    ),
}
