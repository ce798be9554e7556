"""Exercises of notebook 04: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import torch

from co3lib.losses import saliency_loss, saliency_weight


def one_mean_for_all(prior):
    positive = prior > prior.mean()
    share = positive.double().mean()
    return torch.where(positive, 1 - share, share)


def squares(saliency, prior):
    return (saliency - prior).square()


WRONG_ANSWERS = [
    ("04.1", 0.2, "negative pixel"),
    ("04.1", 20, "other kind"),
    ("04.2", lambda p: 1 - saliency_weight(p), "other way round"),
    ("04.2", one_mean_for_all, "own mean"),
    ("04.2", lambda p: saliency_weight((p > 0.5).double()), "not above 0.5"),
    ("04.2", lambda p: saliency_weight(p)[:, 0], "shape"),
    ("04.2", torch.ones_like, "first pixel"),
    ("04.3", 0.25, "forgot the weights"),
    ("04.3", 0.1875, "squared"),
    ("04.3", 1.0, "Add up"),
    ("04.4", lambda s, p: squares(s, p).mean((1, 2, 3)).sum(), "forgot the weights"),
    ("04.4", lambda s, p: (saliency_weight(p) * squares(s, p)).mean(), "do not take their mean"),
    ("04.4", lambda s, p: (saliency_weight(p) * squares(s, p)).sum(), "Divide by"),
    ("04.4", lambda s, p: (saliency_weight(p) * (s - p).abs()).mean((1, 2, 3)).sum(), "squared"),
    ("04.4", lambda s, p: (saliency_weight(p) * (s - p)).square().mean((1, 2, 3)).sum(), "not squared itself"),
    ("04.4", lambda s, p: (saliency_weight(s) * squares(s, p)).mean((1, 2, 3)).sum(), "that of the prior"),
    ("04.4", lambda s, p: saliency_loss(s.detach(), p), "no gradient"),
    ("04.4", lambda s, p: saliency_loss(s, p)[None], "shape"),
    ("04.4", lambda s, p: saliency_loss(s, p) + 1, "was wanted"),
]
