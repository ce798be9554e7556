"""Exercises of notebook 10: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import time

import numpy as np
import torch

from co3lib.overlap import tight_box


def components(centre=True, positive=True, sign=1, together=True):
    """DDT with one thing wrong, if asked for."""

    def maps(features):
        if not together:
            return torch.cat([components()(one[None]) for one in features])
        cells = features.movedim(1, -1)
        cells = cells - cells.mean((0, 1, 2)) if centre else cells
        scores = cells @ torch.linalg.svd(cells.flatten(0, 2), full_matrices=False)[2][0]
        inside = torch.zeros(scores.shape[1:], dtype=torch.bool)
        inside[1:-1, 1:-1] = True
        scores = sign * scores * (scores[:, inside].mean() - scores[:, ~inside].mean()).sign()
        return scores.clamp_min(0) if positive else scores

    return maps


NAN = float("nan")


def boxes_of(masks):
    return np.array([tight_box(mask) if mask.any() else (0, 0, 0, 0) for mask in masks]).reshape(-1, 4)


def changed(change):
    return lambda masks: np.stack(change(*boxes_of(masks).T), 1)


def slow(masks):
    if len(masks) == 200:
        time.sleep(1.6)
    return boxes_of(masks)


def first_run_only(masks):
    boxes = boxes_of(masks)
    boxes[3:, 2] = boxes[3:, 0] + 1
    return boxes


def no_empty_one(masks):
    return np.array([tight_box(mask) for mask in masks if mask.any()])


def without_movedim(features):
    rows = features.reshape(-1, features.shape[1])
    rows = rows - rows.mean(0)
    scores = (rows @ torch.linalg.svd(rows, full_matrices=False)[2][0]).reshape(len(features), *features.shape[2:])
    inside = torch.zeros(scores.shape[1:], dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    return (scores * (scores[:, inside].mean() - scores[:, ~inside].mean()).sign()).clamp_min(0)


HALF = ([(0, 0, 4, 4)], [[(0, 0, 4, 8)]])
NONE = ([(0, 0, 4, 4), None], [[(0, 0, 4, 4)], [(0, 0, 4, 4)]])
PLAIN = ([(0, 0, 4, 4)], [[(0, 0, 4, 4)]])


def two_backgrounds(step=10.0, thing=1.0):
    """Photos with background on two sides, ``step`` apart in channel 0; the thing is ``thing`` away in channel 1."""
    features, places = torch.zeros(2, 2, 6, 6), torch.zeros(2, 6, 6, dtype=torch.bool)
    places[:, 2:4, 2:4] = True
    features[:, 0, :, :3], features[:, 0, :, 3:] = -step, step
    features[0, 0] += 1e-2
    features[:, 0][places], features[:, 1][places] = 0.0, thing
    return features, places


def with_thing(change):
    features, places = two_backgrounds()
    change(features, places)
    return features, places


def other_descriptor(features, places):
    features[0, 1, 2, 2] = 2.0


def nowhere(features, places):
    places[1] = False


def everywhere(features, places):
    features[:, 0, 0, 0], features[:, 1, 0, 0] = 0.0, 1.0


RIGHT_ANSWERS = [
    ("10.1", (1 / 3, False)),
    ("10.1", (np.float32(0.333), np.bool_(False))),
    ("10.2", boxes_of),
    ("10.3", [HALF, NONE]),
    ("10.3", [NONE, HALF]),
    ("10.4", components()),
    ("10.4", lambda features: components()(features.double()).numpy()),
    ("10.5", two_backgrounds()),
    ("10.5", tuple(values.numpy() for values in two_backgrounds())),
]
WRONG_ANSWERS = [
    ("10.1", (0.4, False), "exclusive"),
    ("10.1", (0.25, False), "counts the shared part once"),
    ("10.1", (0.5, True), "union of both"),
    ("10.1", (0.9, True), "not the IoU"),
    ("10.1", (1 / 3, True), "below 0.5"),
    ("10.1", (1 / 3, "no"), "True or False"),
    ("10.1", (NAN, False), "NaN"),
    ("10.1", 1 / 3, "Two answers"),
    ("10.2", changed(lambda x0, y0, x1, y1: (x0, y0, x1 - 1, y1 - 1)), "exclusive"),
    ("10.2", changed(lambda x0, y0, x1, y1: (y0, x0, y1, x1)), "x first"),
    ("10.2", changed(lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0)), "width and height"),
    ("10.2", changed(lambda x0, y0, x1, y1: (x0 * NAN, y0, x1, y1)), "NaN"),
    ("10.2", first_run_only, "it gives"),
    ("10.2", no_empty_one, "empty mask"),
    ("10.2", slow, "seconds"),
    ("10.2", lambda masks: boxes_of(masks)[:, :2], "shape"),
    ("10.2", lambda masks: tight_box(masks[0]), "shape"),
    ("10.3", [HALF, HALF], "exactly 0.5"),
    ("10.3", [NONE, NONE], "without a box"),
    ("10.3", [HALF, PLAIN], "no mistake"),
    ("10.3", HALF, "must be a pair"),
    ("10.3", [HALF], "Two calls"),
    ("10.3", [HALF, ([None], [])], "as many"),
    ("10.3", [HALF, ([(0, 0, 0, 4)], [[(0, 0, 4, 4)]])], "without an area"),
    ("10.3", [HALF, ([(0, 0, NAN, 4)], [[(0, 0, 4, 4)]])], "without an area"),
    ("10.3", [HALF, "None"], "must be a pair"),
    ("10.4", components(positive=False), "negative side"),
    ("10.4", components(sign=-1), "background"),
    ("10.4", components(centre=False), "centred"),
    ("10.4", components(together=False), "one list"),
    ("10.4", lambda features: components(positive=False)(features).abs(), "absolute"),
    ("10.4", without_movedim, "movedim"),
    ("10.4", lambda features: components()(features)[:, None], "shape"),
    ("10.4", lambda features: NAN * components()(features), "NaN"),
    ("10.5", two_backgrounds(step=0.1), "still finds it"),
    ("10.5", with_thing(other_descriptor), "same in all its cells"),
    ("10.5", with_thing(nowhere), "in every photo"),
    ("10.5", with_thing(everywhere), "Some other cell"),
    ("10.5", (NAN * two_backgrounds()[0], two_backgrounds()[1]), "NaN"),
    ("10.5", (two_backgrounds()[0], two_backgrounds()[0]), "Shapes"),
    ("10.5", two_backgrounds()[0], "Two tensors"),
    ("10.5", ("features", "thing"), "Two tensors"),
]
