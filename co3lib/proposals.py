"""Candidate masks of one photo by combinatorial grouping: no training, no labels, no downloads.

The idea is that of multiscale combinatorial grouping (Arbelaez et al., CVPR 2014): several hierarchies of regions, each
good for other things; their regions and pairs of neighbouring regions are the candidates; the best are kept. Here the
hierarchies are greedy mergings and watersheds of colour superpixels, and no learned contours or ranking are used.

Shape letters: H W image size, ``h w`` the bounded size worked at, K proposals, S superpixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import higra as hg
import numpy as np
import torch
from scipy import ndimage, sparse
from skimage.color import rgb2lab
from skimage.segmentation import watershed

from . import checks
from .datasets.images import fit_within, read_image, resize_nearest
from .superpixels import borders, distinct_sets, means

_LONGEST = 400  # pixels; finer detail costs time and hardly moves an overlap of one half
_SUPERPIXELS = 1000
_CUTS = (30, 60, 120, 250, 500)  # numbers of regions at which neighbours are paired: an octave apart
_SMALLEST, _LARGEST = 4e-4, 0.7  # shares of the photo
_FAINT = 0.3  # the share of all superpixel borders that count as no edge
_OVERLAP = 0.7  # IoU above which the later of two candidates is left out
_SMALL_FIRST = 0.25  # how much earlier small sizes come; 0: all sizes alike


@dataclass(frozen=True)
class Regions:
    """Proposals in compact form.

    Attributes
    ----------
    labels : (h, w) int64, the superpixel of every pixel.
    members : (K, S) bool, the superpixels of every proposal, best proposal first.
    """

    labels: torch.Tensor
    members: torch.Tensor

    def masks(self, size: tuple[int, int] | None = None) -> torch.Tensor:
        """The proposals as masks ``(K, *size)`` bool, nearest neighbour; at (h, w) if no ``size`` is given."""
        height, width = size or self.labels.shape
        labels = resize_nearest(self.labels[None], (height, width))[0]
        return self.members[:, labels]


def propose(image: np.ndarray, limit: int = 1000) -> torch.Tensor:
    """Candidate masks of a photo, as ``propose_regions`` finds them, at the photo's own size: K H W bytes.

    Parameters
    ----------
    image : (H, W, 3) uint8.
    limit : the most candidates, at least 1.

    Returns
    -------
    (K, H, W) bool, best first, no two alike.
    """
    return propose_regions(image, limit).masks(np.shape(image)[:2])


def propose_regions(image: np.ndarray, limit: int = 1000) -> Regions:
    """The candidate masks of a photo in compact form, best first.

    A candidate is good if its contour follows edges and is short for its area. Sizes take turns, so that there are small
    candidates too, and of candidates that overlap by more than an IoU of 0.7 the best one stays. The result is deterministic;
    a photo without any edge has one proposal, the whole.

    Parameters
    ----------
    image : (H, W, 3) uint8.
    limit : the most candidates, at least 1.

    Raises
    ------
    ValueError : for an image of another shape or type, or a limit below 1.
    """
    pixels = read_image(np.asarray(image), "image")
    checks.between(limit, "limit", 1, float("inf"))
    partition = _superpixels(rgb2lab(fit_within(pixels, _LONGEST)).astype(np.float32))
    candidates = _candidates(partition)
    if not candidates.shape[0]:
        candidates = sparse.csr_array(np.ones((1, len(partition.area)), np.float32))
    else:
        order = _best_first(partition, candidates)[: 3 * limit]
        candidates = candidates[order]
        candidates = candidates[_distinct(partition, candidates)[:limit]]
    return Regions(torch.from_numpy(partition.labels), torch.from_numpy(candidates.toarray() > 0))


def regions_of(masks: torch.Tensor) -> Regions:
    """Ready-made proposals (K, H, W) bool in compact form: pixels that lie in the same proposals share a superpixel."""
    masks = checks.masks(masks, "masks")
    # A row of bytes for each pixel; a first, constant byte lets it work without any mask.
    packed = np.packbits(masks.flatten(1).numpy(), axis=0)
    packed = np.ascontiguousarray(np.vstack([np.zeros_like(packed, shape=(1, packed.shape[1])), packed]).T)
    _, first, labels = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return Regions(torch.from_numpy(labels.reshape(masks.shape[1:])), masks.flatten(1)[:, torch.from_numpy(first)])


@dataclass(frozen=True)
class _Partition:
    """Superpixels: labels (h, w), area (S,) and mean colour (S, 3) and place (S, 2); and their E borders: the two
    superpixels (E,) (E,), length (E,) in pixels and mean gradient (E,) along each."""

    labels: np.ndarray
    area: np.ndarray
    color: np.ndarray
    place: np.ndarray
    first: np.ndarray
    second: np.ndarray
    length: np.ndarray
    strength: np.ndarray

    @property
    def graph(self) -> hg.UndirectedGraph:
        graph = hg.UndirectedGraph(len(self.area))
        graph.add_edges(self.first, self.second)
        return graph


def _superpixels(lab: np.ndarray) -> _Partition:
    """Basins of the colour gradient, merged to ``_SUPERPIXELS`` where that changes the colours least (Ward)."""
    channels = (ndimage.gaussian_gradient_magnitude(lab[..., c], 1.0, truncate=3) for c in range(3))
    gradient = np.sqrt(sum(channel**2 for channel in channels))
    # A flat gradient has no minimum and gets no basin: label 0 everywhere.
    basins = np.maximum(watershed(gradient).astype(np.int64) - 1, 0)
    fine = _partition(basins, lab, gradient)
    if len(fine.area) <= _SUPERPIXELS:
        return fine
    tree, altitudes = hg.binary_partition_tree_ward_linkage(fine.graph, fine.color, fine.area)
    return _partition(_cut(tree, altitudes, _SUPERPIXELS)[fine.labels], lab, gradient)


def _partition(labels: np.ndarray, lab: np.ndarray, gradient: np.ndarray) -> _Partition:
    area = np.bincount(labels.ravel()).astype(np.float64)
    place = np.moveaxis(np.indices(labels.shape), 0, -1) * (100 / max(labels.shape))  # percents of the side, alike Lab's range
    touching = borders(labels, gradient)
    length = touching.length.astype(np.float64)
    return _Partition(
        labels, area, means(lab, labels), means(place, labels), touching.first, touching.second, length, touching.strength
    )


def _cut(tree, altitudes: np.ndarray, regions: int) -> np.ndarray:
    """The region (S,) of every leaf, numbered from 0, in the tree's cut into about that many regions."""
    labels = hg.labelisation_horizontal_cut_from_num_regions(tree, altitudes, regions)
    return np.unique(labels, return_inverse=True)[1].ravel()


