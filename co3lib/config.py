"""The settings of a run, in four groups, validated: unknown names and impossible values are errors before anything starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .settings import Count, PathText, Scales, Settings, Share, Weight, described

PRESETS = ("default", "released", "published")
"""The names that ``CoSegConfig.preset`` knows."""


class NetworkSettings(Settings):
    """The network and its input. A stage is a name of the backbone's, "middle" for its last of stride 16 or less before the
    end, of a vision transformer the last (``Backbone.middle_stage``), or None for the image."""

    backbone: str = "efficientnet_lite0"
    """As for ``backbones.build_backbone``."""
    weights: PathText = "imagenet"
    """"imagenet", "random" or a file, as for ``backbones.build_backbone``."""
    feature_stage: str | None = None
    """The stage that the features are taken from; None: the backbone's own choice."""
    stride: Count | None = None
    """Input pixels between two cells of the feature grid; None: the network's own."""
    input_size: Annotated[int, Field(ge=64, multiple_of=32)] = 448
    """Side of the square that photos are resized to, in pixels."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How photos, priors, co-saliency and heat maps are resized; "bicubic" is MATLAB's ``imresize``."""
    center_features: bool = True
    """Whether the category's mean feature is subtracted."""

    @property
    def network(self) -> tuple[str, str, str | None, int | None]:
        """The arguments of ``backbones.build_backbone`` and ``build_both``."""
        return self.backbone, self.weights, self.feature_stage, self.stride


class PriorSettings(Settings):
    """The saliency prior, which the saliency loss learns from."""

    prior: Literal["single", "ddt", "classifier"] = "classifier"
    """"single": what stands out in each photo; "ddt": the first principal component of all photos' features (DDT), times
    "single"; "classifier": the components that agree with the network's own ImageNet classifier; for a network without one
    that reads the cells, such as a vision transformer, those of EfficientNet-Lite0, carried over to the network's features by a
    linear fit."""
    prior_scales: Scales = (1.0, 1.5, 2.0)
    """Multiples of ``input_size`` at which a "classifier" prior is made, the first being 1."""


class TrainingSettings(Settings):
    """Training on the photos of one category."""

    epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 6
    """Even, since images are paired."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    optimizer: Literal["released", "adamw"] = "adamw"
    """"released": the authors' Adam, its state cleared at every epoch, biases at twice the rate."""
    frozen_until: str | None = "middle"
    """The last stage that is not trained; None: all are."""
    init_head: bool = True
    """Whether the score map starts as a linear fit of the prior, and not at zero."""
    saliency_weight: Weight = 1.0
    """Of the saliency loss (Eq. 6) in Eq. 1."""
    copeak_weight: Weight = 0.5
    """Of the co-peak loss (Eq. 3) in Eq. 1."""
    affinity_weight: Weight = 0.1
    """Of the affinity loss (Eqs. 4 and 5) in Eq. 1."""
    alpha: Weight = 4.0
    """Weight of the second term of the affinity loss."""
    loss_form: Literal["released", "published"] = "released"
    """Form of the co-peak and affinity losses. "published" is for comparison: as printed, the affinity loss is a sum over all
    pairs of cells and at the published weights thousands of times the other two, so it alone decides what is learned; with
    ``center_features`` it has no lower bound."""
    max_partners: Count | None = 20
    """How many of the category's photos are kept for co-peaks; None: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the order of the photos."""


class InferenceSettings(Settings):
    """From a photo to its instances. These may be changed after training (``CoSegmenter.with_settings``)."""

    peak_scales: Scales = (1.0, 0.5, 0.7, 1.5, 2.0, 3.0)
    """Multiples of ``input_size`` at which peaks are searched for, the first being 1."""
    peak_source: Literal["score", "copeak"] = "score"
    """"score": peaks of the score map; "copeak": ends of co-peaks with other photos."""
    group_peaks: bool = True
    """Whether peaks between which the co-saliency stays high may also be parts of one instance."""
    level_sets: bool = True
    """Whether the connected parts of the co-saliency above some levels are proposals too, for peaks that are found at a scale
    below 1; never beside ready-made proposals."""
    heat_map_stage: str | None = "middle"
    """The stage at which heat maps are read; None: the image. Without effect on a vision transformer, whose heat maps are made
    of its features (``beyond.feature_heat``)."""
    mask_size: Annotated[int, Field(ge=64)] | None = 448
    """Longest side at which masks are ranked, in pixels; None: the photo's own, 0.1 GB for a heat map of 24 megapixels."""
    max_proposals: Count | None = 1000
    """How many a photo, the best first; None: every ready-made one, 1000 where they are made here."""
    ranking: Literal["released", "fit_contrast"] = "fit_contrast"
    """"released": Eq. 7, with heat maps that keep the values they have at the network's input as they are resized, and a peak
    in every cell of a plateau of the score map; "fit_contrast": Eq. 7 times fit and contrast, with heat maps that sum to one,
    and one peak a plateau."""
    rank_with_saliency: bool = True
    """Whether Eq. 7 uses the co-saliency."""
    beta: Weight = 0.8
    """Of the first term of Eq. 7."""
    gamma: Weight = 1e-5
    """Of the last term of Eq. 7."""
    refine_masks: bool = True
    """Whether the outline of a chosen mask moves to where the photo's colours change."""
    nms_iou: Share = 0.4
    """Of two masks that overlap by this IoU or more the one with the lower score is dropped."""
    noise_percentile: Annotated[float, Field(ge=0, le=100)] = 20.0
    """The percentage of a category's instances that the noise filter drops, those with the lowest scores."""


