"""The whole method as one object, the paper from end to end: photos of one category in, one mask per instance out.

    CoSegmenter(config).fit(photos).predict(photos)

What happens to one photo is in ``inference`` and ``selection``, and each step in the module named after it.
Shape letters: H W size of a photo, K proposals, M photos that are kept, C channels, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from . import checks
from .backbones import build_backbone, build_both
from .beyond.category_priors import at_input_size, category_priors, classify, classifying
from .config import CoSegConfig, InferenceSettings
from .datasets.segmenter_files import load_segmenter, save_segmenter
from .device import device_of
from .inference import PreparedImage, ScalePeaks, partners_of, peaks_at_scale, prepare
from .instance import Instance
from .model import CoPeakNet
from .selection import Candidates, Proposals, choose_masks, prepare_proposals, to_instances, without_noise
from .torch_defaults import torch_defaults, with_gradients
from .training import fit_head_to_prior, start_features, train

__all__ = ["CoSegConfig", "CoSegmenter", "Instance"]
_CERTAINTY = 16  # power of how well the category is recognised at a size, in what a score counts there
# Settings of fit. Predict reads input_size and interpolation too, which must be those of training and of the kept partners.
_FITTED = [name for name in CoSegConfig.model_fields if name not in InferenceSettings.model_fields]


class CoSegmenter:
    """Instance co-segmentation of the photos of one category, in the manner of scikit-learn.

    Photos are paths, PIL images or (H, W, 3) uint8 arrays of any size. ``fit`` learns what they have in common; ``predict``
    finds the instances in these or other photos of the category, each in its own orientation and size.

    Not for a process forked after torch has computed anything, such as a worker of ``multiprocessing`` with the method "fork"
    (Linux's before Python 3.14): it has none of torch's threads and waits for them for ever. Start workers with
    ``multiprocessing.get_context("spawn")``, joblib's default or ``subprocess``, and give them the file that ``save`` wrote.

    Parameters
    ----------
    config : the settings; None: the defaults.
    device : where the network computes, as for ``device.device_of``. What goes in and comes out is on the CPU.
    """

    @torch_defaults()
    def __init__(self, config: CoSegConfig | None = None, device: str | torch.device | None = "cpu"):
        self.config = config or CoSegConfig()
        self.device = device_of(device)
        self.model: CoPeakNet | None = None  # None before fit
        self.history: list[dict[str, float]] = []  # for every epoch the mean losses of its batches
        self.partners = torch.zeros(0)  # (M, C, h, w), the photos' features, weighted by their co-saliency
        self.certainty: dict[int, float] = {}  # side -> how well a "classifier" prior recognises the category there

    @with_gradients()
    def fit(self, images: Sequence, priors: Sequence | None = None, checkpoint=None, progress: bool = True, on_epoch=None):
        """Train on the photos of one category; returns self.

        Parameters
        ----------
        priors : saliency maps (H, W), one a photo, as ``checks.saliency_map`` takes them; None: as ``config.prior`` says.
        checkpoint, on_epoch : as for ``training.train``.
        """
        images = checks.photos(images, empty=False)
        checks.same_length(images=images, priors=priors)
        # No larger, and at no more sizes, than the priors need them.
        config = self.config.model_copy(update={"mask_size": self.config.mask_size or self.config.input_size})
        recognized = priors is None and config.prior == "classifier"  # as they are read
        sides = config.classifier_sizes if recognized else [config.input_size]
        bar = enumerate(tqdm(images, disable=not progress, desc="reading" + " and recognizing" * recognized, unit="photo"))
        self.fit_prepared((prepare(photo, config, k, sides) for k, photo in bar), priors, checkpoint, progress, on_epoch)
        return self

    @with_gradients()
    def fit_prepared(self, work, priors=None, checkpoint=None, progress=True, on_epoch=None) -> None:
        """``fit`` for photos that ``prepare`` has made ready, or makes ready as they are asked for."""
        config = self.config
        # What cannot be built is refused here, before any photo is read.
        if priors is None and config.prior == "classifier":
            backbone, classifier = build_both(*config.network)
            networks = classifying(backbone, classifier, self.device)
        else:
            backbone, networks = build_backbone(*config.network), None
        model = CoPeakNet(backbone).to(self.device)
        for name in ("frozen_until", "heat_map_stage"):
            model.backbone.stage(getattr(config, name), name)
        classified = classify(work, config, False, networks) if networks else None
        photos = classified.photos if classified else [image.for_training() for image in work]
        inputs = (image.tensor for image in photos)
        activations, features = start_features(model, inputs, config.frozen_until, config.center_features)
        made = priors is None
        targets = category_priors(photos, config, features, progress, classified) if made else at_input_size(priors, config)
        self.certainty = classified.certainty() if classified else {}
        if config.init_head:
            fit_head_to_prior(model, features - model.center.cpu(), targets)
        self.history = train(model, activations, targets, config, checkpoint, progress, on_epoch)
        model.requires_grad_(False)
        kept = activations[: config.max_partners]
        self.partners = torch.cat([model.forward_from(photo[None], config.frozen_until).weighted.cpu() for photo in kept])
        self.model = model

    @property
    def scale_weights(self) -> list[float]:
        """A score's weight at each of ``config.peak_sizes``: 1 / scale ** 3, so that larger scales add what the others have
        missed and seldom overrule them, times a power of how well the category is recognised at the nearest size that the
        classifier saw, which is known of a "classifier" prior only."""
        sides, level = self.config.peak_sizes, self.certainty or {self.config.input_size: 1.0}
        nearest = [min(level, key=lambda seen: abs(seen - side)) for side in sides]
        return [(sides[0] / side) ** 3 * level[seen] ** _CERTAINTY for side, seen in zip(sides, nearest, strict=True)]

    @torch_defaults()
    def predict(self, images: Sequence, proposals: Sequence | None = None, progress: bool = True) -> list[list[Instance]]:
        """The instances of every photo, best first; an empty list for an empty list.

        Scores are comparable across the photos of a call, and the noise filter works over all of them. Photos are read one at a
        time, and of each only its instances' run lengths are kept.

        Parameters
        ----------
        proposals : candidate masks (K, H, W) bool, best first, one tensor a photo; None: made from the photos.
        """
        self._check_fitted()
        images = checks.photos(images)
        checks.same_length(images=images, proposals=proposals)
        bar = enumerate(tqdm(images, disable=not progress, desc="segmenting", unit="photo"))
        found = [self.segment_photo(photo, None if proposals is None else proposals[k], k) for k, photo in bar]
        return without_noise(found, self.config)

    @torch_defaults()
    def segment_photo(self, photo, proposals: torch.Tensor | None = None, index: int = 0) -> list[Instance]:
        """One photo's instances before the noise filter, best first, which ``predict`` is made of.

        Who segments photos one by one calls ``selection.without_noise`` on all of them at the end.

        Parameters
        ----------
        photo : a path, a PIL image or an (H, W, 3) uint8 array.
        proposals : candidate masks (K, H, W) bool, best first; None: made from the photo.
        index : the photo's place in its list, which is its name in messages if it has no other.
        """
        image = prepare(photo, self.config, index, self.config.peak_sizes)
        ready = prepare_proposals(image, self.config, proposals)
        return to_instances(self.candidates(image, ready), image.size)

    @torch_defaults()
    def candidates(self, image: PreparedImage, proposals: Proposals) -> Candidates:
        """One photo's instances before the noise filter."""
        return choose_masks(self.peaks_at_scales(image), proposals, self.config)

    @torch_defaults()
    def peaks_at_scales(self, image: PreparedImage) -> list[ScalePeaks]:
        """A photo's peaks and their heat maps at each of ``config.peak_sizes``."""
        model, first = self._check_fitted(), self.peaks_at(image)
        # The photo itself may be among the partners, and is recognised at the first scale only.
        partners = partners_of(first.view.output.weighted, self.partners)
        others = zip(self.config.peak_sizes[1:], self.scale_weights[1:], strict=True)
        return [first, *(peaks_at_scale(model, image, self.config, partners, side, weight) for side, weight in others)]

    @torch_defaults()
    def peaks_at(self, image: PreparedImage) -> ScalePeaks:
        """A photo's peaks and their heat maps at the size of training, the first of ``config.peak_sizes``."""
        side, weight = self.config.input_size, self.scale_weights[0]
        return peaks_at_scale(self._check_fitted(), image, self.config, self.partners, side, weight)

    @torch_defaults()
    def with_settings(self, **changes) -> CoSegmenter:
        """The same network with other settings of ``predict``; ``ValueError`` for others of ``fit``, once it is fitted."""
        other = CoSegmenter(CoSegConfig(**{**self.config.model_dump(), **changes}), self.device)
        if self.model is not None:
            self.model.backbone.stage(other.config.heat_map_stage, "heat_map_stage")
            for name in _FITTED:
                old, new = getattr(self.config, name), getattr(other.config, name)
                if new != old:
                    raise ValueError(f"{name} must stay {old!r}, with which fit was called, got {new!r}; call fit again")
        other.model, other.partners, other.certainty, other.history = self.model, self.partners, self.certainty, self.history
        return other

    def save(self, path: str | Path) -> None:
        """Write the fitted segmenter into one safetensors file."""
        save_segmenter(path, self.config, self._check_fitted(), self.partners, self.history, self.certainty)

    @classmethod
    @with_gradients()
    def load(cls, path: str | Path, device: str | torch.device | None = "cpu") -> CoSegmenter:
        """A segmenter as ``save`` wrote it; ``ValueError`` naming the file if it is not one."""
        segmenter = cls(device=device)
        segmenter.config, model, segmenter.partners, segmenter.history, segmenter.certainty = load_segmenter(path)
        segmenter.model = model.to(segmenter.device)
        return segmenter

    def _check_fitted(self) -> CoPeakNet:
        if self.model is None:
            raise RuntimeError("this CoSegmenter has not been fitted; call fit(images) or load(path) first")
        return self.model
