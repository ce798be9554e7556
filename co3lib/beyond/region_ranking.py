"""Ranking of proposals that are unions of superpixels: Eq. 7 many times faster, and our default score.

``RegionRanker.scores`` is the paper's Eq. 7; ``RegionRanker.distinct_scores``, our default, multiplies it by two more factors.

Shape letters: H W image size, K proposals, Q peaks, G groups of peaks, S superpixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

from .. import checks
from ..ranking import LARGEST, SMALLEST
from .refinement import RegionRefiner

_TINY = 1e-12

FIT_POWER = 1.5
"""How much the fit counts beside the contrast. With 1 a proposal over two touching instances ties with either of them, as what
one gains in fit it loses in contrast; 2 measured no better."""
LEVELS = (0.3, 0.5, 0.7)
"""Levels at which the co-saliency is cut, shares of its highest value."""

FAINT = 0.05
"""How much more salient than its surroundings a proposal must be, at least, to be an instance."""


class RegionRanker:
    """``rank_proposals`` for proposals that are unions of the cells of one partition, many times faster.

    All pixels of a cell are in the same proposals, so sums over proposals are sums over cells. A pixel is on a
    proposal's contour if the 5 x 5 window round it sees cells both in and out of the proposal, so pixels whose windows
    see the same set of cells are on the same contours. Both groupings are made once for a photo.

    labels: (H, W) integers, the cell of every pixel, 0 .. S - 1; members: (K, S) bool, the cells of every proposal;
    refiner: what moves the outlines of masks once they are chosen (None: nothing does); closed: whether there may be no other
    proposals than these (``extended``).
    """

    def __init__(
        self,
        labels: torch.Tensor | np.ndarray,
        members: torch.Tensor,
        width: int = 5,
        refiner: RegionRefiner | None = None,
        closed: bool = False,
    ):
        self.refiner, self.closed = refiner, closed
        labels = checks.tensor(labels, "labels", ("H", "W")).numpy()
        self.members = checks.masks(members, "members", ("K", "S")).float()
        cells = self.members.shape[1]
        if labels.dtype.kind not in "iu" or (labels.size and not 0 <= labels.min() <= labels.max() < cells):
            raise ValueError(f"labels must be whole numbers from 0 to {cells - 1}, got {labels.dtype} values outside")
        self.size = labels.shape
        self.labels = torch.from_numpy(labels.astype(np.int64)).flatten()
        self.area = torch.bincount(self.labels, minlength=cells).float()
        self.share = self.members @ self.area / labels.size
        reach = width // 2
        mixed = ndimage.maximum_filter(labels, width, mode="nearest") != ndimage.minimum_filter(labels, width, mode="nearest")
        # Repeating the edge adds no cell to a window that is cut off there.
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(labels, reach, mode="edge"), (width, width))
        seen = np.sort(windows[mixed].reshape(-1, width * width), axis=1)
        first = np.ones(seen.shape, bool)
        first[:, 1:] = seen[:, 1:] != seen[:, :-1]
        code = np.random.default_rng(0).integers(1, 2**62, cells, dtype=np.int64)
        keys = np.where(first, code[seen], 0).sum(1)  # overflow wraps round, which is as good a code
        _, example, group = np.unique(keys, return_index=True, return_inverse=True)
        rows, columns = np.nonzero(first[example])
        self._windows = sparse.csr_array(
            (np.ones(len(rows), np.float32), (rows, seen[example][rows, columns])), shape=(len(example), cells)
        )
        self.on_contour = self._on_contour(self.members)
        self.contour_pixels = torch.from_numpy(np.flatnonzero(mixed))
        self.contour_group = torch.from_numpy(group.reshape(-1))

    def _on_contour(self, members: torch.Tensor) -> torch.Tensor:
        """Which kinds of windows see a contour of each proposal: (windows, K)."""
        inside = torch.from_numpy(self._windows @ members.numpy().T)
        number = torch.from_numpy(np.diff(self._windows.indptr)).float()[:, None]
        return ((inside > 0) & (inside < number)).float()

    def extended(self, members: torch.Tensor) -> RegionRanker:
        """The same ranker with more proposals, unions of the same cells: members (E, S) bool. What is known of the others is
        not computed again."""
        members = checks.masks(members, "members", ("E", self.members.shape[1])).float()
        other = copy(self)
        other.members = torch.cat([self.members, members])
        other.share = other.members @ self.area / len(self.labels)
        other.on_contour = torch.cat([self.on_contour, self._on_contour(members)], 1)
        other._border_with_outside = torch.cat([self._border_with_outside, self._border_of(members)])
        return other

    def scores(
        self, heat_maps: torch.Tensor, saliency: torch.Tensor, beta: float = 0.8, gamma: float = 1e-5, groups=None
    ) -> torch.Tensor:
        """As ``rank_proposals``: (Q, H, W), (H, W) -> (Q, K); of groups of peaks, (G, Q) bool, the mean of their peaks' scores:
        (G, K)."""
        saliency = checks.tensor(saliency, "saliency", self.size, floating=True)
        heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", *self.size), floating=True)
        response = (heat_maps * saliency).flatten(1)
        members, on_contour = self.members.to(response.dtype), self.on_contour.to(response.dtype)
        inside = self._sums(response, self.labels, members.shape[1]) @ members.T
        at_contour = response[:, self.contour_pixels]
        contour = self._sums(at_contour, self.contour_group, len(on_contour)) @ on_contour
        background = self._sums((1 - saliency).flatten()[None], self.labels, members.shape[1]) @ members.T
        scores = beta * inside + contour - gamma * background
        if groups is not None:
            groups = checks.masks(groups, "groups", ("G", len(heat_maps)))
            scores = groups.to(scores.dtype) @ scores / groups.sum(1, keepdim=True)
        return scores.masked_fill((self.share < SMALLEST) | (self.share > LARGEST), -torch.inf)

    def distinct_scores(
        self,
        heat_maps: torch.Tensor,
        saliency: torch.Tensor,
        beta: float = 0.8,
        gamma: float = 1e-5,
        groups: torch.Tensor | None = None,
        power: torch.Tensor | float = 1.0,
    ) -> torch.Tensor:
        """Eq. 7 times fit to the power of 1.5 times contrast: does the proposal fit the peak's share of the co-saliency, and
        does it stand out?

        Eq. 7 adds up, so a larger proposal rarely scores less, and a peak's heat says little about where its instance ends. The
        two factors do. *Fit*: the peak's share of the co-saliency is ``t = S O / sum over the peaks of O``, so that peaks
        divide an image among themselves; over its largest value, to the power of ``power``, it is the target ``u``, and fit is
        the soft intersection over union ``sum(u P) / (|P| + sum(u) - sum(u P))``. *Standing out*: the mean co-saliency
        inside less that of the cells just outside, each as often as its border with the proposal is long. Less than
        0.05 does not stand out, unless nothing in the image does.

        heat_maps ``O``: (Q, H, W), each made to sum to one; saliency ``S``: (H, W) in [0, 1]; groups: (G, Q) bool, peaks
        that are taken as one, its share being theirs together (None: each peak by itself); power: a number, or one a
        group, (G,); below one it fills the valleys of a share. Returns (G, K), at least 0; -inf where a proposal does not
        stand out and outside the size limits.
        """
        heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", *self.size), floating=True).clamp_min(0)
        heat_maps = heat_maps / heat_maps.sum((1, 2), keepdim=True).clamp_min(_TINY)
        paper = self.scores(heat_maps, saliency, beta, gamma, groups).clamp_min(0)
        share, mean = self.shares(heat_maps, saliency, groups), self._mean(saliency)
        power = torch.as_tensor(power, dtype=share.dtype, device=share.device).reshape(-1, 1)
        target = (share / share.amax(1, keepdim=True).clamp_min(FAINT)) ** power * self.area
        size = self.members @ self.area
        common = target @ self.members.T
        fit = common / (size + target.sum(1, keepdim=True) - common).clamp_min(_TINY)
        inside = self.members @ (mean * self.area) / size.clamp_min(1)
        border = self._border_with_outside
        contrast = inside - (border @ mean) / border.sum(1).clamp_min(1)
        usable = (self.share >= SMALLEST) & (self.share <= LARGEST)
        clear = usable & (contrast >= FAINT)
        scores = paper * fit**FIT_POWER * contrast.clamp_min(_TINY)
        return scores.masked_fill(~(clear if clear.any() else usable), -torch.inf)

    def shares(self, heat_maps: torch.Tensor, saliency: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
        """Each peak's or group's share ``t`` of the co-saliency (see ``distinct_scores``), its mean over every cell: (G, S)."""
        # Of all peaks' heat in a cell the part that is each peak's, where the heat of each sums to one.
        heat = self._sums(heat_maps.clamp_min(0).flatten(1), self.labels, self.members.shape[1])
        heat = heat / heat.sum(1, keepdim=True).clamp_min(_TINY)
        share = heat / heat.sum(0).clamp_min(_TINY)
        return (share if groups is None else groups.to(share.dtype) @ share) * self._mean(saliency)

    def _mean(self, saliency: torch.Tensor) -> torch.Tensor:
        return self._sums(saliency.flatten()[None], self.labels, self.members.shape[1])[0] / self.area.clamp_min(1)

    @cached_property
    def _border_with_outside(self) -> torch.Tensor:
        """How many pairs of neighbouring pixels join each proposal to each cell outside it: (K, S)."""
        return self._border_of(self.members)

    def _border_of(self, members: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._touching @ members.numpy().T).T * (1 - members)

    @cached_property
    def _touching(self) -> sparse.csr_array:
        """How many pairs of neighbouring pixels join each cell to each other one: (S, S)."""
        labels, cells = self.labels.reshape(self.size), self.members.shape[1]
        pairs = torch.cat(
            [torch.stack([labels[:, 1:], labels[:, :-1]]).flatten(1), torch.stack([labels[1:], labels[:-1]]).flatten(1)], 1
        )
        first, second = pairs[:, pairs[0] != pairs[1]].numpy()
        length = sparse.coo_array((np.ones(len(first), np.float32), (first, second)), shape=(cells, cells)).tocsr()
        return length + length.T

    def level_sets(self, saliency: torch.Tensor, levels: Sequence[float] = LEVELS) -> torch.Tensor:
        """The connected parts of the co-saliency above each level: (E, S) bool, no two alike.

        saliency: (H, W); levels: shares of its highest mean over a cell. A part is made of whole cells that touch one another.
        """
        mean = self._mean(checks.tensor(saliency, "saliency", self.size, floating=True)).numpy()
        parts = [np.zeros((0, len(mean)), bool)]
        for level in levels:
            above = np.flatnonzero((mean > level * mean.max(initial=0)) & (self.area.numpy() > 0))
            count, part = connected_components(self._touching[above][:, above], directed=False)
            part_of = np.full(len(mean), -1)
            part_of[above] = part
            parts.append(part_of == np.arange(count)[:, None])
        return torch.from_numpy(np.unique(np.concatenate(parts), axis=0))

    def masks(self, chosen: torch.Tensor) -> torch.Tensor:
        """The masks of some proposals: (M,) indices -> (M, H, W) bool."""
        return self.unions(self.members[chosen].bool())

    def unions(self, regions: torch.Tensor) -> torch.Tensor:
        """The masks that are made of some cells each: (M, S) bool -> (M, H, W) bool."""
        return regions[:, self.labels].reshape(-1, *self.size)

    @staticmethod
    def _sums(values: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
        return values.new_zeros(len(values), count).index_add_(1, groups, values)
