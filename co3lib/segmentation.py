"""The whole method as one object: photos of one category in, one mask per instance out.

    CoSegmenter(config).fit(photos).predict(photos)

is the paper from end to end; what happens to one photo is in ``inference``, and each step in the module named after it.

Shape letters: N images, C channels, H W size of the work image, ``h w`` feature grid, M instances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from . import checks
from .backbones import Backbone, Recognizer, build_backbone, build_both
from .beyond.priors import class_prior, recognition_by_scale, recognized_prior
from .config import CoSegConfig, InferenceSettings
from .datasets.checkpoints import load_tensors, save_tensors
from .datasets.images import resize_maps
from .inference import (
    Candidates,
    Look,
    Proposals,
    WorkImage,
    choose_masks,
    look,
    partners_of,
    prepare,
    prepare_proposals,
    to_instances,
    without_noise,
)
from .instance import Instance
from .model import CoPeakNet
from .saliency import saliency_prior
from .torch_defaults import torch_defaults, with_gradients
from .training import start_features, start_head, train

__all__ = ["Candidates", "CoSegConfig", "CoSegmenter", "Instance", "WorkImage"]
_RECOGNITION = 16  # power of how well the category is recognised at a size, in what the size counts
# Settings of fit. Only size and interpolation are read by predict as well, but with others than those of the network's
# training and of the kept partners it would give what no fit leads to.
_FITTED = [name for name in CoSegConfig.model_fields if name not in InferenceSettings.model_fields]


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
        # All of them are kept at once: no larger, and at no more sizes, than the priors need them.
        config = self.config.model_copy(update={"work_size": self.config.work_size or self.config.size})
        sides = config.recognized_sizes if priors is None and config.prior == "recognized" else [config.size]
        bar = enumerate(tqdm(images, disable=not progress, desc="reading", unit="photo"))
        work = (prepare(photo, config, k, sides) for k, photo in bar)
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
        activations, features = start_features(model, (image.tensor for image in work), config.freeze, config.center)
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
            at_sizes, logits = recognized or self.recognize(work, progress)
            sides = self.config.sizes
            return self._at_network_size(recognized_prior([at_sizes[k] for k in sides], [logits[k] for k in sides]))
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
        features: dict[int, list[torch.Tensor]] = {side: [] for side in config.recognized_sizes}
        logits: dict[int, list[torch.Tensor]] = {side: [] for side in config.recognized_sizes}
        for image in tqdm(work, disable=not progress, desc="recognizing", unit="photo"):
            for side in config.recognized_sizes:
                with torch.no_grad():
                    features[side].append(backbone(image.at(side)))
                    logits[side].append(recognizer(features[side][-1]))
        # One side at a time, each photo's own maps being let go: together they are the most that is kept of a photo.
        joined = [{side: torch.cat(one.pop(side)) for side in config.recognized_sizes} for one in (features, logits)]
        return joined[0], joined[1]

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
        maps = (checks.saliency_map(prior, f"priors[{k}]") for k, prior in enumerate(priors))
        return torch.stack([resize_maps(p[None].float(), size, self.config.interpolation) for p in maps]).clamp(0, 1)

    @torch_defaults()
    def predict(self, images: Sequence, proposals: Sequence | None = None, progress: bool = True) -> list[list[Instance]]:
        """The instances of every photo, best first.

        proposals: candidate masks (K, H, W) bool, best first, one tensor a photo (None: made from the photos). Scores
        are comparable across the photos of a call, and the noise filter works over all of them. An empty list gives an
        empty list. Photos are read one at a time, and kept of each are only its instances' run lengths.
        """
        self._check_fitted()
        images = _photos(images)
        if proposals is not None:
            checks.same_length(images=images, proposals=proposals)
        bar = enumerate(tqdm(images, disable=not progress, desc="segmenting", unit="photo"))
        found = [self._segment(photo, k, None if proposals is None else proposals[k]) for k, photo in bar]
        return without_noise(found, self.config)

    def _segment(self, photo, index: int, proposals: torch.Tensor | None) -> list[Instance]:
        """One photo's instances before the noise filter. All else that was made of the photo is let go with this call."""
        image = prepare(photo, self.config, index, self.config.peak_sizes)
        ready = prepare_proposals(image, self.config, proposals)
        return to_instances(self.candidates(image, ready), image.size)

    @torch_defaults()
    def candidates(self, image: WorkImage, proposals: Proposals) -> Candidates:
        """One photo's instances before the noise filter."""
        return choose_masks(self.looks(image), proposals, self.config)

    @torch_defaults()
    def looks(self, image: WorkImage) -> list[Look]:
        """Look at a photo at each of ``config.peak_sizes``."""
        model, partners = self._check_fitted(), self.bank
        found: list[Look] = []
        for side, weight in zip(self.config.peak_sizes, self.look_weights, strict=True):
            found.append(look(model, image, self.config, partners, side, weight))
            if len(found) == 1:
                partners = partners_of(found[0].view.output.guided, self.bank)
        return found

    @torch_defaults()
    def with_settings(self, **changes) -> CoSegmenter:
        """The same network with other settings of ``predict``. Once it is fitted, ``ValueError`` for a change of a setting that
        takes effect in ``fit``."""
        other = CoSegmenter(CoSegConfig(**{**self.config.model_dump(), **changes}))
        if self.model is not None:
            other.config = _with_stages(other.config, self.model.backbone)
            for name in _FITTED:
                old, new = getattr(self.config, name), getattr(other.config, name)
                if new != old:
                    raise ValueError(f"{name} must stay {old!r}, with which fit was called, got {new!r}; call fit again")
        other.model, other.bank, other.recognition, other.history = self.model, self.bank, self.recognition, self.history
        return other

    def save(self, path: str | Path) -> None:
        """Write the fitted segmenter into one safetensors file."""
        model = self._check_fitted()
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()} | {"bank": self.bank}
        metadata = {
            "config": self.config.model_dump_json(),
            "history": json.dumps(self.history),
            "recognition": json.dumps(self.recognition),
            "backbone_sha256": model.backbone.weights_sha256,
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

    def _check_fitted(self) -> CoPeakNet:
        if self.model is None:
            raise RuntimeError("this CoSegmenter has not been fitted; call fit(images) or load(path) first")
        return self.model


def _photos(images) -> Sequence:
    # One photo alone would be taken for a list: a path of its letters, an array of its rows.
    if isinstance(images, (str, Path, Image.Image)) or getattr(images, "ndim", 4) in (2, 3):
        raise ValueError(f"images must be a list of photos, got a single {type(images).__name__}")
    # A sequence may read its photos as they are asked for; a list of it would hold all of them.
    return images if isinstance(images, Sequence) else list(images)


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
