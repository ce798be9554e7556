"""Notebook 12: which mask a peak takes, each setting measured on top of the last.

Networks are trained once for every way of training and heat maps made once for every network, source of peaks and stage at
which they are read, so that a ladder of configurations (``run_ladder``) takes no longer than its costliest steps.

Shape letters: H W size of the masks, ``h w`` feature grid, K proposals, S superpixels, Q peaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from co3lib.beyond.region_ranking import RankingTerms
from co3lib.config import CoSegConfig, InferenceSettings
from co3lib.datasets import Sample
from co3lib.datasets.export import overlay
from co3lib.inference import ScalePeaks, prepare
from co3lib.instance import Instance
from co3lib.segmentation import CoSegmenter
from co3lib.selection import Proposals, choose_masks, finish, prepare_proposals

from ..metrics import class_result, photo_results
from ..style import BLUE, mark, plain
from .ranking import Scene, _mark, _on_photo

_STEP = 2  # every second pixel is drawn, as in notebook 09


@dataclass(frozen=True)
class Step:
    """One step of the ladder: the fitted segmenter, the peaks of each photo at every scale, what it found there, its AP25 and
    its AP50."""

    segmenter: CoSegmenter
    seen: list[list[ScalePeaks]]
    instances: list[list[Instance]]
    ap25: float
    ap50: float


# ----------------------------------------------------------------------------------------------------- the ladder

# Settings that come after training and change nothing about it, but for the size of the masks.
_LATER = [name for name in InferenceSettings.model_fields if name != "mask_size"]


def run_ladder(
    fitted_on: Sequence[Sample],
    samples: Sequence[Sample],
    configs: Mapping[str, CoSegConfig],
    segmenters: Sequence[CoSegmenter] = (),
) -> dict[str, Step]:
    """Fit one class on the photos of ``fitted_on`` and segment ``samples`` by every configuration; segmenters: those that have
    been fitted on these photos already."""
    fitted, maps, ready, steps = {segmenter.config: segmenter for segmenter in segmenters}, {}, {}, {}
    for name, config in configs.items():
        training = config.model_copy(update={setting: getattr(CoSegConfig(), setting) for setting in _LATER})
        if training not in fitted:
            fitted[training] = CoSegmenter(training).fit([sample.image_path for sample in fitted_on], progress=False)
        sizes = config.mask_size, config.interpolation
        if sizes not in ready:
            made = config.model_copy(update={"peak_scales": CoSegConfig().peak_scales, "refine_masks": True})
            work = [prepare(sample.image_path, made, sides=made.peak_sizes) for sample in samples]
            ready[sizes] = work, [prepare_proposals(image, made) for image in work]
        work, proposals = ready[sizes]
        segmenter = fitted[training].with_settings(**{setting: getattr(config, setting) for setting in _LATER})
        key = training, config.peak_source, config.heat_map_stage, config.ranking
        scales = len(config.peak_sizes)
        if len(maps.get(key, ([],))[0]) < scales:
            maps[key] = [segmenter.peaks_at_scales(image) for image in work]
        seen = [of_photo[:scales] for of_photo in maps[key]]  # the first is the scale of training
        found = [choose_masks(*pair, segmenter.config) for pair in zip(seen, proposals, strict=True)]
        instances = finish(found, [image.size for image in work], segmenter.config)
        precision = class_result(photo_results(samples, instances)).average_precision
        steps[name] = Step(segmenter, seen, instances, precision["0.25"], precision["0.5"])
    return steps


# ---------------------------------------------------------------------------------------------------- the figures


@plain
def scales_figure(pixels: np.ndarray, seen: Sequence[ScalePeaks]) -> Figure:
    """A photo (H, W, 3), and for every scale, the smallest first, its co-saliency, cell by cell, from 0 to 1, with its
    peaks."""
    rows = -(-(len(seen) + 1) // 4)
    columns = -(-(len(seen) + 1) // rows)
    figure = Figure(figsize=(2.4 * columns + 0.7, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    small = pixels[::_STEP, ::_STEP]
    axes[0].imshow(small)
    extent = (-0.5, small.shape[1] - 0.5, small.shape[0] - 0.5, -0.5)
    axes[0].set_title("the photo", fontsize=9)
    for axis, scale in zip(axes[1:], sorted(seen, key=lambda scale: scale.grid), strict=False):
        saliency = scale.view.output.saliency[0, 0]
        picture = axis.imshow(saliency.numpy(), cmap="cividis", vmin=0, vmax=1, extent=extent)
        cell = torch.tensor(pixels.shape[:2]) / torch.tensor(saliency.shape)
        _mark(axis, (scale.cells + 0.5) * cell)
        axis.set_title(f"{saliency.shape[0]} x {saliency.shape[1]} cells, {len(scale.cells)} peaks", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.01, label="co-saliency")
    return figure


@plain
def groups_figure(
    pixels: np.ndarray, scale: ScalePeaks, groups: torch.Tensor, depth: torch.Tensor, found: Mapping[str, Sequence[Instance]]
) -> Figure:
    """A scale's co-saliency with its peaks, those of every pair among the groups (G, Q) bool joined by a line that says its
    depth (G,), and a photo (H, W, 3) with each of the sets of instances ``found`` (title -> instances)."""
    figure = Figure(figsize=(3.3 * (len(found) + 1) + 0.7, 2.8), layout="constrained")
    axes = figure.subplots(1, len(found) + 1)
    height, width = pixels.shape[:2]
    saliency = scale.view.output.saliency[0, 0].numpy()
    picture = axes[0].imshow(saliency, cmap="cividis", vmin=0, vmax=1, extent=(0, width, height, 0))
    points = scale.points.flip(1).numpy()
    joins = ((members.nonzero().flatten().tolist(), float(value)) for members, value in zip(groups, depth, strict=True))
    for members, value in joins:
        if len(members) == 2:  # lines of larger groups would cross one another
            axes[0].plot(*points[members].T, "-", color="white", linewidth=4 * value)
            x, y = points[members].mean(0)
            below = y < height / 8  # above it the title would be covered
            place = {"xytext": (0, -6 if below else 6), "textcoords": "offset points", "va": "top" if below else "bottom"}
            box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
            axes[0].annotate(f"{value:.2f}", (x, y), color="white", fontsize=8, ha="center", bbox=box, **place)
    mark(axes[0], *points.T)
    axes[0].set_title(f"co-saliency, {len(points)} peaks, {len(groups) - len(points)} groups", fontsize=9)
    for axis, (title, instances) in zip(axes[1:], found.items(), strict=True):
        axis.imshow(overlay(pixels, instances)[::_STEP, ::_STEP])
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes[0], shrink=0.8, pad=0.02)
    return figure


@plain
def outline_figure(pixels: np.ndarray, proposals: Proposals, before: torch.Tensor, after: torch.Tensor, share) -> Figure:
    """For one mask, before and after it is refined (S,) bool each: the photo with the first, the evidence of its colours and of
    its peak's share (S,) for each superpixel around it, and the photo with the second."""
    ranker = proposals.ranker
    window, *evidence = proposals.refiner.evidence(before.numpy(), share.double().numpy())
    labels = ranker.labels.reshape(ranker.size)[::_STEP, ::_STEP]
    rows, columns = (np.flatnonzero(window[labels].any(axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    figure = Figure(figsize=(10.4, 2.9), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, region, title in ((axes[0], before, "the proposal"), (axes[3], after, "refined")):
        axis.imshow(pixels[::_STEP, ::_STEP][part])
        axis.contour(region[labels][part].numpy(), levels=[0.5], colors=["#ffffff"], linewidths=3.2)
        axis.contour(region[labels][part].numpy(), levels=[0.5], colors=[BLUE], linewidths=1.6)
        axis.set_title(title, fontsize=9)
    for axis, values, title in zip(axes[1:3], evidence, ("evidence of its colours", "evidence of its share"), strict=True):
        shown = np.full(len(window), np.nan)
        shown[window] = values
        picture = axis.imshow(shown[labels][part], cmap="RdBu_r", vmin=-3, vmax=3)
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes[1:3], shrink=0.8, pad=0.01, label="evidence, for (+) or against (-)")
    return figure


@plain
def choice_figure(scene: Scene, terms: RankingTerms, peak: int, ways: Sequence[tuple[str, bool, bool]]) -> Figure:
    """For one peak its heat, its target, and the proposal that each of the ``ways`` (title, with fit?, with contrast?)
    chooses, with the proposal's numbers."""
    figure = Figure(figsize=(2.25 * (len(ways) + 2), 3.0))
    axes = figure.subplots(1, len(ways) + 2)
    heat = scene.heat[peak][::_STEP, ::_STEP].clamp_min(0)
    heat = (heat / heat.quantile(0.998).clamp_min(1e-30)).clamp_max(1)  # by the maximum alone most of it would be black
    for axis, values, title in zip(
        axes, (heat, terms.target[peak][scene.labels[::_STEP, ::_STEP]]), ("its heat", "target u"), strict=False
    ):
        picture = axis.imshow(values.numpy(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(picture, cax=figure.add_axes((0.045, 0.1, 0.012, 0.66)), ticks=[0, 0.5, 1])
    bar.ax.yaxis.set_ticks_position("left")
    bar.ax.tick_params(labelsize=9)
    for axis, (title, fit, contrast) in zip(axes[2:], ways, strict=True):
        k = terms.score(fit, contrast)[peak].argmax()
        axis.imshow(_on_photo(scene, k[None]))
        axis.set_title(f"{title}\n{numbers(scene, terms, peak, int(k)).replace(', IoU', chr(10) + 'IoU')}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
        _mark(axis, scene.points[peak])
    figure.subplots_adjust(left=0.09, right=0.99, bottom=0.03, top=0.8, wspace=0.08)
    return figure


def numbers(scene: Scene, terms: RankingTerms, peak: int, k: int) -> str:
    """A proposal's fit and contrast, and its IoU with the true instance that it fits best."""
    return f"fit {terms.fit[peak, k]:.2f}, contrast {terms.contrast[k]:.2f}, IoU {scene.ious[k].max():.2f}"
