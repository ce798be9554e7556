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
]


def matching(order=True, strict=True, cover=True, fall_back=True, largest=True, keep_order=True):
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


def area(envelope=True, order=True, all_instances=True, tail=True):
    def value(right, scores, instances):
        if not len(scores):
            return 0.0
        found = (right[scores.argsort(descending=True)] if order else right).double().cumsum(0)
        precision = found / torch.arange(1, len(found) + 1)
        recall = found / (instances if all_instances else max(float(found[-1]), 1))
        precision = precision.flip(0).cummax(0).values.flip(0) if envelope else precision
        area = float((precision * recall.diff(prepend=torch.zeros(1).double())).sum())
        return area if tail else area * float(precision[-1])

    return value


def on_grid(levels=101, all_levels=True, envelope=True):
    def value(right, scores, instances):
        found = right[scores.argsort(descending=True)].double().cumsum(0)
        precision, recall = found / torch.arange(1, len(found) + 1), found / instances
        values = []
        for level in torch.linspace(0, 1, levels, dtype=torch.float64):
            there = precision[recall >= level]
            if len(there):
                values.append(float(there.max() if envelope else there[0]))
            elif all_levels:
                values.append(0.0)
        return sum(values) / len(values)

    return value


RIGHT_ANSWERS = [("02.2", matching()), ("02.3", area()), ("02.4", on_grid())]
WRONG_ANSWERS = [
    *WRONG_PREDICTIONS,
    ("02.2", matching(strict=False), "equal to the threshold"),
    ("02.2", matching(cover=False), "found once"),
    ("02.2", matching(order=False), "falling score"),
    ("02.2", matching(keep_order=False), "order given"),
    ("02.2", matching(fall_back=False), "those that are left"),
    ("02.2", matching(largest=False), "overlaps most"),
    ("02.2", lambda ious, scores, threshold: ious.max(1).values > threshold, "found once"),
    ("02.3", area(envelope=False), "envelope"),
    ("02.3", area(order=False), "falling score"),
    ("02.3", area(all_instances=False), "Half"),
    ("02.3", area(tail=False), "costs nothing"),
    ("02.4", area(), "101 recalls"),
    ("02.4", on_grid(all_levels=False), "never reached"),
    ("02.4", on_grid(levels=11), "COCO's way"),
    ("02.4", on_grid(envelope=False), "COCO's way"),
]
