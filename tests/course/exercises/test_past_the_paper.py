"""Exercises of notebook 11: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import torch

from co3course.exercises.past_the_paper import _contrasts, _evidence, _map, _photos_of_one_kind, _soft
from co3lib.beyond.priors import class_evidence, shared_classes
from co3lib.beyond.region_ranking import RegionRanker


def test_the_checkers_truth_is_the_librarys():
    saliency, labels, members = _map(0)
    heat = torch.rand(2, *labels.shape)
    terms = RegionRanker(labels, members).terms(heat, saliency.float())
    torch.testing.assert_close(terms.contrast, _contrasts(saliency, labels, members).float())
    common, size, total = _soft(terms.target[:, labels], members[:, labels])
    torch.testing.assert_close(terms.fit, common / (size + total - common))


def test_evidence_is_what_the_classifier_prior_uses():
    logits = _photos_of_one_kind()
    likely = [logits.softmax(1)]
    torch.testing.assert_close(_evidence(logits), class_evidence(likely, shared_classes(likely).sqrt())[0])


WRONG_PREDICTIONS = [
    ("11.1", (-0.5, 0.488), "first is the fit"),
    ("11.1", (2 / 4, -0.5), "union"),
    ("11.1", (0.465, -0.5), "share t"),
    ("11.1", (0.6, -0.5), "2 pixels"),
    ("11.1", (0.488, 0.5), "less outside"),
    ("11.1", (0.488, 0.0), "superpixel 3"),
    ("11.1", (0.488, 1.0), "superpixel 2"),
    ("11.2", (1, 1), "on a third"),
    ("11.2", (1, 1 / 3), "first is the fit for a single"),
    ("11.2", (0.5, 1), "a third of the thing"),
    ("11.2", (0.25, 1), "subtracted once"),
    ("11.2", (0.2, 1), "subtracted once"),
    ("11.2", (1 / 3, 1 / 3), "added up"),
    ("11.2", (1 / 3, 0.6), "add up"),
]


def fit_with(change):
    return lambda share, masks: change(*_soft(share, masks))


WRONG_FITS = [
    ("11.3", fit_with(lambda c, p, t: c / (p + t)), "twice"),
    ("11.3", fit_with(lambda c, p, t: c / p), "proposal alone"),
    ("11.3", fit_with(lambda c, p, t: c / t), "target alone"),
    ("11.3", fit_with(lambda c, p, t: c), "intersection alone"),
    ("11.3", fit_with(lambda c, p, t: 2 * c / (p + t)), "Dice"),
    ("11.3", fit_with(lambda c, p, t: (c / (p + t - c)).T), "(Q, K)"),
    ("11.3", fit_with(lambda c, p, t: c / (p + t - c) + 0.1), "off by"),
    ("11.3", lambda t, m: ((t > 0.5)[:, None] & m).sum((2, 3)) / ((t > 0.5)[:, None] | m).sum((2, 3)), "soft"),
]


def everywhere(saliency, labels, members):
    return torch.stack([saliency[mask].mean() - saliency[~mask].mean() for mask in members[:, labels]])


def unweighted(saliency, labels, members):
    means = torch.stack([saliency[labels == k].mean() for k in range(members.shape[1])])
    outside = torch.stack([saliency[mask].mean() for mask in members[:, labels]]) - _contrasts(saliency, labels, members)
    return torch.stack([means[m].mean() for m in members]) - outside


WRONG_CONTRASTS = [
    ("11.4", lambda *data: -_contrasts(*data), "inside minus outside"),
    ("11.4", lambda *data: _contrasts(*data, outside="once"), "not once"),
    ("11.4", lambda *data: _contrasts(*data, outside="border pixels"), "whole superpixel"),
    ("11.4", everywhere, "touch"),
    ("11.4", lambda s, lab, m: torch.stack([s[mask].mean() for mask in m[:, lab]]), "inside alone"),
    ("11.4", lambda *data: _contrasts(*data)[:, None], "(K,)"),
    ("11.4", lambda *data: 2 * _contrasts(*data), "off by"),
    ("11.4", unweighted, "over pixels"),
]


WRONG_EVIDENCE = [
    ("11.5", lambda logits: _evidence(logits, "logits"), "softmax"),
    ("11.5", lambda logits: _evidence(logits, "photos"), "One photo"),
    ("11.5", lambda logits: _evidence(logits, "mean"), "quantile"),
    ("11.5", lambda logits: _evidence(logits, "cells"), "best cell"),
    ("11.5", lambda logits: _evidence(logits, "square"), "root"),
    ("11.5", lambda logits: _evidence(logits, "scale"), "largest"),
    ("11.5", lambda logits: _evidence(logits, "hard"), "soft"),
    ("11.5", lambda logits: _evidence(logits, "largest"), "Add up"),
    ("11.5", lambda logits: torch.stack([_evidence(one[None])[0] for one in logits]), "each photo by itself"),
    ("11.5", lambda logits: _evidence(logits)[0], "(N, h, w)"),
    ("11.5", lambda logits: _evidence(logits) / 2, "off by"),
]
WRONG_ANSWERS = WRONG_PREDICTIONS + WRONG_FITS + WRONG_CONTRASTS + WRONG_EVIDENCE
