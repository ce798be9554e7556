"""Notebook 09: proposals, the paper's ranking (Eq. 7), suppression and the noise filter.

Eq. 7 is linear in beta and gamma, so its three sums are taken once for every peak and proposal of a photo; other
weights, limits and percentiles then take a few milliseconds for a whole class, and sliders can follow at once.

Shape letters: H W size of the masks, K proposals, S superpixels, Q peaks, M chosen instances, G true instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage

from co3lib.beyond.region_ranking import PaperSums, RegionRanker
from co3lib.datasets import Sample
from co3lib.datasets.export import overlay
from co3lib.datasets.images import resize_nearest
from co3lib.evaluation import match, pooled_average_precision, precision_recall
from co3lib.inference import prepare
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.ranking import contours, noise_filter, suppress
from co3lib.segmentation import CoSegmenter
from co3lib.selection import prepare_proposals
from co3lib.superpixels import means, region_iou

from ..style import BLUE, GREEN, ORANGE, VERMILION, mark, plain

_STEP = 2  # every second pixel is drawn: more would not be seen
_MARGIN = 9  # pixels round a mask that is cut out


@dataclass(frozen=True)
class Scene:
    """One photo, ready to be ranked at the size of the masks.

    pixels: (H, W, 3) uint8; saliency: (H, W); heat: (Q, H, W), in the values that it has at the network's input; points:
    (Q, 2), the peaks in pixels ``(y, x)``, best first; ranker: its K proposals; truth: (G, H, W) bool; weighted and plain: the
    sums with the co-saliency and without it (``S = 1`` everywhere); overlaps: (K, K), IoU of the proposals with one another;
    ious: (K, G), with the truth.
    """

    pixels: np.ndarray
    saliency: torch.Tensor
    heat: torch.Tensor
    points: torch.Tensor
    ranker: RegionRanker
    truth: torch.Tensor
    weighted: PaperSums
    plain: PaperSums
    overlaps: torch.Tensor
    ious: torch.Tensor

    @property
    def labels(self) -> torch.Tensor:
        """The superpixel of every pixel: (H, W)."""
        return self.ranker.labels.reshape(self.ranker.size)


@dataclass(frozen=True)
class Chosen:
    """The instances of one photo, best first: proposals (M,) and peaks (M,), as indices; scores (M,)."""

    proposals: torch.Tensor
    peaks: torch.Tensor
    scores: torch.Tensor


# ------------------------------------------------------------------------------------------------------- the data


def scene_of(segmenter: CoSegmenter, sample: Sample) -> Scene:
    """Take a photo through a fitted segmenter down to its heat maps and proposals, and sum up what Eq. 7 needs."""
    config = segmenter.config
    image = prepare(sample.image_path, config)
    size = image.pixels.shape[:2]
    first = segmenter.peaks_at(image)
    saliency = first.view.saliency
    heat = first.heat * (saliency.numel() / config.input_size**2)  # values kept in place of sums, as ``selection.rank`` does
    ranker = prepare_proposals(image, config).ranker
    truth = resize_nearest(sample.masks, size)
    weighted, plain = (ranker.sums(heat, guide) for guide in (saliency, torch.ones(size)))
    overlaps, ious = region_ious(ranker), region_ious(ranker, truth)
    return Scene(image.pixels, saliency, heat, first.points, ranker, truth, weighted, plain, overlaps, ious)


def region_ious(ranker: RegionRanker, truth: torch.Tensor | None = None) -> torch.Tensor:
    """IoU of every proposal with every mask of ``truth`` (G, H, W), counted superpixel by superpixel: (K, G); with every
    other proposal if no truth is given: (K, K)."""
    if truth is None:
        return region_iou(ranker.members, ranker.area, ranker.members * ranker.area)
    pixels = torch.zeros(len(truth), len(ranker.area)).index_add_(1, ranker.labels, truth.flatten(1).float())
    return region_iou(ranker.members, ranker.area, pixels)


def recall(scenes: Sequence[Scene], limit: int, iou: float = 0.5) -> float:
    """Share of the true instances that one of the first ``limit`` proposals of their photo covers with more than ``iou``."""
    best = torch.cat([scene.ious[:limit].max(0).values for scene in scenes])
    return float((best > iou).double().mean())


# ---------------------------------------------------------------------------------------------------- the ranking


def scores(scene: Scene, beta: float = 0.8, gamma: float = 1e-5, cosaliency: bool = True) -> torch.Tensor:
    """Eq. 7 from its sums: (Q, K); -inf outside the size limits."""
    sums = scene.weighted if cosaliency else scene.plain
    return sums.score(beta, gamma).masked_fill(~scene.ranker.usable, -torch.inf)


def choose(scene: Scene, beta=0.8, gamma=1e-5, nms_iou=0.4, cosaliency: bool = True) -> Chosen:
    """Each peak's best proposal, then suppression over the peaks."""
    best, proposals = scores(scene, beta, gamma, cosaliency).max(1)
    kept = suppress(scene.overlaps[proposals][:, proposals], best, nms_iou)
    return Chosen(proposals[kept], kept, best[kept])