def _candidates(partition: _Partition) -> sparse.csr_array:
    """Every region of every hierarchy and pairs of neighbours, of a fitting size and each once: (M, S) of 0 and 1."""
    count, area = len(partition.area), partition.area
    smallest, largest = _SMALLEST * area.sum(), _LARGEST * area.sum()
    found = [sparse.csr_array((0, count), dtype=np.float32)]
    for tree, altitudes in _hierarchies(partition) if count > 1 else ():
        found.append(_nodes(tree, area, largest))
        found += [_pairs(partition, _cut(tree, altitudes, cut)) for cut in _CUTS if cut < count]
    sets = sparse.vstack(found, format="csr")
    size = sets @ area
    sets = sets[(size >= smallest) & (size <= largest)]
    return sets[np.sort(distinct_sets(sets)[0])]


def _hierarchies(partition: _Partition) -> list[tuple]:
    """Four ways to merge: by edges and area, by colour regardless of light, by colour and nearness, by edges alone."""
    graph, area = partition.graph, partition.area
    chroma = partition.color * np.array([0.3, 1, 1])
    near = np.hstack([partition.color, 0.6 * partition.place])
    return [
        hg.watershed_hierarchy_by_area(graph, partition.strength, area),
        hg.binary_partition_tree_ward_linkage(graph, chroma, area),
        hg.binary_partition_tree_ward_linkage(graph, near, area),
        hg.binary_partition_tree_average_linkage(graph, partition.strength, partition.length),
    ]


