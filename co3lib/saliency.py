"""Saliency priors: what stands out in one photo, or what recurs in all photos of a category; no training, no labels.

Shape letters: N images, C channels, H W image size, ``h w`` feature grid, S superpixels.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch.nn.functional import interpolate

from . import checks
from .images import fit_within, read_image

_LONGEST = 300  # pixels; saliency is a matter of regions, not of fine detail
_SUPERPIXELS = 300
_NOTICEABLE = 2.3  # the smallest colour difference that people notice, in Lab units
_CLEAR = 10.0  # a colour difference, in Lab units, beyond which two neighbours are different things
_SPATIAL = 0.25  # reach of contrast, in sides of the photo
_COMMON = 0.35  # quantile over the photos: two thirds of them hold what is shared
_RARE = 0.02  # of the most shared class
_COMPONENTS = 5  # principal components, among which the thing may be
_EVEN = 1e-5  # deviation of evidence in [0, 1] that may be rounding alone
_AGREE = 0.02  # no map vetoes the other where it is zero
_RIDGE = 0.01  # of the mean variance
_FLOOR = 0.3  # what is left of a class's map where a single photo has no saliency at all


METHODS = ("combined", "minimum_barrier", "boundary_connectivity")


def saliency_prior(image: np.ndarray, method: str = "combined") -> torch.Tensor:
    """Saliency of one photo, on superpixels.

    method "minimum_barrier" (Zhang et al., ICCV 2015; here exact on superpixels and not swept over pixels): a region is
    background if some path from it to the border stays within a small range of lightness and colour. Method
    "boundary_connectivity" (Zhu et al., CVPR 2014): a region is background if what is alike in colour holds the border
    over a long stretch for its size; what differs from background nearby is salient. "combined" is their mean, which
    measured better than either (benchmarks/saliency.py).

    image: (H, W, 3) uint8. Returns (H, W) float32 in [0, 1]. Raises ``ValueError`` for another shape or type.
    """
    checks.choice(method, "method", METHODS)
    pixels = read_image(np.asarray(image), "image")
    lab = rgb2lab(fit_within(pixels, _LONGEST)).astype(np.float32)
    labels = slic(lab, _SUPERPIXELS, compactness=20, convert2lab=False, start_label=0, enforce_connectivity=True)
    color = _means(lab, labels)
    if np.ptp(color, axis=0).max() < _NOTICEABLE:  # nobody would see a difference anywhere
        return torch.zeros(pixels.shape[:2])
    border = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    first, second = _neighbours(labels)
    values = []
    if method != "boundary_connectivity":
        values.append(_minimum_barrier(color, first, second, border))
    if method != "minimum_barrier":
        values.append(_boundary_connectivity(color, _centres(labels), first, second, border))
    value = np.mean(values, axis=0).astype(np.float32)
    return interpolate(torch.from_numpy(value[labels])[None, None], pixels.shape[:2], mode="bilinear")[0, 0]


def class_prior(features: torch.Tensor, images: Sequence[np.ndarray] | None = None) -> torch.Tensor:
    """Co-saliency of a whole category: the first principal component of its centred descriptors, positive part (DDT,
    Wei et al., IJCAI 2017), each photo's map weighted by its single-photo saliency where ``images`` are given.

    features: (N, C, h, w); images: N photos (H, W, 3) uint8. Returns (N, h, w) in [0, 1].
    """
    weight, bias = principal_component(features)
    maps = _unit_range(features.movedim(1, -1) @ weight + bias)
    if images is not None:
        checks.same_length(features=features, images=images)
        single = [interpolate(saliency_prior(image)[None, None], maps.shape[1:], mode="area")[0] for image in images]
        maps = maps * (_FLOOR + (1 - _FLOOR) * torch.cat(single))
    return maps / maps.max().clamp_min(1e-6)


def recognized_prior(features: Sequence[torch.Tensor], logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Co-saliency of a whole category at several scales: what its descriptors share *and* its photos are recognised by.

    The first principal component alone finds what varies most, which in street scenes is the street. The network's own
    classifier, read at every cell, names things instead: the classes that most photos hold somewhere are what the photos
    have in common, whether or not the words fit. Its *evidence* is the sum of their probabilities, each as often as
    ``shared_classes`` says. Both ends of the first few components count by the square of their correlation with it. No
    choice in this is hard, so that one photo more or less changes little. The geometric mean of both maps is then replaced by
    the linear function of the features closest to it (ridge regression), which carries over from where the two agree to all
    that looks alike. Each map is the mean over the scales.

    features: for every scale, (N, C, h, w); logits: likewise, (N, classes, h, w), before the softmax. Returns (N, h, w) on the
    finest grid, in [0, 1].
    """
    checks.same_length(features=features, logits=logits)
    finest = max((one.shape[2:] for one in features), key=lambda size: size[0])
    cells = torch.cat([cells_of(one) for one in features])
    mean = cells.mean(0)
    centred = cells - mean
    covariance = centred.T @ centred / len(cells)
    likely = [one.softmax(1) for one in logits]
    evidence = _unit_range(_mean_of(class_evidence(likely, shared_classes(likely)), finest))
    component = _agreeing_components(features, mean, covariance, evidence)
    both = (component.clamp_min(_AGREE) * evidence.clamp_min(_AGREE)).sqrt()
    target = torch.cat([interpolate(both[:, None], one.shape[2:], mode="area").flatten() for one in features])
    ridge = _RIDGE * covariance.diagonal().mean().clamp_min(1e-9) * torch.eye(len(covariance))
    weight = torch.linalg.solve(covariance + ridge, centred.T @ (target - target.mean()) / len(cells))
    # Half the mean is added back: in between "all that is above the mean" and "all that is above zero".
    offset = target.mean() / 2
    return _mean_over_scales([(one.movedim(1, -1) - mean) @ weight + offset for one in features], finest)


