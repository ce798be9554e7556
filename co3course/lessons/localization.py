"""Figures of notebook 10: what different methods make of the same photos, and the box that each would answer.

Shape letters: N photos, C channels, H W photo size, ``h w`` feature grid, G ground-truth instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn.functional import interpolate

from co3lib.datasets.export import overlay
from co3lib.datasets.images import fit_within, resize_nearest, to_tensor
from co3lib.evaluation import best_box, mask_boxes
from co3lib.instance import Instance
from co3lib.model import CoPeakNet
from co3lib.overlap import box_iou, mask_iou, tight_box
from co3lib.segmentation import CoSegConfig, CoSegmenter

from ..style import GREEN, SKY, VERMILION, plain

RIGHT, WRONG, TRUTH = GREEN, VERMILION, SKY
_LONGEST = 240  # pixels of a photo in a figure


def untrained(images: Sequence[np.ndarray], config: CoSegConfig) -> CoSegmenter:
    """A segmenter with ImageNet's weights and an empty head: nothing learnt from the photos but their mean feature."""
    bare = config.model_copy(update={"epochs": 0, "init_head": False})
    return CoSegmenter(bare).fit(images, priors=[torch.zeros(8, 8) for _ in images], progress=False)


def features_of(segmenter: CoSegmenter, images: Sequence[np.ndarray]) -> torch.Tensor:
    """The features of photos, as the score head sees them: (N, C, h, w)."""
    with torch.no_grad():
        return torch.cat([segmenter.model(to_tensor(image, segmenter.config.input_size)).features for image in images])


