"""Exercises of notebook 14: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask as rle

from co3lib.evaluation import average_precision

NAN = float("nan")


def whole(values):
    return values[:, ~np.isnan(values).any(0)]


def of_seeds(values):
    by_seed = whole(values).mean(0)
    return by_seed.mean(), by_seed.std(ddof=1) if len(by_seed) > 1 else NAN


def spread_by(spread):
    """The right mean, and another spread where there is one."""

    def answer(values):
        mean, right = of_seeds(values)
        return mean, NAN if np.isnan(right) else spread(whole(values))

    return answer


def from_files(truth, results, iou, *, images=None, above=True, pool=True, mean=np.nanmean):
    masks, scores, instances = [], [], []
    for image in truth["images"] if images is None else images(truth, results):
        size = image["height"], image["width"]
        found = [one for one in results if one["image_id"] == image["id"]]
        there = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        for entries, decoded in ((found, masks), (there, instances)):
            arrays = [rle.decode(one["segmentation"]).astype(bool) for one in entries]
            decoded.append(np.array(arrays, bool).reshape(-1, *size))
        scores.append(torch.tensor([one["score"] for one in found], dtype=torch.float64))
    iou = iou if above else iou - 1e-9
    if pool:
        return average_precision(masks, scores, instances, iou)
    each = [average_precision([m], [s], [t], iou) for m, s, t in zip(masks, scores, instances, strict=True)]
    return mean(each)


def with_finds(truth, results):
    found = {one["image_id"] for one in results}
    return [image for image in truth["images"] if image["id"] in found]


def differing(ours, theirs):
    nothing = object()
    return [point for point in set(ours) | set(theirs) if ours.get(point, nothing) != theirs.get(point, nothing)]


LED, EVEN = [[90] * 3, [30] * 3, [30] * 3], [[40] * 3] * 3  # LED has the higher mean, and is worse on two of the three
RIGHT_ANSWERS = [
    ("14.1", 60),
    ("14.2", of_seeds),
    ("14.3", from_files),
    ("14.4", differing),
    ("14.5", "c"),
    ("14.6", (LED, EVEN)),
]
WRONG_ANSWERS = [
    ("14.1", 88.06, "weighs the classes"),
    ("14.1", 120, "each counted once"),
    ("14.1", "sixty", "One number"),
    ("14.1", NAN, "NaN"),
    ("14.2", spread_by(lambda v: v.mean(0).std()), "not by S - 1"),
    ("14.2", spread_by(lambda v: v.std(ddof=1)), "spread of all values"),
    ("14.2", spread_by(lambda v: v.mean(1).std(ddof=1)), "over classes"),
    ("14.2", spread_by(lambda v: v.std(1, ddof=1).mean()), "mean of the classes' spreads"),
    ("14.2", spread_by(lambda v: v.mean(0).var(ddof=1)), "variance"),
    ("14.2", spread_by(lambda v: NAN), "the spread is NaN"),
    ("14.2", lambda v: (whole(v).mean(), whole(v).mean(0).std(ddof=0) if v.shape[1] == 2 else of_seeds(v)[1]), "NaN is wanted"),
    ("14.2", lambda v: (v.mean(), v.mean(0).std(ddof=1)), "leave out"),
    ("14.2", lambda v: (np.nanmean(v), np.nanmean(v, 0).std(ddof=1)), "must not count"),
    ("14.2", lambda v: (whole(v).mean(0).max(), 0.0), "the mean is"),
    ("14.2", lambda v: v.mean(), "two numbers"),
    ("14.3", lambda *a: NAN, "pooled"),
    ("14.3", lambda *a: 100 * from_files(*a), "percent"),
    ("14.3", lambda *a: "AP", "one number"),
    ("14.3", lambda *a: from_files(*a, images=with_finds), "photos in which nothing was found"),
    ("14.3", lambda *a: from_files(*a, above=False), "strictly above"),
    ("14.3", lambda *a: from_files(*a, pool=False), "pooled"),
    ("14.3", lambda *a: from_files(*a, pool=False, mean=np.mean), "pooled"),
    ("14.3", lambda truth, results, iou: from_files(truth, results, 0.5), "the threshold"),
    ("14.3", lambda truth, results, iou: 0.0, "made-up photos"),
    ("14.3", lambda truth, results: 0.0, "stops with TypeError"),
    ("14.4", lambda a, b: [k for k in a if k in b and a[k] != b[k]], "stands in one protocol only"),
    ("14.4", lambda a, b: [k for k in a if a[k] != b.get(k)], "stands in one protocol only"),
    ("14.4", lambda a, b: [k for k in {*a, *b} if a.get(k) != b.get(k)], "stands in one protocol only"),
    ("14.4", lambda a, b: sorted({*a, *b}), "the same in both"),
    ("14.4", lambda a, b: [k for k in a if a[k] != b.get(k, a)] + [k for k in b if b[k] != a.get(k, b)], "twice"),
    ("14.4", lambda a, b: print(end=""), "must return a list"),
    ("14.5", "a", "nothing was reproduced"),
    ("14.5", "b", "neither"),
    ("14.5", "d", "side by side"),
    ("14.5", "e", "must be one of"),
    ("14.6", 3, "Two tables"),
    ("14.6", (LED, EVEN[:2]), "(3, 3)"),
    ("14.6", ([[200] * 3, [0] * 3, [0] * 3], EVEN), "0 to 100"),
    ("14.6", ([[NAN] * 3, *LED[1:]], EVEN), "0 to 100"),
    ("14.6", (EVEN, LED), "A's mAP must lead"),
    ("14.6", ([[90, 90, 50], *LED[1:]], EVEN), "A's mAP must lead"),
    ("14.6", ([[90] * 3, [30] * 3, [50] * 3], EVEN), "it is on 1"),
]
