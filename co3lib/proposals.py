"""Object proposals without training: combinatorial grouping over region hierarchies, in the spirit of MCG (Pont-Tuset et
al., 2017).

A photo is cut into superpixels (watershed of its colour gradient); four hierarchies merge them, each by another idea of
likeness (higra); every region of a hierarchy and every pair of neighbours at three of its levels is a candidate. What is
compact and ends where the gradient is strong comes first, large and small taking turns, and near copies are left out.

Shape letters: H W image size, K proposals, S superpixels, E pairs of neighbouring superpixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import higra
import numpy as np
import torch
from scipy import ndimage, sparse
from skimage.color import rgb2lab
from skimage.segmentation import watershed

from . import checks
from .images import fit_within, resize_nearest

_LONGEST = 400  # pixels; larger photos are scaled down
_SUPERPIXELS = 600
_CUTS = (20, 60, 150)  # levels, in regions, whose neighbours are paired
_SMALLEST, _LARGEST = 3e-4, 0.7  # share of the photo
_SIZES = 8  # classes of size that take turns
_COPY = 0.7  # IoU


@dataclass(frozen=True)
class Regions:
    """Proposals as unions of superpixels: labels (H, W) long, the superpixel of every pixel; members (K, S) bool."""

    labels: torch.Tensor
    members: torch.Tensor

    def masks(self, size: tuple[int, int] | None = None) -> torch.Tensor:
        """The proposals as masks, at their own size or nearest neighbours at another: (K, *size) bool."""
        labels = self.labels if size is None else resize_nearest(self.labels[None], size)[0]
        return self.members[:, labels]


def propose(image, limit: int = 1000) -> torch.Tensor:
    """Candidate masks of a photo: (H, W, 3) uint8 -> (K, H, W) bool, K <= ``limit``, best first, at the photo's size."""
    regions = propose_regions(image, limit)
    return regions.masks(np.asarray(image).shape[:2])


def propose_regions(image, limit: int = 1000) -> Regions:
    """``propose`` in compact form, at a size of at most 400 pixels."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.dtype} of shape {image.shape}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    graph = _superpixels(rgb2lab(fit_within(image, _LONGEST)).astype(np.float32))
    if len(graph.area) < 3:
        return Regions(torch.from_numpy(graph.labels), torch.eye(len(graph.area), dtype=torch.bool))
    candidates = np.concatenate([_from_hierarchy(graph, *tree) for tree in _hierarchies(graph)])
    return Regions(torch.from_numpy(graph.labels), torch.from_numpy(_best(candidates, graph, limit)))


def regions_of(masks: torch.Tensor) -> Regions:
    """Any masks (K, H, W) bool in compact form: pixels that are in the same masks make one superpixel."""
    masks = checks.masks(masks, "masks").numpy()
    if not len(masks):
        return Regions(torch.zeros(masks.shape[1:], dtype=torch.long), torch.zeros(0, 1, dtype=torch.bool))
    signature = np.ascontiguousarray(np.packbits(masks.reshape(len(masks), -1), axis=0).T)
    whole = signature.view(np.dtype((np.void, signature.shape[1]))).ravel()
    _, example, label = np.unique(whole, return_index=True, return_inverse=True)
    members = masks.reshape(len(masks), -1)[:, example]
    return Regions(torch.from_numpy(label.reshape(masks.shape[1:])), torch.from_numpy(members))


@dataclass(frozen=True)
class _Graph:
    """Superpixels and their neighbourhood: labels (H, W), area (S,), color (S, 3); for each of E pairs of neighbours its
    two ends, the length of their common boundary and the mean gradient on it."""

    labels: np.ndarray
    area: np.ndarray
    color: np.ndarray
    first: np.ndarray
    second: np.ndarray
    length: np.ndarray
    gradient: np.ndarray

    def higra(self) -> higra.UndirectedGraph:
        graph = higra.UndirectedGraph(len(self.area))
        graph.add_edges(self.first, self.second)
        return graph


def _superpixels(lab: np.ndarray) -> _Graph:
    gradient = np.sqrt(sum(ndimage.gaussian_gradient_magnitude(lab[..., c], 1.0, truncate=3) ** 2 for c in range(3)))
    fine = _graph(lab, gradient, np.maximum(watershed(gradient), 1) - 1)
    if len(fine.area) <= _SUPERPIXELS:
        return fine
    tree, altitudes = higra.binary_partition_tree_ward_linkage(fine.higra(), fine.color, fine.area)
    return _graph(lab, gradient, _cut(tree, altitudes, _SUPERPIXELS)[fine.labels])


def _graph(lab: np.ndarray, gradient: np.ndarray, labels: np.ndarray) -> _Graph:
    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=count).astype(float)
    sums = [np.bincount(labels.ravel(), lab[..., c].ravel(), minlength=count) for c in range(3)]
    one = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()]).astype(np.int64)
    other = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()]).astype(np.int64)
    height = np.concatenate(
        [np.maximum(gradient[:, :-1], gradient[:, 1:]).ravel(), np.maximum(gradient[:-1], gradient[1:]).ravel()]
    )
    between = one != other
    key = (np.minimum(one, other) * count + np.maximum(one, other))[between]
    pairs, index = np.unique(key, return_inverse=True)
    length = np.bincount(index, minlength=len(pairs)).astype(float)
    mean = np.bincount(index, height[between], minlength=len(pairs)) / np.maximum(length, 1)
    return _Graph(labels.astype(np.int64), area, np.stack(sums, 1) / area[:, None], pairs // count, pairs % count, length, mean)


def _hierarchies(graph: _Graph):
    """Four trees over the superpixels: likeness of colour, of hue alone, weak boundaries, both."""
    structure = graph.higra()
    contrast = np.linalg.norm(graph.color[graph.first] - graph.color[graph.second], axis=1)
    yield higra.binary_partition_tree_ward_linkage(structure, graph.color, graph.area)
    yield higra.binary_partition_tree_ward_linkage(structure, graph.color * [0.3, 1, 1], graph.area)
    yield higra.binary_partition_tree_average_linkage(structure, graph.gradient, graph.length)
    yield higra.binary_partition_tree_average_linkage(structure, graph.gradient * contrast, graph.length)


def _from_hierarchy(graph: _Graph, tree, altitudes) -> np.ndarray:
    """Members (K, S) of a tree's regions and of the pairs of neighbours at its cuts, of fitting size."""
    count = len(graph.area)
    parents = tree.parents()
    nodes = np.zeros((len(parents), count), bool)
    nodes[np.arange(count), np.arange(count)] = True
    for node, parent in enumerate(parents[:-1]):  # a parent comes after its children
        nodes[parent] |= nodes[node]
    found = [nodes]
    for regions in _CUTS:
        if regions < count:
            label = _cut(tree, altitudes, regions)
            one, other = label[graph.first], label[graph.second]
            pairs = np.unique(np.sort(np.stack([one, other], 1)[one != other], axis=1), axis=0)
            region = np.arange(label.max() + 1)[:, None] == label
            found.append(region[pairs[:, 0]] | region[pairs[:, 1]])
    members = np.concatenate(found)
    share = members.astype(np.float32) @ (graph.area / graph.area.sum()).astype(np.float32)
    return members[(share >= _SMALLEST) & (share <= _LARGEST)]


