"""Figures of notebook 02: detections on true instances, and the precision-recall curve that comes of them.

Shape letters: H W image size, M detections, G ground-truth instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from co3lib.datasets.images import fit_within, resize_nearest
from co3lib.evaluation import THRESHOLDS, area_under, match, pooled_average_precision, precision_recall
from co3lib.instance import Instance
from co3lib.overlap import mask_iou

from ..style import BLUE, FAINT, GREEN, ORANGE, PURPLE, VERMILION, plain

RIGHT, WRONG, TRUTH = GREEN, VERMILION, "#000000"
COLORS = (BLUE, ORANGE, PURPLE, GREEN, VERMILION)
STYLES = ("-", "--", "-.", ":", (0, (1, 1)))
_LONGEST = 240  # pixels of a photo in a figure: a mask is then moved and drawn at once
_IOUS = np.round(np.arange(0.05, 1, 0.05), 2)


@dataclass(frozen=True)
class Scene:
    """One photo's detections and truth: masks (M, H, W) bool, scores (M,), truth (G, H, W) bool; pixels (H, W, 3) uint8, or
    None for a white ground."""

    masks: torch.Tensor
    scores: torch.Tensor
    truth: torch.Tensor
    pixels: np.ndarray | None = None


def toy_scene() -> Scene:
    """Three true squares of 6 x 6 in 10 x 28 cells, and five detections: squares moved sideways by 1, 0, 2, 0 and -1 cells from
    the first, first, second, third and second of them."""
    starts = (1, 10, 19)
    truth = torch.stack([_square(start) for start in starts])
    found = [(0, 1), (0, 0), (1, 2), (2, 0), (1, -1)]
    masks = torch.stack([_square(starts[which] + shift) for which, shift in found])
    return Scene(masks, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64), truth)


def photo_scene(photo: np.ndarray, instances: Sequence[Instance], truth: torch.Tensor, most: int = 6) -> Scene:
    """The ``most`` best instances of a photo (H, W, 3) and its true masks (G, H, W), small enough to be moved about."""
    pixels = fit_within(photo, _LONGEST)
    best = sorted(instances, key=lambda instance: -instance.score)[:most]
    masks = torch.from_numpy(np.array([instance.mask for instance in best], dtype=bool).reshape(-1, *photo.shape[:2]))
    size = pixels.shape[:2]
    scores = torch.tensor([instance.score for instance in best], dtype=torch.float64)
    return Scene(resize_nearest(masks, size), scores, resize_nearest(truth, size), pixels)


def shift(mask: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """A mask (H, W) moved by whole pixels; what leaves the image is gone, what comes in is empty."""
    height, width = mask.shape
    moved = torch.zeros_like(mask)
    rows, columns = max(height - abs(down), 0), max(width - abs(right), 0)
    y, x = max(down, 0), max(right, 0)
    moved[y : y + rows, x : x + columns] = mask[max(-down, 0) :][:rows, max(-right, 0) :][:, :columns]
    return moved


def change(scene: Scene, which: int, added: float = 0.0, right: int = 0, down: int = 0) -> Scene:
    """The scene with detection ``which`` (counted from 1) moved, and something added to its score."""
    masks, scores = scene.masks.clone(), scene.scores.clone()
    masks[which - 1] = shift(masks[which - 1], right, down)
    scores[which - 1] += added
    return replace(scene, masks=masks, scores=scores)


def outcome(scene: Scene, iou: float) -> tuple[torch.Tensor, float]:
    """Which detections are right (M,) bool, and the AP of this photo alone."""
    right = match(mask_iou(scene.masks, scene.truth), scene.scores, iou)
    return right, area_under(*precision_recall(right, scene.scores, len(scene.truth)))


def describe(scene: Scene, iou: float) -> str:
    """The scene's outcome in one sentence."""
    right, value = outcome(scene, iou)
    order = scene.scores.argsort(descending=True, stable=True).tolist()
    said = [f"{k + 1} ({'right' if right[k] else 'wrong'})" for k in order]
    return f"IoU above {iou:g}: in the order of their scores the detections are {', '.join(said)}; AP {value:.3f}."


def describe_changed(scene: Scene, which: int, added: float, right: int, down: int, iou: float) -> str:
    """``describe`` of the changed scene, with what was changed."""
    changed = change(scene, which, added, right, down)
    best = float(mask_iou(changed.masks[which - 1][None], scene.truth).max())
    score = float(changed.scores[which - 1])
    moved = f"Detection {which} (black label) with score {score:.3g}, moved {right} to the right and {down} down"
    return f"{moved}, best IoU {best:.3f}. {describe(changed, iou)}"


