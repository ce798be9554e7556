"""Exercises of notebook 10: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
import torch

from co3lib.overlap import box_iou, tight_box


def share(least=0.5, strict=False, skip_none=False, first_only=False, count_all=False):
    """A CorLoc with one thing wrong, if asked for."""

    def corloc(predicted, truth):
        right = []
        for box, boxes in zip(predicted, truth, strict=True):
            if box is None or not len(boxes):
                if not (skip_none and box is None):
                    right.append(0)
                continue
            ious = box_iou(box[None], boxes[:1] if first_only else boxes)[0]
            hits = ious > least if strict else ious >= least
            right.append(int(hits.sum()) if count_all else int(hits.any()))
        return sum(right) / len(right)

    return corloc


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


def step(v, w, h):
    w = w * (v @ h.T) / (w @ h @ h.T)
    return w, h * (w.T @ v) / (w.T @ w @ h)


def upside_down(v, w, h):
    w = w * (w @ h @ h.T) / (v @ h.T)
    return w, h * (w.T @ v) / (w.T @ w @ h)


def both_from_the_old(v, w, h):
    return w * (v @ h.T) / (w @ h @ h.T), h * (w.T @ v) / (w.T @ w @ h)


def not_multiplied(v, w, h):
    return (v @ h.T) / (w @ h @ h.T), h


def only_the_left(v, w, h):
    return step(v, w, h)[0], h


def one_too_few(mask):
    x0, y0, x1, y1 = tight_box(mask)
    return x0, y0, x1 - 1, y1 - 1


def rows_first(mask):
    x0, y0, x1, y1 = tight_box(mask)
    return y0, x0, y1, x1


def with_sides(mask):
    x0, y0, x1, y1 = tight_box(mask)
    return x0, y0, x1 - x0, y1 - y0


def of_the_first_run(mask):
    rows, columns = np.nonzero(mask)
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


RIGHT_ANSWERS = [("10.2", tight_box), ("10.3", share()), ("10.4", components()), ("10.5", step)]
WRONG_ANSWERS = [
    ("10.1", 0.4, "exclusive"),
    ("10.1", 0.25, "counts the shared part once"),
    ("10.1", 0.5, "union of both"),
    ("10.1", 0.9, "not it"),
    ("10.2", one_too_few, "exclusive"),
    ("10.2", rows_first, "x first"),
    ("10.2", with_sides, "width and height"),
    ("10.2", of_the_first_run, "it gives"),
    ("10.2", lambda mask: tight_box(mask)[:2], "Four numbers"),
    ("10.3", share(strict=True), "exactly 0.5"),
    ("10.3", share(skip_none=True), "None"),
    ("10.3", share(first_only=True), "whichever"),
    ("10.3", share(count_all=True), "right once"),
    ("10.3", share(least=0.3), "random boxes"),
    ("10.4", components(positive=False), "negative side"),
    ("10.4", components(sign=-1), "background"),
    ("10.4", components(centre=False), "centred"),
    ("10.4", components(together=False), "all photos' cells together"),
    ("10.4", lambda features: components()(features)[:, None], "shape"),
    ("10.5", upside_down, "upside down"),
    ("10.5", both_from_the_old, "new W"),
    ("10.5", not_multiplied, "differs"),
    ("10.5", only_the_left, "H differs"),
    ("10.5", lambda v, w, h: step(v, w, h)[0], "Two tensors"),
]
