"""Ranking: which proposal fits a peak's heat map best, and which instances to keep.

``rank_proposals`` is the paper's Eq. 7, ``RegionRanker.scores`` the same for proposals made of superpixels, and
``RegionRanker.distinct_scores`` our default, which multiplies it by two more questions.

Shape letters: H W image size, K proposals, Q peaks, M instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from pycocotools import mask as rle
from scipy import ndimage, sparse

from . import checks
from .images import resize_nearest
from .overlap import mask_iou
from .refinement import RegionRefiner
from .torch_defaults import torch_defaults

SMALLEST, LARGEST = 0.00002, 0.85
"""Share of the image that a proposal may cover."""

FIT_POWER = 1.5
"""How much the fit counts beside the contrast. With 1 a proposal over two touching instances ties with either of them, as what
one gains in fit it loses in contrast; 2 measured no better."""

FAINT = 0.05
"""How much more salient than its surroundings a proposal must be, at least, to be an instance."""

_TINY = 1e-12
_CACHED = 8  # masks worked on at a time, few enough to stay in the processor's cache
_CHUNK = 64  # proposals turned into floats at a time; bounds the memory of a sum over a thousand masks


class Instance:
    """One found instance, in the photo's own pixels.

    mask: (H, W) bool; score: higher is surer, comparable within a category; peak: ``(y, x)`` of the seed; box: the
    mask's tight box ``(x0, y0, x1, y1)``, x1 and y1 exclusive.

    The mask is kept as run lengths, a few kilobytes for any photo, and made anew whenever it is asked for. ``size`` (H, W):
    that of the photo, where the mask that is given is smaller (None: its own); it is enlarged by nearest neighbour.
    """

    def __init__(self, mask, score: float, peak: tuple[int, int], box: tuple[int, int, int, int], size=None):
        mask = np.asarray(mask, dtype=bool)
        self.score, self.peak, self.box, self.size = score, peak, box, tuple(size or mask.shape)
        self._runs = rle.encode(np.asfortranarray(mask, dtype=np.uint8))

    @property
    @torch_defaults()
    def mask(self) -> np.ndarray:
        mask = torch.from_numpy(rle.decode(self._runs).view(bool))
        return resize_nearest(mask[None], self.size)[0].contiguous().numpy()

    def __repr__(self) -> str:
        return f"Instance(score={self.score:.4g}, peak={self.peak}, box={self.box}, size={self.size})"


def contours(masks: torch.Tensor, width: int = 5) -> torch.Tensor:
    """Morphological gradient of each mask: where its dilation and its erosion by a ``width`` x ``width`` square differ.

    masks: (K, H, W) bool; ``width`` odd. Returns (K, H, W) bool. Outside the image counts as background when dilating
    and as foreground when eroding, so that the image's border makes no contour.
    """
    masks = checks.masks(masks, "masks")
    if width % 2 != 1 or width < 1:
        raise ValueError(f"width must be an odd positive number, got {width}")
    result = torch.empty_like(masks)
    for part, target in zip(masks.split(_CACHED), result.split(_CACHED), strict=True):
        grown = shrunk = part
        for axis in (1, 2):
            grown = _along(grown, axis, width // 2, torch.logical_or)
            shrunk = _along(shrunk, axis, width // 2, torch.logical_and)
        torch.logical_xor(grown, shrunk, out=target)
    return result


def _along(masks: torch.Tensor, axis: int, reach: int, operation) -> torch.Tensor:
    result = masks.clone()
    size = masks.shape[axis]
    for step in range(1, min(reach, size - 1) + 1):
        for target, source in ((0, step), (step, 0)):
            part = result.narrow(axis, target, size - step)
            operation(part, masks.narrow(axis, source, size - step), out=part)
    return result


def masked_sums(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Sum of each map inside each mask: (Q, H, W), (K, H, W) bool -> (Q, K)."""
    flat = maps.flatten(1)
    return torch.cat([flat @ part.flatten(1).to(flat.dtype).T for part in masks.split(_CHUNK)] or [flat[:, :0]], 1)


def within_size_limits(proposals: torch.Tensor) -> torch.Tensor:
    """Which proposals cover between 0.002 % and 85 % of the image: (K, H, W) bool -> (K,) bool."""
    share = proposals.flatten(1).sum(1) / max(proposals[:1].numel(), 1)
    return (share >= SMALLEST) & (share <= LARGEST)


def rank_proposals(
    heat_maps: torch.Tensor,
    saliency: torch.Tensor,
    proposals: torch.Tensor,
    beta: float = 0.8,
    gamma: float = 1e-5,
    proposal_contours: torch.Tensor | None = None,
) -> torch.Tensor:
    """Score of every proposal for every peak (paper, Eq. 7).

    With ``R = O * S``: ``score(P) = beta sum(R P) + sum(R Phat) - gamma sum((1 - S) P)``.

    heat_maps ``O``: (Q, H, W); saliency ``S``: (H, W); proposals ``P``: (K, H, W) bool; ``Phat`` their contours,
    computed here unless given (they serve every call with the same proposals). Returns (Q, K); -inf for proposals that
    cover less than 0.002 % or more than 85 % of the image.
    """
    heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", "H", "W"), floating=True)
    size = tuple(heat_maps.shape[1:])
    saliency = checks.tensor(saliency, "saliency", size, floating=True)
    proposals = checks.masks(proposals, "proposals", ("K", *size))
    if proposal_contours is None:
        proposal_contours = contours(proposals)
    response = heat_maps * saliency
    background = masked_sums((1 - saliency)[None], proposals)
    scores = beta * masked_sums(response, proposals) + masked_sums(response, proposal_contours) - gamma * background
    return scores.masked_fill(~within_size_limits(proposals), -torch.inf)