def _nodes(tree, area: np.ndarray, largest: float) -> sparse.csr_array:
    """The leaves of every node that is not too large."""
    parents, sums = tree.parents(), hg.accumulate_sequential(tree, area, hg.Accumulators.sum)
    node = leaf = np.arange(len(area))
    rows, columns = [node], [leaf]
    while len(node):
        node = parents[node]
        fitting = (sums[node] <= largest) & (node != tree.root())
        node, leaf = node[fitting], leaf[fitting]
        rows.append(node)
        columns.append(leaf)
    nodes, leaves = np.concatenate(rows), np.concatenate(columns)
    shape = (tree.num_vertices(), len(area))
    return sparse.csr_array((np.ones(len(nodes), np.float32), (nodes, leaves)), shape=shape)


def _pairs(partition: _Partition, region: np.ndarray) -> sparse.csr_array:
    """The superpixels of every two neighbouring regions, given each superpixel's region (S,)."""
    regions, count = int(region.max()) + 1, len(region)
    first, second = region[partition.first], region[partition.second]
    apart = first != second
    key = np.unique((np.minimum(first, second) * regions + np.maximum(first, second))[apart])
    belongs = sparse.csr_array((np.ones(count, np.float32), (region, np.arange(count))), shape=(regions, count))
    return belongs[key // regions] + belongs[key % regions]


def _best_first(partition: _Partition, sets: sparse.csr_array) -> np.ndarray:
    """Order of the candidates: by (contour on edges / contour) * (area / contour^2), sizes taking turns."""
    labels, count = partition.labels, len(partition.area)
    frame = np.bincount(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]], minlength=count)
    clear = partition.strength > np.quantile(partition.strength, _FAINT)
    on_edges = _contour(partition, sets, partition.length * clear)
    contour = _contour(partition, sets, partition.length) + sets @ frame
    size = sets @ partition.area
    score = on_edges / contour * size / contour**2
    octaves = np.floor(np.log2(size / partition.area.sum() / _SMALLEST)).astype(int)
    turn = np.empty(len(score))
    for octave in np.unique(octaves):
        members = np.flatnonzero(octaves == octave)
        turn[members[np.argsort(-score[members], kind="stable")]] = np.arange(0.5, len(members))
    return np.argsort(turn * 2.0 ** (_SMALL_FIRST * octaves), kind="stable")


def _contour(partition: _Partition, sets: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    """The sum (M,) of border weights (E,) between every candidate and the rest."""
    ends = np.r_[partition.first, partition.second], np.r_[partition.second, partition.first]
    count = len(partition.area)
    links = sparse.csr_array((np.r_[weight, weight], ends), shape=(count, count))
    inside = np.asarray((sets @ links).multiply(sets).sum(1)).ravel()
    return sets @ np.asarray(links.sum(1)).ravel() - inside


def _distinct(partition: _Partition, sets: sparse.csr_array) -> np.ndarray:
    """Indices of the candidates that overlap with no better kept one by more than ``_OVERLAP``."""
    area = partition.area.astype(np.float32)
    size = sets @ area
    both = (sets.multiply(area[None]).tocsr() @ sets.T).tocoo()
    later = both.row < both.col
    row, column, common = both.row[later], both.col[later], both.data[later]
    alike = common > _OVERLAP * (size[row] + size[column] - common)
    alike = sparse.csr_array((np.ones(alike.sum(), bool), (row[alike], column[alike])), shape=both.shape)
    dropped = np.zeros(len(size), bool)
    for k in range(len(size)):
        if not dropped[k]:
            dropped[alike.indices[alike.indptr[k] : alike.indptr[k + 1]]] = True
    return np.flatnonzero(~dropped)
