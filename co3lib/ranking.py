"""Ranking: which proposal fits a peak's heat map best, and which instances to keep (paper, Section 3.3).

``rank_proposals`` is Eq. 7. What ``CoSegmenter`` runs is ``beyond.region_ranking``: the same for proposals that are made of
superpixels, many times faster, and the default score.

Shape letters: H W image size, K proposals, Q peaks, M instances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from . import checks
from .overlap import mask_iou
from .torch_defaults import torch_defaults

SMALLEST, LARGEST = 0.00002, 0.85
"""Share of the image that a proposal may cover."""
_CACHED = 8  # masks worked on at a time, few enough to stay in the processor's cache
_PIXELS = 1024  # turned into floats at a time, of a thousand masks few enough to stay there as well


def contours(masks: torch.Tensor, width: int = 5) -> torch.Tensor:
    """Morphological gradient of each mask: where its dilation and its erosion by a ``width`` x ``width`` square differ.

    Outside the image counts as background when dilating and as foreground when eroding, so that the image's border makes no
    contour.

    Parameters
    ----------
    masks : (K, H, W) bool.
    width : of the square, in pixels, odd.

    Returns
    -------
    (K, H, W) bool.

    Raises
    ------
    ValueError : for a width that is not odd and positive.
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
    sums = maps.new_zeros(len(maps), len(masks))
    for part, inside in zip(maps.flatten(1).split(_PIXELS, 1), masks.flatten(1).split(_PIXELS, 1), strict=True):
        sums.addmm_(part, inside.to(maps.dtype).T)
    return sums


def within_size_limits(proposals: torch.Tensor) -> torch.Tensor:
    """Which proposals cover between 0.002 % and 85 % of the image: (K, H, W) bool -> (K,) bool."""
    # In numpy, which counts bytes; torch makes each of them a whole number of eight bytes first.
    pixels = torch.tensor([np.count_nonzero(mask) for mask in proposals.cpu().numpy()], device=proposals.device)
    share = pixels / max(proposals[:1].numel(), 1)
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

    Parameters
    ----------
    heat_maps : ``O``, (Q, H, W), floating.
    saliency : ``S``, (H, W), floating, the co-saliency.
    proposals : ``P``, (K, H, W) bool.
    beta, gamma : weights of the first and of the last term.
    proposal_contours : ``Phat``, (K, H, W) bool, the same for every call with the same proposals; None: computed here.

    Returns
    -------
    (Q, K); -inf for proposals that cover less than 0.002 % or more than 85 % of the image.
    """
    heat_maps = checks.tensor(heat_maps, "heat_maps", ("Q", "H", "W"), floating=True)
    size = tuple(heat_maps.shape[1:])
    saliency = checks.tensor(saliency, "saliency", size, floating=True)
    proposals = checks.masks(proposals, "proposals", ("K", *size))
    if proposal_contours is None:
        proposal_contours = contours(proposals)
    response = heat_maps * saliency
    # Turning masks into numbers takes longer than adding up, so it is done once for both sums over the proposals.
    inside = masked_sums(torch.cat([response, 1 - saliency[None]]), proposals)
    scores = beta * inside[:-1] + masked_sums(response, proposal_contours) - gamma * inside[-1]
    return scores.masked_fill(~within_size_limits(proposals), -torch.inf)


def mask_nms(masks: torch.Tensor, scores: torch.Tensor, iou: float = 0.4) -> torch.Tensor:
    """Greedy non-maximum suppression: which masks to keep.

    In the order of falling score, a mask is kept if its IoU with every kept one is below ``iou``.

    Parameters
    ----------
    masks : (M, H, W) bool.
    scores : (M,), not NaN.
    iou : from which on the mask with the lower score is dropped.

    Returns
    -------
    The kept indices, long, best first.

    Raises
    ------
    ValueError : for a score of NaN.
    """
    masks = checks.masks(masks, "masks", ("M", "H", "W"))
    scores = checks.tensor(scores, "scores", (len(masks),))
    if scores.isnan().any():
        raise ValueError("scores must be numbers that can be ordered, got NaN")
    return suppress(mask_iou(masks, masks), scores, iou)


@torch_defaults()
def suppress(overlaps: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """``mask_nms`` for masks whose overlaps with one another are known already.

    Parameters
    ----------
    overlaps : (M, M), the masks' IoU.
    scores, iou : as for ``mask_nms``.
    """
    kept: list[int] = []
    apart = (overlaps < iou).cpu().numpy()
    left = np.ones(len(scores), bool)
    for k in scores.argsort(descending=True, stable=True).tolist():
        if left[k]:
            kept.append(k)
            left &= apart[:, k]
    return torch.tensor(kept, dtype=torch.long)


@torch_defaults()
def noise_filter(scores: Sequence[torch.Tensor], percentile: float = 20.0) -> list[torch.Tensor]:
    """Which instances of a category to keep: those scoring at least the given percentile of all its scores.

    An image left with nothing keeps its single best. The percentile interpolates linearly between the midpoints
    ``100 (k - 0.5) / n`` (MATLAB's ``prctile``).

    Parameters
    ----------
    scores : a list over images of (M_i,), finite.
    percentile : in [0, 100].

    Returns
    -------
    A list over images of (M_i,) bool.

    Raises
    ------
    ValueError : for scores that are not finite, or a percentile outside [0, 100].
    """
    checks.between(percentile, "percentile", 0, 100)
    named = {f"scores[{k}]": value for k, value in enumerate(scores)}
    scores = [checks.finite(checks.tensor(value, name, ("M",)).double(), name) for name, value in named.items()]
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