class RegionRanker:
    """``rank_proposals`` for proposals that are unions of the cells of one partition, many times faster.

    All pixels of a cell are in the same proposals, so sums over proposals are sums over cells. A pixel is on a
    proposal's contour if the 5 x 5 window round it sees cells both in and out of the proposal, so pixels whose windows
    see the same set of cells are on the same contours. Both groupings are made once for a photo.

    labels: (H, W) integers, the cell of every pixel, 0 .. S - 1; members: (K, S) bool, the cells of every proposal;
    refiner: what moves the outlines of masks once they are chosen (None: nothing does).
    """

    def __init__(self, labels: torch.Tensor, members: torch.Tensor, width: int = 5, refiner: RegionRefiner | None = None):
        self.refiner = refiner
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
        sets = sparse.csr_array(
            (np.ones(len(rows), np.float32), (rows, seen[example][rows, columns])), shape=(len(example), cells)
        )
        inside = torch.from_numpy(sets @ self.members.numpy().T)
        number = torch.from_numpy(np.diff(sets.indptr)).float()[:, None]
        self.on_contour = ((inside > 0) & (inside < number)).float()
        self.contour_pixels = torch.from_numpy(np.flatnonzero(mixed))
        self.contour_group = torch.from_numpy(group.reshape(-1))

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
        background = self._sums((1 - saliency).to(response.dtype).flatten()[None], self.labels, members.shape[1]) @ members.T
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
        share = self.shares(heat_maps, saliency, groups)
        mean, members, border = (one.to(share.dtype) for one in (self._mean(saliency), self.members, self._border_with_outside))
        power = torch.as_tensor(power, dtype=share.dtype, device=share.device).reshape(-1, 1)
        target = (share / share.amax(1, keepdim=True).clamp_min(FAINT)) ** power * self.area
        # Proposals of nothing and of everything, whose fit or contrast is NaN, are outside the size limits.
        size = members @ self.area.to(share.dtype)
        common = target @ members.T
        fit = common / (size + target.sum(1, keepdim=True) - common)
        inside = members @ (mean * self.area) / size
        contrast = inside - (border @ mean) / border.sum(1)
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
        labels, cells = self.labels.reshape(self.size), self.members.shape[1]
        pairs = torch.cat(
            [torch.stack([labels[:, 1:], labels[:, :-1]]).flatten(1), torch.stack([labels[1:], labels[:-1]]).flatten(1)], 1
        )
        first, second = pairs[:, pairs[0] != pairs[1]].numpy()
        length = sparse.coo_array((np.ones(len(first), np.float32), (first, second)), shape=(cells, cells)).tocsr()
        touching = torch.from_numpy((length + length.T) @ self.members.numpy().T).T
        return touching * (1 - self.members)

    def masks(self, chosen: torch.Tensor) -> torch.Tensor:
        """The masks of some proposals: (M,) indices -> (M, H, W) bool."""
        return self.unions(self.members[chosen].bool())

    def unions(self, regions: torch.Tensor) -> torch.Tensor:
        """The masks that are made of some cells each: (M, S) bool -> (M, H, W) bool."""
        return regions[:, self.labels].reshape(-1, *self.size)

    @staticmethod
    def _sums(values: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
        return values.new_zeros(len(values), count).index_add_(1, groups, values)


def mask_nms(masks: torch.Tensor, scores: torch.Tensor, iou: float = 0.4) -> torch.Tensor:
    """Greedy non-maximum suppression: in the order of falling score, keep a mask whose IoU with every kept one is
    below ``iou``.

    masks: (M, H, W) bool; scores: (M,), not NaN. Returns the kept indices, best first, long.
    """
    masks = checks.masks(masks, "masks", ("M", "H", "W"))
    scores = checks.tensor(scores, "scores", (len(masks),))
    if scores.isnan().any():
        raise ValueError("scores must be numbers that can be ordered, got NaN")
    return suppress(mask_iou(masks, masks), scores, iou)


@torch_defaults()
def suppress(overlaps: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """``mask_nms`` for masks whose overlaps (M, M) with one another are known already."""
    kept: list[int] = []
    for k in scores.argsort(descending=True, stable=True).tolist():
        if all(overlaps[k, other] < iou for other in kept):
            kept.append(k)
    return torch.tensor(kept, dtype=torch.long)


@torch_defaults()
def noise_filter(scores: Sequence[torch.Tensor], percentile: float = 20.0) -> list[torch.Tensor]:
    """Which instances of a class to keep: those scoring at least the given percentile of all the class's scores; an
    image left with nothing keeps its single best.

    scores: a list over images of (M_i,), finite. Returns a list of bool (M_i,). The percentile interpolates linearly between
    the midpoints ``100 (k - 0.5) / n`` (MATLAB's ``prctile``).
    """
    checks.between(percentile, "percentile", 0, 100)
    names = [f"scores[{k}]" for k in range(len(scores))]
    scores = [
        checks.finite(checks.tensor(value, name, ("M",)).double(), name) for name, value in zip(names, scores, strict=True)
    ]
    pooled = torch.cat([torch.zeros(0, dtype=torch.float64), *scores])
    if not len(pooled):
        return [torch.zeros(0, dtype=torch.bool) for _ in scores]
    threshold = np.percentile(pooled.cpu().numpy(), percentile, method="hazen")
    kept = []
    for value in scores:
        keep = value >= threshold
        if len(value) and not keep.any():
            keep[value.argmax()] = True
        kept.append(keep)
    return kept