def cosaliency(model: CoPeakNet, features: torch.Tensor, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """The co-saliency of photos at their own sizes: a list of (H, W) in [0, 1]; features: (N, C, h, w)."""
    with torch.no_grad():
        big = model.saliency_at_image_size(model.head(features))
    return at_sizes(big[:, 0], images)


def at_sizes(maps: torch.Tensor, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """Maps (N, h, w) at the sizes of their photos, bilinear: a list of (H, W)."""
    pairs = zip(maps, images, strict=True)
    return [interpolate(values[None, None], image.shape[:2], mode="bilinear")[0, 0] for values, image in pairs]


def overlaps_of(found: Sequence[Sequence[Instance]], truth: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The IoU of each photo's instances with its true masks (G, H, W): a list over photos of (M, G)."""
    ious = []
    for instances, masks in zip(found, truth, strict=True):
        given = torch.from_numpy(np.array([instance.mask for instance in instances], dtype=bool).reshape(-1, *masks.shape[1:]))
        ious.append(mask_iou(given, masks))
    return ious


@dataclass(frozen=True)
class Answer:
    """What one method says of one photo, small: saliency (H, W) in [0, 1]; drawn (H, W, 3) uint8, the photo with the found
    instances; found, how many; box, that of the best, or None; iou, its best IoU with a true box."""

    saliency: np.ndarray
    drawn: np.ndarray
    found: int
    box: tuple[int, ...] | None
    iou: float

    @property
    def right(self) -> bool:
        return self.iou >= 0.5


@dataclass(frozen=True)
class Gallery:
    """Photos (H, W, 3), their true boxes (G, 4) and, for each method by its name, an answer a photo; all of them small."""

    photos: Sequence[np.ndarray]
    truth: Sequence[torch.Tensor]
    answers: Mapping[str, Sequence[Answer]]

    def describe(self, photo: int, method: str) -> str:
        """One photo's answer in a sentence."""
        answer = self.answers[method][photo]
        if answer.box is None:
            return f"Photo {photo + 1}, {method}: nothing was found, so there is no box, which counts as wrong."
        verdict = "right" if answer.right else "wrong"
        return (
            f"Photo {photo + 1} with {len(self.truth[photo])} instances, {method}: {answer.found} masks; "
            f"the best one's box has an IoU of {answer.iou:.2f} with a true box and is {verdict}."
        )


def gallery(
    images: Sequence[np.ndarray],
    truth: Sequence[torch.Tensor],
    maps: Mapping[str, Sequence[torch.Tensor]],
    found: Mapping[str, Sequence[Sequence[Instance]]],
) -> Gallery:
    """Everything that the figures show, computed once.

    images: (H, W, 3) uint8; truth: of (G, H, W) bool; maps: method -> of (H, W) in [0, 1]; found: method -> instances.
    """
    photos = [fit_within(image, _LONGEST) for image in images]
    answers = {
        method: [
            _answer(small, masks, maps[method][k], found[method][k])
            for k, (small, masks) in enumerate(zip(photos, truth, strict=True))
        ]
        for method in found
    }
    small_truth = [mask_boxes(resize_nearest(masks, photo.shape[:2])) for masks, photo in zip(truth, photos, strict=True)]
    return Gallery(photos, small_truth, answers)


@plain
def answer_figure(shown: Gallery, photo: int, method: str) -> Figure:
    """One photo and one method: true boxes, the method's map, its masks with the best one's box."""
    answer = shown.answers[method][photo]
    figure = Figure(figsize=(10, 3.5))
    left, middle, right = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.01, right=0.92, bottom=0.02, top=0.9, wspace=0.06)
    for axis, title in ((left, "photo, true boxes"), (middle, f"map of {method}"), (right, _verdict(answer))):
        axis.set_axis_off()
        axis.set_title(title, fontsize=10, loc="left")
    left.imshow(shown.photos[photo])
    for box in shown.truth[photo].tolist():
        _frame(left, box, TRUTH)
    image = middle.imshow(answer.saliency, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, cax=figure.add_axes((0.935, 0.1, 0.012, 0.7)), label="map")
    right.imshow(answer.drawn)
    if answer.box is not None:
        _frame(right, answer.box, RIGHT if answer.right else WRONG)
    return figure


@plain
def maps_figure(shown: Gallery, photo: int) -> Figure:
    """The photo and every method's map of it, with the same limits, and the box it would answer."""
    columns = -(-(1 + len(shown.answers)) // 2)
    figure = Figure(figsize=(2.6 * columns + 0.8, 6.4), layout="constrained")
    axes = figure.subplots(2, columns).ravel()
    for axis in axes:
        axis.set_axis_off()
    axes[0].imshow(shown.photos[photo])
    axes[0].set_title("photo, true boxes", fontsize=10, loc="left")
    for box in shown.truth[photo].tolist():
        _frame(axes[0], box, TRUTH)
    for axis, (method, answers) in zip(axes[1:], shown.answers.items(), strict=False):
        image = axis.imshow(answers[photo].saliency, cmap="cividis", vmin=0, vmax=1)
        axis.set_title(f"{method}\n{_verdict(answers[photo])}", fontsize=10, loc="left")
        if answers[photo].box is not None:
            _frame(axis, answers[photo].box, RIGHT if answers[photo].right else WRONG)
    figure.colorbar(image, ax=axes, shrink=0.5, pad=0.01, label="map")
    return figure


def _answer(photo: np.ndarray, truth: torch.Tensor, saliency: torch.Tensor, found: Sequence[Instance]) -> Answer:
    size = photo.shape[:2]
    best = best_box(found)
    boxes = mask_boxes(truth)
    iou = float(box_iou(best[None], boxes).max()) if best is not None and len(boxes) else 0.0
    scale = np.tile(np.array(size[::-1]) / saliency.shape[::-1], 2)
    box = None if best is None else tuple((best.numpy() * scale).round().astype(int).tolist())
    masks = [resize_nearest(torch.from_numpy(instance.mask)[None], size)[0].numpy() for instance in found]
    small = [
        Instance(mask, instance.score, instance.peak, tight_box(mask))
        for mask, instance in zip(masks, found, strict=True)
        if mask.any()
    ]
    shrunk = interpolate(saliency[None, None].float(), size, mode="area")[0, 0].numpy()
    return Answer(shrunk, overlay(photo, small), len(found), box, iou)


def _verdict(answer: Answer) -> str:
    return f"box: IoU {answer.iou:.2f}, {'right' if answer.right else 'wrong'}" if answer.box else "no box: wrong"


def _frame(axis, box, color: str) -> None:
    x0, y0, x1, y1 = box
    for thickness, ink in ((4, "white"), (2, color)):  # white below is seen on any photo
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=ink, linewidth=thickness))
