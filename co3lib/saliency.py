"""Saliency priors: what stands out in one photo, or what recurs in all photos of a category; no training, no labels.

Shape letters: N images, C channels, H W image size, ``h w`` feature grid, S superpixels.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch.nn.functional import interpolate

from . import checks
from .images import fit_within, read_image

_LONGEST = 300  # pixels; saliency is a matter of regions, not of fine detail
_SUPERPIXELS = 300
_NOTICEABLE = 2.3  # the smallest colour difference that people notice, in Lab units
_FLOOR = 0.3  # what is left of a class's map where a single photo has no saliency at all


def saliency_prior(image: np.ndarray) -> torch.Tensor:
    """Saliency of one photo: the minimum barrier distance of its superpixels to its border (Zhang et al., "Minimum
    barrier salient object detection at 80 FPS", ICCV 2015; here exact on superpixels and not swept over pixels).

    A path's barrier is the difference between the highest and the lowest value on it; a region is background if some
    path to the border has a low one in lightness and in both colour channels. Distances add up over the channels; the
    largest becomes 1, unless nobody would notice it.

    image: (H, W, 3) uint8. Returns (H, W) float32 in [0, 1]. Raises ``ValueError`` for another shape or type.
    """
    pixels = read_image(np.asarray(image), "image")
    lab = rgb2lab(fit_within(pixels, _LONGEST)).astype(np.float32)
    labels = slic(lab, _SUPERPIXELS, compactness=20, convert2lab=False, start_label=0, enforce_connectivity=True)
    border = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    neighbours = _neighbours(labels)
    value = sum(_barrier_distance(channel, neighbours, border) for channel in _means(lab, labels).T)
    value = (value / max(value.max(), _NOTICEABLE)).astype(np.float32)
    return interpolate(torch.from_numpy(value[labels])[None, None], pixels.shape[:2], mode="bilinear")[0, 0]


def class_prior(features: torch.Tensor, images: Sequence[np.ndarray] | None = None) -> torch.Tensor:
    """Co-saliency of a whole category: the first principal component of its centred descriptors, positive part (DDT,
    Wei et al., IJCAI 2017), each photo's map weighted by its single-photo saliency where ``images`` are given.

    features: (N, C, h, w); images: N photos (H, W, 3) uint8. Returns (N, h, w) in [0, 1].
    """
    weight, bias = principal_component(features)
    maps = (features.movedim(1, -1) @ weight + bias).clamp_min(0)
    # A few cells of extreme projection must not dim all others.
    maps = (maps / maps.flatten().quantile(0.98).clamp_min(1e-6)).clamp_max(1)
    if images is not None:
        checks.same_length(features=features, images=images)
        single = [interpolate(saliency_prior(image)[None, None], maps.shape[1:], mode="area")[0] for image in images]
        maps = maps * (_FLOOR + (1 - _FLOOR) * torch.cat(single))
    return maps / maps.max().clamp_min(1e-6)


def principal_component(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first principal component of a category's descriptors as a linear score (DDT, Wei et al., 2017).

    features: (N, C, h, w). Returns weight (C,) and bias (scalar) such that ``weight . f + bias`` is the projection of
    the centred descriptor, in units of its standard deviation; its positive side is the one that touches the photos'
    borders less.
    """
    cells = cells_of(features)
    mean = cells.mean(0)
    _, _, rows = torch.linalg.svd(cells - mean, full_matrices=False)
    return as_score(features, rows[0], mean)


def cells_of(features: torch.Tensor) -> torch.Tensor:
    """The descriptors of all cells of all images: (N, C, h, w) -> (N h w, C)."""
    features = checks.tensor(features, "features", ("N", "C", "h", "w"), floating=True)
    return features.movedim(1, -1).flatten(0, 2)


def as_score(features, direction, mean) -> tuple[torch.Tensor, torch.Tensor]:
    """A direction in feature space (C,) as weight and bias of a score with mean 0 and deviation 1, signed so that the
    photos' borders score less than what is inside."""
    scores = (features.movedim(1, -1) - mean) @ direction
    direction = direction / scores.std(correction=0).clamp_min(1e-9)
    if mean_at_border(scores) > mean_inside(scores):
        direction = -direction
    return direction, -(mean @ direction)


def mean_at_border(maps: torch.Tensor) -> torch.Tensor:
    """Mean over the outermost cells of all maps (N, h, w)."""
    border = torch.ones(maps.shape[1:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return maps[:, border].mean()


def mean_inside(maps: torch.Tensor) -> torch.Tensor:
    """Mean over the cells that are not outermost, of all maps (N, h, w); over all where there are no others."""
    return maps.mean() if min(maps.shape[1:]) < 3 else maps[:, 1:-1, 1:-1].mean()


def _means(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of values (h, w, C) over every superpixel: (S, C)."""
    sums = [np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(values, 2, 0)]
    return np.stack(sums, 1) / np.bincount(labels.ravel())[:, None]


def _neighbours(labels: np.ndarray) -> list[list[int]]:
    """The superpixels beside every superpixel."""
    count = int(labels.max()) + 1
    one = np.r_[labels[:, :-1].ravel(), labels[:-1].ravel()].astype(np.int64)
    other = np.r_[labels[:, 1:].ravel(), labels[1:].ravel()].astype(np.int64)
    found: list[list[int]] = [[] for _ in range(count)]
    for key in np.unique(one * count + other).tolist():
        first, second = divmod(key, count)
        if first != second:
            found[first].append(second)
            found[second].append(first)
    return found


def _barrier_distance(values: np.ndarray, neighbours: list[list[int]], seeds: np.ndarray) -> np.ndarray:
    """The least range of ``values`` (S,) on a path from any seed to every superpixel: (S,).

    Cells are settled in the order of their distance, as by Dijkstra; a cell remembers one best path's range only, which
    is the usual, close approximation.
    """
    heap = [(0.0, seed, value, value) for seed, value in zip(seeds.tolist(), values[seeds].tolist(), strict=True)]
    heapq.heapify(heap)
    heights, distance = values.tolist(), np.full(len(values), np.inf)
    while heap:
        barrier, cell, low, high = heapq.heappop(heap)
        if barrier >= distance[cell]:
            continue
        distance[cell] = barrier
        for beside in neighbours[cell]:
            if distance[beside] == np.inf:
                lowest, highest = min(low, heights[beside]), max(high, heights[beside])
                heapq.heappush(heap, (highest - lowest, beside, lowest, highest))
    return distance
