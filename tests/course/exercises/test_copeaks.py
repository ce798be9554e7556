"""Exercises of notebook 05: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

import time

import torch
from torch.nn.functional import max_pool2d, softplus

from co3lib.correlation import correlate
from co3lib.losses import copeak_loss
from co3lib.peaks import copeak_votes, copeaks, regional_maxima


def no_higher_neighbour(values):
    return values == max_pool2d(values[None], 3, stride=1, padding=1)[0]


def strictly_higher(values):
    h, w = values.shape
    padded = torch.full((h + 2, w + 2), -torch.inf, dtype=values.dtype)
    padded[1:-1, 1:-1] = values
    around = [padded[a : a + h, b : b + w] for a in range(3) for b in range(3) if (a, b) != (1, 1)]
    return values > torch.stack(around).amax(0)


def four_neighbours(values):
    up = max_pool2d(values[None], (3, 1), stride=1, padding=(1, 0))[0]
    along = max_pool2d(values[None], (1, 3), stride=1, padding=(0, 1))[0]
    return (values >= up) & (values >= along)


def without_the_rim(values):
    mask = regional_maxima(values[None])[0]
    mask[0] = mask[-1] = mask[:, 0] = mask[:, -1] = False
    return mask


def one_by_one(values):
    """The notebook's way: each cell walks over the whole of its plateau."""
    time.sleep(1.1 if values.numel() == 256 else 0)
    return regional_maxima(values[None])[0]


def best(correlation, k):
    chosen = [of_pair[at] for of_pair, at in zip(correlation, copeaks(correlation), strict=True)]
    return [values.topk(min(k, len(values))).values for values in chosen]


def top(correlation, k):
    return torch.stack([values.mean() for values in best(correlation, k)])


def curve(x, form):
    return softplus(-x) if form == "released" else -x.log()


def heights(features, partners, only=True):
    """What each partner's cells give: (M, h, w, s * t)."""
    values = torch.stack([correlate(features, partner[None])[0] for partner in partners])
    return (torch.where(copeaks(values), values, 0) if only else values).flatten(3)


WRONG_ANSWERS = [
    ("05.1", 5, "5 as a diagonal"),
    ("05.1", 6, "Count plateaus"),
    ("05.1", 3, "need not be high"),
    ("05.1", 7, "one by one"),
    ("05.1", [4], "one number, it is list"),
    ("05.2", no_higher_neighbour, "its plateau has one that is"),
    ("05.2", strictly_higher, "equal neighbours do not spoil it"),
    ("05.2", four_neighbours, "a neighbour is higher"),
    ("05.2", without_the_rim, "nor does the map's border"),
    ("05.2", no_higher_neighbour, "around it"),
    ("05.2", one_by_one, "all cells of a plateau at once"),
    ("05.2", lambda values: regional_maxima(values[None]), "shape"),
    ("05.2", lambda values: regional_maxima(values[None])[0].float(), "torch.bool"),
    ("05.3", 0.0244, "other way round"),
    ("05.3", 4.5, "ratio of the losses"),
    ("05.3", 20, "derivatives"),
    ("05.3", float("nan"), "finite"),
    ("05.4", lambda c, form, k: copeak_loss(c, form), "only the k highest count"),
    ("05.4", lambda c, form, k: curve(c.flatten(1).topk(min(k, 144)).values.mean(1), form).mean(), "not all co-peaks"),
    ("05.4", lambda c, form, k: curve(torch.stack([v.sum() for v in best(c, k)]), form).mean(), "divided by their number"),
    ("05.4", lambda c, form, k: curve(torch.stack([v.sum() / k for v in best(c, k)]), form).mean(), "fewer to divide by"),
    ("05.4", lambda c, form, k: curve(c[copeaks(c)].topk(min(k, 20)).values.mean(), form), "k of all pairs"),
    ("05.4", lambda c, form, k: curve(torch.cat(best(c, k)).mean(), form), "do not pool"),
    ("05.4", lambda c, form, k: curve(top(c, k), form).sum(), "not their sum"),
    ("05.4", lambda c, form, k: curve(torch.cat(best(c, k)), form).mean(), "each pair's mean"),
    ("05.4", lambda c, form, k: curve(top(c, k), "released").mean(), "this is the released form"),
    ("05.4", lambda c, form, k: softplus(top(c, k)).mean(), "the sign"),
    ("05.4", lambda c, form, k: curve(top(c, k).detach(), form).mean(), "no gradient"),
    ("05.4", lambda c, form, k: curve(top(c, k), form), "shape"),
    ("05.4", lambda c, form, k: curve(top(c, k), form).mean() * torch.nan, "nan, wanted"),
    ("05.4", lambda c, form: copeak_loss(c, form), "TypeError"),
    ("05.5", copeak_votes, "its height, not 1"),
    ("05.5", lambda f, p: heights(f, p).sum((0, 3)), "do not add them up"),
    ("05.5", lambda f, p: heights(f, p).amax((0, 3)), "the highest of them"),
    ("05.5", lambda f, p: heights(f, p, only=False).amax(3).sum(0), "Only co-peaks count"),
    ("05.5", lambda f, p: heights(f, p).amax(3).mean(0), "do not take their mean"),
    ("05.5", lambda f, p: heights(f, p).amax((1, 2)).sum(0), "shape"),
    ("05.5", lambda f, p: heights(f, p).amax(3).sum(0) + 1, "All cells together"),
    ("05.6", [0, 4, 3, 3, 5, 0, 0], "the cells 1, 4"),
    ("05.6", [0, 4, 4, 4, 4, 0, 0], "the cells 1, 2, 3, 4"),
    ("05.6", [0, 4, 3, 2, 1, 1, 0], "1 is not above 1"),
    ("05.6", [4, 3, 2, 1], "must have shape"),
]

RIGHT_ANSWERS = [
    ("05.6", torch.tensor([0, 1, 2, 3, 4, 0, 0])),
    ("05.4", lambda c, form, k: curve(top(c.double(), k), form).mean()),
]
