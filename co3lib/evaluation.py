"""How good are the instances: AP^r (average precision at a mask IoU), its mean over classes, and CorLoc.

Object co-localisation (paper, Section 4.4) asks for one box a photo. The authors released no code for it; here a photo's box is
the tight box of its best instance.

Shape letters: H W image size, M detections, G ground-truth instances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from . import checks
from .instance import Instance, masks_of
from .overlap import box_iou, mask_iou, tight_box
from .torch_defaults import torch_defaults

THRESHOLDS = (0.25, 0.5, 0.75)
MEASURES = {f"AP{100 * iou:.0f}": iou for iou in THRESHOLDS}
"""Names of AP^r by the IoU that must be exceeded; ``CorLoc`` stands beside them."""


@torch_defaults()
def match(ious: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """Which detections of one image are right.

    ious: (M, G); scores: (M,). In the order of falling score each detection takes the best ground-truth instance that
    none before it took, if their IoU is strictly above ``iou``. Returns bool (M,), in the order given.
    """
    left = ious.clone()
    right = torch.zeros(len(scores), dtype=torch.bool)
    for k in scores.argsort(descending=True, stable=True).tolist():
        if left.shape[1] and left[k].max() > iou:
            right[k] = True
            left[:, left[k].argmax()] = -1
    return right


@torch_defaults()
def precision_recall(right: torch.Tensor, scores: torch.Tensor, instances: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Precision and recall after each detection, in the order of falling score.

    right: (M,) bool; scores: (M,); ``instances``: how many there are to be found. Returns two (M,) double tensors.
    """
    order = scores.argsort(descending=True, stable=True)
    found = right[order].double().cumsum(0)
    return found / torch.arange(1, len(order) + 1), found / max(instances, 1)


@torch_defaults()
def area_under(precision: torch.Tensor, recall: torch.Tensor) -> float:
    """Average precision, all points: the area under the monotone envelope of precision over recall."""
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=recall.dtype))
    return float((envelope * steps).sum())


@torch_defaults()
def average_precision(
    predictions: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    ground_truth: Sequence[torch.Tensor],
    iou: float = 0.5,
) -> float:
    """AP^r of one class: its images' detections pooled and ordered by score.

    predictions: a list over images of (M, H, W) bool; scores: of (M,), finite; ground_truth: of (G, H, W) bool. A list
    may hold images without detections or without instances, which ``[]`` stands for too. Returns a float in [0, 1]; NaN if
    there is no instance at all.
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
def pooled_average_precision(ious: Sequence[torch.Tensor], scores: Sequence[torch.Tensor], iou: float = 0.5) -> float:
    """AP^r from overlaps already computed: lists over images of (M, G) and (M,); ``ValueError`` for scores that are not
    finite."""
    for k, (matrix, value) in enumerate(zip(ious, scores, strict=True)):
        checks.finite(checks.tensor(value, f"scores[{k}]", (len(matrix),)), f"scores[{k}]")
    scores = [torch.as_tensor(value, dtype=torch.float64) for value in scores]
    instances = sum(matrix.shape[1] for matrix in ious)
    if not instances:
        return float("nan")
    right = [match(matrix, value, iou) for matrix, value in zip(ious, scores, strict=True)]
    return area_under(*precision_recall(torch.cat(right), torch.cat(scores), instances))


def mean_over_classes(values: Mapping[str, float]) -> float:
    """mAP^r or mean CorLoc: the plain mean over the classes, those without an instance (NaN) left out."""
    known = [value for value in values.values() if value == value]
    return sum(known) / len(known) if known else float("nan")


@torch_defaults()
def corloc(
    predicted_boxes: Sequence[torch.Tensor | None], ground_truth_boxes: Sequence[torch.Tensor], iou: float = 0.5
) -> float:
    """Share of the images whose one predicted box has IoU >= ``iou`` with a ground-truth box of the class.

    predicted_boxes: a list over images of (4,) ``x0 y0 x1 y1``, finite, or None; ground_truth_boxes: of (G, 4). No box, or
    nothing to be found, counts as wrong. Returns a float; NaN for an empty list.
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
    if any(math.isnan(one.score) for one in instances):
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
    """IoU (M, G) of a photo's instances with what there is to find, (G, H, W) bool, and the instances' scores (M,), for every
    photo. Masks of one photo at a time are in memory, if ``truth`` makes them one at a time."""
    pairs = [_overlap(*pair) for pair in zip(found, truth, strict=True)]
    return [ious for ious, _ in pairs], [scores for _, scores in pairs]


@torch_defaults()
def evaluate(found: Sequence[Sequence[Instance]], truth: Iterable[torch.Tensor]) -> dict[str, float]:
    """AP^r of one class at the IoUs of ``MEASURES`` and its CorLoc, each in [0, 1]; NaN where there is nothing to find.

    found: the instances of every photo; truth: what there is to find in it, (G, H, W) bool.
    """
    ious, scores, boxes = [], [], []
    for instances, masks in zip(found, truth, strict=True):
        overlap, own_scores = _overlap(instances, masks)
        ious.append(overlap)
        scores.append(own_scores)
        boxes.append(mask_boxes(masks))
    return measures(ious, scores, [best_box(instances) for instances in found], boxes)


def measures(
    ious: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    best_boxes: Sequence[torch.Tensor | None],
    boxes: Sequence[torch.Tensor],
) -> dict[str, float]:
    """``evaluate`` from what is known already: ious and scores as ``overlaps`` gives them; best_boxes: ``best_box`` of every
    photo; boxes: ``mask_boxes`` of what there is to find in it."""
    values = {name: pooled_average_precision(ious, scores, iou) for name, iou in MEASURES.items()}
    return values | {"CorLoc": corloc(best_boxes, boxes)}


def _overlap(instances: Sequence[Instance], masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ious = mask_iou(masks_of(instances, (masks.shape[1], masks.shape[2])), masks)
    return ious, torch.tensor([instance.score for instance in instances], dtype=torch.float64)


def _masks(value, name: str, shape: tuple) -> torch.Tensor:
    none = not value if isinstance(value, (list, tuple)) else tuple(getattr(value, "shape", ()))[:1] == (0,)
    return torch.zeros(0, 0, 0, dtype=torch.bool, device="cpu") if none else checks.masks(value, name, shape)


def _boxes(value, name: str, shape: tuple) -> torch.Tensor:
    return checks.finite(checks.tensor(value, name, shape), name)