def instances_of_class(
    scenes: Sequence[Scene], beta=0.8, gamma=1e-5, nms_iou=0.4, percentile=20.0, cosaliency: bool = True
) -> list[Chosen]:
    """What is left of a class's photos after ranking, suppression and noise filter."""
    found = [choose(scene, beta, gamma, nms_iou, cosaliency) for scene in scenes]
    kept = noise_filter([chosen.scores for chosen in found], percentile)
    return [Chosen(chosen.proposals[k], chosen.peaks[k], chosen.scores[k]) for chosen, k in zip(found, kept, strict=True)]


def precision(scenes: Sequence[Scene], found: Sequence[Chosen], iou: float = 0.5) -> float:
    """AP^r of the class."""
    ious = [scene.ious[chosen.proposals] for scene, chosen in zip(scenes, found, strict=True)]
    return pooled_average_precision(ious, [chosen.scores for chosen in found], iou)


def strong(found: Sequence[Chosen], least: float = 0.05) -> list[Chosen]:
    """Of a class's instances those whose score reaches ``least`` of the best of all."""
    best = max((float(chosen.scores.max()) for chosen in found if len(chosen.scores)), default=0.0)
    kept = [chosen.scores >= least * best for chosen in found]
    return [Chosen(chosen.proposals[k], chosen.peaks[k], chosen.scores[k]) for chosen, k in zip(found, kept, strict=True)]


def right(scenes: Sequence[Scene], found: Sequence[Chosen], iou: float = 0.25) -> int:
    """How many instances are right, as ``evaluation.match`` counts them."""
    pairs = zip(scenes, found, strict=True)
    return sum(int(match(scene.ious[chosen.proposals], chosen.scores, iou).sum()) for scene, chosen in pairs)


def mean_area(scenes: Sequence[Scene], found: Sequence[Chosen]) -> float:
    """The mean share of the photo that an instance covers."""
    pairs = zip(scenes, found, strict=True)
    return float(torch.cat([scene.ranker.share[chosen.proposals] for scene, chosen in pairs]).mean())


def best_possible(scenes: Sequence[Scene], nms_iou: float = 0.4) -> list[Chosen]:
    """What a perfect ranking would choose of the same proposals at the same peaks: a peak on an instance takes the proposal
    that overlaps it most, with this IoU as its score; a peak elsewhere takes none."""
    found = []
    for scene in scenes:
        y, x = scene.points.T
        on = scene.truth[:, y, x].double()  # (G, Q)
        peaks = torch.nonzero(on.any(0)).flatten()
        near, proposals = scene.ious[:, on.argmax(0)[peaks]].max(0)
        kept = suppress(scene.overlaps[proposals][:, proposals], near, nms_iou)
        found.append(Chosen(proposals[kept], peaks[kept], near[kept]))
    return found