def shared_classes(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How much the photos have each of the classifier's classes in common: (classes,), the largest being 1.

    A photo holds a class with the highest probability among its cells, mean over the scales. What about two thirds of the
    photos reach counts, so that neither a class of one photo counts nor a photo without it forbids it; by its root, since
    one thing goes by many words. Under a fiftieth of the first it is nothing.

    likely: for every scale, the probabilities (N, classes, h, w).
    """
    held = torch.stack([one.flatten(2).amax(2) for one in likely]).mean(0)
    shared = held.quantile(_COMMON, dim=0).sqrt()
    shared = shared / shared.max().clamp_min(1e-9)
    return torch.where(shared < _RARE, 0, shared)


def class_evidence(likely: Sequence[torch.Tensor], shared: torch.Tensor) -> list[torch.Tensor]:
    """The sum of the probabilities of the shared classes at every cell, for every scale: (N, classes, h, w) -> (N, h, w)."""
    kept = shared.nonzero().flatten()
    return [torch.einsum("nchw,c->nhw", one[:, kept], shared[kept]) for one in likely]


def recognition_by_scale(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How well the category is recognised at every scale: the highest evidence (``recognized_prior``) in a photo, mean over
    the photos; (scales,), the largest being 1.

    A classifier is surest of a thing that is as large as those it was trained on: of a thing that fills the photo when it
    sees the whole photo small, of a small thing when it comes closer.
    """
    evidence = class_evidence(likely, shared_classes(likely))
    highest = torch.stack([one.flatten(1).amax(1).mean() for one in evidence])
    return highest / highest.max().clamp_min(1e-9)


def _agreeing_components(features, mean, covariance, evidence) -> torch.Tensor:
    """The mean map of both ends of the first principal components of the cells of all scales together, each as often as the
    square of its correlation with the evidence (N, h, w); the first one's inner end where nothing correlates."""
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -_COMPONENTS:].flip(1).T  # of the largest eigenvalues, largest first
    inner = [as_score(features[0], axis, mean) for axis in axes]
    maps = torch.stack(
        [
            _mean_over_scales([end * (one.movedim(1, -1) @ weight + bias) for one in features], evidence.shape[1:])
            for end in (1, -1)
            for weight, bias in inner
        ]
    )
    agreement = torch.corrcoef(torch.cat([evidence[None], maps]).flatten(1))[0, 1:].nan_to_num(0).clamp_min(0) ** 2
    if not agreement.any() or evidence.std(correction=0) < _EVEN:
        agreement = torch.eye(len(maps))[0]
    return _unit_range(torch.tensordot(agreement / agreement.sum(), maps, 1))


