"""Exercises of notebook 02: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import torch

from co3lib.correlation import correlate, normalize_features


def length(features, axes=1):
    return features.square().sum(axes, keepdim=True)


def spoil(features):
    features /= (length(features) + 0.01).sqrt()
    return features


def guide(first, second, one, other, a=1, b=1):
    return correlate(normalize_features(first) * one**a, normalize_features(second) * other**b)


def best(correlation, columns=2, flip=False, sign=1):
    flat = (sign * correlation).flatten(3).argmax(3)
    cells = torch.stack([flat // columns, flat % columns], -1)
    return cells.flip(-1) if flip else cells


WRONG_ANSWERS = [
    ("02.1", 1.0, "without the 0.01"),
    ("02.1", 0.707, "square"),
    ("02.1", 0.01, "Work it out"),
    ("02.2", (3, 192, 14, 14, 10, 12), "5 of them, not 6"),
    ("02.2", (3, 192, 14, 14, 10), "summed over"),
    ("02.2", (3, 10, 12, 14, 14), "first image come first"),
    ("02.2", (3, 14, 14, 12, 10), "in this order"),
    ("02.2", 5, "tuple"),
    ("02.3", lambda f: f / length(f).sqrt(), "NaN"),
    ("02.3", lambda f: f / length(f).sqrt().clamp_min(1e-12), "forgot the 0.01"),
    ("02.3", lambda f: torch.nn.functional.normalize(f, dim=1), "forgot the 0.01"),
    ("02.3", lambda f: f / (length(f).sqrt() + 0.01), "under the root"),
    ("02.3", lambda f: f / (length(f) + 0.01), "root is missing"),
    ("02.3", lambda f: f / (length(f, (2, 3)) + 0.01).sqrt(), "axis 1"),
    ("02.3", lambda f: f / (length(f, (1, 2, 3)) + 0.01).sqrt(), "axis 1"),
    ("02.3", lambda f: f, "values differ"),
    ("02.3", spoil, "have changed"),
    ("02.3", lambda f: None, "returns NoneType"),
    ("02.3", lambda f: length(f), "shape"),
    ("02.4", lambda f, g, s, r: guide(f, g, s, r, 0, 0), "T itself"),
    ("02.4", lambda f, g, s, r: guide(f, g, s, r, 1, 0), "one end"),
    ("02.4", lambda f, g, s, r: guide(f, g, s, r, 0, 1), "one end"),
    ("02.4", lambda f, g, s, r: guide(f, g, s, r, 2, 2), "twice"),
    ("02.4", lambda f, g, s, r: correlate(f * s, g * r), "normalised first"),
    ("02.4", lambda f, g, s, r: correlate(normalize_features(f * s), normalize_features(g * r)), "normalise first"),
    ("02.4", lambda f, g, s, r: guide(g, f, r, s), "shape"),
    ("02.4", lambda f, g, s, r: guide(f, g, s, r, 3, 3), "values differ"),
    ("02.5", lambda T: best(T, flip=True), "Rows come first"),
    ("02.5", lambda T: best(T, sign=-1), "least"),
    ("02.5", lambda T: best(T, columns=5), "columns of the second"),
    ("02.5", lambda T: T.flatten(3).argmax(3), "shape"),
    ("02.5", lambda T: torch.stack([T.amax(4).argmax(3)] * 2, -1), "maximum over s and t together"),
]