def masks_of(scene: Scene, found: Chosen) -> list[Instance]:
    """The chosen proposals as instances at the size of the masks."""
    masks = scene.ranker.masks(found.proposals).numpy()
    points = scene.points[found.peaks].tolist()
    return [
        Instance(mask, float(score), tuple(point), tight_box(mask))
        for mask, score, point in zip(masks, found.scores, points, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------- the figures


@plain
def proposals_figure(scene: Scene, shown: Sequence[int]) -> Figure:
    """The photo, its superpixels, and the proposals with the indices ``shown``, each in its place on the photo."""
    columns = -(-(len(shown) + 2) // 2)
    figure = Figure(figsize=(2.1 * columns, 4.6), layout="constrained")
    axes = figure.subplots(2, columns).ravel()
    axes[0].imshow(scene.pixels)
    axes[0].set_title("the photo", fontsize=9)
    axes[1].imshow(_mean_colours(scene))
    axes[1].set_title(f"{scene.ranker.members.shape[1]} superpixels", fontsize=9)
    for axis, k in zip(axes[2:], shown, strict=False):
        axis.imshow(_on_photo(scene, torch.tensor([k])))
        axis.set_title(f"proposal {k}: best IoU {scene.ious[k].max():.2f}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    return figure


@plain
def recall_figure(scenes: Sequence[Scene], limits: Sequence[int], ious: Sequence[float] = (0.25, 0.5, 0.75)) -> Figure:
    """Recall of the first proposals, for several demands on the overlap."""
    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axis = figure.subplots()
    for iou, color, marker in zip(ious, (GREEN, BLUE, VERMILION), "o^s", strict=True):
        values = [recall(scenes, limit, iou) for limit in limits]
        axis.plot(limits, values, color=color, marker=marker, label=f"IoU above {iou:g}")
    axis.set(xscale="log", xlabel="proposals for each photo, best first", ylabel="true instances covered", ylim=(0, 1.02))
    axis.set_xticks(limits, [str(limit) for limit in limits])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure


@plain
def contour_figure(mask: torch.Tensor) -> Figure:
    """A mask (H, W) bool, its dilation, its erosion, and its contour, where these two differ; cut out round the dilation."""
    square = np.ones((5, 5), bool)
    grown = ndimage.binary_dilation(mask.numpy(), square)
    shrunk = ndimage.binary_erosion(mask.numpy(), square, border_value=1)  # the image's border makes no contour
    x0, y0, x1, y1 = tight_box(torch.from_numpy(grown))
    part = slice(max(y0 - _MARGIN, 0), y1 + _MARGIN), slice(max(x0 - _MARGIN, 0), x1 + _MARGIN)
    pictures = {"mask P": mask.numpy(), "dilation": grown, "erosion": shrunk, "contour": contours(mask[None])[0].numpy()}
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axis, (title, picture) in zip(figure.subplots(1, 4), pictures.items(), strict=True):
        axis.imshow(picture[part], cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"{title}: {int(picture.sum())} pixels", fontsize=10)
        axis.set_axis_off()
    return figure


@plain
def ranking_figure(scene: Scene, peak: int, beta: float = 0.8, gamma: float = 1e-5, cosaliency: bool = True) -> Figure:
    """For one peak: ``R = O S`` and the three proposals that rank highest, each with its score and the score's terms."""
    order = scores(scene, beta, gamma, cosaliency)[peak].argsort(descending=True)[:3]
    figure = Figure(figsize=(9.8, 2.7))
    axes = figure.subplots(1, 5, width_ratios=(1.3, 1, 1, 1, 1.2))
    response = (scene.heat[peak] * scene.saliency if cosaliency else scene.heat[peak])[::_STEP, ::_STEP]
    heat = axes[0].imshow(response.numpy(), cmap="magma", vmin=0)
    bar = figure.colorbar(heat, ax=axes[0], location="left", shrink=0.7, pad=0.04)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(axis="y", nbins=3)
    axes[0].set_title("R = O S" if cosaliency else "R = O", fontsize=9)
    for place, (axis, k) in enumerate(zip(axes[1:4], order, strict=True), start=1):
        axis.imshow(_on_photo(scene, k[None]))
        axis.set_title(f"{place}: IoU {scene.ious[k].max():.2f}", fontsize=9)
    for axis in axes[:4]:
        axis.set_axis_off()
        _mark(axis, scene.points[peak])
    _draw_terms(axes[4], terms(scene, peak, order, beta, gamma, cosaliency))
    figure.subplots_adjust(left=0.04, right=0.95, bottom=0.12, top=0.9, wspace=0.1)
    return figure


def terms(scene: Scene, peak: int, proposals: torch.Tensor, beta: float, gamma: float, cosaliency: bool = True) -> np.ndarray:
    """The summands of Eq. 7, sign included: (3, M), inside, contour and background."""
    sums = scene.weighted if cosaliency else scene.plain
    parts = beta * sums.inside[peak], sums.contour[peak], -gamma * sums.background
    return torch.stack([part[proposals] for part in parts]).numpy()


def _draw_terms(axis, values: np.ndarray) -> None:
    places = np.arange(values.shape[1])
    for k, (row, color, name) in enumerate(
        zip(values, (BLUE, ORANGE, VERMILION), ("inside", "contour", "background"), strict=True)
    ):
        axis.bar(places + 0.27 * (k - 1), row, width=0.25, color=color, label=name)
    axis.plot(places, values.sum(0), "kD", markersize=5, label="score")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(places, [f"{place + 1}" for place in places])
    axis.set_title("terms of the score", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.yaxis.tick_right()
    axis.margins(y=0.45)
    axis.locator_params(axis="y", nbins=4)
    axis.legend(fontsize=7, ncols=2, loc="upper center")


@plain
def class_figure(
    scenes: Sequence[Scene],
    photo: int,
    beta: float = 0.8,
    gamma: float = 1e-5,
    nms_iou: float = 0.4,
    percentile: float = 20.0,
    cosaliency: bool = True,
) -> Figure:
    """What the settings do to a class: one photo's instances, the scores of all, and precision over recall."""
    found = instances_of_class(scenes, beta, gamma, nms_iou, percentile, cosaliency)
    figure = Figure(figsize=(9.4, 3.1))
    axes = figure.subplots(1, 3, width_ratios=(1, 1.1, 1.1))
    scene, here = scenes[photo], strong(found)[photo]
    axes[0].imshow(_on_photo(scene, here.proposals))
    axes[0].set_title(f"photo {photo + 1}: {len(here.proposals)} drawn, {len(scene.truth)} there", fontsize=9)
    axes[0].set_axis_off()
    _mark(axes[0], scene.points[here.peaks])
    _draw_scores(axes[1], scenes, found, photo)
    _draw_curves(axes[2], scenes, found)
    figure.subplots_adjust(left=0.01, right=0.98, bottom=0.16, top=0.9, wspace=0.28)
    return figure


def _draw_scores(axis, scenes: Sequence[Scene], found: Sequence[Chosen], photo: int) -> None:
    overlaps = [scene.ious[chosen.proposals].max(1).values for scene, chosen in zip(scenes, found, strict=True)]
    others = [k for k in range(len(scenes)) if k != photo] or [photo]
    for shown, size, color in ((others, 16, BLUE), ([photo], 34, VERMILION)):
        points = torch.cat([found[k].scores for k in shown]), torch.cat([overlaps[k] for k in shown])
        axis.scatter(*points, s=size, color=color)
    for iou in (0.25, 0.5):
        axis.axhline(iou, color="gray", linewidth=0.8, linestyle=":")
    axis.set(xlabel="score", ylabel="IoU with the truth", ylim=(-0.03, 1.03), yticks=(0, 0.25, 0.5, 1))
    axis.locator_params(axis="x", nbins=3)
    axis.set_title("all found (orange: this photo)", fontsize=9)


def _draw_curves(axis, scenes: Sequence[Scene], found: Sequence[Chosen]) -> None:
    ious = [scene.ious[chosen.proposals] for scene, chosen in zip(scenes, found, strict=True)]
    pooled = torch.cat([chosen.scores for chosen in found])
    instances = sum(len(scene.truth) for scene in scenes)
    for iou, color, style in ((0.25, GREEN, "-"), (0.5, BLUE, "--")):
        right = torch.cat([match(matrix, chosen.scores, iou) for matrix, chosen in zip(ious, found, strict=True)])
        values, reached = precision_recall(right, pooled, instances)
        area = precision(scenes, found, iou)
        axis.plot(reached, values, color=color, linestyle=style, marker=".", label=f"AP{100 * iou:.0f} = {area:.2f}")
    axis.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axis.set_title("precision over recall", fontsize=9)
    axis.legend(loc="lower left", fontsize=9)


def _on_photo(scene: Scene, proposals: torch.Tensor) -> np.ndarray:
    """Proposals (M,) laid over the photo, at the size they are drawn in."""
    labels = scene.labels[::_STEP, ::_STEP]
    masks = scene.ranker.members[proposals].bool()[:, labels].numpy()
    return overlay(scene.pixels[::_STEP, ::_STEP], [Instance(mask, 0, (0, 0), (0, 0, 0, 0)) for mask in masks])


def _mean_colours(scene: Scene) -> np.ndarray:
    """The photo with every superpixel in its mean colour."""
    labels = scene.labels.numpy()
    return means(scene.pixels, labels)[labels].astype(np.uint8)


def _mark(axis, points: torch.Tensor) -> None:
    """White dots at pixels (2,) or (M, 2), ``(y, x)``."""
    y, x = (points.reshape(-1, 2) / _STEP).T.tolist()
    mark(axis, x, y)