def _mean_over_scales(maps: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    return _mean_of([_unit_range(one) for one in maps], size)


def _mean_of(maps: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    return torch.cat([interpolate(one[:, None], size, mode="bilinear") for one in maps], 1).mean(1)


def _unit_range(maps: torch.Tensor) -> torch.Tensor:
    """The positive part over its 98th percentile: a few extreme cells must not dim all others."""
    maps = maps.clamp_min(0)
    return (maps / torch.from_numpy(np.quantile(maps.numpy(), 0.98, keepdims=True)).clamp_min(1e-6)).clamp_max(1)


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


def _centres(labels: np.ndarray) -> np.ndarray:
    """Mean place of every superpixel, in sides of the photo: (S, 2)."""
    return _means(np.moveaxis(np.indices(labels.shape), 0, -1) / max(labels.shape), labels)


def _neighbours(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two superpixels that touch: (E,), (E,)."""
    pairs = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    first, second = np.unique(pairs, axis=0).reshape(-1, 2).T
    return first, second


def _minimum_barrier(color, first, second, border) -> np.ndarray:
    """Barrier distances to the border, added up over the channels, the largest being 1: (S,)."""
    beside: list[list[int]] = [[] for _ in color]
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        beside[one].append(other)
        beside[other].append(one)
    value = sum(_barrier_distance(channel, beside, border) for channel in color.T)
    return value / max(value.max(), _NOTICEABLE)


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


def _boundary_connectivity(color, place, first, second, border) -> np.ndarray:
    """Contrast with probable background near by, neighbours of like colour made to agree, stretched to [0, 1]: (S,)."""
    step = np.linalg.norm(color[first] - color[second], axis=1)
    background = _background_probability(len(color), first, second, step, border)
    far = ((place[:, None] - place[None]) ** 2).sum(2)
    contrast = np.linalg.norm(color[:, None] - color[None], axis=2)
    contrast = (contrast * np.exp(-far / (2 * _SPATIAL**2)) * background).sum(1)
    contrast /= max(contrast.max(), 1e-12)
    value = _optimise(contrast, background, first, second, step)
    return (value - value.min()) / max(np.ptp(value), 1e-12)


def _background_probability(count, first, second, step, border) -> np.ndarray:
    """1 - exp(-c^2 / 2), c the length of border that like regions hold over the root of their area: (S,)."""
    # Small differences along a smooth region must not add up to a large one.
    cost = np.maximum(step - np.percentile(step, 20), 0) + 1e-3
    # All the border is one step apart, so that what is cut by an object still is one background.
    a, b = np.meshgrid(border, border)
    other = a < b
    rows, columns = np.r_[first, a[other]], np.r_[second, b[other]]
    costs = np.r_[cost, np.full(other.sum(), 1e-3)]
    graph = sparse.csr_array((costs, (rows, columns)), shape=(count, count))
    free = sparse.csr_array((cost, (first, second)), shape=(count, count))
    near = np.exp(-((dijkstra(graph, directed=False) / _CLEAR) ** 2) / 2)
    area = near.sum(1)
    on_border = np.exp(-((dijkstra(free, directed=False) / _CLEAR) ** 2) / 2)[:, border].sum(1)
    connectivity = on_border / np.sqrt(area)
    return 1 - np.exp(-(connectivity**2) / 2)


def _optimise(foreground, background, first, second, step) -> np.ndarray:
    """The least-squares saliency that is 1 on foreground, 0 on background and alike where colours are alike: (S,)."""
    smooth = np.exp(-((step / _CLEAR) ** 2) / 2) + 0.1
    count = len(foreground)
    adjacency = sparse.coo_array((smooth, (first, second)), shape=(count, count)).tocsr()
    adjacency = adjacency + adjacency.T
    laplacian = sparse.diags_array(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    system = sparse.diags_array(foreground + background + 1e-6) + laplacian
    return spsolve(system.tocsc(), foreground)
