"""What a notebook leaves in ``metrics.json``: which photos, which settings, how good the instances are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)

from co3lib.config import CoSegConfig

if TYPE_CHECKING:  # torch takes seconds to import, which running a notebook need not wait for
    import pandas as pd

    from co3lib.counts import Counts
    from co3lib.datasets import Sample
    from co3lib.datasets.export import PhotoResult
    from co3lib.instance import Instance

RESULT = "metrics.json"


def inside(file: str) -> str:
    """A file's path as it may be written in an output folder; ``ValueError`` for one that leads out of it."""
    path = PurePath(file)
    if path.anchor or ".." in path.parts or not path.parts:
        raise ValueError(f"must be a path inside the output folder, got {file!r}")
    return file


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Precisions = dict[Literal["0.25", "0.5", "0.75"], Share | None]


class ClassResult(BaseModel):
    """One class: how many photos, ground-truth instances and found ones; AP^r by IoU, None without ground
    truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Count
    instances: Count
    found: Count
    average_precision: Precisions


class Result(BaseModel):
    """What a notebook leaves in ``metrics.json``: enough to say what was run, on what, and what came of it.

    data: the photos in words; synthetic: whether they are made up, so that the numbers say nothing of real
    photos; numbers: what the notebook measured, by name; classes: what came of each class, where whole classes
    were segmented, and then with the config and the weights; files: everything else that the notebook wrote,
    relative to the output folder. There must be at least one class or one number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["smoke", "full"]
    data: str
    synthetic: bool
    seed: Count
    seconds: Annotated[float, Field(ge=0)]
    versions: dict[str, str]
    numbers: dict[str, FiniteFloat] = {}
    config: CoSegConfig | None = None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    classes: dict[str, ClassResult] = {}
    mean_average_precision: Precisions = {}
    files: list[Annotated[str, AfterValidator(inside)]]

    @model_validator(mode="after")
    def _says_something(self) -> Result:
        if not self.numbers and not self.classes:
            raise ValueError("a result must hold at least one class or one number, got none")
        if self.classes and (self.config is None or self.weights_sha256 is None):
            raise ValueError("a result with classes must say with which config and weights_sha256 they came about")
        return self


def photo_results(samples: Sequence[Sample], found: Sequence[Sequence[Instance]]) -> list[PhotoResult]:
    """Samples and the instances found in each, as ``class_result`` and ``export.write_coco`` take them. Of a
    sample without mask files the truth is not known."""
    from co3lib.datasets.export import PhotoResult

    return [
        PhotoResult(
            name=sample.image_path.name,
            category=sample.category,
            size=sample.image.shape[:2],
            instances=instances,
            truth=sample.masks if sample.mask_paths else None,
        )
        for sample, instances in zip(samples, found, strict=True)
    ]


def class_result(photos: Sequence[PhotoResult]) -> ClassResult:
    """What came of the photos of one class; without AP where the truth of any of them is not known."""
    from co3lib.evaluation import THRESHOLDS, overlaps, pooled_average_precision

    numbers = {"photos": len(photos), "found": sum(len(photo.instances) for photo in photos)}
    if any(photo.truth is None for photo in photos):
        nothing = {f"{iou:g}": None for iou in THRESHOLDS}
        return ClassResult(**numbers, instances=0, average_precision=nothing)
    ious, scores = overlaps([photo.instances for photo in photos], (photo.truth for photo in photos))
    precisions = {f"{iou:g}": pooled_average_precision(ious, scores, iou) for iou in THRESHOLDS}
    return ClassResult(**numbers, instances=sum(overlap.shape[1] for overlap in ious), average_precision=precisions)


def mean_precisions(classes: Mapping[str, ClassResult]) -> dict[str, float | None]:
    """mAP^r by IoU over the classes that have ground truth; None if none has."""
    ious = next(iter(classes.values())).average_precision
    columns = {iou: [result.average_precision[iou] for result in classes.values()] for iou in ious}
    known = {iou: [value for value in column if value is not None] for iou, column in columns.items()}
    return {iou: sum(values) / len(values) if values else None for iou, values in known.items()}


def shown_counts(photos: Sequence[PhotoResult]) -> Counts | None:
    """How many of the instances are right at an IoU above 0.5; None where the truth of any photo is not known."""
    from co3lib.counts import counts

    if any(photo.truth is None for photo in photos):
        return None
    return counts([photo.instances for photo in photos], (photo.truth for photo in photos))


def precision_table(shown: Mapping[str, Sequence[PhotoResult]], found: Mapping[str, Sequence[PhotoResult]]) -> pd.DataFrame:
    """Two rows a class: the instances that are shown, and all that were found. Of each how many there are, how many are right
    and how many true ones are missed at an IoU above 0.5, and AP^r; all three empty where the truth is not known."""
    import pandas as pd

    rows = {}
    for which, classes in (("shown", shown), ("all", found)):
        for name, photos in classes.items():
            result, counted = class_result(photos), shown_counts(photos)
            row = {"photos": result.photos, "true": result.instances if counted else None, "masks": result.found}
            row |= {"right": counted.right if counted else None, "missed": counted.missed if counted else None}
            rows[name, which] = row | {f"AP at IoU {iou}": value for iou, value in result.average_precision.items()}
    order = [(name, which) for name in shown for which in ("shown", "all")]
    table = pd.DataFrame.from_dict(rows, orient="index").loc[order]
    table.index.names = ["class", "of"]
    return table.round(3)
