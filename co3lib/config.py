"""The one configuration of a run, validated: unknown names and impossible values are errors before anything starts."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)]
PathText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value)]


class CoSegConfig(BaseModel):
    """Every choice of the method. ``CoSegConfig()`` is our default, ``CoSegConfig.released()`` the authors' released
    method on the same backbone.

    Network: backbone, weights, tap, stride (``backbones.build_backbone``); size, the square the photos are resized to; center,
    whether the category's mean feature is subtracted; interpolation, by which photos, priors, co-saliency and heat maps are
    resized ("bicubic": as by MATLAB's ``imresize``).
    Training: prior ("single" photo, whole "class", or class "recognized" by the network's classifier too); scales, the
    multiples of ``size`` at which a recognized prior looks at the photos, the first being 1; epochs, batch_size,
    learning_rate, optimizer ("released" or "adamw"); freeze, the last stage that stays as it is; head_start, whether the
    score starts as a linear fit of the prior and not at zero; saliency_weight, copeak_weight, affinity_weight, alpha and
    form of the losses ("published" is for comparison: as printed, the affinity loss is a sum over all pairs of cells and at
    the published weights thousands of times the other two, so it alone decides; with ``center`` it has no lower bound).
    Segmentation: peak_scales, the multiples of ``size`` at which ``predict`` looks for peaks, the first being 1; seeds, where
    it looks for instances ("score": at the peaks of the score, "copeak": at the ends of co-peaks with other photos);
    group_peaks, whether peaks of one hill of the co-saliency may also be parts of one instance; level_sets, whether the
    connected parts of the co-saliency above some levels are proposals too, for peaks that are seen smaller than in training;
    partners, how many of the category's photos are kept for co-peaks (None: all); heat_stop, the stage at which heat maps are
    read; work_size, the longest side at which masks are ranked (None: the photo's own size, whose pixels every peak's heat map
    then has: 0.1 GB a peak for 24 megapixels); proposals, how many a photo, the best first (None: every ready-made one, 1000
    where they are made here); ranking ("released": Eq. 7, with heat maps that keep the values they have at the network's input
    as they are resized, and a peak in every cell of a plateau of the score; "distinct": times fit and contrast, with heat maps
    that keep their sums, and one peak a plateau); refine, whether the outline of a chosen mask
    moves to where the photo's colours change; ranking_saliency, beta, gamma, nms_iou, noise_percentile.
    A stage is a name of the backbone's, "middle" for its last of stride 16 or less (``Backbone.middle_stage``), or None
    for the image: nothing is frozen, heat maps go all the way down.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    backbone: str = "efficientnet_lite0"
    weights: PathText = "imagenet"
    tap: str | None = None
    stride: Count | None = None
    size: Annotated[int, Field(ge=64, multiple_of=32)] = 448
    scales: Scales = (1.0, 1.5, 2.0)
    center: bool = True
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    prior: Literal["single", "class", "recognized"] = "recognized"
    epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 6
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    optimizer: Literal["released", "adamw"] = "adamw"
    freeze: str | None = "middle"
    head_start: bool = True
    saliency_weight: Weight = 1.0
    copeak_weight: Weight = 0.5
    affinity_weight: Weight = 0.1
    alpha: Weight = 4.0
    form: Literal["released", "published"] = "released"

    peak_scales: Scales = (1.0, 0.5, 0.7, 1.5, 2.0, 3.0)
    seeds: Literal["score", "copeak"] = "score"
    group_peaks: bool = True
    level_sets: bool = True
    partners: Count | None = 20
    heat_stop: str | None = "middle"
    work_size: Annotated[int, Field(ge=64)] | None = 448
    proposals: Count | None = 1000
    ranking: Literal["released", "distinct"] = "distinct"
    refine: bool = True
    ranking_saliency: bool = True
    beta: Weight = 0.8
    gamma: Weight = 1e-5
    nms_iou: Share = 0.4
    noise_percentile: Annotated[float, Field(ge=0, le=100)] = 20.0

    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> CoSegConfig:
        for name in ("scales", "peak_scales"):
            if getattr(self, name)[0] != 1:
                raise ValueError(f"{name} must begin with 1, got {getattr(self, name)}")
        if self.ranking == "distinct" and not self.ranking_saliency:
            raise ValueError("ranking must be 'released' where ranking_saliency is False: nothing stands out, got 'distinct'")
        return self

    @property
    def sizes(self) -> list[int]:
        """The sides of the squares at which the prior looks at the photos, in pixels: multiples of 32, ``size`` first."""
        return self._sides(self.scales)

    @property
    def recognized_sizes(self) -> list[int]:
        """The sides of the squares that a recognized prior's classifier sees: ``sizes``, and of ``peak_sizes`` all that are no
        larger than these."""
        return list(dict.fromkeys([*self.sizes, *(side for side in self.peak_sizes if side < max(self.sizes))]))

    @property
    def peak_sizes(self) -> list[int]:
        """The sides of the squares at which ``predict`` looks for peaks, in pixels: multiples of 32, ``size`` first."""
        return self._sides(self.peak_scales)

    def _sides(self, scales: tuple[float, ...]) -> list[int]:
        # Small squares have few multiples of 32: one look at each of them, none at nothing.
        return list(dict.fromkeys(32 * max(round(self.size * scale / 32), 1) for scale in scales))

    @classmethod
    def released(cls, **changes) -> CoSegConfig:
        """The authors' released method, with the default backbone unless ``changes`` names another.

        To the letter but for what ``lessons.reproduction.DETAILS`` lists (notebook 13 prints it): the network's weights and
        normalisation are those of the backbone; priors and proposals are made here unless ready-made ones are given; photos
        are turned as their EXIF orientation says; and what depends on MATLAB itself, its random numbers and when it rounds.
        """
        return cls.model_validate(
            {
                "scales": (1.0,),
                "center": False,
                "interpolation": "bicubic",
                "prior": "single",
                "epochs": 40,
                "learning_rate": 1e-6,
                "optimizer": "released",
                "freeze": None,
                "head_start": False,
                "peak_scales": (1.0,),
                "group_peaks": False,
                "level_sets": False,
                "heat_stop": None,
                "work_size": None,
                "proposals": None,
                "ranking": "released",
                "refine": False,
            }
            | changes
        )

    @classmethod
    def published(cls, **changes) -> CoSegConfig:
        """The method as the paper prints it, where that differs from the released code: instances are looked for at the ends
        of co-peaks with all other photos, and the losses are those of Eqs. 3 and 5.

        For comparison: see ``form`` for what the printed affinity loss does to training. ``published(form="released")`` has
        the paper's seeds with the code's losses. The rest is ``released``, the paper saying the same or nothing; the backbone
        is as free as there (the paper's is "vgg16_fc6").
        """
        return cls.released(**{"seeds": "copeak", "partners": None, "form": "published"} | changes)
