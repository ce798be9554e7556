"""The whole method as one object: photos of one category in, one mask per instance out.

    CoSegmenter(config).fit(photos).predict(photos)

is the paper from end to end; each stage is also a function of its own here or in the module named after it.

Shape letters: N images, C channels, H W size of the work image, ``h w`` feature grid, K proposals, Q peaks, M instances.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from . import checks
from .backbones import Backbone, Recognizer, build_backbone, build_both
from .beyond.grouping import group_peaks
from .beyond.priors import class_prior, recognition_by_scale, recognized_prior
from .beyond.refinement import RegionRefiner
from .beyond.region_ranking import RegionRanker
from .config import CoSegConfig
from .images import fit_within, name_of, read_image, resize_image, resize_maps, resize_nearest, to_tensor
from .instance import Instance
from .model import CoPeakNet, CoPeakOutput
from .overlap import mask_iou, tight_box
from .peak_backprop import enlarge, response_maps_from
from .peaks import copeak_votes, peak_cells, regional_maxima, score_peaks
from .proposals import propose_regions, regions_of
from .ranking import noise_filter, suppress
from .saliency import saliency_prior
from .torch_defaults import torch_defaults, with_gradients
from .training import load_tensors, save_tensors, start_features, start_head, train

__all__ = ["Candidates", "CoSegConfig", "CoSegmenter", "Instance", "WorkImage"]

_PROPOSALS = 1000  # made of a photo where the configuration sets no limit
_SAME = 0.6  # the overlap from which two looks have found the same
_SEEDS = 20  # that count at every size but the first: more of them cost time and find nothing more
_RECOGNITION = 16  # power of how well the category is recognised at a size, in what the size counts


@dataclass(frozen=True)
class WorkImage:
    """A photo made ready: ``size`` (height, width) of the photo itself; ``pixels`` (H, W, 3) uint8, at most
    ``work_size`` long; ``tensor`` (1, 3, size, size), the network's input; ``squares``, the same at the other
    sizes at which the prior or ``predict`` looks at it: side -> (side, side, 3) uint8."""

    name: str
    size: tuple[int, int]
    pixels: np.ndarray
    tensor: torch.Tensor
    squares: Mapping[int, np.ndarray] = field(default_factory=dict)

    def at(self, side: int) -> torch.Tensor:
        """The network's input at one of the sizes: (1, 3, side, side)."""
        return self.tensor if side == self.tensor.shape[-1] else to_tensor(self.squares[side], side)


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
        return tuple(self.view.output.score.shape[2:])

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
    are chosen (None: nothing does)."""

    ranker: RegionRanker
    refiner: RegionRefiner | None = None


def prepare(photo, config: CoSegConfig, index: int = 0, sides: Sequence[int] | None = None) -> WorkImage:
    """Read a photo (path, PIL image or array) and make it ready; sides: the other sizes at which it will be looked at (None:
    all those of the prior and of ``predict``)."""
    pixels = read_image(photo, name=name_of(photo, index))
    small = pixels if config.work_size is None else fit_within(pixels, config.work_size)
    wanted = {config.size, *(sides or [*config.sizes, *config.peak_sizes])}
    squares = {side: resize_image(pixels, (side, side), config.interpolation) for side in sorted(wanted)}
    tensor = to_tensor(squares.pop(config.size), config.size)
    return WorkImage(name_of(photo, index), pixels.shape[:2], small, tensor, squares)


def prepare_proposals(image: WorkImage, config: CoSegConfig, masks: torch.Tensor | None = None) -> Proposals:
    """The proposals of a photo, or the ``masks`` (K, H', W') bool given for it, ready to be ranked at work size."""
    if masks is None:
        regions = propose_regions(image.pixels, config.proposals or _PROPOSALS)
    else:
        regions = regions_of(checks.masks(masks, f"proposals of {image.name}")[: config.proposals])
    labels = resize_nearest(regions.labels[None], image.pixels.shape[:2])[0]
    # Who gives proposals gives their outlines too; the pieces that they have in common are no superpixels.
    refiner = RegionRefiner(labels, image.pixels, regions.members.shape[1]) if masks is None and config.refine else None
    return Proposals(RegionRanker(labels, regions.members), refiner)


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
    partners = _partners(output.guided, bank) if config.seeds == "copeak" else bank[:0]
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
    share of a group, and of a peak seen from far, counts by its root, since the valleys in it are on the thing as well.
    """
    ranker, refiner = proposals.ranker, proposals.refiner
    masks, best = [torch.zeros(0, *ranker.size, dtype=torch.bool)], [torch.zeros(0)]
    peaks, origin = [torch.zeros(0, 2, dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    for number, one in enumerate(seen):
        groups, depth = torch.eye(len(one.cells), dtype=torch.bool), torch.ones(len(one.cells))
        if config.group_peaks:
            groups, depth = group_peaks(one.view.output.saliency[0, 0], one.cells)
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
        masks.append(ranker.unions(regions))
        best.append(highest[usable] * one.weight)
        peaks.append(one.points[groups[usable].int().argmax(1)])
        origin.append(torch.full((len(regions),), number))
    masks, best, peaks, origin = torch.cat(masks), torch.cat(best), torch.cat(peaks), torch.cat(origin)
    overlaps = mask_iou(masks, masks)
    agreeing = sum((overlaps[:, origin == number] >= _SAME).any(1).long() for number in range(len(seen)))
    scores = best * agreeing
    kept = suppress(overlaps, scores, config.nms_iou)
    return Candidates(masks[kept], scores[kept], peaks[kept])


def _one_each(groups: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Which groups (G, Q) keep their peaks, each peak going to the group with the best score: (G,) bool."""
    kept, free = torch.isfinite(scores), torch.ones(groups.shape[1], dtype=torch.bool)
    for group in scores.argsort(descending=True, stable=True).tolist():
        kept[group] &= bool((groups[group] <= free).all())
        if kept[group]:
            free &= ~groups[group]
    return kept


def to_instances(candidates: Candidates, keep: torch.Tensor, size: tuple[int, int]) -> list[Instance]:
    """The kept candidates in the photo's own pixels, best first."""
    scale = np.array(size) / np.array(candidates.masks.shape[1:])
    instances = []
    for mask, score, peak in zip(candidates.masks[keep], candidates.scores[keep], candidates.peaks[keep], strict=True):
        if mask.any():
            y, x = (int(value) for value in peak.numpy() * scale)
            # Rows and columns are enlarged each by themselves, so the box needs no mask of the photo's size.
            rows = resize_nearest(mask.any(1)[None, :, None], (size[0], 1))[0]
            columns = resize_nearest(mask.any(0)[None, None], (1, size[1]))[0]
            (_, y0, _, y1), (x0, _, x1, _) = tight_box(rows), tight_box(columns)
            instances.append(Instance(mask.numpy(), float(score), (y, x), (x0, y0, x1, y1), size))
    return sorted(instances, key=lambda instance: -instance.score)


class CoSegmenter:
    """Instance co-segmentation of the photos of one category, in the manner of scikit-learn.

    Photos are paths, PIL images or (H, W, 3) uint8 arrays of any size. ``fit`` learns what they have in common;
    ``predict`` answers for these or other photos of the category, each in its own orientation and size.

    Not to be used in a process that was forked after torch has computed anything, such as a worker of ``multiprocessing``
    with the method "fork", Linux's before Python 3.14: the threads in which torch computes are not there after a fork, and
    the worker waits for them for ever. Start workers with ``multiprocessing.get_context("spawn")`` (or joblib's default, or
    ``subprocess``) and hand them the file that ``save`` wrote.
    """

    @torch_defaults()
    def __init__(self, config: CoSegConfig | None = None):
        self.config = config or CoSegConfig()
        self.model: CoPeakNet | None = None
        self.history: list[dict[str, float]] = []
        self.bank = torch.zeros(0)
        self.recognition: dict[int, float] = {}

    @with_gradients()
    def fit(self, images: Sequence, priors: Sequence | None = None, checkpoint=None, progress: bool = True, on_epoch=None):
        """Train on the photos of one category; returns self.

        priors: saliency maps (H, W) to learn from, one a photo, as ``checks.saliency_map`` takes them (None: made from the
        photos as ``config.prior`` says). checkpoint: a file in which the training is kept, and resumed from if it is there.
        """
        images = _photos(images)
        if not images:
            raise ValueError("images must be a list of at least one photo, got an empty one")
        if priors is not None:
            checks.same_length(images=images, priors=priors)
        # All of them are kept at once: no larger than the priors need them.
        config = self.config.model_copy(update={"work_size": self.config.work_size or self.config.size})
        bar = enumerate(tqdm(images, disable=not progress, desc="reading", unit="photo"))
        work = (prepare(photo, config, k, config.recognized_sizes) for k, photo in bar)
        self.fit_prepared(work, priors, checkpoint, progress, on_epoch)
        return self

    @with_gradients()
    def fit_prepared(self, work, priors=None, checkpoint=None, progress=True, on_epoch=None) -> None:
        """``fit`` for photos that ``prepare`` has made ready, or makes ready as they are asked for."""
        # A network without a classifier is refused here, before any photo is read.
        networks = _networks(self.config) if priors is None and self.config.prior == "recognized" else None
        model = CoPeakNet(networks[0] if networks else _backbone(self.config))
        config = self.config = _with_stages(self.config, model.backbone)
        work = list(work)
        activations, features = start_features(model, [image.tensor for image in work], config.freeze, config.center)
        recognized = self.recognize(work, progress, networks) if networks else None
        targets = self.priors_of(work, features, progress, recognized) if priors is None else self._at_network_size(priors)
        self.recognition = {}
        if recognized is not None:
            likely = [recognized[1][side].softmax(1) for side in config.recognized_sizes]
            self.recognition = dict(zip(config.recognized_sizes, recognition_by_scale(likely).tolist(), strict=True))
        if config.head_start:
            start_head(model, features - model.center, targets)
        self.history = train(model, activations, targets, config, checkpoint, progress, on_epoch)
        model.requires_grad_(False)
        with torch.no_grad():
            partners = activations[: config.partners]
            self.bank = torch.cat([model.resume(one[None], config.freeze).guided for one in partners])
        self.model = model

    @torch_defaults()
    def priors_of(
        self, work: Sequence[WorkImage], features: torch.Tensor | None = None, progress: bool = True, recognized=None
    ) -> torch.Tensor:
        """The saliency priors that ``config.prior`` asks for, at network size: (N, 1, size, size).

        features: (N, C, h, w) of the photos, which the prior of the whole class is made from; recognized: what the classifier
        sees in them; None: computed here.
        """
        if self.config.prior == "recognized":
            features, logits = recognized or self.recognize(work, progress)
            sides = self.config.sizes
            return self._at_network_size(recognized_prior([features[k] for k in sides], [logits[k] for k in sides]))
        if self.config.prior == "single":
            bar = tqdm(work, disable=not progress, desc="saliency", unit="photo")
            return self._at_network_size([saliency_prior(image.pixels) for image in bar])
        if features is None:
            backbone = _backbone(self.config)
            with torch.no_grad():
                features = torch.cat([backbone(image.tensor) for image in work])
        return self._at_network_size(class_prior(features, [image.pixels for image in work]))

    @torch_defaults()
    def recognize(
        self, work: Sequence[WorkImage], progress: bool = True, networks: tuple[Backbone, Recognizer] | None = None
    ) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
        """Features (N, C, h, w) and the classifier's logits (N, classes, h, w) of the photos at ``config.recognized_sizes``;
        networks: as ``build_both`` gives them, not trained yet (None: built here)."""
        config = self.config
        backbone, recognizer = networks or _networks(config)
        features, logits = ({side: [] for side in config.recognized_sizes} for _ in range(2))
        for image in tqdm(work, disable=not progress, desc="recognizing", unit="photo"):
            for side in config.recognized_sizes:
                with torch.no_grad():
                    features[side].append(backbone(image.at(side)))
                    logits[side].append(recognizer(features[side][-1]))
        return tuple({side: torch.cat(maps) for side, maps in one.items()} for one in (features, logits))

    @property
    def look_weights(self) -> list[float]:
        """What a score counts at each of ``config.peak_sizes``: 1 / scale ** 3, so that a closer look adds what the others have
        missed and seldom overrules them, times a power of how well the category is recognised at the nearest size that
        the classifier saw; that is known of a recognized prior only."""
        config, level = self.config, self.recognition or {self.config.size: 1.0}
        nearest = [min(level, key=lambda seen: abs(seen - side)) for side in config.peak_sizes]
        sides = zip(config.peak_sizes, nearest, strict=True)
        return [(config.size / side) ** 3 * level[seen] ** _RECOGNITION for side, seen in sides]

    def _at_network_size(self, priors) -> torch.Tensor:
        size = (self.config.size, self.config.size)
        maps = [checks.saliency_map(prior, f"priors[{k}]") for k, prior in enumerate(priors)]
        return torch.stack([resize_maps(p[None].float(), size, self.config.interpolation) for p in maps]).clamp(0, 1)

    @torch_defaults()
    def predict(self, images: Sequence, proposals: Sequence | None = None, progress: bool = True) -> list[list[Instance]]:
        """The instances of every photo, best first.

        proposals: candidate masks (K, H, W) bool, best first, one tensor a photo (None: made from the photos). Scores
        are comparable across the photos of a call, and the noise filter works over all of them. An empty list gives an
        empty list.
        """
        self._check_fitted()
        images = _photos(images)
        if proposals is not None:
            checks.same_length(images=images, proposals=proposals)
        candidates, sizes = [], []
        for k, photo in enumerate(tqdm(images, disable=not progress, desc="segmenting", unit="photo")):
            image = prepare(photo, self.config, k)
            ready = prepare_proposals(image, self.config, None if proposals is None else proposals[k])
            candidates.append(self.candidates(image, ready))
            sizes.append(image.size)
        return finish(candidates, sizes, self.config)

    @torch_defaults()
    def candidates(self, image: WorkImage, proposals: Proposals) -> Candidates:
        """One photo's instances before the noise filter."""
        return choose_masks(self.looks(image), proposals, self.config)

    @torch_defaults()
    def looks(self, image: WorkImage) -> list[Look]:
        """Look at a photo at each of ``config.peak_sizes``."""
        self._check_fitted()
        found, partners = [], self.bank
        for side, weight in zip(self.config.peak_sizes, self.look_weights, strict=True):
            found.append(look(self.model, image, self.config, partners, side, weight))
            if len(found) == 1:
                partners = _partners(found[0].view.output.guided, self.bank)
        return found

    @torch_defaults()
    def with_settings(self, **changes) -> CoSegmenter:
        """The same network with other settings of ``predict``."""
        other = CoSegmenter(CoSegConfig(**{**self.config.model_dump(), **changes}))
        if self.model is not None:
            other.config = _with_stages(other.config, self.model.backbone)
        other.model, other.bank, other.recognition, other.history = self.model, self.bank, self.recognition, self.history
        return other

    def save(self, path: str | Path) -> None:
        """Write the fitted segmenter into one safetensors file."""
        self._check_fitted()
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()} | {"bank": self.bank}
        metadata = {
            "config": self.config.model_dump_json(),
            "history": json.dumps(self.history),
            "recognition": json.dumps(self.recognition),
            "backbone_sha256": self.model.backbone.weights_sha256,
        }
        save_tensors(tensors, path, metadata)

    @classmethod
    @with_gradients()
    def load(cls, path: str | Path) -> CoSegmenter:
        """A segmenter as ``save`` wrote it; ``ValueError`` naming the file if it is not one."""
        tensors, metadata = load_tensors(path)
        if "config" not in metadata or "bank" not in tensors:
            raise ValueError(f"{path} is not a file written by CoSegmenter.save: it holds no configuration")
        try:
            segmenter = cls(CoSegConfig.model_validate_json(metadata["config"]))
            config = segmenter.config
            # Every weight is in the file, so the network's own need not be had.
            model = CoPeakNet(build_backbone(config.backbone, "random", config.tap, config.stride))
            model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
            model.backbone.weights_sha256 = metadata["backbone_sha256"]
            channels = model.backbone.channels
            segmenter.bank = checks.tensor(tensors["bank"], "bank", ("M", channels, "h", "w"), floating=True)
            segmenter.history = json.loads(metadata["history"])
            recognition = json.loads(metadata.get("recognition", "{}"))
            segmenter.recognition = {int(side): float(level) for side, level in recognition.items()}
        except Exception as error:  # a damaged file may lack anything
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{path} is not a file that this version of CoSegmenter can load: {said}") from error
        segmenter.model = model.requires_grad_(False)
        return segmenter

    def _check_fitted(self) -> None:
        if self.model is None:
            raise RuntimeError("this CoSegmenter has not been fitted; call fit(images) or load(path) first")


def finish(candidates: Sequence[Candidates], sizes: Sequence[tuple[int, int]], config: CoSegConfig) -> list[list[Instance]]:
    """The noise filter over the photos of a category, then masks at the photos' own sizes."""
    kept = noise_filter([one.scores for one in candidates], config.noise_percentile)
    return [to_instances(one, keep, size) for one, keep, size in zip(candidates, kept, sizes, strict=True)]


def _photos(images) -> list:
    # One photo alone would be taken for a list: a path of its letters, an array of its rows.
    if isinstance(images, (str, Path, Image.Image)) or getattr(images, "ndim", 4) in (2, 3):
        raise ValueError(f"images must be a list of photos, got a single {type(images).__name__}")
    return list(images)


def _networks(config: CoSegConfig) -> tuple[Backbone, Recognizer]:
    return build_both(config.backbone, config.weights, config.tap, config.stride)


def _backbone(config: CoSegConfig) -> Backbone:
    return build_backbone(config.backbone, config.weights, config.tap, config.stride)


def _with_stages(config: CoSegConfig, backbone: Backbone) -> CoSegConfig:
    """The configuration with "middle" replaced by the backbone's own stage; a stage it does not have is an error."""
    stages = {}
    for key in ("freeze", "heat_stop"):
        stage = getattr(config, key)
        stages[key] = backbone.middle_stage if stage == "middle" else stage
        checks.choice(stages[key], key, [None, *backbone.stage_names])
    return config.model_copy(update=stages)


@torch_defaults()
def _partners(guided: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    # The photo itself may be in the bank, at the size of the first look; a co-peak with itself says nothing.
    if bank.shape[1:] != guided.shape[1:]:
        return bank
    own = [bool(torch.allclose(guided[0], partner, atol=1e-5)) for partner in bank]
    return bank[~torch.tensor(own, dtype=torch.bool)]
