"""Exercises of notebook 02: average precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

from co3lib.evaluation import area_under, match, precision_recall

from . import Exercise

_CLOSE = 0.002  # answers worked by hand are rounded
_THRESHOLD = 0.5


def _numbers(answer, count: int) -> list[float]:
    values = [float(value) for value in (answer if isinstance(answer, (tuple, list)) else [answer])]
    if len(values) != count:
        raise ValueError(f"{count} numbers are wanted, there are {len(values)}")
    return values


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _CLOSE


def _judge_hand(answer) -> str | None:
    (value,) = _numbers(answer, 1)
    for wrong, reason in (
        (0.6167, "The envelope is missing: at each recall the highest precision at this or any higher recall counts"),
        (0.7917, "Recall is a share of the five instances, not of the four that were found"),
        (0.6667, "That is the precision after the last detection, one point of the curve and not the area under it"),
        (0.7667, "Recall ends at 4/5: the instance that nobody found adds nothing"),
    ):
        if _near(value, wrong):
            return reason
    return None if _near(value, 19 / 30) else f"{value:.3f} is not the area under the envelope; write the rows down one by one"


def _flags(answer: Callable, ious: torch.Tensor, scores: torch.Tensor) -> list[bool]:
    given = answer(ious.clone(), scores.clone(), _THRESHOLD)
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
        "A detection whose best instance is covered takes the best of those that are left": (
            [[0.9, 0.1], [0.8, 0.6]],
            [0.9, 0.8],
            [True, True],
        ),
        "A detection takes the instance that it overlaps most, not the first above the threshold": (
            [[0.6, 0.9], [0.1, 0.8]],
            [0.9, 0.8],
            [True, False],
        ),
    }
    for reason, (ious, scores, wanted) in cases.items():
        if _flags(answer, torch.tensor(ious).double(), torch.tensor(scores).double()) != wanted:
            return reason
    if _flags(answer, torch.zeros(2, 0).double(), torch.tensor([0.1, 0.2]).double()) != [False, False]:
        return "In a photo without instances every detection is wrong"
    generator = torch.Generator().manual_seed(9)
    for count in range(1, 12):
        ious = torch.rand(count, 4, generator=generator, dtype=torch.float64)
        scores = torch.rand(count, generator=generator, dtype=torch.float64)
        if _flags(answer, ious, scores) != match(ious, scores, _THRESHOLD).tolist():
            return "On random overlaps some flags differ from the library's match"
    return None


def _random_ranking(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    right = torch.rand(count, generator=generator) < 0.6
    # A number of instances that shares no recall with the hundredths of the COCO grid but 1 itself.
    return right, torch.rand(count, generator=generator, dtype=torch.float64), 23


def _judge_area(answer: Callable) -> str | None:
    def value(right, scores, instances) -> float:
        return float(answer(torch.tensor(right), torch.tensor(scores).double(), instances))

    cases = {
        "Everything found and nothing wrong must give 1": ([True, True], [0.9, 0.8], 2, 1.0),
        "Half of the instances found and nothing wrong must give 0.5": ([True, True], [0.9, 0.8], 4, 0.5),
        "A wrong detection after the last right one costs nothing": ([True, False], [0.9, 0.8], 1, 1.0),
        "The detections must be put in the order of falling score first": ([True, False], [0.1, 0.8], 1, 0.5),
        "The envelope is missing: precision may not rise with recall": ([False, True, True], [0.9, 0.8, 0.7], 2, 2 / 3),
    }
    for reason, (right, scores, instances, wanted) in cases.items():
        if abs(value(right, scores, instances) - wanted) > 1e-6:
            return reason
    generator = torch.Generator().manual_seed(9)
    for count in (1, 5, 12, 20):
        right, scores, instances = _random_ranking(generator, count)
        wanted = area_under(*precision_recall(right, scores, instances))
        if abs(value(right.tolist(), scores.tolist(), instances) - wanted) > 1e-6:
            return "On random detections the area differs from the library's"
    return None if value([], [], 3) == 0 else "Without a detection the area is 0"


def _on_coco_grid(right: torch.Tensor, scores: torch.Tensor, instances: int) -> float:
    precision, recall = precision_recall(right, scores, instances)
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    reached = [precision[recall >= level] for level in levels]
    return sum(float(values.max()) if len(values) else 0.0 for values in reached) / len(levels)


def _judge_coco(answer: Callable) -> str | None:
    generator = torch.Generator().manual_seed(9)
    for count in (3, 8, 16, 60):
        right, scores, instances = _random_ranking(generator, count)
        right[scores.argmax()] = True
        instances = max(instances, int(right.sum()))
        value, wanted = float(answer(right.clone(), scores.clone(), instances)), _on_coco_grid(right, scores, instances)
        if abs(value - wanted) <= 1e-6:
            continue
        precision, recall = precision_recall(right, scores, instances)
        reached = int((torch.linspace(0, 1, 101, dtype=torch.float64) <= recall.max()).sum())
        if abs(value - area_under(precision, recall)) <= 1e-6:
            return "That is still the area over all points: take the mean over the 101 recalls instead"
        if abs(value - wanted * 101 / reached) <= 1e-6:
            return "A recall that is never reached counts with precision 0, it is not left out"
        if abs(value - wanted * 101 / 100) <= 1e-6:
            return "There are 101 recalls from 0 to 1, both ends included"
        return f"For {count} detections of {instances} instances it gives {value:.4f} where COCO's way gives {wanted:.4f}"
    return None


def _judge_pooled(answer) -> str | None:
    before, after = _numbers(answer, 2)
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
            "Go through scores.argsort(descending=True, stable=True) and remember which columns are covered.",
            "Set a covered instance's column to -1: then nobody's best can be there any more.",
        ),
    ),
    "02.3": Exercise(
        _judge_area,
        (
            "Sort first, then cumsum of the flags; precision divides by 1, 2, 3, ..., recall by the number of instances.",
            "The envelope is a cumulative maximum from the right: flip, cummax, flip.",
        ),
    ),
    "02.4": Exercise(
        _judge_coco,
        (
            "For each of the 101 recalls: the highest precision among the points whose recall is at least that.",
            "The maximum over no point at all is 0; the result is the mean of 101 numbers.",
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
