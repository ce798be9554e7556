"""From heat maps to instances: every peak chooses a proposal, overlapping masks are suppressed, and the noise filter drops
the weakest instances of the category.

Shape letters: H W size of the heat maps, K proposals, Q peaks, G groups of peaks, M instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import checks
from .beyond.grouping import group_peaks
from .beyond.refinement import RegionRefiner, one_piece
from .beyond.region_ranking import RegionRanker
from .config import CoSegConfig
from .datasets.images import resize_nearest
from .inference import PreparedImage, ScalePeaks
from .instance import Instance
from .overlap import mask_iou, tight_box
from .proposals import propose_regions, regions_of
from .ranking import noise_filter, suppress
from .torch_defaults import torch_defaults

_PROPOSALS = 1000  # made of a photo where the configuration sets no limit
_SAME_IOU = 0.6  # from which two scales have found the same instance


@dataclass(frozen=True)
class Candidates:
    """The instances of one photo before the noise filter, best first.

    Attributes
    ----------
    masks : (M, H, W) bool.
    scores : (M,).
    peaks : (M, 2) in pixels ``(y, x)`` of the masks.
    """

    masks: torch.Tensor
    scores: torch.Tensor
    peaks: torch.Tensor


@dataclass(frozen=True)
class Proposals:
    """The proposals of one photo.

    Attributes
    ----------
    ranker : scores them.
    refiner : moves the outlines of those that are chosen; None: nothing does.
    complete : whether there may be no others, which is so where they were given.
    """

    ranker: RegionRanker
    refiner: RegionRefiner | None = None
    complete: bool = False


def prepare_proposals(image: PreparedImage, config: CoSegConfig, masks: torch.Tensor | None = None) -> Proposals:
    """The proposals of a photo at the size of its heat maps.

    Parameters
    ----------
    image : the photo.
    config : gives how many there are at most, and whether their masks are refined.
    masks : (K, H', W') bool, ready-made proposals, best first; None: made here.

    Raises
    ------
    ValueError : naming the photo, if ``masks`` are not boolean masks.
    """
    if masks is None:
        regions = propose_regions(image.pixels, config.max_proposals or _PROPOSALS)
    else:
        regions = regions_of(checks.masks(masks, f"proposals of {image.name}")[: config.max_proposals])
    labels = resize_nearest(regions.labels[None], image.pixels.shape[:2])[0]
    # Who gives proposals gives their outlines too; the pieces that they have in common are no superpixels.
    refine = masks is None and config.refine_masks
    refiner = RegionRefiner(labels, image.pixels, regions.members.shape[1]) if refine else None
    return Proposals(RegionRanker(labels, regions.members), refiner, complete=masks is not None)


def rank(
    heat: torch.Tensor,
    saliency: torch.Tensor,
    ranker: RegionRanker,
    config: CoSegConfig,
    groups: torch.Tensor | None = None,
    power: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Scores of the proposals for every peak, as ``config.ranking`` says (Eq. 7).

    Parameters
    ----------
    heat : (Q, H, W), the peaks' heat maps.
    saliency : (H, W), the co-saliency.
    ranker : of the photo's proposals.
    config : gives the ranking and its weights.
    groups : (G, Q) bool, peaks that are ranked together; None: each by itself.
    power : of a group's share of the co-saliency, as for ``RegionRanker.terms``.

    Returns
    -------
    (Q, K), or (G, K) for groups; -inf for proposals outside the size limits.
    """
    if config.ranking == "fit_contrast":
        return ranker.terms(heat, saliency, config.beta, config.gamma, groups, power).score()
    guide = saliency if config.rank_with_saliency else torch.ones_like(saliency)
    # Resized from the network's input to the photo, the authors' heat maps keep their values and not, as here, their sums: all
    # heat times this, which is the same as the scores times it with gamma over it.
    times = saliency.numel() / config.input_size**2
    return times * ranker.scores(heat, guide, config.beta, config.gamma / times, groups)