@plain
def scene_figure(scene: Scene, iou: float = 0.5, chosen: int | None = None) -> Figure:
    """The detections on the true instances, and precision over recall: numbered points, their envelope, the area under it.
    Detection ``chosen`` (counted from 1) has a black label on both sides."""
    right, value = outcome(scene, iou)
    figure = Figure(figsize=(10, 3.6))
    left, axis = figure.subplots(1, 2, width_ratios=(1.35, 1))
    figure.subplots_adjust(left=0.01, right=0.98, bottom=0.14, top=0.9, wspace=0.12)
    _draw_scene(left, scene, right, chosen)
    order = scene.scores.argsort(descending=True, stable=True)
    precision, recall = precision_recall(right, scene.scores, len(scene.truth))
    draw_curve(axis, precision, recall)
    for k, x, y in zip(order.tolist(), recall.tolist(), precision.tolist(), strict=True):
        axis.plot(x, y, "o" if right[k] else "X", color=RIGHT if right[k] else WRONG, markersize=8, zorder=3, clip_on=False)
        style = _label(k + 1 == chosen, "none")
        axis.annotate(str(k + 1), (x, y), (7, 6), textcoords="offset points", fontsize=10, zorder=4, **style)
    axis.set_title(f"AP at IoU > {iou:g}: {value:.3f}", fontsize=11, loc="left")
    return figure


def changed_figure(scene: Scene, which: int, added: float, right: int, down: int, iou: float) -> Figure:
    """``scene_figure`` after ``change``."""
    return scene_figure(change(scene, which, added, right, down), iou, which)


def draw_curve(axis, precision: torch.Tensor, recall: torch.Tensor, color: str = COLORS[0]) -> None:
    """Precision over recall as measured (thin), its monotone envelope (thick) and the area under it."""
    axis.set(xlim=(0, 1.06), ylim=(0, 1.09), xlabel="recall", ylabel="precision")
    steps = _envelope(precision, recall)
    axis.plot(recall, precision, color=FAINT, linewidth=0.8)
    axis.fill_between(*steps, step="pre", color=color, alpha=0.18, linewidth=0)
    axis.step(*steps, where="pre", color=color, linewidth=2)


@dataclass(frozen=True)
class ClassCurves:
    """Classes' overlaps and scores, class -> a list over photos of (M, G) and of (M,), and each one's AP at the IoUs
    0.05, 0.1, ..., 0.95."""

    ious: Mapping[str, Sequence[torch.Tensor]]
    scores: Mapping[str, Sequence[torch.Tensor]]
    precisions: Mapping[str, tuple[float, ...]]

    def at(self, name: str, iou: float) -> float:
        """AP of a class at one of these IoUs."""
        return self.precisions[name][int(np.abs(_IOUS - iou).argmin())]

    def describe(self, iou: float) -> str:
        values = [f"{name} {self.at(name, iou):.3f}" for name in self.ious]
        return f"Curves of precision over recall, and AP at an IoU above {iou:g}: {', '.join(values)}."


def class_curves(ious: Mapping[str, Sequence[torch.Tensor]], scores: Mapping[str, Sequence[torch.Tensor]]) -> ClassCurves:
    """What ``class_figure`` draws, computed once; arguments as in ``ClassCurves``."""
    precisions = {
        name: tuple(pooled_average_precision(matrices, scores[name], iou) for iou in _IOUS.tolist())
        for name, matrices in ious.items()
    }
    return ClassCurves(ious, scores, precisions)


@plain
def class_figure(curves: ClassCurves, iou: float = 0.5) -> Figure:
    """Left: each class's envelope of precision over recall at one IoU; right: its AP at every IoU, the one chosen marked."""
    figure = Figure(figsize=(10, 3.7))
    left, axis = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.14, top=0.9, wspace=0.22)
    for k, (name, matrices) in enumerate(curves.ious.items()):
        style = {"color": COLORS[k % len(COLORS)], "linestyle": STYLES[k % len(STYLES)], "linewidth": 2, "label": name}
        recall, precision = _envelope(*pooled_curve(matrices, curves.scores[name], iou))
        left.step(np.r_[recall, recall[-1]], np.r_[precision, 0], where="pre", **style)
        axis.plot(_IOUS, curves.precisions[name], **style)
    left.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision (envelope)")
    left.set_title(f"IoU > {iou:g}", fontsize=11, loc="left")
    axis.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="IoU threshold", ylabel="AP", xticks=(0, *THRESHOLDS, 1))
    axis.axvline(iou, color=FAINT, linewidth=0.8)
    axis.set_title("AP at every threshold", fontsize=11, loc="left")
    axis.legend(frameon=False)
    return figure


