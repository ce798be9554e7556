"""Notebook 11: what the default does beyond the paper, each change measured on top of the last.

Networks are trained once for every way of training and heat maps made once for every network, source of
peaks and stage at which they are read, so that a ladder of configurations (``run_ladder``) takes no longer than its costliest
steps.

Shape letters: H W size of the masks, ``h w`` feature grid, K proposals, S superpixels, Q peaks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from co3lib.beyond.region_ranking import RankingTerms
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.datasets.export import overlay
from co3lib.inference import PreparedImage, ScalePeaks, prepare
from co3lib.instance import Instance
from co3lib.segmentation import CoSegmenter
from co3lib.selection import Proposals, choose_masks, finish, prepare_proposals

from ..metrics import class_result, photo_results
from ..style import BLUE, ORANGE, mark, plain
from .ranking import Scene, _mark, _on_photo

_STEP = 2  # every second pixel is drawn, as in notebook 09


@dataclass(frozen=True)
class Step:
    """One step of the ladder: the fitted segmenter, the peaks of each photo at every scale, what it found there, its AP25 and
    AP50, and the processor seconds that its training and its heat maps took (0 where an earlier step had made them)."""

    segmenter: CoSegmenter
    seen: list[list[ScalePeaks]]
    instances: list[list[Instance]]
    ap25: float
    ap50: float
    fit_seconds: float
    heat_seconds: float


# ----------------------------------------------------------------------------------------------------- the ladder


def run_ladder(
    samples: Sequence[Sample], work: Sequence[PreparedImage], proposals: Sequence[Proposals], configs: Mapping[str, CoSegConfig]
) -> dict[str, Step]:
    """Segment one class by every configuration. work: the samples, prepared at all scales that any configuration needs;
    proposals: theirs. A configuration that ranks at the photo's own size gets its own."""
    fitted, maps, steps = {}, {}, {}
    shared = work, proposals
    for name, config in configs.items():
        work, proposals = shared
        if config.mask_size is None:
            work = [prepare(sample.image_path, config) for sample in samples]
            proposals = [prepare_proposals(image, config) for image in work]
        # Peaks, heat maps and ranking come after training and change nothing about it.
        later = {
            "peak_source": "score", "heat_map_stage": "middle", "peak_scales": CoSegConfig().peak_scales, "group_peaks": False,
            "level_sets": False,
            "ranking": "fit_contrast", "refine_masks": False,
        }  # fmt: skip
        training = config.model_copy(update=later)
        started = time.process_time()
        if training not in fitted:
            fitted[training] = CoSegmenter(training)
            fitted[training].fit_prepared(work, progress=False)
        first, trained = fitted[training], time.process_time()
        segmenter = first.with_settings(**{name: getattr(config, name) for name in later})
        key = training, config.peak_source, config.heat_map_stage, config.peak_scales
        if key not in maps:
            maps[key] = [segmenter.peaks_at_scales(image) for image in work]
        seconds = trained - started, time.process_time() - trained
        found = [choose_masks(*pair, segmenter.config) for pair in zip(maps[key], proposals, strict=True)]
        instances = finish(found, [image.size for image in work], segmenter.config)
        precision = class_result(photo_results(samples, instances)).average_precision
        steps[name] = Step(segmenter, maps[key], instances, precision["0.25"], precision["0.5"], *seconds)
    return steps


def verdict(name: str, before: tuple[float, float], after: tuple[float, float]) -> str:
    """One sentence on a step from its AP25 and AP50 before and after, as rounded to two places."""
    gains = [round(new, 2) - round(old, 2) for old, new in zip(before, after, strict=True)]
    ups, downs = sum(gain > 0.005 for gain in gains), sum(gain < -0.005 for gain in gains)
    if ups and downs:
        said = "helps at one overlap and hurts at the other"
    else:
        said = "helps" if ups else "hurts" if downs else "changes nothing"
    return f"{name}: {said} here (AP25 {gains[0]:+.2f}, AP50 {gains[1]:+.2f})"


# ---------------------------------------------------------------------------------------------------- the figures


@plain
def maps_figure(pixels: np.ndarray, maps: Mapping[str, torch.Tensor], label: str, limit: float | None = None) -> Figure:
    """A photo (H, W, 3) and maps of it beside it, (h, w) each, from 0 to ``limit`` (None: each to its own maximum), with one
    colour bar that says ``label``."""
    figure = Figure(figsize=(2.15 * (len(maps) + 1) + 0.7, 2.7), layout="constrained")
    axes = figure.subplots(1, len(maps) + 1)
    height, width = pixels.shape[:2]
    axes[0].imshow(pixels[::_STEP, ::_STEP], extent=(0, width, height, 0))
    axes[0].set_title("the photo", fontsize=9)
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        shown = values / values.max().clamp_min(1e-30) if limit is None else values
        picture = axis.imshow(shown.numpy(), cmap="magma", vmin=0, vmax=limit or 1, extent=(0, width, height, 0))
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.01, label=label)
    return figure


