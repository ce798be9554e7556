"""Refinement: the outline of a chosen mask, moved to where the photo's colours change.

A proposal is made before anything is known of the category. Once a peak has chosen it, more is known: which colours are in it
and which around it, and where the peak's share of the co-saliency is (``region_ranking`` says what that is). A minimum cut
over the superpixels combines all of it (Boykov and Jolly, ICCV 2001; Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004).
Notebook 12 does it by hand.

Shape letters: H W image size, S superpixels, E pairs of neighbours, M masks.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab

from .. import checks
from ..overlap import tight_box
from ..superpixels import borders, means

WINDOW = 0.5
"""How far around a mask its outline may move, in heights and widths of the mask."""

TRUST = 0.7
"""What the proposal itself counts, beside the evidence of the colours (at most 3) and of the co-saliency (at most 2)."""

SMOOTH = 2.0
"""What a pixel of outline costs where colours do not change."""

HOLE = 0.1
"""Holes in a mask of at most this fraction of its area are filled."""

_NEAR = 1 / 64  # of the photo's longer side: the least that counts as around a mask, and the least size of a mask
_ALIKE = 8.0  # deviation of the kernel that compares colours, in Lab units
_EDGE = 10.0  # a change of colour that makes an outline cheaper by the factor e, in Lab units
_UNSEEN = 1e-4  # density of a colour that was not seen at all
_MOST_COLOUR, _MOST_SHARE = 3.0, 2.0
_UNITS = 1000  # flows are whole numbers


class RegionRefiner:
    """Moves the outlines of masks that are unions of the superpixels of one photo.

    Parameters
    ----------
    labels : (H, W) integers, the superpixel of every pixel, 0 .. S - 1.
    pixels : the photo, (H, W, 3) uint8.
    count : S, of which some may have no pixel; None: the largest label plus 1.

    Raises
    ------
    ValueError : if a label is not a whole number from 0 to S - 1.
    """

    def __init__(self, labels: torch.Tensor | np.ndarray, pixels: np.ndarray, count: int | None = None):
        labels = checks.tensor(labels, "labels", ("H", "W")).numpy()
        pixels = checks.tensor(pixels, "pixels", (*labels.shape, 3)).numpy()
        flat = labels.ravel()
        count = int(flat.max(initial=-1)) + 1 if count is None else count
        if labels.dtype.kind not in "iu" or (flat.size and not 0 <= flat.min() <= flat.max() < count):
            raise ValueError(f"labels must be whole numbers from 0 to {count - 1}, got {labels.dtype} values outside")
        self.area = np.bincount(flat, minlength=count)
        self.colour = means(rgb2lab(pixels), labels, count)
        self.place = means(np.moveaxis(np.indices(labels.shape), 0, -1) + 0.5, labels, count)
        self.near = _NEAR * max(labels.shape)
        touching = borders(labels)
        self.first, self.second = touching.first, touching.second
        change = np.linalg.norm(self.colour[self.first] - self.colour[self.second], axis=1)
        self.outline = SMOOTH * touching.length * np.exp(-change / _EDGE)

    def refine(self, regions: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Masks with their outlines moved.

        Of all sets of superpixels near the chosen mask the refined mask has the least of

            - sum over the superpixels in the mask of sqrt(area) (colour + share + trust)  +  sum over its outline of its cost

        where *colour* is log(p_in / p_out), the densities of the superpixel's colour in the chosen mask and around it;
        *share* how far the superpixel's share of the co-saliency is above the middle between the mean in the mask and the mean
        around it, in units of half their difference; and *trust* is +-``TRUST``, for and against what was chosen. A pixel of
        outline costs ``SMOOTH`` times exp(-change of colour / 10). Areas count by their root, as a mask's outline grows
        no faster. Superpixels whose middle is further than ``WINDOW`` away stay out.

        Parameters
        ----------
        regions : (M, S) bool, the superpixels of every mask.
        shares : (M, S), each peak's share of the co-saliency, the mean over every superpixel.

        Returns
        -------
        (M, S) bool; a mask of which nothing would be left, or with nothing around it, stays.
        """
        count = len(self.area)
        regions = checks.masks(regions, "regions", ("M", count))
        shares = checks.tensor(shares, "shares", (len(regions), count), floating=True)
        refined = [self._refine(*pair) for pair in zip(regions.numpy(), shares.double().numpy(), strict=True)]
        return torch.from_numpy(np.stack(refined)) if refined else regions

    def _refine(self, inside: np.ndarray, share: np.ndarray) -> np.ndarray:
        inside = inside & (self.area > 0)
        window, colour, shared = self.evidence(inside, share)
        if not (window & ~inside).any():
            return inside
        evidence = (colour + shared + np.where(inside, TRUST, -TRUST)[window]) * np.sqrt(self.area[window])
        number = np.cumsum(window) - 1
        ends = window[self.first], window[self.second]
        # What is beyond the window is background, and an outline against it costs as any other.
        for superpixel, here, there in ((self.first, *ends), (self.second, *ends[::-1])):
            leaving = here & ~there
            evidence -= np.bincount(number[superpixel[leaving]], self.outline[leaving], len(evidence))
        within = ends[0] & ends[1]
        kept = minimum_cut(evidence, number[self.first[within]], number[self.second[within]], self.outline[within])
        if not kept.any():
            return inside
        refined = np.zeros_like(inside)
        refined[window] = kept
        return refined

    def evidence(self, inside: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evidence for each superpixel in and around a mask (see ``refine``), V of them.

        Parameters
        ----------
        inside : (S,) bool, the superpixels of the mask.
        share : (S,), its peak's share of the co-saliency.

        Returns
        -------
        window (S,) bool, which superpixels these are; *colour* (V,) and *share* (V,), zeros if nothing is around the mask.
        """
        window = self._window(inside) if inside.any() else inside
        around = window & ~inside
        if not around.any():
            nothing = np.zeros(window.sum())
            return window, nothing, nothing
        return window, self._colour_evidence(inside, around, window), self._share_evidence(inside, around, share)[window]

    def _window(self, inside: np.ndarray) -> np.ndarray:
        """The superpixels in and around a mask that is not empty: (S,) bool."""
        low, high = self.place[inside].min(0), self.place[inside].max(0)
        reach = WINDOW * np.maximum(high - low, 2 * self.near) + self.near
        return ((self.place > low - reach) & (self.place < high + reach)).all(1) & (self.area > 0)

    def _colour_evidence(self, inside, around, window) -> np.ndarray:
        """For every superpixel of the window the log of how much denser its colour is in the mask than around it."""
        density = []
        for part in (inside, around):
            distance = cdist(self.colour[window], self.colour[part], "sqeuclidean")
            weight = self.area[part] / self.area[part].sum()
            density.append(np.exp(-distance / (2 * _ALIKE**2)) @ weight + _UNSEEN)
        return np.log(density[0] / density[1]).clip(-_MOST_COLOUR, _MOST_COLOUR)

    def _share_evidence(self, inside, around, share) -> np.ndarray:
        inner, outer = (np.average(share[part], weights=self.area[part]) for part in (inside, around))
        middle = (inner + outer) / 2
        return ((share - middle) / max(inner - middle, 0.02)).clip(-_MOST_SHARE, _MOST_SHARE)


def one_piece(masks: torch.Tensor) -> torch.Tensor:
    """Of each mask its largest piece (pixels that share an edge), with the holes in it that are at most ``HOLE`` of it filled.

    What is refined may have lost a part or taken a bit of a neighbour.

    Parameters
    ----------
    masks : (M, H, W) bool.

    Returns
    -------
    (M, H, W) bool.
    """
    masks = checks.masks(masks, "masks", ("M", "H", "W"))
    return torch.from_numpy(np.stack([_one_piece(mask) for mask in masks.numpy()])) if len(masks) else masks


def _one_piece(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return mask
    x0, y0, x1, y1 = tight_box(mask)
    part = mask[y0:y1, x0:x1]  # outside the box there is nothing of it
    pieces, count = ndimage.label(part)
    if count > 1:
        part = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    holes, count = ndimage.label(ndimage.binary_fill_holes(part) & ~part)
    small = np.bincount(holes.ravel()) <= HOLE * part.sum()
    small[0] = False  # what is no hole
    whole = np.zeros_like(mask)
    whole[y0:y1, x0:x1] = part | small[holes]
    return whole


def minimum_cut(evidence: np.ndarray, first: np.ndarray, second: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The set of superpixels with the largest sum of evidence, less the cost of every pair that it divides.

    Evidence and cost are rounded to a thousandth.

    Parameters
    ----------
    evidence : (S,), for (above 0) or against (below 0) each superpixel.
    first, second : (E,) integers, the pairs.
    cost : (E,), at least 0.

    Returns
    -------
    (S,) bool; of equally good sets the smallest.
    """
    count = len(evidence)
    source, sink, nodes = count, count + 1, np.arange(count)
    rows = np.r_[np.full(count, source), nodes, first, second]
    columns = np.r_[nodes, np.full(count, sink), second, first]
    capacity = np.r_[evidence.clip(0), (-evidence).clip(0), cost, cost]
    whole = np.rint(_UNITS * capacity).astype(np.int32)
    graph = sparse.csr_array((whole, (rows, columns)), shape=(count + 2, count + 2))
    left = graph - maximum_flow(graph, source, sink).flow
    reached = breadth_first_order(sparse.csr_array(left > 0), source, return_predecessors=False)
    chosen = np.zeros(count + 2, bool)
    chosen[reached] = True
    return chosen[:count]
