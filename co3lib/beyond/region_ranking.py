"""Ranking of proposals that are unions of superpixels: Eq. 7 many times faster, and our default score.

``RegionRanker.scores`` is the paper's Eq. 7; our default multiplies it by two more factors, fit and contrast:
``RegionRanker.terms`` gives all three, and ``RankingTerms.score`` their product.

A peak's *share* of the co-saliency is, at every pixel, the co-saliency times the peak's part of all peaks' heat there; a
group's share is the sum of its peaks' shares.

Shape letters: H W image size, K proposals, Q peaks, G groups of peaks, S superpixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

from .. import checks
from ..ranking import LARGEST, SMALLEST
from ..superpixels import borders, distinct_sets

_TINY = 1e-12

FIT_POWER = 1.5
"""How much the fit counts beside the contrast. With 1 a proposal over two touching instances ties with either of them, as a
gain in fit is a loss in contrast; 2 measured no better."""

LEVELS = (0.3, 0.5, 0.7)
"""Levels at which the co-saliency is cut, as fractions of its highest value."""

FAINT = 0.05
"""How much more salient than its surroundings a proposal must be, at least, to be an instance."""


@dataclass(frozen=True)
class PaperSums:
    """The three sums of Eq. 7 without their weights.

    Attributes
    ----------
    inside : (Q, K), ``sum(R P)``.
    contour : (Q, K), ``sum(R Phat)``.
    background : (K,), ``sum((1 - S) P)``.
    """

    inside: torch.Tensor
    contour: torch.Tensor
    background: torch.Tensor

    def score(self, beta: float = 0.8, gamma: float = 1e-5) -> torch.Tensor:
        """``beta sum(R P) + sum(R Phat) - gamma sum((1 - S) P)``: (Q, K), whether or not a proposal is of a usable size."""
        return beta * self.inside + self.contour - gamma * self.background


@dataclass(frozen=True)
class RankingTerms:
    """What our default's score of every proposal for every peak, or group of peaks, is made of.

    Attributes
    ----------
    paper : (G, K), Eq. 7, at least 0.
    fit : (G, K) in [0, 1].
    contrast : (K,) in [-1, 1].
    usable : (K,) bool, within the size limits.
    target : (G, S), ``u``, what the fit is a fit to, its mean over every superpixel.
    """

    paper: torch.Tensor
    fit: torch.Tensor
    contrast: torch.Tensor
    usable: torch.Tensor
    target: torch.Tensor

    def score(self, fit: bool = True, contrast: bool = True) -> torch.Tensor:
        """Eq. 7, times fit to the power of ``FIT_POWER`` and times contrast.

        Parameters
        ----------
        fit, contrast : whether Eq. 7 is multiplied by each.

        Returns
        -------
        (G, K), at least 0; -inf outside the size limits and, with contrast, where a proposal does not stand out (contrast under
        0.05), unless none does.
        """
        scores, usable = self.paper, self.usable
        if fit:
            scores = scores * self.fit**FIT_POWER
        if contrast:
            scores = scores * self.contrast.clamp_min(_TINY)
            clear = usable & (self.contrast >= FAINT)
            usable = clear if clear.any() else usable
        return scores.masked_fill(~usable, -torch.inf)


class RegionRanker:
    """``rank_proposals`` for proposals that are unions of the superpixels of one photo, many times faster.

    All pixels of a superpixel are in the same proposals, so sums over proposals are sums over superpixels. A pixel is on a
    proposal's contour if the 5 x 5 window round it has superpixels both in and out of the proposal, so pixels whose windows
    have the same set of superpixels are on the same contours. Both groupings are made once for a photo.

    Parameters
    ----------
    labels : (H, W) integers, the superpixel of every pixel, 0 .. S - 1.
    members : (K, S) bool, the superpixels of every proposal.
    width : side of the window, in pixels.

    Attributes
    ----------
    size : (H, W).
    members : (K, S), as given, of 0 and 1.
    labels : (H W,), as given.
    area : (S,), pixels of every superpixel.
    share : (K,), the part of the photo that every proposal covers.

    Raises
    ------
    ValueError : if a label is not a whole number from 0 to S - 1.
    """

    def __init__(self, labels: torch.Tensor | np.ndarray, members: torch.Tensor, width: int = 5):
        labels = checks.tensor(labels, "labels", ("H", "W")).numpy()
        self.members = checks.masks(members, "members", ("K", "S")).float()
        count = self.members.shape[1]
        if labels.dtype.kind not in "iu" or (labels.size and not 0 <= labels.min() <= labels.max() < count):
            raise ValueError(f"labels must be whole numbers from 0 to {count - 1}, got {labels.dtype} values outside")
        self.size = labels.shape
        self.labels = torch.from_numpy(labels.astype(np.int64)).flatten()
        self.area = torch.bincount(self.labels, minlength=count).float()
        self.share = self.members @ self.area / labels.size
        reach = width // 2
        mixed = ndimage.maximum_filter(labels, width, mode="nearest") != ndimage.minimum_filter(labels, width, mode="nearest")
        # Repeating the edge adds no superpixel to a window that is cut off there.
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(labels, reach, mode="edge"), (width, width))
        seen = np.sort(windows[mixed].reshape(-1, width * width), axis=1)
        first = np.ones(seen.shape, bool)
        first[:, 1:] = seen[:, 1:] != seen[:, :-1]
        starts = np.r_[0, np.cumsum(first.sum(1))]
        sets = sparse.csr_array((np.ones(starts[-1], np.float32), seen[first], starts), shape=(len(seen), count))
        example, group = distinct_sets(sets)
        self._windows = sets[example]
        self.on_contour = self._on_contour(self.members)
        self.contour_pixels = torch.from_numpy(np.flatnonzero(mixed))
        self.contour_group = torch.from_numpy(group)

    def _on_contour(self, members: torch.Tensor) -> torch.Tensor:
        """Which kinds of windows are on a contour of each proposal: (windows, K)."""
        inside = torch.from_numpy(self._windows @ members.numpy().T)
        number = torch.from_numpy(np.diff(self._windows.indptr)).float()[:, None]
        return ((inside > 0) & (inside < number)).float()

    def extended(self, members: torch.Tensor) -> RegionRanker:
        """The same ranker with more proposals. What is known of the others is not computed again.

        Parameters
        ----------
        members : (E, S) bool, the superpixels of every further proposal.
        """
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
        """Eq. 7, as ``rank_proposals``.

        Parameters
        ----------
        heat_maps : (Q, H, W).
        saliency : (H, W), the co-saliency.
        beta, gamma : weights of the first and the last term.
        groups : (G, Q) bool, groups of peaks, whose score is the mean of their peaks'; None: each peak by itself.

        Returns
        -------
        (Q, K), or (G, K) for groups; -inf outside the size limits.
        """
        scores = self.sums(heat_maps, saliency).score(beta, gamma)
        if groups is not None:
            groups = checks.masks(groups, "groups", ("G", len(heat_maps)))
            scores = groups.to(scores.dtype) @ scores / groups.sum(1, keepdim=True)
        return scores.masked_fill(~self.usable, -torch.inf)

    def sums(self, heat_maps: torch.Tensor, saliency: torch.Tensor) -> PaperSums:
        """The sums of Eq. 7.

        Parameters
        ----------
        heat_maps : (Q, H, W), floating.
        saliency : (H, W), floating.
        """
        saliency = checks.tensor(saliency, "saliency", self.size, floating=True)
        heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", *self.size), floating=True)
        response = (heat_maps * saliency).flatten(1)
        members, on_contour = self.members.to(response.dtype), self.on_contour.to(response.dtype)
        inside = self._sums(response, self.labels, members.shape[1]) @ members.T
        at_contour = response[:, self.contour_pixels]
        contour = self._sums(at_contour, self.contour_group, len(on_contour)) @ on_contour
        background = self._sums((1 - saliency).to(response.dtype).flatten()[None], self.labels, members.shape[1]) @ members.T
        return PaperSums(inside, contour, background[0])

    def terms(
        self,
        heat_maps: torch.Tensor,
        saliency: torch.Tensor,
        beta: float = 0.8,
        gamma: float = 1e-5,
        groups: torch.Tensor | None = None,
        power: torch.Tensor | float = 1.0,
    ) -> RankingTerms:
        """Eq. 7, fit and contrast: does the proposal fit the peak's share of the co-saliency, and does it stand out?

        Eq. 7 adds up, so a larger proposal rarely scores less, and a peak's heat says little about where its instance ends. The
        two factors say more. *Fit*: the peak's share of the co-saliency is ``t = S O / sum over the peaks of O``, so that peaks
        divide an image among themselves; over its largest value, to the power of ``power``, it is the target ``u``, and fit is
        the soft intersection over union ``sum(u P) / (|P| + sum(u) - sum(u P))``. *Contrast*: the mean co-saliency inside less
        that of the superpixels just outside, each weighted by the length of its border with the proposal.

        Parameters
        ----------
        heat_maps : ``O``, (Q, H, W), each made to sum to 1.
        saliency : ``S``, (H, W) in [0, 1].
        beta, gamma : as for ``scores``.
        groups : (G, Q) bool, peaks that are ranked together, their shares added up; None: each peak by itself.
        power : a number, or (G,), one a group; below 1 it raises the low values of a share.
        """
        heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", *self.size), floating=True).clamp_min(0)
        heat_maps = heat_maps / heat_maps.sum((1, 2), keepdim=True).clamp_min(_TINY)
        paper = self.scores(heat_maps, saliency, beta, gamma, groups).clamp_min(0)
        share = self.shares(heat_maps, saliency, groups)
        mean, members, border, area = (
            values.to(share.dtype) for values in (self._mean(saliency), self.members, self._border_with_outside, self.area)
        )
        power = torch.as_tensor(power, dtype=share.dtype, device=share.device).reshape(-1, 1)
        target = (share / share.amax(1, keepdim=True).clamp_min(FAINT)) ** power
        size, weighed = members @ area, target * area
        common = weighed @ members.T
        fit = common / (size + weighed.sum(1, keepdim=True) - common).clamp_min(_TINY)
        inside = members @ (mean * area) / size.clamp_min(1)
        contrast = inside - (border @ mean) / border.sum(1).clamp_min(1)
        return RankingTerms(paper, fit, contrast, self.usable, target)

    @property
    def usable(self) -> torch.Tensor:
        """Which proposals are within the size limits of ``rank_proposals``: (K,) bool."""
        return (self.share >= SMALLEST) & (self.share <= LARGEST)

    def shares(self, heat_maps: torch.Tensor, saliency: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
        """Each peak's or group's share ``t`` of the co-saliency (see ``terms``), its mean over every superpixel.

        Parameters
        ----------
        heat_maps : (Q, H, W), of any sums.
        saliency : (H, W).
        groups : as for ``terms``.

        Returns
        -------
        (Q, S), or (G, S) for groups.
        """
        # Of all peaks' heat in a superpixel the part that is each peak's, where the heat of each sums to 1.
        heat = self._sums(heat_maps.clamp_min(0).flatten(1), self.labels, self.members.shape[1])
        heat = heat / heat.sum(1, keepdim=True).clamp_min(_TINY)
        share = heat / heat.sum(0).clamp_min(_TINY)
        return (share if groups is None else groups.to(share.dtype) @ share) * self._mean(saliency)

    def _mean(self, saliency: torch.Tensor) -> torch.Tensor:
        return self._sums(saliency.flatten()[None], self.labels, self.members.shape[1])[0] / self.area.clamp_min(1)

    @cached_property
    def _border_with_outside(self) -> torch.Tensor:
        """How many pairs of neighbouring pixels join each proposal to each superpixel outside it: (K, S)."""
        return self._border_of(self.members)

    def _border_of(self, members: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._touching @ members.numpy().T).T * (1 - members)

    @cached_property
    def _touching(self) -> sparse.csr_array:
        """How many pairs of neighbouring pixels join each superpixel to each other: (S, S)."""
        touching, count = borders(self.labels.reshape(self.size).numpy()), self.members.shape[1]
        length = sparse.csr_array((touching.length.astype(np.float32), (touching.first, touching.second)), shape=(count, count))
        return (length + length.T).tocsr()

    def level_sets(self, saliency: torch.Tensor, levels: Sequence[float] = LEVELS) -> torch.Tensor:
        """The connected parts of the co-saliency above each level, each made of whole superpixels that touch.

        Parameters
        ----------
        saliency : (H, W), the co-saliency.
        levels : fractions of its highest mean over a superpixel.

        Returns
        -------
        (E, S) bool, no two alike.
        """
        mean = self._mean(checks.tensor(saliency, "saliency", self.size, floating=True)).numpy()
        parts = [np.zeros((0, len(mean)), bool)]
        for level in levels:
            above = np.flatnonzero(mean > level * mean.max(initial=0))
            count, part = connected_components(self._touching[above][:, above], directed=False)
            part_of = np.full(len(mean), -1)
            part_of[above] = part
            parts.append(part_of == np.arange(count)[:, None])
        return torch.from_numpy(np.unique(np.concatenate(parts), axis=0))

    def masks(self, chosen: torch.Tensor) -> torch.Tensor:
        """The masks of some proposals: (M,) indices -> (M, H, W) bool."""
        return self.unions(self.members[chosen].bool())

    def unions(self, regions: torch.Tensor) -> torch.Tensor:
        """The masks that are made of some superpixels each: (M, S) bool -> (M, H, W) bool."""
        return regions[:, self.labels].reshape(-1, *self.size)

    @staticmethod
    def _sums(values: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
        return values.new_zeros(len(values), count).index_add_(1, groups, values)
