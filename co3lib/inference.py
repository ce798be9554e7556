"""From a photo and a trained network to instances, step by step.

Shape letters: C channels, H W size of the work image, ``h w`` feature grid, K proposals, Q peaks, M instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import checks
from .beyond.grouping import group_peaks
from .beyond.refinement import RegionRefiner, one_piece
from .beyond.region_ranking import RegionRanker
from .config import CoSegConfig
from .datasets.images import fit_within, name_of, read_image, resize_image, resize_maps, resize_nearest, to_tensor
from .instance import Instance
from .model import CoPeakNet, CoPeakOutput
from .overlap import mask_iou, tight_box
from .peak_backprop import enlarge, response_maps_from
from .peaks import copeak_votes, peak_cells, regional_maxima, score_peaks
from .proposals import propose_regions, regions_of
from .ranking import noise_filter, suppress
from .torch_defaults import torch_defaults

_PROPOSALS = 1000  # made of a photo where the configuration sets no limit
_SAME = 0.6  # the overlap from which two looks have found the same
_SEEDS = 20  # that count at every size but the first: more of them cost time and find nothing more


@dataclass(frozen=True)
class WorkImage:
    """A photo made ready: ``size`` (height, width) of the photo itself; ``pixels`` (H, W, 3) uint8, at most
    ``work_size`` long; ``squares``, the same at the sizes at which the network looks at it, that of training first:
    side -> (side, side, 3) uint8."""

    name: str
    size: tuple[int, int]
    pixels: np.ndarray
    squares: Mapping[int, np.ndarray]

    @property
    def tensor(self) -> torch.Tensor:
        """The network's input at the size of training: (1, 3, size, size)."""
        return self.at(next(iter(self.squares)))

    def at(self, side: int) -> torch.Tensor:
        """The network's input at one of the sizes: (1, 3, side, side)."""
        return to_tensor(self.squares[side], side)


@dataclass(frozen=True)
class View:
    """The network's view of one photo at one size: at_stop (1, C', h', w'), the activations at which heat maps are read;
    output, its features and scores; saliency (H, W), the co-saliency at work size."""

    at_stop: torch.Tensor
    output: CoPeakOutput
    saliency: torch.Tensor


@dataclass(frozen=True)
class Look:
    """One look at a photo, at one size: its view; cells (Q, 2), the seeds; heat (Q, H, W), theirs at work size; weight, what
    a score of this look counts; far, whether the photo is shown smaller than in training."""

    view: View
    cells: torch.Tensor
    heat: torch.Tensor
    weight: float = 1.0
    far: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """How many cells there are, down and across."""
        height, width = self.view.output.score.shape[2:]
        return height, width

    @property
    @torch_defaults()
    def points(self) -> torch.Tensor:
        """The middles of the seeds' cells in pixels ``(y, x)`` of the work image: (Q, 2) long."""
        size = torch.tensor(self.view.saliency.shape)
        return ((self.cells + 0.5) * (size / torch.tensor(self.grid))).long()


@dataclass(frozen=True)
class Candidates:
    """The instances of one photo before the category's noise filter, best first: masks (M, H, W) bool, scores (M,),
    peaks (M, 2) in pixels ``(y, x)``; all at work size."""

    masks: torch.Tensor
    scores: torch.Tensor
    peaks: torch.Tensor


@dataclass(frozen=True)
class Proposals:
    """The proposals of one photo, at work size: ranker, which scores them; refiner, which moves the outlines of those that
    are chosen (None: nothing does); complete, whether there may be no others (where they were given)."""

    ranker: RegionRanker
    refiner: RegionRefiner | None = None
    complete: bool = False


def prepare(photo, config: CoSegConfig, index: int = 0, sides: Sequence[int] | None = None) -> WorkImage:
    """Read a photo (path, PIL image or array) and make it ready; sides: the sizes at which it will be looked at beside that of
    training (None: all those of the prior and of ``predict``)."""
    pixels = read_image(photo, name=name_of(photo, index))
    small = pixels if config.work_size is None else fit_within(pixels, config.work_size)
    wanted = dict.fromkeys([config.size, *(sides or [*config.sizes, *config.peak_sizes])])
    squares = {side: resize_image(pixels, (side, side), config.interpolation) for side in wanted}
    return WorkImage(name_of(photo, index), pixels.shape[:2], small, squares)


