"""Exercises of notebook 04: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import torch

from co3lib.losses import saliency_loss, saliency_weight


def one_mean_for_all(prior):
    positive = prior > prior.mean()
    share = positive.float().mean()
    return torch.where(positive, 1 - share, share)


def squares(saliency, prior):
    return (saliency - prior).square()


def valid_weight(prior, valid):
    number = valid.sum((1, 2, 3), keepdim=True)
    positive = (prior > (prior * valid).sum((1, 2, 3), keepdim=True) / number) & valid
    share = positive.sum((1, 2, 3), keepdim=True) / number
    return torch.where(positive, 1 - share, share)


def masked(saliency, prior, valid, rho):
    return ((rho * squares(saliency, prior) * valid).sum((1, 2, 3)) / valid.sum((1, 2, 3))).sum()


def prior(thing, elsewhere, spot=None):
    values = torch.full((4, 4), float(elsewhere))
    values[:2, :2] = thing
    values[3, 3] = elsewhere if spot is None else spot
    return values


WRONG_ANSWERS = [
    ("04.5", prior(1, 0), "near 0.5"),
    ("04.5", prior(0.6, 0.4, 0.7), "the AUC is 0.92"),
    ("04.5", prior(0.5, 0.5), "the AUC is 0.50"),
    ("04.5", prior(2, 0), "from 0 to 1"),
    ("04.5", prior(0.6, 0.4)[0], "shape"),
    ("04.5", prior(float("nan"), 0), "NaN"),
    ("04.1", 0.2, "negative pixel"),
    ("04.1", 20, "other kind"),
    ("04.2", lambda p: 1 - saliency_weight(p), "other way round"),
    ("04.2", one_mean_for_all, "own mean"),
    ("04.2", lambda p: saliency_weight((p > 0.5).float()), "not above 0.5"),
    ("04.2", lambda p: saliency_weight(p)[:, 0], "shape"),
    ("04.2", torch.ones_like, "first pixel"),
    ("04.3", 0.25, "forgot the weights"),
    ("04.3", 0.09, "squared"),
    ("04.3", 1.0, "Add up"),
    ("04.3", float("nan"), "finite"),
    ("04.3", None, "NoneType"),
    ("04.4", lambda s, p, v: saliency_loss(s, p), "valid or not"),
    ("04.4", lambda s, p, v: saliency_loss(s * v, p * v), "set to zero"),
    ("04.4", lambda s, p, v: masked(s, p, v, saliency_weight(p)), "Mean and shares must be"),
    ("04.4", lambda s, p, v: (saliency_weight(p) * squares(s, p) * v).mean((1, 2, 3)).sum(), "Mean, shares and"),
    ("04.4", lambda s, p, v: (valid_weight(p, v) * squares(s, p) * v / 35).sum(), "not by H W"),
    ("04.4", lambda s, p, v: masked(s, p, v, torch.ones_like(p)), "forgot the weights"),
    ("04.4", lambda s, p, v: masked(s, p, v, valid_weight(p, v)) / 3, "do not take their mean"),
    ("04.4", lambda s, p, v: (valid_weight(p, v) * squares(s, p) * v).sum(), "Divide by the number of valid pixels"),
    ("04.4", lambda s, p, v: masked(s.detach(), p, v, valid_weight(p, v)), "no gradient"),
    ("04.4", lambda s, p, v: masked(s, p, v, valid_weight(p, v))[None], "shape"),
    ("04.4", lambda s, p, v: masked(s, p, v, valid_weight(p, v)) + 1, "was wanted"),
    ("04.4", lambda s, p, v: masked(s, p, v, valid_weight(p, v)) * torch.nan, "nan where"),
    ("04.4", lambda s, p: saliency_loss(s, p), "TypeError"),
]

RIGHT_ANSWERS = [
    ("04.5", prior(0.3, 0.2).numpy()),
    ("04.2", lambda p: saliency_weight(p).double()),
    ("04.4", lambda s, p, v: masked(s.double(), p.double(), v, valid_weight(p, v))),
]
