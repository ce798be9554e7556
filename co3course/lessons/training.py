"""Figures of notebook 07: what the network gives after each epoch, and what each loss does to it.

Shape letters: N photos, H W photo size, ``h w`` feature grid, Q peaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from co3lib.backbones import build_backbone
from co3lib.beyond.category_priors import category_priors
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.datasets.images import fit_within, resize_nearest
from co3lib.inference import PreparedImage, prepare
from co3lib.model import CoPeakNet
from co3lib.peaks import peak_cells, score_peaks
from co3lib.segmentation import CoSegmenter
from co3lib.selection import Proposals, finish, prepare_proposals
from co3lib.training import fit_head_to_prior, start_features, total_loss, train

from ..metrics import class_result, photo_results
from ..style import BLUE, GREEN, ORANGE, VERMILION, dots, plain

# What is added to the configuration for each row of the ablation.
ARMS = {
    "untrained": {"epochs": 0},
    "ls": {"copeak_weight": 0.0, "affinity_weight": 0.0},
    "ls + lt": {"affinity_weight": 0.0},
    "ls + la": {"copeak_weight": 0.0},
    "ls + lt + la": {},
}
_STYLES = {
    "ls": (BLUE, "-"),
    "ls + lt": (ORANGE, "--"),
    "ls + la": (GREEN, ":"),
    "ls + lt + la": (VERMILION, "-."),
}
_LOSSES = {"saliency": "saliency loss ls", "copeak": "co-peak loss lt", "affinity": "affinity loss la"}
_LONGEST = 200  # pixels of a photo in a figure


@dataclass(frozen=True)
class Task:
    """The N photos of one class, made ready once for many trainings: their samples, the network's inputs, priors (N, H, W),
    and of those that are segmented afterwards, the first ones or all, proposals ready to be ranked."""

    name: str
    samples: Sequence[Sample]
    work: Sequence[PreparedImage]
    priors: torch.Tensor
    proposals: Sequence[Proposals]


@dataclass(frozen=True)
class Frame:
    """The network after one epoch, on all photos: score (N, h, w), before the sigmoid; saliency, copeak, affinity: the three
    losses, whether or not the training used them."""

    score: torch.Tensor
    saliency: float
    copeak: float
    affinity: float

    def cells(self, photo: int) -> torch.Tensor:
        """The peaks of one photo's score map: (Q, 2), highest first."""
        score = self.score[photo]
        return peak_cells(score_peaks(score[None, None])[0, 0], score)


@dataclass(frozen=True)
class Trial:
    """One training: the frame of every epoch, the one before the first included; AP by IoU, as "0.25" and "0.5"."""

    frames: Sequence[Frame]
    precision: Mapping[str, float]


def make_task(name: str, samples: Sequence[Sample], config: CoSegConfig, segmented: int | None = None) -> Task:
    """Read a class's photos; make priors (as ``config.prior`` says), and proposals of the first ``segmented`` (None: all)."""
    work = [prepare(sample.image, config, k) for k, sample in enumerate(samples)]
    priors = category_priors(work, config, progress=False)[:, 0]
    proposals = [prepare_proposals(image, config) for image in work[:segmented]]
    return Task(name, samples, work, priors, proposals)


def snapshot(model: CoPeakNet, activations: torch.Tensor, stage: str, priors: torch.Tensor) -> Frame:
    """The frame of ``model`` as it is; activations: (N, C', h', w'), the output of ``stage``; priors: (N, H, W). N is even: for
    the co-peak loss photo k goes with photo k + N/2."""
    with torch.no_grad():
        output = model.forward_from(activations, stage)
        losses = total_loss(output, model.saliency_at_image_size(output.score), priors[:, None], CoSegConfig())
    return Frame(output.score[:, 0], float(losses.saliency), float(losses.copeak), float(losses.affinity))


def start_of(task: Task, config: CoSegConfig, stage: str) -> tuple[CoPeakNet, torch.Tensor]:
    """The network before its first epoch, its head fitted to the prior, and the photos' activations (N, C', h', w'),
    the output of ``stage``."""
    model = CoPeakNet(build_backbone(config.backbone))
    activations, features = start_features(model, [image.tensor for image in task.work], stage)
    fit_head_to_prior(model, features - model.center, task.priors[:, None])
    return model, activations