def prepare_proposals(image: WorkImage, config: CoSegConfig, masks: torch.Tensor | None = None) -> Proposals:
    """The proposals of a photo, or the ``masks`` (K, H', W') bool given for it, ready to be ranked at work size."""
    if masks is None:
        regions = propose_regions(image.pixels, config.proposals or _PROPOSALS)
    else:
        regions = regions_of(checks.masks(masks, f"proposals of {image.name}")[: config.proposals])
    labels = resize_nearest(regions.labels[None], image.pixels.shape[:2])[0]
    # Who gives proposals gives their outlines too; the pieces that they have in common are no superpixels.
    refiner = RegionRefiner(labels, image.pixels, regions.members.shape[1]) if masks is None and config.refine else None
    return Proposals(RegionRanker(labels, regions.members), refiner, complete=masks is not None)


def see(model: CoPeakNet, image: WorkImage, config: CoSegConfig, side: int | None = None) -> View:
    """Run the network on a photo; side: one of ``config.peak_sizes`` (None: the first)."""
    with torch.no_grad():
        at_stop = model.activations(image.at(side or config.size), config.heat_stop)
        output = model.resume(at_stop, config.heat_stop)
        big = model.saliency_at_image_size(output.score)
    return View(at_stop, output, resize_maps(big[0], image.pixels.shape[:2], config.interpolation)[0])


def seed_cells(output: CoPeakOutput, config: CoSegConfig, bank: torch.Tensor) -> torch.Tensor:
    """The cells (Q, 2) at which an image's instances are looked for, best first.

    ``seeds="score"``: the peaks of the score map. ``seeds="copeak"``: the regional maxima of the votes that the cells
    get as ends of co-peaks with the images of ``bank`` (M, C, h, w), normalised and saliency-weighted features; among
    cells with equal votes the higher score wins.
    """
    score = output.score[0, 0]
    partners = partners_of(output.guided, bank) if config.seeds == "copeak" else bank[:0]
    if not len(partners):
        return peak_cells(score_peaks(output.score)[0, 0], score, every=config.ranking == "released")
    votes = copeak_votes(output.guided, partners)
    # Votes are whole numbers and tie often; the saliency, below one, only breaks the ties.
    height = votes + output.saliency[0, 0]
    return peak_cells(regional_maxima(height[None])[0] & (votes > 0), height)


def heat_maps(
    model: CoPeakNet, activations: torch.Tensor, cells: torch.Tensor, config: CoSegConfig, size: tuple[int, int]
) -> torch.Tensor:
    """Heat maps of the seeds at work size: (Q, H, W); ``activations`` are the output of stage ``config.heat_stop``."""
    return enlarge(response_maps_from(model, activations, config.heat_stop, cells), size, config.interpolation)