@plain
def scales_figure(pixels: np.ndarray, seen: Sequence[ScalePeaks]) -> Figure:
    """A photo (H, W, 3), and for every scale, the smallest first, its co-saliency, cell by cell, from 0 to 1, with its
    peaks."""
    figure = Figure(figsize=(2.4 * (len(seen) + 1) + 0.7, 2.9), layout="constrained")
    axes = figure.subplots(1, len(seen) + 1)
    small = pixels[::_STEP, ::_STEP]
    axes[0].imshow(small)
    extent = (-0.5, small.shape[1] - 0.5, small.shape[0] - 0.5, -0.5)
    axes[0].set_title("the photo", fontsize=9)
    for axis, scale in zip(axes[1:], sorted(seen, key=lambda scale: scale.grid), strict=True):
        saliency = scale.view.output.saliency[0, 0]
        picture = axis.imshow(saliency.numpy(), cmap="magma", vmin=0, vmax=1, extent=extent)
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
    """A scale's co-saliency with its peaks, those of every group (G, Q) bool joined by a line that says its depth (G,), and a
    photo (H, W, 3) with each of the sets of instances ``found`` (title -> instances)."""
    figure = Figure(figsize=(3.3 * (len(found) + 1) + 0.7, 2.8), layout="constrained")
    axes = figure.subplots(1, len(found) + 1)
    height, width = pixels.shape[:2]
    saliency = scale.view.output.saliency[0, 0].numpy()
    picture = axes[0].imshow(saliency, cmap="magma", vmin=0, vmax=1, extent=(0, width, height, 0))
    points = scale.points.flip(1).numpy()
    joins = ((members.nonzero().flatten().tolist(), float(value)) for members, value in zip(groups, depth, strict=True))
    for members, value in joins:
        if len(members) > 1:
            axes[0].plot(*points[members].T, "-", color="white", linewidth=4 * value)
            axes[0].annotate(f"{value:.2f}", points[members].mean(0), color="white", fontsize=8, ha="center", va="bottom")
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
    figure = Figure(figsize=(2.25 * (len(ways) + 2), 2.9))
    axes = figure.subplots(1, len(ways) + 2)
    heat = (scene.heat[peak] / scene.heat[peak].max().clamp_min(1e-30))[::_STEP, ::_STEP].clamp_min(0)
    for axis, values, title in zip(
        axes, (heat, terms.target[peak][scene.labels[::_STEP, ::_STEP]]), ("heat / its maximum", "target u"), strict=False
    ):
        picture = axis.imshow(values.numpy(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(picture, cax=figure.add_axes((0.045, 0.1, 0.012, 0.66)), ticks=[0, 0.5, 1])
    bar.ax.yaxis.set_ticks_position("left")
    bar.ax.tick_params(labelsize=7)
    for axis, (title, fit, contrast) in zip(axes[2:], ways, strict=True):
        k = terms.score(fit, contrast)[peak].argmax()
        axis.imshow(_on_photo(scene, k[None]))
        axis.set_title(f"{title}\n{numbers(scene, terms, peak, int(k))}", fontsize=8)
    for axis in axes:
        axis.set_axis_off()
        _mark(axis, scene.points[peak])
    figure.subplots_adjust(left=0.09, right=0.99, bottom=0.03, top=0.84, wspace=0.08)
    return figure


def numbers(scene: Scene, terms: RankingTerms, peak: int, k: int) -> str:
    """A proposal's fit and contrast, and its IoU with the true instance that it fits best."""
    return f"fit {terms.fit[peak, k]:.2f}, contrast {terms.contrast[k]:.2f}, IoU {scene.ious[k].max():.2f}"


@plain
def ladder_figure(precisions: Mapping[str, tuple[float, float]]) -> Figure:
    """AP25 and AP50 of every step, first step on top."""
    figure = Figure(figsize=(7.6, 0.55 * len(precisions) + 1.1), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(precisions))
    for k, (color, name) in enumerate(((BLUE, "AP25"), (ORANGE, "AP50"))):
        values = [precision[k] for precision in precisions.values()]
        bars = axis.barh(places + 0.38 * (k - 0.5), values, height=0.36, color=color, label=name)
        axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axis.set_yticks(places, list(precisions))
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.08), xlabel="average precision")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure
