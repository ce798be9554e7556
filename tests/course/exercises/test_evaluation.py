"""Exercises of notebook 02: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import torch

WRONG_PREDICTIONS = [
    ("02.1", 0.6167, "envelope"),
    ("02.1", 0.7917, "share of the five"),
    ("02.1", 4 / 6, "one point"),
    ("02.1", 0.2, "not the area"),
    ("02.5", (5 / 6, 5 / 6), "now come before"),
    ("02.5", (1.0, 2 / 3), "Before"),
    ("02.5", (5 / 6, 0.5833), "envelope"),
    ("02.5", 5 / 6, "2 numbers"),
    ("02.5", (5 / 6, float("nan")), "NaN"),
    ("02.1", "two thirds", "One number"),
    ("02.1", float("nan"), "NaN"),
    ("02.4", [True] * 4, "10 numbers"),
    ("02.4", 7, "Ten flags"),
    ("02.4", [float("nan")] * 10, "NaN"),
    ("02.4", [0.5] * 10, "True or False"),
    ("02.4", [True] * 5 + [False] * 5, "at most four"),
    ("02.4", [True] * 3 + [False] * 7, "a quarter"),
    ("02.4", [False] * 6 + [True] * 4, "too early"),
]


def matching(order=True, strict=True, cover=True, fall_back=False, largest=True, keep_order=True):
    """A matching with one thing wrong, if one is switched off."""

    def match(ious, scores, threshold):
        flags, covered = [], set()
        walk = scores.argsort(descending=True).tolist() if order else list(range(len(scores)))
        for k in walk:
            free = [g for g in range(ious.shape[1]) if g not in covered or not fall_back]
            if largest:
                free = sorted(free, key=lambda g: -ious[k, g])[:1]
            hits = [g for g in free if (ious[k, g] > threshold if strict else ious[k, g] >= threshold)]
            hits = [g for g in hits if g not in covered]
            flags.append(bool(hits))
            covered |= set(hits[:1]) if cover else set()
        return [flag for _, flag in sorted(zip(walk, flags, strict=True))] if keep_order else flags

    return match


def cut(order=True, all_instances=True, measure=lambda p, r: 2 * p * r / (p + r), last=True):
    def value(right, scores, instances):
        ranked = scores.argsort(descending=True) if order else torch.arange(len(scores))
        found = right[ranked].double().cumsum(0)
        precision = found / torch.arange(1, len(found) + 1)
        recall = found / (instances if all_instances else float(found[-1]))
        best = int(measure(precision, recall).nan_to_num().argmax())
        return float(scores[ranked[best]]) - (0 if last else 1e-3)

    return value


RIGHT_ANSWERS = [
    *[("02.2", matching()), ("02.3", cut()), ("02.3", lambda *given: torch.tensor(cut()(*given)))],
    *[("02.4", [True] * 4 + [False] * 6), ("02.4", torch.tensor([1, 1, 1, 0, 1, 0, 0, 0, 0, 0]))],
]
WRONG_ANSWERS = [
    *WRONG_PREDICTIONS,
    ("02.2", matching(strict=False), "equal to the threshold"),
    ("02.2", matching(cover=False), "found once"),
    ("02.2", matching(order=False), "falling score"),
    ("02.2", matching(keep_order=False), "order given"),
    ("02.2", matching(fall_back=True), "rule of this page"),
    ("02.2", lambda ious, scores, threshold: True, "one flag for each"),
    ("02.2", matching(largest=False), "overlaps most"),
    ("02.2", lambda ious, scores, threshold: ious.max(1).values > threshold, "found once"),
    ("02.3", cut(order=False), "falling score"),
    ("02.3", cut(all_instances=False), "all instances"),
    ("02.3", cut(measure=lambda p, r: p), "go on to the second"),
    ("02.3", cut(measure=lambda p, r: p * r / (4 * p + r)), "random detections"),
    ("02.3", cut(last=False), "not at"),
    ("02.3", lambda right, scores, instances: scores, "one score"),
    ("02.3", lambda right, scores, instances: float(scores.min()), "not be shown"),
]