def _cut(tree, altitudes, regions: int) -> np.ndarray:
    label = higra.labelisation_horizontal_cut_from_num_regions(tree, altitudes, regions)
    return np.unique(label.ravel(), return_inverse=True)[1]


def _best(members: np.ndarray, graph: _Graph, limit: int) -> np.ndarray:
    """The best ``limit`` candidates, best first, near copies left out."""
    code = np.random.default_rng(0).random(members.shape[1])
    members = members[np.unique(members @ code, return_index=True)[1]]
    values = members.astype(np.float32)
    area = values @ graph.area.astype(np.float32)
    quality = _quality(values, area, graph)
    size = np.log(area / graph.area.sum())
    edges = np.linspace(np.log(_SMALLEST), np.log(_LARGEST), _SIZES + 1)[1:-1]
    classes = np.digitize(size, edges)
    turn, order = [], []
    for one in range(_SIZES):
        best = np.flatnonzero(classes == one)
        best = best[np.argsort(-quality[best], kind="stable")][:limit]
        # Candidates of very different size are no copies, so each class is cleared by itself.
        kept = best[_without_copies(values[best], area[best], graph.area.astype(np.float32), limit)]
        order.append(kept)
        turn.append(np.arange(len(kept)))
    order, turn = np.concatenate(order), np.concatenate(turn)
    return members[order[np.lexsort((-quality[order], turn))][:limit]]


def _quality(values: np.ndarray, area: np.ndarray, graph: _Graph) -> np.ndarray:
    """Mean gradient on the outline, times compactness: (K,)."""
    labels = graph.labels
    frame = np.bincount(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]), minlength=len(graph.area))
    perimeter = _outline(values, graph, graph.length)
    strength = _outline(values, graph, graph.length * graph.gradient) / np.maximum(perimeter, 1)
    return strength * np.sqrt(area) / (perimeter + values @ frame.astype(np.float32))


def _outline(values: np.ndarray, graph: _Graph, weight: np.ndarray) -> np.ndarray:
    """Sum of the pairs' weights over the pairs of which one end is a member and the other is not: (K,)."""
    count = len(graph.area)
    half = sparse.coo_array((weight.astype(np.float32), (graph.first, graph.second)), shape=(count, count)).tocsr()
    degree = np.asarray(half.sum(0)).ravel() + np.asarray(half.sum(1)).ravel()
    inner = ((half.T @ values.T).T * values).sum(1)
    return values @ degree - 2 * inner


def _without_copies(values: np.ndarray, area: np.ndarray, weight: np.ndarray, limit: int) -> np.ndarray:
    overlap = (values * weight) @ values.T
    copies = overlap > _COPY / (1 + _COPY) * (area[:, None] + area[None])  # IoU > _COPY, without the division
    left = np.ones(len(values), bool)
    kept = []
    for k in range(len(values)):
        if left[k]:
            kept.append(k)
            left &= ~copies[k]
            if len(kept) == limit:
                break
    return np.array(kept, dtype=int)
