"""Exercises of notebook 11: the prior from the classifier.

Shape letters: N photos, C channels, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import Exercise
from .answers import numbers, tensor


def _judge_quantile(answer) -> str | None:
    given = numbers(answer, 1)
    if isinstance(given, str):
        return given
    value = given[0]
    for slip, said in (
        (0.5, "That is the median; 0.35 of the way from the lowest to the highest lies lower."),
        (0.3, "That is the second lowest: the place 0.35 x 4 = 1.4 is behind it."),
        (0.62, "That is 0.35 of the way from the highest down; sort from the lowest on."),
        (0.35, "0.35 is the part of the way through the sorted values, not a value."),
    ):
        if abs(value - slip) <= 1e-3:
            return said
    said = f"{value:g} is not it. Sort the five; the place is 0.35 x (5 - 1), between two of them."
    return None if abs(value - 0.38) <= 1e-3 else said


def _judge_counts(answer) -> str | None:
    given = numbers(answer, 3)
    if isinstance(given, str):
        return given
    for slip, said in (
        ((0.36, 0.0, 0.09), "The weights must sum to 1: divide by their sum."),
        ((2 / 3, 0.0, 1 / 3), "Each counts by the square of its correlation, not by the correlation."),
        ((0.36 / 1.26, 0.81 / 1.26, 0.09 / 1.26), "A negative correlation counts nothing, though its square is positive."),
        ((0.6 / 1.8, 0.9 / 1.8, 0.3 / 1.8), "A negative correlation counts nothing, and the others count by their squares."),
        ((1.0, 0.0, 0.0), "The choice is soft: each map with a positive correlation counts."),
    ):
        if all(abs(a - b) <= 5e-3 for a, b in zip(given, slip, strict=True)):
            return said
    right = all(abs(a - b) <= 5e-3 for a, b in zip(given, (0.8, 0.0, 0.2), strict=True))
    return None if right else "Square those that are positive, set the other to 0, and divide by the sum."


def _evidence(logits, how: str = "right") -> list[torch.Tensor]:
    likely = list(logits) if how == "logits" else [grid.softmax(1) for grid in logits]
    best = [grid.mean((2, 3)) if how == "cells" else grid.flatten(2).amax(2) for grid in likely]
    held = {"each": None, "largest scale": torch.stack(best).amax(0)}.get(how, torch.stack(best).mean(0))
    result = []
    for k, grid in enumerate(likely):
        of_all = best[k] if held is None else held
        shared = {"photos": of_all.amax(0), "mean": of_all.mean(0)}.get(how, of_all.quantile(0.35, dim=0)).clamp_min(0)
        shared = shared if how == "scale" else shared / shared.max()
        counts = {"square": shared, "hard": (shared == 1).to(shared)}.get(how, shared.sqrt())
        weighted = grid * counts[:, None, None]
        result.append(weighted.amax(1) if how == "largest" else weighted.sum(1))
    return result


def _judge_evidence(evidence: Callable) -> str | None:
    for dtype in (torch.float64, torch.float32):
        logits = [grid.to(dtype) for grid in _photos_of_one_kind()]
        expected = _evidence(logits)
        actual = evidence([grid.clone() for grid in logits])
        if not isinstance(actual, (list, tuple)) or len(actual) != len(logits):
            return f"A list with the evidence of each of the {len(logits)} scales is wanted, got {type(actual).__name__}."
        for given, wanted in zip(actual, expected, strict=True):
            wrong = tensor(given, wanted.shape, "The evidence of a scale", "(N, h, w)")
            if wrong:
                return wrong
        if _alike(actual, expected):
            continue
        for how, said in (
            ("logits", "Logits are no probabilities: take the softmax over the classes first."),
            ("photos", "One photo is not enough: take what two thirds of the photos reach, not the maximum over them."),
            ("mean", "That is the mean over the photos, which a single photo can raise: take the quantile."),
            ("cells", "A thing fills few cells: take each photo's best cell, not the mean over cells."),
            ("each", "What the photos share is one set of weights for all scales: first the mean of h over the scales."),
            ("largest scale", "h is the mean over the scales, not the largest of them."),
            ("square", "By its root: a class of which the photos share a fourth counts half."),
            ("scale", "The most shared class counts 1: divide by the largest."),
            ("hard", "The choice is soft: each class counts as much as it is shared, not the most shared one alone."),
            ("largest", "Add up the classes' probabilities: one thing goes by several names."),
        ):
            if _alike(actual, _evidence(logits, how)):
                return said
        return "The evidence is another. In which order do softmax, best cell, mean over scales, quantile and root come?"
    return None


def _alike(actual, expected) -> bool:
    pairs = zip(actual, expected, strict=True)
    return all(torch.allclose(torch.as_tensor(a).double(), b.double(), atol=1e-5) for a, b in pairs)


def _photos_of_one_kind() -> list[torch.Tensor]:
    """Logits at every cell, for two scales: (4, 8, 4, 5) and (4, 8, 2, 3)."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for height, width in ((4, 5), (2, 3)):
        logits = torch.randn(4, 8, height, width, generator=generator, dtype=torch.float64)
        logits[:, 1, height // 2, width // 2] += 6 if height == 4 else 3  # in every photo, in one cell: what they share
        logits[1:, 5, 1, 1] += 4
        logits[0, 3, 0, 0] += 14  # very likely, in one photo only
        logits[:, 6] += 2.0  # a little everywhere: the mean over cells counts it
        logits[:, 7] -= 12.0  # next to nothing anywhere
        found.append(logits)
    return found


def _ridge(cells, target, strength=0.01, centred=True, ridged=True) -> torch.Tensor:
    moved = cells - cells.mean(0)
    used = moved if centred else cells
    covariance = used.T @ used / len(cells)
    ridge = strength * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=cells.dtype)
    return torch.linalg.solve(covariance + ridge * ridged, used.T @ (target - target.mean()) / len(cells))


