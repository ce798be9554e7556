"""Exercises of notebook 11: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
import torch

from co3course.exercises.classifier_prior import _evidence, _photos_of_one_kind, _ridge
from co3lib.beyond.priors import class_evidence, shared_classes

NAN = float("nan")


def test_evidence_is_what_the_classifier_prior_uses():
    logits = _photos_of_one_kind()
    likely = [grid.softmax(1) for grid in logits]
    for mine, library in zip(_evidence(logits), class_evidence(likely, shared_classes(likely).sqrt()), strict=True):
        torch.testing.assert_close(mine, library)


def one_scale_of(logits):
    return [_evidence([grid])[0] for grid in logits]


def fooled(surest=(0.9, 0.0, 0.0, 0.0), shared=(0.3, 0.3, 0.3, 0.3)):
    likely = torch.zeros(4, 3, 2, 2)
    likely[:, 0, 0, 0] = torch.tensor(surest)
    likely[:, 1, 1, 1] = torch.tensor(shared)
    return likely


def as_given(cells, target, strength=0.01):
    return _ridge(cells, target, strength, centred=False)


RIGHT_ANSWERS = [
    ("11.1", 0.38),
    ("11.1", np.float32(0.38)),
    ("11.2", (0.8, 0, 0.2)),
    ("11.2", torch.tensor([0.8, 0, 0.2])),
    ("11.3", _evidence),
    ("11.4", _ridge),
    ("11.4", lambda cells, target, strength=0.01: _ridge(cells.double(), target.double(), strength)),
    ("11.5", fooled()),
    ("11.5", fooled().double().numpy()),
]
WRONG_ANSWERS = [
    ("11.1", 0.5, "median"),
    ("11.1", 0.3, "second lowest"),
    ("11.1", 0.62, "highest down"),
    ("11.1", 0.35, "not a value"),
    ("11.1", 0.7, "Sort the five"),
    ("11.1", NAN, "NaN"),
    ("11.1", "half", "One number"),
    ("11.2", (0.36, 0, 0.09), "sum to 1"),
    ("11.2", (2 / 3, 0, 1 / 3), "square"),
    ("11.2", (0.286, 0.643, 0.071), "negative correlation"),
    ("11.2", (1 / 3, 0.5, 1 / 6), "negative correlation"),
    ("11.2", (1, 0, 0), "soft"),
    ("11.2", (0.5, 0.2, 0.3), "divide by the sum"),
    ("11.2", (NAN, 0, 0.2), "NaN"),
    ("11.2", (0.8, 0.2), "3 numbers"),
    ("11.2", 0.8, "3 numbers"),
    *(
        ("11.3", lambda logits, how=how: _evidence(logits, how), word)
        for how, word in (
            ("logits", "softmax"),
            ("photos", "One photo"),
            ("mean", "quantile"),
            ("cells", "best cell"),
            ("largest scale", "not the largest"),
            ("square", "root"),
            ("scale", "divide by the largest"),
            ("hard", "soft"),
            ("largest", "Add up"),
        )
    ),
    ("11.3", one_scale_of, "one set of weights"),
    ("11.3", lambda logits: _evidence(logits)[0], "list"),
    ("11.3", lambda logits: [grid[0] for grid in _evidence(logits)], "(N, h, w)"),
    ("11.3", lambda logits: [grid / 2 for grid in _evidence(logits)], "another"),
    ("11.3", lambda logits: [grid * NAN for grid in _evidence(logits)], "NaN"),
    ("11.4", as_given, "Still as it was"),
    ("11.4", lambda cells, target: _ridge(cells, target, ridged=False), "ridge has gone"),
    ("11.4", lambda cells, target: 2 * _ridge(cells, target), "off by"),
    ("11.4", lambda cells, target: _ridge(cells, target)[None], "(C,)"),
    ("11.4", lambda cells, target: NAN * _ridge(cells, target), "NaN"),
    ("11.4", 0.5, "function itself"),
    ("11.5", fooled(surest=(0.9, 0.9, 0.9, 0)), "too many photos"),
    ("11.5", fooled(surest=(0.35, 0, 0, 0)), "surer"),
    ("11.5", fooled(shared=(0.3, 0, 0, 0)), "shared at all"),
    ("11.5", fooled(shared=(0.5, 0.3, 0.3, 0.3)), "above 0.4"),
    ("11.5", 2 * fooled(), "at most"),
    ("11.5", fooled()[:, 0], "shape"),
    ("11.5", NAN * fooled(), "NaN"),
    ("11.5", "probabilities", "tensor"),
]
