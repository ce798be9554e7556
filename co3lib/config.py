"""The one configuration of a run, validated: unknown names and impossible values are errors before anything starts."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, Field(ge=1, le=4)], ...], Field(min_length=1)]
PathText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value)]


class CoSegConfig(BaseModel):
    """Every choice of the method. ``CoSegConfig()`` is our default, ``CoSegConfig.released()`` the authors' released
    method on the same backbone.

    Network: backbone, weights, tap, stride (``backbones.build_backbone``); size, the square the photos are resized to; center,
    whether the category's mean feature is subtracted.
    Training: prior ("single" photo, whole "class", or class "recognized" by the network's classifier too); scales, the
    multiples of ``size`` at which a recognized prior looks at the photos, the first being 1; epochs, batch_size,
    learning_rate, optimizer ("released" or "adamw"); freeze, the last stage that stays as it is; head_start, whether the
    score starts as a linear fit of the prior and not at zero; saliency_weight, copeak_weight, affinity_weight, alpha and
    form of the losses.
    Segmentation: peak_scales, the multiples of ``size`` at which ``predict`` looks for peaks, the first being 1; seeds, where
    it looks for instances ("score": at the peaks of the score, "copeak": at the ends of co-peaks with other photos);
    heat_stop, the stage at which heat maps are read; work_size, the longest side at which masks are ranked; proposals, how
    many a photo; ranking ("released": Eq. 7, "distinct": times fit and contrast); refine, whether the outline of a chosen mask
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

    peak_scales: Scales = (1.0, 1.5, 2.0, 3.0)
    seeds: Literal["score", "copeak"] = "score"
    heat_stop: str | None = "middle"
    work_size: Annotated[int, Field(ge=64)] = 448
    proposals: Count = 1000
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
    def peak_sizes(self) -> list[int]:
        """The sides of the squares at which ``predict`` looks for peaks, in pixels: multiples of 32, ``size`` first."""
        return self._sides(self.peak_scales)

    def _sides(self, scales: tuple[float, ...]) -> list[int]:
        return [32 * round(self.size * scale / 32) for scale in scales]

    @classmethod
    def released(cls, **changes) -> CoSegConfig:
        """The authors' released method to the letter, with the default backbone unless ``changes`` names another."""
        return cls(
            **{
                "scales": (1.0,),
                "center": False,
                "prior": "single",
                "epochs": 40,
                "learning_rate": 1e-6,
                "optimizer": "released",
                "freeze": None,
                "head_start": False,
                "peak_scales": (1.0,),
                "heat_stop": None,
                "ranking": "released",
                "refine": False,
            }
            | changes
        )
