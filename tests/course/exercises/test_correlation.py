"""Exercises of notebook 03: answers that are wrong in the ways that come to mind."""

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
    ("03.6", [[3, 4], [4, 3]], "hardly like itself"),
    ("03.6", [[0.1, 0], [0.1, 0.1]], "should it be longer"),
    ("03.6", [[0, 0], [4, 3]], "some length"),
    ("03.6", [0.1, 0], "must have shape"),
    ("03.6", [[0.1, float("nan")], [1, 0]], "NaN"),
    ("03.1", 1.0, "without the 0.01"),
    ("03.1", 0.707, "square"),
    ("03.1", 0.01, "Work it out"),
    ("03.1", float("nan"), "finite"),
    ("03.1", "half", "one number, it is str"),
    ("03.2", (3, 192, 14, 14, 10, 12), "5 of them, not 6"),
    ("03.2", (3, 192, 14, 14, 10), "summed over"),
    ("03.2", (3, 10, 12, 14, 14), "first image come first"),
    ("03.2", (3, 14, 14, 12, 10), "in this order"),
    ("03.2", 5, "tuple"),
    ("03.3", lambda f: f / length(f).sqrt(), "NaN"),
    ("03.3", lambda f: f / length(f).sqrt().clamp_min(1e-12), "forgot the 0.01"),
    ("03.3", lambda f: torch.nn.functional.normalize(f, dim=1), "forgot the 0.01"),
    ("03.3", lambda f: f / (length(f).sqrt() + 0.01), "under the root"),
    ("03.3", lambda f: f / (length(f) + 0.01), "root is missing"),
    ("03.3", lambda f: f / (length(f, (2, 3)) + 0.01).sqrt(), "axis 1"),
    ("03.3", lambda f: f / (length(f, (1, 2, 3)) + 0.01).sqrt(), "axis 1"),
    ("03.3", lambda f: f, "values differ"),
    ("03.3", spoil, "have changed"),
    ("03.3", lambda f: None, "returns NoneType"),
    ("03.3", lambda f: length(f), "shape"),
    ("03.4", lambda f, g, s, r: guide(f, g, s, r, 0, 0), "T itself"),
    ("03.4", lambda f, g, s, r: guide(f, g, s, r, 1, 0), "one end"),
    ("03.4", lambda f, g, s, r: guide(f, g, s, r, 0, 1), "one end"),
    ("03.4", lambda f, g, s, r: guide(f, g, s, r, 2, 2), "twice"),
    ("03.4", lambda f, g, s, r: correlate(f * s, g * r), "normalised first"),
    ("03.4", lambda f, g, s, r: correlate(normalize_features(f * s), normalize_features(g * r)), "normalise first"),
    ("03.4", lambda f, g, s, r: guide(g, f, r, s), "shape"),
    ("03.4", lambda f, g, s, r: guide(f, g, s, r, 3, 3), "values differ"),
    ("03.5", lambda T: best(T, flip=True), "Rows come first"),
    ("03.5", lambda T: best(T, sign=-1), "least"),
    ("03.5", lambda T: best(T, columns=5), "columns of the second"),
    ("03.5", lambda T: T.flatten(3).argmax(3), "shape"),
    ("03.5", lambda T: torch.stack([T.amax(4).argmax(3)] * 2, -1), "maximum over s and t together"),
]

RIGHT_ANSWERS = [
    ("03.6", torch.tensor([[0.0, 0.05], [1.0, 1.0]])),
    ("03.3", lambda f: f.double() / (length(f.double()) + 0.01).sqrt()),
    ("03.4", lambda f, g, s, r: guide(f.double(), g.double(), s, r)),
]