def _judge_ridge(answer: Callable) -> str | None:
    if not callable(answer):
        return f"The repaired function itself is wanted, got {type(answer).__name__}."
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randn(60, 6, generator=generator) + 4 * torch.rand(6, generator=generator)
        target = (cells[:, 0] > cells[:, 0].mean()).float()
        expected = _ridge(cells, target)
        given = answer(cells.clone(), target.clone())
        wrong = tensor(given, expected.shape, "The weight", "(C,)")
        if wrong:
            return wrong
        given = torch.as_tensor(given).double()
        if torch.allclose(given, expected.double(), atol=1e-4):
            continue
        if torch.allclose(given, _ridge(cells, target, centred=False).double(), atol=1e-4):
            return "Still as it was. The variance of the features is around their mean: what must be subtracted, and where?"
        if torch.allclose(given, _ridge(cells, target, ridged=False).double(), atol=1e-4):
            return "The ridge has gone; it belongs there, it keeps weights small."
        return f"The weight is off by up to {(given - expected).abs().max():.3g}. Change one thing only."
    return None


def _judge_fooled(answer) -> str | None:
    wrong = tensor(answer, (4, 3, 2, 2), "q", "(4, 3, 2, 2)")
    if wrong:
        return wrong
    likely = torch.as_tensor(answer).double()
    if likely.min() < 0 or likely.max() > 1 or likely.sum(1).max() > 1 + 1e-6:
        return "Probabilities are at least 0, and the three of a cell sum to 1 at most."
    held = likely.flatten(2).amax(2)
    shared = held.quantile(0.35, dim=0)
    if not shared.max() > 0:
        return "No class is shared at all: one must have s = 1, so most of the photos must hold it a little."
    shared = shared / shared.max()
    surest = int(held.amax(0).argmax())
    if held.amax(0)[surest] <= 0.4:
        return "No probability is above 0.4: the class that is surest somewhere must be surer than the one that is shared."
    if shared[surest] > 1e-9:
        return f"The surest class has s = {shared[surest]:.2f}: too many photos hold it. How many of four may, so that s is 0?"
    first = int(shared.argmax())
    return None if held[:, first].max() <= 0.4 + 1e-9 else "The class with s = 1 is above 0.4 somewhere."


EXERCISES = {
    "11.1": Exercise(
        _judge_quantile,
        (
            "Sorted: 0.1, 0.3, 0.5, 0.7, 0.9, in the places 0 to 4.",
            "The place is 0.35 x 4 = 1.4: four tenths of the way from the second to the third.",
        ),
    ),
    "11.2": Exercise(
        _judge_counts,
        ("Which of the three may count at all?", "0.36 and 0.09 over their sum, and 0 for the second."),
    ),
    "11.3": Exercise(
        _judge_evidence,
        (
            "Softmax over dimension 1; each photo's best cell for each class; mean over the scales; quantile over photos.",
            "One set of roots, of the quantile over its maximum, weighs the sums of all scales.",
        ),
    ),
    "11.4": Exercise(
        _judge_ridge,
        (
            "What is a covariance, and what does this function compute in its place?",
            "Subtract cells.mean(0) before anything else.",
        ),
    ),
    "11.5": Exercise(
        _judge_fooled,
        (
            "How many of four photos may hold a class, so that its quantile is still 0?",
            "One photo is nearly sure of class 0; all four hold class 1 with 0.3.",
        ),
    ),
}
