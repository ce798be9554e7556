"""Exercises of notebook 13: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask as rle

from co3lib.evaluation import average_precision


def of_seeds(values):
    by_seed = values.mean(0)
    return by_seed.mean(), by_seed.std(ddof=1)


def from_files(truth, results, iou, *, images=None, above=True, pool=True):
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
    return np.nanmean(each)


def with_finds(truth, results):
    found = {one["image_id"] for one in results}
    return [image for image in truth["images"] if image["id"] in found]


def differing(ours, theirs):
    nothing = object()
    return [point for point in set(ours) | set(theirs) if ours.get(point, nothing) != theirs.get(point, nothing)]


RIGHT_ANSWERS = [("13.1", 60), ("13.2", of_seeds), ("13.3", from_files), ("13.4", differing), ("13.5", "c")]
WRONG_ANSWERS = [
    ("13.1", 88.06, "weighs the classes"),
    ("13.1", 120, "each counted once"),
    ("13.1", "sixty", "must be a number"),
    ("13.2", lambda v: (v.mean(), v.mean(0).std()), "not by S - 1"),
    ("13.2", lambda v: (v.mean(), v.std(ddof=1)), "spread of all values"),
    ("13.2", lambda v: (v.mean(), v.mean(1).std(ddof=1)), "over classes"),
    ("13.2", lambda v: (v.mean(), v.std(1, ddof=1).mean()), "mean of the classes' spreads"),
    ("13.2", lambda v: (v.mean(), v.mean(0).var(ddof=1)), "variance"),
    ("13.2", lambda v: (v.mean(0).max(), v.mean(0).std(ddof=1)), "the mean is"),
    ("13.2", lambda v: v.mean(), "two numbers"),
    ("13.3", lambda *a: from_files(*a, images=with_finds), "photos in which nothing was found"),
    ("13.3", lambda *a: from_files(*a, above=False), "strictly above"),
    ("13.3", lambda *a: from_files(*a, pool=False), "pooled"),
    ("13.3", lambda truth, results, iou: from_files(truth, results, 0.5), "made-up photos"),
    ("13.3", lambda truth, results, iou: 0.0, "made-up photos"),
    ("13.3", lambda truth, results: 0.0, "stops with TypeError"),
    ("13.4", lambda a, b: [k for k in a if k in b and a[k] != b[k]], "stands in one protocol only"),
    ("13.4", lambda a, b: [k for k in a if a[k] != b.get(k)], "stands in one protocol only"),
    ("13.4", lambda a, b: [k for k in {*a, *b} if a.get(k) != b.get(k)], "stands in one protocol only"),
    ("13.4", lambda a, b: sorted({*a, *b}), "the same in both"),
    ("13.4", lambda a, b: [k for k in a if a[k] != b.get(k, a)] + [k for k in b if b[k] != a.get(k, b)], "twice"),
    ("13.4", lambda a, b: print(end=""), "must return a list"),
    ("13.5", "a", "nothing was reproduced"),
    ("13.5", "b", "neither"),
    ("13.5", "d", "side by side"),
    ("13.5", "e", "must be one of"),
]