def pooled_curve(ious: Sequence[torch.Tensor], scores: Sequence[torch.Tensor], iou: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Precision and recall over all photos of a class: lists over photos of (M, G) and (M,) -> two tensors over all
    detections."""
    right = torch.cat([match(matrix, value, iou) for matrix, value in zip(ious, scores, strict=True)])
    return precision_recall(right, torch.cat(list(scores)), sum(matrix.shape[1] for matrix in ious))


def outline(mask) -> np.ndarray:
    """The pixel edges between a mask (H, W) and what is not of it, as line segments (E, 2, 2) of ``(x, y)``; the top left
    corner of the image is (0, 0)."""
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    across = np.stack([np.stack([x, y], 1), np.stack([x + 1, y], 1)], 1)
    y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    return np.concatenate([across, np.stack([np.stack([x, y], 1), np.stack([x, y + 1], 1)], 1)])


def _draw_scene(axis, scene: Scene, right: torch.Tensor, chosen: int | None) -> None:
    height, width = scene.truth.shape[1:]
    extent = (0, width, height, 0)
    if scene.pixels is None:
        axis.imshow(np.where(scene.truth.any(0), 215, 255), cmap="gray", vmin=0, vmax=255, extent=extent)
    else:
        axis.imshow(scene.pixels // 2 + 127, extent=extent)  # paler, so that the outlines are seen
    thick = 6 if scene.pixels is None else 4
    for mask in scene.truth:
        # Wide, so that it shows on either side of a detection's outline that runs along it.
        axis.add_collection(LineCollection(outline(mask), colors=TRUTH, linewidths=thick, capstyle="projecting"))
    for mask, good in zip(scene.masks, right.tolist(), strict=True):
        color, thickness = (RIGHT, 3) if good else (WRONG, 1.5)
        axis.add_collection(LineCollection(outline(mask), colors=color, linewidths=thickness))
    for k, place in _label_places(scene.masks).items():
        # On a photo there is no room for the score.
        text = f"{k + 1}: {float(scene.scores[k]):.2g}" if scene.pixels is None else str(k + 1)
        style = _label(k + 1 == chosen, RIGHT if right[k] else WRONG)
        axis.text(*place, text, ha="center", va="center", fontsize=9, zorder=4 + (k + 1 == chosen), **style)
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=(), yticks=())
    said = "truth wide black, right green, wrong thin orange" + ("; number: score" if scene.pixels is None else "")
    axis.set_title(said, fontsize=11, loc="left")


def _label_places(masks: torch.Tensor) -> dict[int, tuple[float, float]]:
    """Where to write the number of each mask that is not empty: at an edge or in the middle of its box, and of these places
    the one furthest from the numbers already there, as masks may lie in each other."""
    margin, places = 0.06 * masks.shape[-2], {}
    for k, mask in enumerate(masks):
        y, x = np.nonzero(mask.numpy())
        if not len(y):
            continue
        middle, top, bottom = (x.mean() + 0.5, y.mean() + 0.5), y.min() + margin, y.max() + 1 - margin
        free = [(middle[0], bottom), (middle[0], top), (x.min() + margin, middle[1]), (x.max() + 1 - margin, middle[1]), middle]
        taken = np.array([*places.values()]).reshape(-1, 1, 2)
        nearest = np.hypot(*np.moveaxis(taken - np.array(free), -1, 0)).min(0, initial=8 * margin)
        places[k] = free[int(nearest.argmax())]
    return places


def _label(chosen: bool, edge: str) -> dict:
    """The style of a number: white on black if it is the chosen one, else black on white."""
    ground = "black" if chosen else "white" if edge != "none" else "none"
    box = {"facecolor": ground, "edgecolor": edge, "boxstyle": "round,pad=0.15", "alpha": 0.85}
    return {"color": "white" if chosen else "black", "bbox": box}


def _envelope(precision: torch.Tensor, recall: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Recall and the monotone envelope of precision (M,), from recall 0 on: two arrays (M + 1,)."""
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    return np.r_[0, recall.numpy()], np.r_[envelope[:1] if len(envelope) else 0, envelope.numpy()]


def _square(start: int) -> torch.Tensor:
    mask = torch.zeros(10, 28, dtype=torch.bool)
    mask[2:8, start : start + 6] = True
    return mask