# Pydantic takes the fields of the last base first.
class CoSegConfig(InferenceSettings, TrainingSettings, PriorSettings, NetworkSettings):
    """Every setting of the method. ``CoSegConfig()`` is the default, ``CoSegConfig.released()`` the authors' released method on
    the same backbone, ``CoSegConfig.published()`` what the paper prints where that differs."""

    @model_validator(mode="after")
    def _fits_together(self) -> CoSegConfig:
        for name in ("prior_scales", "peak_scales"):
            if getattr(self, name)[0] != 1:
                raise ValueError(f"{name} must begin with 1, got {getattr(self, name)}")
        if self.ranking == "fit_contrast" and not self.rank_with_saliency:
            raise ValueError(
                "ranking must be 'released' where rank_with_saliency is False: nothing stands out, got 'fit_contrast'"
            )
        return self

    @property
    def prior_sizes(self) -> list[int]:
        """The sides of squares at which the prior is made, in pixels: multiples of 32, ``input_size`` first."""
        return self._sides(self.prior_scales)

    @property
    def classifier_sizes(self) -> list[int]:
        """The sides of squares that a "classifier" prior classifies: ``prior_sizes`` and those ``peak_sizes`` no larger."""
        return list(dict.fromkeys([*self.prior_sizes, *(side for side in self.peak_sizes if side < max(self.prior_sizes))]))

    @property
    def peak_sizes(self) -> list[int]:
        """The sides of squares at which ``predict`` searches for peaks, in pixels: multiples of 32, ``input_size`` first."""
        return self._sides(self.peak_scales)

    def _sides(self, scales: tuple[float, ...]) -> list[int]:
        # Small squares have few multiples of 32: each of them once.
        return list(dict.fromkeys(32 * max(round(self.input_size * scale / 32), 1) for scale in scales))

    @classmethod
    def preset(cls, name: str, **changes) -> CoSegConfig:
        """``CoSegConfig()``, ``released()`` or ``published()`` by its name, one of ``PRESETS``, but for ``changes``."""
        return cls(**changes) if name == "default" else getattr(cls, name)(**changes)

    @classmethod
    def released(cls, **changes) -> CoSegConfig:
        """The authors' released method but for the settings in ``changes``, on the default backbone unless they name another.

        To the letter but for what ``protocol.DETAILS`` lists (notebook 14 prints it): the network's weights and
        normalisation are those of the backbone; priors and proposals are made here unless ready-made ones are given; photos
        are turned as their EXIF orientation says; and what depends on MATLAB itself, its random numbers and when it rounds.
        """
        network = {"interpolation": "bicubic", "center_features": False}
        prior = {"prior": "single", "prior_scales": (1.0,)}
        training = {"epochs": 40, "learning_rate": 1e-6, "optimizer": "released", "frozen_until": None, "init_head": False}
        peaks = {"peak_scales": (1.0,), "group_peaks": False, "heat_map_stage": None}
        masks = {"level_sets": False, "mask_size": None, "max_proposals": None, "ranking": "released", "refine_masks": False}
        return cls.model_validate({**network, **prior, **training, **peaks, **masks, **changes})

    @classmethod
    def published(cls, **changes) -> CoSegConfig:
        """The method as the paper prints it, where that differs from the released code; ``changes`` as for ``released``.

        Instances are searched for at the ends of co-peaks with all other photos, and the losses are those of Eqs. 3 and 5. For
        comparison: see ``loss_form`` for what the printed affinity loss does to training. ``published(loss_form="released")``
        has the paper's peaks with the code's losses. The rest is ``released``, the paper saying the same or nothing; the
        backbone is as free as there (the paper's is "vgg16_fc6").
        """
        return cls.released(**{"peak_source": "copeak", "max_partners": None, "loss_form": "published"} | changes)


CoSegConfig.__doc__ = described(CoSegConfig, (NetworkSettings, PriorSettings, TrainingSettings, InferenceSettings))