def run_trial(task: Task, start: CoPeakNet, activations: torch.Tensor, stage: str, config: CoSegConfig) -> Trial:
    """Train a copy of ``start`` on a task's photos, with a frame after every epoch, and segment them.

    activations: (N, C', h', w'), the output of ``stage``, up to which the network is frozen.
    """
    segmenter = CoSegmenter(config.model_copy(update={"frozen_until": stage, "heat_map_stage": stage}))
    segmenter.model, frames = deepcopy(start), []

    def keep(_epoch: int, model: CoPeakNet) -> None:
        frames.append(snapshot(model, activations, stage, task.priors))

    train(segmenter.model, activations, task.priors[:, None], segmenter.config, progress=False, on_epoch=keep)
    return Trial(frames, precision(segmenter, task))


def precision(segmenter: CoSegmenter, task: Task) -> dict[str, float]:
    """AP^r of a fitted segmenter on the photos of its task that have proposals, by IoU."""
    count = len(task.proposals)
    candidates = [segmenter.candidates(*pair) for pair in zip(task.work[:count], task.proposals, strict=True)]
    found = finish(candidates, [image.size for image in task.work[:count]], segmenter.config)
    return dict(class_result(photo_results(task.samples[:count], found)).average_precision)


def things(samples: Sequence[Sample], grid: tuple[int, int]) -> torch.Tensor:
    """The cells whose centre is on an instance: (N, h, w) bool."""
    return torch.stack([resize_nearest(sample.masks.any(0)[None], grid)[0] for sample in samples])


def separation(score: torch.Tensor, on_thing: torch.Tensor) -> float:
    """The chance that a cell on a thing scores higher than a cell beside it, ties counted half (the area under the ROC
    curve); both (N, h, w)."""
    inside, outside = score[on_thing], score[~on_thing]
    above = inside[:, None] - outside[None]
    return float((above > 0).double().mean() + 0.5 * (above == 0).double().mean())


def peaks_on_things(frame: Frame, on_thing: torch.Tensor) -> tuple[int, int]:
    """(number of peaks on an instance, number of all peaks) over all photos; on_thing: (N, h, w) bool."""
    cells = [frame.cells(k) for k in range(len(on_thing))]
    hits = sum(int(mask[peaks[:, 0], peaks[:, 1]].sum()) for mask, peaks in zip(on_thing, cells, strict=True))
    return hits, sum(map(len, cells))


@plain
def frame_figure(task: Task, frames: Sequence[Frame], epoch: int, photo: int) -> Figure:
    """One photo after one epoch: the photo and the prior it learns from, the co-saliency; dots are peaks of the score map,
    white lines the true instances' outlines."""
    frame, prior = frames[epoch], task.priors[photo]
    pixels = fit_within(task.work[photo].pixels, _LONGEST)
    truth = resize_nearest(task.samples[photo].masks, pixels.shape[:2])
    figure = Figure(figsize=(9.6, 3))
    axes = figure.subplots(1, 3)
    titles = ("photo", "prior", f"co-saliency after epoch {epoch}")
    _picture(axes[0], pixels, titles[0], truth)
    _picture(axes[1], prior[::4, ::4].numpy(), titles[1], truth)
    shown = _picture(axes[2], frame.score[photo].sigmoid().numpy(), titles[2], truth)
    for axis in (axes[0], axes[2]):
        _dots(axis, frame.cells(photo), frame.score.shape[1:], pixels.shape[:2])
    figure.subplots_adjust(left=0.01, right=0.93, bottom=0.02, top=0.9, wspace=0.04)
    figure.colorbar(shown, cax=figure.add_axes((0.94, 0.1, 0.012, 0.7)))
    return figure


@plain
def live_figure(task: Task, frames: Sequence[Frame], photo: int) -> Figure:
    """How far a training has come: every loss over its value at the start, and one photo with its co-saliency and peaks."""
    figure = Figure(figsize=(9.6, 3))
    axes = figure.subplots(1, 3)
    pixels = fit_within(task.work[photo].pixels, _LONGEST)
    truth = resize_nearest(task.samples[photo].masks, pixels.shape[:2])
    for (name, label), (color, line) in zip(_LOSSES.items(), list(_STYLES.values())[:3], strict=True):
        values = [getattr(frame, name) / max(getattr(frames[0], name), 1e-12) for frame in frames]
        axes[0].plot(values, color=color, ls=line, marker=".", label=label)
    axes[0].set_title("losses, over their start", fontsize=10, loc="left")
    axes[0].set_xlabel("epoch")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].grid(alpha=0.3)
    axes[0].legend(fontsize=9, frameon=False)
    _picture(axes[1], pixels, "photo", truth)
    shown = _picture(axes[2], frames[-1].score[photo].sigmoid().numpy(), f"co-saliency, epoch {len(frames) - 1}", truth)
    _dots(axes[2], frames[-1].cells(photo), frames[-1].score.shape[1:], pixels.shape[:2])
    figure.subplots_adjust(left=0.06, right=0.93, bottom=0.16, top=0.9, wspace=0.1)
    figure.colorbar(shown, cax=figure.add_axes((0.94, 0.16, 0.012, 0.7)))
    return figure


