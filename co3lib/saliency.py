"""Saliency priors: what stands out in one photo, or what recurs in all photos of a category; no training, no labels.

Shape letters: N images, C channels, H W image size, ``h w`` feature grid, S superpixels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch.nn.functional import interpolate

from . import checks
from .images import fit_within

_LONGEST = 300  # pixels; saliency is a matter of regions, not of fine detail
_SUPERPIXELS = 300
_SPATIAL = 0.25  # reach of contrast, in photo sides
_CLEAR = 10.0  # a colour difference, in Lab units, beyond which two neighbours are different things


def saliency_prior(image: np.ndarray) -> torch.Tensor:
    """Saliency of one photo by boundary connectivity (Zhu et al., "Saliency optimization from robust background
    detection", CVPR 2014), on superpixels.

    A region that reaches the photo's border over a long stretch, for its size, is background; a region that differs in
    colour from the background near it is salient; a last least-squares step makes neighbours of like colour agree.

    image: (H, W, 3) uint8. Returns (H, W) float32 in [0, 1].
    """
    checks.tensor(image, "image", ("H", "W", 3))
    small = fit_within(np.asarray(image), _LONGEST)
    lab = rgb2lab(small).astype(np.float32)
    labels = slic(lab, _SUPERPIXELS, compactness=20, convert2lab=False, start_label=0, enforce_connectivity=True)
    count = int(labels.max()) + 1
    if count < 4:
        return torch.zeros(image.shape[:2])
    color, place = _means(lab, labels, count), _centres(labels, count)
    first, second = _neighbours(labels)
    step = np.linalg.norm(color[first] - color[second], axis=1)
    border = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    background = _background_probability(count, first, second, step, border)
    # Contrast with what is probably background, weighted by nearness.
    far = ((place[:, None] - place[None]) ** 2).sum(2)
    contrast = np.linalg.norm(color[:, None] - color[None], axis=2)
    contrast = (contrast * np.exp(-far / (2 * _SPATIAL**2)) * background).sum(1)
    contrast /= max(contrast.max(), 1e-12)
    value = _optimise(contrast, background, first, second, step)
    value = (value - value.min()) / max(np.ptp(value), 1e-12) if np.ptp(value) > 1e-6 else np.zeros(count)
    dense = torch.from_numpy(value.astype(np.float32)[labels])
    return interpolate(dense[None, None], image.shape[:2], mode="bilinear")[0, 0]


def class_prior(features: torch.Tensor, images=None) -> torch.Tensor:
    """Co-saliency of a whole category: the first principal component of its centred descriptors, positive part (DDT,
    Wei et al., 2017), each photo's map multiplied by its single-photo saliency where ``images`` are given.

    features: (N, C, h, w); images: N photos (H, W, 3) uint8. Returns (N, h, w) in [0, 1].
    """
    weight, bias = principal_component(features)
    maps = (features.movedim(1, -1) @ weight + bias).clamp_min(0)
    maps = maps / maps.flatten().quantile(0.98).clamp_min(1e-6)
    maps = maps.clamp(0, 1)
    if images is not None:
        single = torch.stack(
            [interpolate(saliency_prior(image)[None, None], maps.shape[1:], mode="area")[0, 0] for image in images]
        )
        maps = maps * (0.3 + 0.7 * single)
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


def _means(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    area = np.bincount(labels.ravel(), minlength=count)
    sums = [np.bincount(labels.ravel(), values[..., c].ravel(), minlength=count) for c in range(values.shape[2])]
    return np.stack(sums, 1) / np.maximum(area, 1)[:, None]


def _centres(labels: np.ndarray, count: int) -> np.ndarray:
    grid = np.moveaxis(np.indices(labels.shape), 0, -1) / max(labels.shape)
    return _means(grid, labels, count)


def _neighbours(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    first, second = np.unique(pairs, axis=0).T
    return first, second


def _background_probability(count, first, second, step, border) -> np.ndarray:
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
    smooth = np.exp(-((step / _CLEAR) ** 2) / 2) + 0.1
    count = len(foreground)
    adjacency = sparse.coo_array((smooth, (first, second)), shape=(count, count)).tocsr()
    adjacency = adjacency + adjacency.T
    laplacian = sparse.diags_array(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    system = sparse.diags_array(foreground + background + 1e-6) + laplacian
    return spsolve(system.tocsc(), foreground)
