"""How good are the instances: AP^r (average precision at a mask IoU), its mean over categories, and CorLoc.

Object co-localisation (paper, Section 4.4) asks for one box a photo. The authors released no code for it; here a photo's box is
the tight box of its best instance.

Shape letters: H W image size, M detections, G ground-truth instances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from . import checks
from .instance import Instance, overlaps_with
from .overlap import box_iou, mask_iou, tight_box
from .torch_defaults import torch_defaults

PerImage = Sequence[torch.Tensor]  # a tensor for each image of a category
THRESHOLDS = (0.25, 0.5, 0.75)
MEASURES = {f"AP{100 * iou:.0f}": iou for iou in THRESHOLDS}
"""AP^r's names and the IoU that each must exceed; ``CorLoc`` is the remaining measure."""


def match(ious: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """Which detections of one image are right: (M,) bool, in the order given.

    In the order of falling score each detection takes the best ground-truth instance that none before it took.

    Parameters
    ----------
    ious, scores : (M, G) and (M,), of the detections.
    iou : what a detection's IoU must exceed.
    """
    # In numpy: a call of torch's takes longer than what it does to a few numbers.
    left = ious.detach().cpu().numpy().copy()
    right = np.zeros(len(scores), bool)
    for k in scores.argsort(descending=True, stable=True).tolist() if left.size else ():
        best = left[k].argmax()
        if left[k, best] > iou:
            right[k] = True
            left[:, best] = -1
    return torch.from_numpy(right)


@torch_defaults()
def precision_recall(right: torch.Tensor, scores: torch.Tensor, instances: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Precision and recall after each detection, in the order of falling score: two (M,) double tensors.

    Parameters
    ----------
    right, scores : (M,) bool and (M,), of the detections.
    instances : how many there are to be found.
    """
    order = scores.argsort(descending=True, stable=True)
    found = right[order].double().cumsum(0)
    return found / torch.arange(1, len(order) + 1), found / max(instances, 1)


@torch_defaults()
def area_under(precision: torch.Tensor, recall: torch.Tensor) -> float:
    """Average precision, all points: the area under the monotone envelope of precision (M,) over recall (M,)."""
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=recall.dtype))
    return float((envelope * steps).sum())


@torch_defaults()
def average_precision(predictions: PerImage, scores: PerImage, ground_truth: PerImage, iou: float = 0.5) -> float:
    """AP^r of one category, in [0, 1], NaN if it has no instance at all: its images' detections pooled and ordered by score.

    Parameters
    ----------
    predictions : over images, masks (M, H, W) bool; ``[]`` for an image without detections.
    scores : over images, (M,); ``ValueError`` if they are not finite.
    ground_truth : over images, masks (G, H, W) bool; ``[]`` for an image without instances.
    iou : what a detection's IoU must exceed, in [0, 1].
    """
    checks.same_length(predictions=predictions, scores=scores, ground_truth=ground_truth)
    checks.between(iou, "iou", 0, 1)
    ious = []
    for k, (masks, truth) in enumerate(zip(predictions, ground_truth, strict=True)):
        masks = _masks(masks, f"predictions[{k}]", ("M", "H", "W"))
        truth = _masks(truth, f"ground_truth[{k}]", ("G", *masks.shape[1:]) if len(masks) else ("G", "H", "W"))
        shape = len(masks), len(truth)
        ious.append(mask_iou(masks, truth) if all(shape) else torch.zeros(shape, dtype=torch.float64, device="cpu"))
    return pooled_average_precision(ious, scores, iou)


@torch_defaults()
def pooled_average_precision(ious: PerImage, scores: PerImage, iou: float = 0.5) -> float:
    """AP^r from overlaps already computed: ``ious`` are (M, G) over images, the rest as for ``average_precision``."""
    for k, (matrix, value) in enumerate(zip(ious, scores, strict=True)):
        checks.finite(checks.tensor(value, f"scores[{k}]", (len(matrix),)), f"scores[{k}]")
    scores = [torch.as_tensor(value, dtype=torch.float64) for value in scores]
    instances = sum(matrix.shape[1] for matrix in ious)
    if not instances:
        return float("nan")
    right = [match(matrix, value, iou) for matrix, value in zip(ious, scores, strict=True)]
    return area_under(*precision_recall(torch.cat(right), torch.cat(scores), instances))


def mean_over_classes(values: Mapping[str, float]) -> float:
    """mAP^r or mean CorLoc: the plain mean over the categories, those without an instance (NaN) left out."""
    known = [value for value in values.values() if value == value]
    return sum(known) / len(known) if known else float("nan")


@torch_defaults()
def corloc(predicted_boxes: Sequence[torch.Tensor | None], ground_truth_boxes: PerImage, iou: float = 0.5) -> float:
    """Share of the images whose predicted box has IoU >= ``iou`` with a ground-truth box; NaN for an empty list.

    Parameters
    ----------
    predicted_boxes : over images, (4,) ``x0 y0 x1 y1``, finite; None, for no box, counts as wrong.
    ground_truth_boxes : over images, (G, 4), of the category; an image with nothing to be found counts as wrong.
    """
    checks.same_length(predicted_boxes=predicted_boxes, ground_truth_boxes=ground_truth_boxes)
    checks.between(iou, "iou", 0, 1)
    right = []
    for k, (box, truth) in enumerate(zip(predicted_boxes, ground_truth_boxes, strict=True)):
        wanted = _boxes(truth, f"ground_truth_boxes[{k}]", ("G", 4)) if len(truth) else None
        found = _boxes(box, f"predicted_boxes[{k}]", (4,))[None] if box is not None else None
        right.append(found is not None and wanted is not None and bool((box_iou(found, wanted) >= iou).any()))
    return sum(right) / len(right) if right else float("nan")


@torch_defaults()
def best_box(instances: Sequence[Instance]) -> torch.Tensor | None:
    """The box (4,) ``x0 y0 x1 y1`` of a photo's best instance; None if nothing was found. ``ValueError`` for a score of NaN."""
    if not instances:
        return None
    if any(math.isnan(instance.score) for instance in instances):
        raise ValueError("scores of instances must be numbers that can be ordered, got NaN")
    return torch.tensor(max(instances, key=lambda instance: instance.score).box)


@torch_defaults()
def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Tight boxes of masks, the empty ones left out: (G, H, W) bool -> (G', 4)."""
    masks = checks.masks(masks, "masks", ("G", "H", "W"))
    boxes = [tight_box(mask) for mask in masks.numpy() if mask.any()]
    return torch.tensor(boxes).reshape(-1, 4)


@torch_defaults()
def overlaps(
    found: Sequence[Sequence[Instance]], truth: Iterable[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """For every photo the IoU (M, G) of its instances with what there is to find, and their scores (M,); see ``evaluate``."""
    pairs = [_overlap(*pair) for pair in zip(found, truth, strict=True)]
    return [ious for ious, _ in pairs], [scores for _, scores in pairs]


@torch_defaults()
def evaluate(found: Sequence[Sequence[Instance]], truth: Iterable[torch.Tensor]) -> dict[str, float]:
    """AP^r of one category at the IoUs of ``MEASURES`` and its CorLoc, each in [0, 1]; NaN where there is nothing to find.

    Parameters
    ----------
    found : the instances of every photo.
    truth : over photos, masks (G, H, W) bool of what there is to find; one photo's are in memory at a time if it makes them so.
    """
    ious, scores, boxes = [], [], []
    for instances, masks in zip(found, truth, strict=True):
        overlap, own_scores = _overlap(instances, masks)
        ious.append(overlap)
        scores.append(own_scores)
        boxes.append(mask_boxes(masks))
    return measures(ious, scores, [best_box(instances) for instances in found], boxes)


def measures(ious: PerImage, scores: PerImage, best_boxes: Sequence[torch.Tensor | None], boxes: PerImage) -> dict[str, float]:
    """``evaluate`` from what is known already.

    Parameters
    ----------
    ious, scores : as ``overlaps`` gives them.
    best_boxes : over photos, ``best_box`` of its instances.
    boxes : over photos, ``mask_boxes`` of what there is to find.
    """
    values = {name: pooled_average_precision(ious, scores, iou) for name, iou in MEASURES.items()}
    return values | {"CorLoc": corloc(best_boxes, boxes)}


def _overlap(instances: Sequence[Instance], masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ious = overlaps_with(instances, masks)
    return ious, torch.tensor([instance.score for instance in instances], dtype=torch.float64)


def _masks(value, name: str, shape: tuple) -> torch.Tensor:
    none = not value if isinstance(value, (list, tuple)) else tuple(getattr(value, "shape", ()))[:1] == (0,)
    return torch.zeros(0, 0, 0, dtype=torch.bool, device="cpu") if none else checks.masks(value, name, shape)


def _boxes(value, name: str, shape: tuple) -> torch.Tensor:
    return checks.finite(checks.tensor(value, name, shape), name)