@plain
def film_figure(task: Task, frames: Sequence[Frame], epochs: Sequence[int], photos: Sequence[int]) -> Figure:
    """Co-saliency of some photos (rows) after some epochs (columns), beside the photo; dots are peaks."""
    figure = Figure(figsize=(2.1 * (len(epochs) + 1) + 0.5, 1.75 * len(photos) + 0.2))
    axes = figure.subplots(len(photos), len(epochs) + 1, squeeze=False)
    for row, photo in zip(axes, photos, strict=True):
        pixels = fit_within(task.work[photo].pixels, _LONGEST)
        truth = resize_nearest(task.samples[photo].masks, pixels.shape[:2])
        first = photo == photos[0]
        _picture(row[0], pixels, "photo" if first else "", truth)
        for axis, epoch in zip(row[1:], epochs, strict=True):
            title = f"after epoch {epoch}" if first else ""
            shown = _picture(axis, frames[epoch].score[photo].sigmoid().numpy(), title, truth)
            _dots(axis, frames[epoch].cells(photo), frames[epoch].score.shape[1:], pixels.shape[:2])
    figure.subplots_adjust(left=0.01, right=0.93, bottom=0.02, top=0.93, wspace=0.04, hspace=0.06)
    figure.colorbar(shown, cax=figure.add_axes((0.94, 0.2, 0.012, 0.6)))
    return figure


@plain
def curves_figure(runs: Mapping[str, Sequence[Frame]], on_thing: torch.Tensor) -> Figure:
    """The three losses, and how well the score separates things from the rest, over the epochs, one line a way of training
    (names of ``ARMS``); on_thing: (N, h, w) bool."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    axes = figure.subplots(1, 4)
    for arm, frames in runs.items():
        color, style = _STYLES[arm]
        for axis, name in zip(axes, _LOSSES, strict=False):
            axis.plot([getattr(frame, name) for frame in frames], color=color, ls=style, label=arm)
        axes[3].plot([separation(frame.score, on_thing) for frame in frames], color=color, ls=style)
    for axis, title in zip(axes, (*_LOSSES.values(), "separation (AUC)"), strict=True):
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


@plain
def precision_figure(precision: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """AP at IoU 0.25 and 0.5, one row a way of training, one dot a training; a stroke at the mean.

    precision: arm -> IoU -> AP of every training.
    """
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, iou in zip(axes, ("0.25", "0.5"), strict=True):
        for row, by_iou in enumerate(precision.values()):
            values = by_iou[iou]
            axis.scatter(values, [row] * len(values), color=BLUE, s=30)
            axis.scatter(np.mean(values), row, marker="|", color="black", s=300)
        axis.set_title(f"AP at IoU {iou}", fontsize=10, loc="left")
        axis.set_xlim(0, 1)
        axis.grid(alpha=0.3, axis="x")
    axes[0].set_yticks(range(len(precision)), list(precision))
    axes[0].set_ylim(len(precision) - 0.5, -0.5)
    return figure


def _picture(axis, values: np.ndarray, title: str, truth: torch.Tensor):
    height, width = truth.shape[1:]
    axis.set_axis_off()
    axis.set_title(title, fontsize=10, loc="left")
    # Colour limits are ignored for the photo's colours, and shared by all maps.
    shown = axis.imshow(values, extent=(0, width, height, 0), cmap="cividis", vmin=0, vmax=1)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    for mask in truth.numpy():
        if mask.any() and not mask.all():
            axis.contour(columns, rows, mask, levels=[0.5], colors="white", linewidths=1.2)
    return shown


def _dots(axis, cells: torch.Tensor, grid, size) -> None:
    places = (cells.numpy() + 0.5) * np.array(size) / np.array(grid)
    dots(axis, places[:, 1], places[:, 0], linewidth=1)