@torch_defaults()
def choose_masks(scales: Sequence[ScalePeaks], proposals: Proposals, config: CoSegConfig) -> Candidates:
    """The instances of one photo: every peak takes its best proposal, then non-maximum suppression over all of them.

    The released method ends there. Beyond it, as the configuration says:

    * With several scales, a score is multiplied by the number of scales that found the same mask.
    * With ``group_peaks``, groups of peaks compete with single ones: a group's scores are multiplied by its depth
      (``grouping.group_peaks``), and of the peaks and groups that have a peak in common only the best takes a proposal. The
      share of a group, and of a peak at a scale below that of training, counts by its root, since its low values are on the
      thing as well.
    * With ``level_sets``, such a scale also has the connected parts of its co-saliency as proposals.
    * With ``refine_masks``, the outline of a chosen mask moves to where the colours change, and the mask is one piece
      (``refinement.one_piece``).

    Parameters
    ----------
    scales : the photo's peaks and their heat maps, scale by scale.
    proposals : the photo's.
    config : gives the ranking and the steps named above.
    """
    refiner = proposals.refiner
    masks, best = [torch.zeros(0, *proposals.ranker.size, dtype=torch.bool)], [torch.zeros(0)]
    peaks, origin = [torch.zeros(0, 2, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    for number, scale in enumerate(scales):
        saliency = scale.view.saliency
        groups, depth = torch.eye(len(scale.cells), dtype=torch.bool), torch.ones(len(scale.cells))
        if config.group_peaks:
            groups, depth = group_peaks(scale.view.output.saliency[0, 0], scale.cells)
        ranker = proposals.ranker
        if config.level_sets and scale.far and not proposals.complete:
            ranker = ranker.extended(ranker.level_sets(saliency))
        by_root = (groups.sum(1) > 1) | scale.far
        scores = rank(scale.heat, saliency, ranker, config, groups, torch.where(by_root, 0.5, 1.0))
        if not scores.numel():
            continue
        highest, chosen = scores.max(1)
        highest = highest * depth
        usable = _one_each(groups, highest)
        regions = ranker.members[chosen[usable]].bool()
        if config.refine_masks and refiner is not None:
            regions = refiner.refine(regions, ranker.shares(scale.heat, saliency, groups)[usable])
            masks.append(one_piece(ranker.unions(regions)))
        else:
            masks.append(ranker.unions(regions))
        best.append(highest[usable] * scale.weight)
        peaks.append(scale.points[groups[usable].int().argmax(1)])
        origin.append(torch.full((len(regions),), number))
    found = Candidates(torch.cat(masks), torch.cat(best), torch.cat(peaks))
    scale_of = torch.cat(origin)
    overlaps = mask_iou(found.masks, found.masks)
    agreeing = sum((overlaps[:, scale_of == number] >= _SAME_IOU).any(1).long() for number in range(len(scales)))
    scores = found.scores * agreeing
    kept = suppress(overlaps, scores, config.nms_iou)
    return Candidates(found.masks[kept], scores[kept], found.peaks[kept])


def _one_each(groups: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Which groups (G, Q) keep their peaks, each peak going to the group with the best score: (G,) bool."""
    kept, free = torch.isfinite(scores), torch.ones(groups.shape[1], dtype=torch.bool)
    for group in scores.argsort(descending=True, stable=True).tolist():
        kept[group] &= bool((groups[group] <= free).all())
        if kept[group]:
            free &= ~groups[group]
    return kept


def to_instances(candidates: Candidates, size: tuple[int, int]) -> list[Instance]:
    """The candidates in the photo's own pixels, best first.

    Parameters
    ----------
    candidates : of one photo.
    size : (height, width) of the photo, in pixels.
    """
    scale = np.array(size) / np.array(candidates.masks.shape[1:])
    instances = []
    for mask, score, peak in zip(candidates.masks, candidates.scores, candidates.peaks, strict=True):
        if mask.any():
            y, x = (int(value) for value in peak.numpy() * scale)
            # Rows and columns are enlarged each by themselves, so the box needs no mask of the photo's size.
            rows = resize_nearest(mask.any(1)[None, :, None], (size[0], 1))[0]
            columns = resize_nearest(mask.any(0)[None, None], (1, size[1]))[0]
            (_, y0, _, y1), (x0, _, x1, _) = tight_box(rows), tight_box(columns)
            instances.append(Instance(mask.numpy(), float(score), (y, x), (x0, y0, x1, y1), size))
    return sorted(instances, key=lambda instance: -instance.score)


def finish(candidates: Sequence[Candidates], sizes: Sequence[tuple[int, int]], config: CoSegConfig) -> list[list[Instance]]:
    """Masks at the photos' own sizes, then the noise filter over the photos of a category.

    Parameters
    ----------
    candidates : of every photo.
    sizes : (height, width) of every photo, in pixels.
    config : gives the percentile of the noise filter.
    """
    return without_noise([to_instances(found, size) for found, size in zip(candidates, sizes, strict=True)], config)


def without_noise(found: Sequence[Sequence[Instance]], config: CoSegConfig) -> list[list[Instance]]:
    """The instances of a category's photos that the noise filter keeps.

    Parameters
    ----------
    found : every photo's instances.
    config : gives the percentile of the noise filter.
    """
    scores = [torch.tensor([instance.score for instance in photo], dtype=torch.float64, device="cpu") for photo in found]
    kept = noise_filter(scores, config.noise_percentile)
    return [
        [instance for instance, keep in zip(photo, keeps.tolist(), strict=True) if keep]
        for photo, keeps in zip(found, kept, strict=True)
    ]
