"""Exercises of notebook 12: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import torch

from co3course.exercises.choosing import _contrasts, _map, _soft
from co3lib.beyond.region_ranking import RegionRanker

NAN = float("nan")


def test_the_checkers_truth_is_the_librarys():
    saliency, labels, members = _map(0)
    heat = torch.rand(2, *labels.shape)
    terms = RegionRanker(labels, members).terms(heat, saliency.float())
    torch.testing.assert_close(terms.contrast, _contrasts(saliency, labels, members).float())
    common, size, total = _soft(terms.target[:, labels], members[:, labels])
    torch.testing.assert_close(terms.fit, common / (size + total - common))


WRONG_PREDICTIONS = [
    ("12.1", (-0.5, 0.488), "first is the fit"),
    ("12.1", (2 / 4, -0.5), "union"),
    ("12.1", (0.465, -0.5), "share t"),
    ("12.1", (0.6, -0.5), "2 pixels"),
    ("12.1", (0.488, 0.5), "less outside"),
    ("12.1", (0.488, 0.0), "superpixel 3"),
    ("12.1", (0.488, 1.0), "superpixel 2"),
    ("12.2", (1, 1), "on a third"),
    ("12.2", (1, 1 / 3), "first is the fit for a single"),
    ("12.2", (0.5, 1), "a third of the thing"),
    ("12.2", (0.25, 1), "subtracted once"),
    ("12.2", (0.2, 1), "subtracted once"),
    ("12.2", (1 / 3, 1 / 3), "added up"),
    ("12.2", (1 / 3, 0.6), "add up"),
    ("12.1", (NAN, -0.5), "NaN"),
    ("12.1", (0.488, NAN), "NaN"),
    ("12.1", "both", "2 numbers"),
    ("12.2", (NAN, NAN), "NaN"),
    ("12.2", 1 / 3, "2 numbers"),
]


def fit_with(change):
    return lambda share, masks: change(*_soft(share, masks))


WRONG_FITS = [
    ("12.3", fit_with(lambda c, p, t: c / (p + t)), "twice"),
    ("12.3", fit_with(lambda c, p, t: c / p), "proposal alone"),
    ("12.3", fit_with(lambda c, p, t: c / t), "target alone"),
    ("12.3", fit_with(lambda c, p, t: c), "intersection alone"),
    ("12.3", fit_with(lambda c, p, t: 2 * c / (p + t)), "Dice"),
    ("12.3", fit_with(lambda c, p, t: (c / (p + t - c)).T), "(Q, K)"),
    ("12.3", fit_with(lambda c, p, t: c / (p + t - c) + 0.1), "off by"),
    ("12.3", fit_with(lambda c, p, t: NAN * c), "NaN"),
    ("12.3", lambda t, m: "fit", "tensor"),
    ("12.3", lambda t, m: ((t > 0.5)[:, None] & m).sum((2, 3)) / ((t > 0.5)[:, None] | m).sum((2, 3)), "soft"),
]


def everywhere(saliency, labels, members):
    return torch.stack([saliency[mask].mean() - saliency[~mask].mean() for mask in members[:, labels]])


def unweighted(saliency, labels, members):
    means = torch.stack([saliency[labels == k].mean() for k in range(members.shape[1])])
    outside = torch.stack([saliency[mask].mean() for mask in members[:, labels]]) - _contrasts(saliency, labels, members)
    return torch.stack([means[m].mean() for m in members]) - outside


WRONG_CONTRASTS = [
    ("12.4", lambda *data: -_contrasts(*data), "inside minus outside"),
    ("12.4", lambda *data: _contrasts(*data, outside="once"), "not once"),
    ("12.4", lambda *data: _contrasts(*data, outside="border pixels"), "whole superpixel"),
    ("12.4", everywhere, "touch"),
    ("12.4", lambda s, lab, m: torch.stack([s[mask].mean() for mask in m[:, lab]]), "inside alone"),
    ("12.4", lambda *data: _contrasts(*data)[:, None], "(K,)"),
    ("12.4", lambda *data: 2 * _contrasts(*data), "off by"),
    ("12.4", unweighted, "over pixels"),
    ("12.4", lambda *data: _contrasts(*data, outside="image border"), "Outside the image"),
    ("12.4", lambda *data: NAN * _contrasts(*data), "NaN"),
]


def right_fit(dtype):
    def fit(target, masks):
        common, size, total = _soft(target.to(dtype), masks)
        return common / (size + total - common)

    return fit


OUTLINES = [
    ("12.5", ((1, 1, 0, 0), -8.6), "before"),
    ("12.5", ((1, 1, 1, 0), -4.6), "another has less"),
    ("12.5", ((1, 0, 0, 0), -20), "less the evidence"),
    ("12.5", ((1, 0, 0, 0), NAN), "NaN"),
    ("12.5", ((1, 0, 0, 2), -17.3), "0 and 1"),
    ("12.5", ((1, 0, 0), -17.3), "4 numbers"),
    ("12.5", (1, 0, 0, 0), "Two things"),
]
GROUPS = [
    ("12.6", (0.9, 0.5, 0.8, 0.7, 0.9, 0.2, 0.1), "still in a group"),
    ("12.6", (0.9, 0.1, 0.8, 0.2, 0.9, 0.2, 0.1), "two cats, are in no group"),
    ("12.6", (0.9, 0.1, 0.8, 0.8, 0.9, 0.2, 0.1), "Cell 2 is no peak"),
    ("12.6", (0.9, 0.1, 0.8, 0.7, 1.2, 0.2, 0.1), "from 0 to 1"),
    ("12.6", (0.9, NAN, 0.8, 0.7, 0.9, 0.2, 0.1), "NaN"),
    ("12.6", (0.9, 0.1, 0.8), "7 numbers"),
]
RIGHT_ANSWERS = [
    ("12.1", (0.488, -0.5)),
    ("12.2", (0.333, 1)),
    ("12.3", right_fit(torch.float32)),
    ("12.3", right_fit(torch.float64)),
    ("12.3", lambda target, masks: right_fit(torch.float32)(target, masks.float())),
    ("12.4", _contrasts),
    ("12.4", lambda *data: _contrasts(*data).float()),
    ("12.5", ((1, 0, 0, 0), -17.3)),
    ("12.5", (torch.tensor([1, 0, 0, 0]), torch.tensor(-17.29))),
    ("12.6", (0.9, 0.1, 0.8, 0.7, 0.9, 0.2, 0.1)),
    ("12.6", torch.tensor([0.9, 0.2, 0.8, 0.3, 0.9, 0, 0])),
]
WRONG_ANSWERS = WRONG_PREDICTIONS + WRONG_FITS + WRONG_CONTRASTS + OUTLINES + GROUPS
