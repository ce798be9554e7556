"""Exercises of notebook 02: average precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

from co3lib.evaluation import area_under, match, precision_recall

from . import Exercise
from .answers import numbers

_CLOSE = 0.002  # answers worked by hand are rounded
_THRESHOLD = 0.5


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _CLOSE


def _judge_hand(answer) -> str | None:
    values = numbers(answer, 1)
    if isinstance(values, str):
        return values
    value = values[0]
    for wrong, reason in (
        (0.6167, "The envelope is missing: at each recall the highest precision at this or any higher recall counts"),
        (0.7917, "Recall is a share of the five instances, not of the four that were found"),
        (0.6667, "That is the precision after the last detection, one point of the curve and not the area under it"),
        (0.7667, "Recall ends at 4/5: the instance that nobody found adds nothing"),
    ):
        if _near(value, wrong):
            return reason
    return None if _near(value, 19 / 30) else f"{value:.3f} is not the area under the envelope; write the rows down one by one"


def _voc_match(ious: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[bool]:
    flags, covered = [False] * len(scores), set()
    for k in scores.argsort(descending=True).tolist():
        best = int(ious[k].argmax()) if ious.shape[1] else None
        if best is not None and ious[k, best] > threshold and best not in covered:
            flags[k] = True
            covered.add(best)
    return flags


def _flags(answer: Callable, ious: torch.Tensor, scores: torch.Tensor) -> list[bool]:
    given = answer(ious.clone(), scores.clone(), _THRESHOLD)
    if not hasattr(given, "__len__") or len(given) != len(scores):
        raise ValueError(f"one flag for each of the {len(scores)} detections is wanted, got {given!r}")
    return [bool(value) for value in given]


def _judge_match(answer: Callable) -> str | None:
    cases = {
        "A detection that overlaps a free instance by more than the threshold is right": ([[0.8]], [0.3], [True]),
        "An IoU equal to the threshold is not above it: compare with >": ([[0.5]], [0.3], [False]),
        "An instance is found once: the detection with the higher score covers it, even if another fits better": (
            [[0.6], [0.9]],
            [0.9, 0.1],
            [True, False],
        ),
        "Detections choose in the order of falling score; the flags come in the order given": (
            [[0.6], [0.9]],
            [0.1, 0.9],
            [False, True],
        ),
        "A detection takes the instance that it overlaps most, not the first above the threshold": (
            [[0.6, 0.9], [0.1, 0.8]],
            [0.9, 0.8],
            [True, False],
        ),
        "That is the rule of this page. In VOC's, a detection whose best instance is covered is wrong: it takes no other": (
            [[0.9, 0.1], [0.8, 0.6]],
            [0.9, 0.8],
            [True, False],
        ),
    }
    for reason, (ious, scores, wanted) in cases.items():
        if _flags(answer, torch.tensor(ious), torch.tensor(scores)) != wanted:
            return reason
    if _flags(answer, torch.zeros(2, 0), torch.tensor([0.1, 0.2])) != [False, False]:
        return "In a photo without instances every detection is wrong"
    generator = torch.Generator().manual_seed(9)
    for count in range(1, 12):
        ious = torch.rand(count, 4, generator=generator)
        scores = torch.rand(count, generator=generator)
        wanted = _voc_match(ious, scores, _THRESHOLD)
        if _flags(answer, ious, scores) != wanted:
            library = match(ious, scores, _THRESHOLD).tolist()
            return f"On random overlaps the flags differ. VOC's rule gives {wanted}, the rule of this page {library}"
    return None


def _f1(right: torch.Tensor, scores: torch.Tensor, instances: int) -> torch.Tensor:
    """F1 of the list that ends with each detection, in the order of falling score: (M,)."""
    precision, recall = precision_recall(right, scores, instances)
    return (2 * precision * recall / (precision + recall)).nan_to_num()


def _judge_cut(answer: Callable) -> str | None:
    cases = (
        ("Both are right: the list must go on to the second", [True, True], [0.9, 0.8], 2, 0.8),
        ("The last detection is wrong and should not be shown", [True, True, False], [0.9, 0.8, 0.1], 2, 0.8),
        ("The detections must be put in the order of falling score first", [True, False, True], [0.8, 0.1, 0.9], 2, 0.8),
        ("One wrong detection is worth two more right ones", [True, False, True, True], [0.9, 0.8, 0.7, 0.6], 3, 0.6),
        ("Recall is a share of all instances, not of the right detections", [True, False, False, True], [4, 3, 2, 1], 20, 1),
    )
    for reason, right, scores, instances, wanted in cases:
        given = numbers(answer(torch.tensor(right), torch.tensor(scores, dtype=torch.float32), instances), 1)
        if isinstance(given, str):
            return f"The function must return one score. {given}"
        if abs(given[0] - wanted) > 1e-6:
            said = f"with flags {right} and scores {scores}, {instances} instances, cut at {wanted}, not at {given[0]:.4g}"
            return f"{reason}: {said}"
    generator = torch.Generator().manual_seed(9)
    for count in (5, 12, 20, 60):
        right = torch.rand(count, generator=generator) < 0.6
        right[0] = True
        scores = torch.rand(count, generator=generator)
        instances = max(23, int(right.sum()))
        (value,) = numbers(answer(right.clone(), scores.clone(), instances), 1)
        values = _f1(right, scores, instances)
        kept = int((scores >= value - 1e-6).sum())
        if not kept or float(values[kept - 1]) < float(values.max()) - 1e-6:
            reached = float(values[kept - 1]) if kept else 0.0
            return f"On {count} random detections your cut has an F1 of {reached:.3f}, the best has {float(values.max()):.3f}"
        if abs(value - float(scores.sort(descending=True).values[kept - 1])) > 1e-6:
            return "The cut must be the score of the last detection that is shown"
    return None


def _judge_fooled(answer) -> str | None:
    values = numbers(answer, 10)
    if isinstance(values, str):
        return f"Ten flags are wanted, right or wrong, best score first. {values}"
    if any(value not in (0, 1) for value in values):
        return "Each flag must be True or False"
    right = torch.tensor(values).bool()
    found = int(right.sum())
    if found > 4:
        return f"There are four instances, so at most four detections can be right; {found} are"
    value = area_under(*precision_recall(right, torch.arange(10.0, 0, -1), 4))
    if value > 0.9:
        return None
    if found < 4:
        return f"AP is {value:.3f}: an instance that nobody finds costs a quarter of it"
    return f"AP is {value:.3f}: the wrong detections come too early. Where do they cost nothing?"


def _judge_pooled(answer) -> str | None:
    values = numbers(answer, 2)
    if isinstance(values, str):
        return values
    before, after = values
    if not _near(before, 5 / 6):
        return "Before: put the three detections of both photos in one order; there are two instances to be found in all"
    if _near(after, 5 / 6):
        return "After: within photo B nothing changes, but both of its detections now come before that of photo A"
    if _near(after, 0.5833):
        return "After: the envelope is missing, precision rises from 1/2 to 2/3 here"
    return None if _near(after, 2 / 3) else "After: the order is wrong (1.2), right (1.0), right (0.9)"


EXERCISES = {
    "02.1": Exercise(
        _judge_hand,
        (
            "Write down precision and recall after each detection; recall is a share of five.",
            "Replace each precision by the largest of itself and those after it; recall only moves at right ones.",
        ),
    ),
    "02.2": Exercise(
        _judge_match,
        (
            "Start from naive_match. Which of its lines looks for a free instance?",
            "Take the best of all instances, covered or not, and ask afterwards whether it is covered.",
        ),
    ),
    "02.3": Exercise(
        _judge_cut,
        (
            "Put the flags in the order of falling score and count the right ones with cumsum.",
            "With f right ones among the first k, F1 is 2 f / (k + instances); return the score where it is highest.",
        ),
    ),
    "02.4": Exercise(
        _judge_fooled,
        (
            "What does a wrong detection cost that comes after the last right one?",
            "All four instances must be found, nearly all of them before the first wrong detection.",
        ),
    ),
    "02.5": Exercise(
        _judge_pooled,
        (
            "Before: right (0.9), wrong (0.6), right (0.5). And after?",
            "An instance adds half a recall each; take the envelope's precision at both.",
        ),
    ),
}