def rank(
    heat: torch.Tensor,
    saliency: torch.Tensor,
    ranker: RegionRanker,
    config: CoSegConfig,
    groups: torch.Tensor | None = None,
    power: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Scores of the proposals for every peak, as ``config.ranking`` says: heat (Q, H, W), saliency (H, W) -> (Q, K); for groups
    of peaks, (G, Q) bool: (G, K). groups and power: as for ``RegionRanker.terms``."""
    if config.ranking == "distinct":
        return ranker.terms(heat, saliency, config.beta, config.gamma, groups, power).score()
    guide = saliency if config.ranking_saliency else torch.ones_like(saliency)
    # Resized from the network's input to the photo, the authors' heat maps keep their values and not, as here, their sums: all
    # heat times this, which is the same as the scores times it with gamma over it.
    times = saliency.numel() / config.size**2
    return times * ranker.scores(heat, guide, config.beta, config.gamma / times, groups)


def look(
    model: CoPeakNet, image: WorkImage, config: CoSegConfig, bank: torch.Tensor, side: int | None = None, weight: float = 1.0
) -> Look:
    """Look at a photo at one size, up to the heat maps; bank: as for ``seed_cells``; side: as for ``see``; weight: what a score
    of this look counts."""
    side = side or config.size
    view = see(model, image, config, side)
    cells = seed_cells(view.output, config, bank)[: None if side == config.size else _SEEDS]
    heat = heat_maps(model, view.at_stop, cells, config, image.pixels.shape[:2])
    return Look(view, cells, heat, weight, side < config.size)


@torch_defaults()
def choose_masks(seen: Sequence[Look], proposals: Proposals, config: CoSegConfig) -> Candidates:
    """Each peak of every look takes its best proposal, its outline refined if ``config.refine``; a score counts as often as
    there are looks that found the same; non-maximum suppression over all of them.

    With ``config.group_peaks`` groups of peaks (``grouping.group_peaks``) compete with single ones: a group's scores count by
    its depth, and of the peaks and groups that have a peak in common only the one with the best score takes a proposal. The
    share of a group, and of a peak seen from far, counts by its root, since the valleys in it are on the thing as well. With
    ``config.level_sets`` a look from far also has the connected parts of its co-saliency to choose from. A refined mask is one
    piece (``refinement.one_piece``); others are as their proposals are.
    """
    refiner = proposals.refiner
    masks, best = [torch.zeros(0, *proposals.ranker.size, dtype=torch.bool)], [torch.zeros(0)]
    peaks, origin = [torch.zeros(0, 2, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    for number, one in enumerate(seen):
        groups, depth = torch.eye(len(one.cells), dtype=torch.bool), torch.ones(len(one.cells))
        if config.group_peaks:
            groups, depth = group_peaks(one.view.output.saliency[0, 0], one.cells)
        ranker = proposals.ranker
        if config.level_sets and one.far and not proposals.complete:
            ranker = ranker.extended(ranker.level_sets(one.view.saliency))
        valleys = (groups.sum(1) > 1) | one.far
        scores = rank(one.heat, one.view.saliency, ranker, config, groups, torch.where(valleys, 0.5, 1.0))
        if not scores.numel():
            continue
        highest, chosen = scores.max(1)
        highest = highest * depth
        usable = _one_each(groups, highest)
        regions = ranker.members[chosen[usable]].bool()
        if config.refine and refiner is not None:
            regions = refiner.refine(regions, ranker.shares(one.heat, one.view.saliency, groups)[usable])
            masks.append(one_piece(ranker.unions(regions)))
        else:
            masks.append(ranker.unions(regions))
        best.append(highest[usable] * one.weight)
        peaks.append(one.points[groups[usable].int().argmax(1)])
        origin.append(torch.full((len(regions),), number))
    found = Candidates(torch.cat(masks), torch.cat(best), torch.cat(peaks))
    look_of = torch.cat(origin)
    overlaps = mask_iou(found.masks, found.masks)
    agreeing = sum((overlaps[:, look_of == number] >= _SAME).any(1).long() for number in range(len(seen)))
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
    """The candidates in the photo's own pixels, best first; size: its (height, width)."""
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
    """Masks at the photos' own sizes, then the noise filter over the photos of a category."""
    return without_noise([to_instances(one, size) for one, size in zip(candidates, sizes, strict=True)], config)


def without_noise(found: Sequence[Sequence[Instance]], config: CoSegConfig) -> list[list[Instance]]:
    """The instances of a category's photos that the noise filter keeps."""
    scores = [torch.tensor([one.score for one in instances], dtype=torch.float64, device="cpu") for instances in found]
    kept = noise_filter(scores, config.noise_percentile)
    return [
        [one for one, keep in zip(instances, keeps.tolist(), strict=True) if keep]
        for instances, keeps in zip(found, kept, strict=True)
    ]


@torch_defaults()
def partners_of(guided: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """The photos of ``bank`` (M, C, h, w) but for the one that ``guided`` (1, C, h, w) is of."""
    # The photo itself may be in the bank, at the size of the first look; a co-peak with itself says nothing.
    if bank.shape[1:] != guided.shape[1:]:
        return bank
    own = [bool(torch.allclose(guided[0], partner, atol=1e-5)) for partner in bank]
    return bank[~torch.tensor(own, dtype=torch.bool)]
