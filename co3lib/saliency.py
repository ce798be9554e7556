"""The saliency prior of a single photo: what stands out in it; no training, no labels.

Shape letters: H W image size, S superpixels.
"""

from __future__ import annotations

import heapq

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch.nn.functional import interpolate

from . import checks
from .datasets.images import fit_within, read_image
from .superpixels import borders, means
from .torch_defaults import torch_defaults

_LONGEST = 300  # pixels; saliency is of regions and needs no fine detail
_SUPERPIXELS = 300
_NOTICEABLE = 2.3  # the smallest colour difference that people notice, in Lab units
_CLEAR = 10.0  # a colour difference, in Lab units, beyond which two neighbours are different things
_SPATIAL = 0.25  # reach of contrast, in sides of the photo
METHODS = ("combined", "minimum_barrier", "boundary_connectivity")


@torch_defaults()
def saliency_prior(image: np.ndarray, method: str = "combined") -> torch.Tensor:
    """Saliency of one photo, on superpixels.

    "minimum_barrier" (Zhang et al., ICCV 2015; here exact on superpixels and not swept over pixels): a region is background if
    some path from it to the border stays within a small range of lightness and colour. "boundary_connectivity" (Zhu et al.,
    CVPR 2014): a region is background if what is alike in colour lies along the border over a long stretch for its size; what
    differs from background nearby is salient. "combined" is their mean, which measured better than either
    (benchmarks/saliency.py).

    Parameters
    ----------
    image : (H, W, 3) uint8.
    method : one of ``METHODS``.

    Returns
    -------
    (H, W) float32, in [0, 1].

    Raises
    ------
    ValueError : for an image of another shape or type.
    """
    checks.choice(method, "method", METHODS)
    pixels = read_image(np.asarray(image), "image")
    lab = rgb2lab(fit_within(pixels, _LONGEST)).astype(np.float32)
    labels = slic(lab, _SUPERPIXELS, compactness=20, convert2lab=False, start_label=0, enforce_connectivity=True)
    color = means(lab, labels)
    if np.ptp(color, axis=0).max() < _NOTICEABLE:  # nobody would see a difference anywhere
        return torch.zeros(pixels.shape[:2])
    border = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    touching = borders(labels)
    first, second = touching.first, touching.second
    values = []
    if method != "boundary_connectivity":
        values.append(_minimum_barrier(color, first, second, border))
    if method != "minimum_barrier":
        values.append(_boundary_connectivity(color, _centres(labels), first, second, border))
    value = np.mean(values, axis=0).astype(np.float32)
    return interpolate(torch.from_numpy(value[labels])[None, None], pixels.shape[:2], mode="bilinear")[0, 0]


def _centres(labels: np.ndarray) -> np.ndarray:
    """Mean place of every superpixel, in sides of the photo: (S, 2)."""
    return means(np.moveaxis(np.indices(labels.shape), 0, -1) / max(labels.shape), labels)


def _minimum_barrier(color, first, second, border) -> np.ndarray:
    """Barrier distances to the border, added up over the channels, the largest being 1: (S,)."""
    beside: list[list[int]] = [[] for _ in color]
    for superpixel, neighbour in zip(first.tolist(), second.tolist(), strict=True):
        beside[superpixel].append(neighbour)
        beside[neighbour].append(superpixel)
    value = np.sum([_barrier_distance(channel, beside, border) for channel in color.T], axis=0)
    return value / max(value.max(), _NOTICEABLE)


def _barrier_distance(values: np.ndarray, neighbours: list[list[int]], seeds: np.ndarray) -> np.ndarray:
    """The least range of ``values`` (S,) on a path from any seed to every superpixel: (S,).

    Superpixels are settled in the order of their distance, as by Dijkstra; of each only one best path's range is kept, which
    is the usual, close approximation.
    """
    heap = [(0.0, seed, value, value) for seed, value in zip(seeds.tolist(), values[seeds].tolist(), strict=True)]
    heapq.heapify(heap)
    heights, distance = values.tolist(), np.full(len(values), np.inf)
    while heap:
        barrier, superpixel, low, high = heapq.heappop(heap)
        if barrier >= distance[superpixel]:
            continue
        distance[superpixel] = barrier
        for beside in neighbours[superpixel]:
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
    """1 - exp(-c^2 / 2), c the length of the border in like regions over the root of their area: (S,)."""
    # Small differences along a smooth region must not add up to a large one.
    cost = np.maximum(step - np.percentile(step, 20), 0) + 1e-3
    # All border superpixels are made neighbours, so that a background that an object divides still is one.
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
