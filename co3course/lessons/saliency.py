"""What notebook 04 shows: saliency priors, the weights of the saliency loss, the co-saliency as it is learnt.

Shape letters: N images, C channels, H W image size, S side of the network's square input, ``h w`` feature grid, G instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from co3lib.backbones import build_backbone
from co3lib.beyond.category_priors import category_priors
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.datasets.images import resize_nearest
from co3lib.inference import prepare
from co3lib.losses import saliency_weight
from co3lib.model import CoPeakNet, CoPeakOutput
from co3lib.saliency import METHODS, saliency_prior
from co3lib.training import fit_head_to_prior, start_features, train

from ..style import BLUE, ORANGE, plain
from .correlation import auc

POSITIVE, NEGATIVE = ORANGE, BLUE


@dataclass(frozen=True)
class Category:
    """The photos of one category and what the network sees in them before any training.

    photos: N of (H, W, 3) uint8; masks: N of (G, H, W) bool, the true instances; output: features (N, C, h, w), less the
    category's mean, and score (N, 1, h, w), the linear fit of the prior that training starts from; prior: (N, 1, S, S) in
    [0, 1], made from all photos.
    """

    photos: tuple[np.ndarray, ...]
    masks: tuple[torch.Tensor, ...]
    output: CoPeakOutput
    prior: torch.Tensor


def read_category(samples: Sequence[Sample], config: CoSegConfig | None = None) -> Category:
    """Photos, features, the prior (DDT's unless ``config`` names another) and the score that training would start from."""
    config = config or CoSegConfig(prior="ddt")
    work = [prepare(sample.image, config, k) for k, sample in enumerate(samples)]
    masks = [resize_nearest(sample.masks, image.pixels.shape[:2]) for sample, image in zip(samples, work, strict=True)]
    model = CoPeakNet(build_backbone(*config.network))
    _, features = start_features(model, [image.tensor for image in work], None)
    prior = category_priors(work, config, features, progress=False)
    fit_head_to_prior(model, features - model.center, prior)
    with torch.no_grad():
        output = CoPeakOutput(features - model.center, model.head(features - model.center))
    return Category(tuple(image.pixels for image in work), tuple(masks), output, prior)


@dataclass(frozen=True)
class Priors:
    """One photo (H, W, 3) uint8, its true mask (H, W) bool, and its priors by name, each (H, W) in [0, 1]: those of
    ``saliency_prior`` and "DDT", which is made from all photos."""

    photo: np.ndarray
    truth: torch.Tensor
    maps: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Epochs:
    """What the co-saliency of one photo (H, W, 3) uint8 became: maps[k] (S/4, S/4) and scores[k], the mean AUC with
    the true masks over all photos, after k epochs; prior (S/4, S/4) and prior_score: what it learnt from, and the same AUC."""

    photo: np.ndarray
    maps: tuple[torch.Tensor, ...]
    scores: tuple[float, ...]
    prior: torch.Tensor
    prior_score: float


def read_priors(category: Category, k: int) -> Priors:
    """The priors of photo ``k``."""
    photo = category.photos[k]
    maps = {method.replace("_", " "): saliency_prior(photo, method) for method in METHODS}
    maps["DDT"] = interpolate(category.prior[[k]], photo.shape[:2], mode="bilinear")[0, 0]
    return Priors(photo, category.masks[k].any(0), maps)


def above_mean(prior: torch.Tensor) -> torch.Tensor:
    """The positive pixels of a map (H, W): bool."""
    return prior > prior.mean()


def map_auc(values: torch.Tensor, truth: torch.Tensor) -> float:
    """How often a pixel on the true mask (H, W) bool is brighter in a map (H, W) than one beside it, ties counting half. Every
    fourth row and column is looked at."""
    values, truth = values[::4, ::4], truth[::4, ::4]
    return auc(values[truth], values[~truth])


def mean_auc(maps: torch.Tensor, masks: Sequence[torch.Tensor]) -> float:
    """How well maps (N, 1, S, S) tell things from background: mean over the photos of the AUC with all instances together;
    masks: N of (G, H, W) bool."""
    values = []
    for photo_map, truth in zip(maps, masks, strict=True):
        at_size = interpolate(photo_map[None], truth.shape[1:], mode="bilinear")[0, 0]
        values.append(map_auc(at_size, truth.any(0)))
    return sum(values) / len(values)


def learn(category: Category, priors: torch.Tensor, config: CoSegConfig, shown: int = 0) -> Epochs:
    """Train a new network on the photos with ``priors`` (N, 1, S, S) and record the co-saliency before and after every
    epoch, as a map of the photo ``shown`` only. The stages up to the backbone's middle stay as they are."""
    model = CoPeakNet(build_backbone(*config.network))
    stage = "middle"
    tensors = [prepare(photo, config).tensor for photo in category.photos]
    activations, _ = start_features(model, tensors, stage)
    maps, scores = [], []

    def record(_epoch, model) -> None:
        with torch.no_grad():
            big = model.saliency_at_image_size(model.forward_from(activations, stage).score)
        maps.append(big[shown, 0, ::4, ::4].clone())
        scores.append(mean_auc(big, category.masks))

    train(model, activations, priors, config.model_copy(update={"frozen_until": stage}), progress=False, on_epoch=record)
    prior_score = mean_auc(priors, category.masks)
    return Epochs(category.photos[shown], tuple(maps), tuple(scores), priors[shown, 0, ::4, ::4], prior_score)


def weigh(positive: torch.Tensor) -> torch.Tensor:
    """``rho`` for any choice of positive pixels (H, W) bool: each weighs the share of the other kind."""
    return saliency_weight(positive[None, None].float())[0, 0]


@plain
def order_figure(before: torch.Tensor, after: torch.Tensor) -> Figure:
    """Two enlarged maps (H, W) in [0, 1], and both along the middle row: the sigmoid before, and after the enlarging."""
    figure = Figure(figsize=(9.4, 2.8), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, values, title in zip(axes, (before, after), ("sigmoid, then enlarge", "enlarge, then sigmoid"), strict=False):
        picture = axis.imshow(values.numpy(), cmap="cividis", vmin=0, vmax=1)
        axis.axhline(len(values) / 2, color="white", linewidth=1)
        axis.set_title(title, fontsize=10)
    figure.colorbar(picture, ax=axes[1])
    middle = len(before) // 2
    axes[2].plot(before[middle].numpy(), color=NEGATIVE, linestyle="--", label="sigmoid first")
    axes[2].plot(after[middle].numpy(), color=POSITIVE, label="enlarged first")
    axes[2].set_title("along the white line", fontsize=10)
    axes[2].set(ylim=(0, 1.4), yticks=np.linspace(0, 1, 6), xlabel="pixel")
    axes[2].legend(fontsize=8, loc="upper center")  # above the curves
    return figure


@plain
def maps_figure(photo: np.ndarray, maps: Mapping[str, torch.Tensor]) -> Figure:
    """A photo (H, W, 3) uint8 beside maps in [0, 1], of any size."""
    figure = Figure(figsize=(2.3 * (1 + len(maps)), 2.5), layout="constrained")
    axes = figure.subplots(1, 1 + len(maps))
    axes[0].imshow(photo, extent=(0, 1, 1, 0))
    axes[0].set_title("the photo", fontsize=10)
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        picture = axis.imshow(values.numpy(), extent=(0, 1, 1, 0), cmap="cividis", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
        axis.set_aspect(photo.shape[0] / photo.shape[1])
    figure.colorbar(picture, ax=axes[-1], shrink=0.8)
    return figure


@plain
def weight_figure(priors: Priors, kind: str, threshold: float) -> Figure:
    """A photo, one of its priors, the positive pixels, and the weight ``rho``; threshold: in means of the prior, the loss's
    own being 1."""
    prior = priors.maps[kind]
    positive = prior > threshold * prior.mean()
    figure = Figure(figsize=(9.4, 2.5))
    axes = figure.subplots(1, 4)
    figure.subplots_adjust(left=0.01, right=0.94, bottom=0.02, top=0.88, wspace=0.05)
    axes[0].imshow(priors.photo)
    axes[1].imshow(prior.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes[2].imshow(positive.numpy(), cmap=ListedColormap([NEGATIVE, POSITIVE]), vmin=0, vmax=1)
    picture = axes[3].imshow(weigh(positive).numpy(), cmap="cividis", vmin=0, vmax=1)
    titles = ("the photo", f"prior: {kind}", f"positive (orange): {positive.float().mean():.0%}", "weight rho")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.colorbar(picture, cax=figure.add_axes((0.95, 0.1, 0.012, 0.7)))
    return figure


@plain
def epoch_figure(epochs: Epochs, epoch: int) -> Figure:
    """A photo, its co-saliency after an epoch, and the mean AUC over the epochs with this one marked, beside the prior's."""
    figure = Figure(figsize=(8.4, 2.7), layout="constrained")
    figure.get_layout_engine().set(wspace=0.08)  # the colour bar's numbers away from the curve's
    left, middle, right = figure.subplots(1, 3)
    left.imshow(epochs.photo, extent=(0, 1, 1, 0))
    picture = middle.imshow(epochs.maps[epoch].numpy(), extent=(0, 1, 1, 0), cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(picture, ax=middle, shrink=0.8)
    middle.set_title(f"co-saliency after {epoch} epochs", fontsize=10)
    for axis in (left, middle):
        axis.set_axis_off()
        axis.set_aspect(epochs.photo.shape[0] / epochs.photo.shape[1])
    right.axhline(epochs.prior_score, color="black", linestyle="--", linewidth=1, label="the prior itself")
    right.plot(epochs.scores, "o-", color=NEGATIVE, markersize=4, label="learnt from it")
    right.plot(epoch, epochs.scores[epoch], "o", color=POSITIVE, ms=11, mec="black")
    right.set(ylim=(0.45, 1.02), xlabel="epoch")
    right.set_title("AUC with the true masks", fontsize=10)
    right.legend(fontsize=9, loc="lower right")
    return figure


@plain
def learnt_figure(learnt: Mapping[str, Epochs], epoch: int) -> Figure:
    """Teachers and pupils: a photo, and for each name the prior, from 0 to 1, and under it the co-saliency learnt from it
    after ``epoch`` epochs; all pupils have the same colour limits."""
    figure = Figure(figsize=(2.6 * (1 + len(learnt)), 5.2), layout="constrained")
    axes = figure.subplots(2, 1 + len(learnt))
    pupils = [epochs.maps[epoch] for epochs in learnt.values()]
    limits = {"vmin": min(float(one.min()) for one in pupils), "vmax": max(float(one.max()) for one in pupils)}
    photo = next(iter(learnt.values())).photo
    axes[0, 0].imshow(photo, extent=(0, 1, 1, 0))
    axes[0, 0].set_title("the photo", fontsize=10)
    for column, (name, epochs) in enumerate(learnt.items(), start=1):
        teacher = axes[0, column].imshow(epochs.prior.numpy(), extent=(0, 1, 1, 0), cmap="cividis", vmin=0, vmax=1)
        pupil = axes[1, column].imshow(pupils[column - 1].numpy(), extent=(0, 1, 1, 0), cmap="cividis", **limits)
        axes[0, column].set_title(f"prior: {name}, mean AUC {epochs.prior_score:.2f}", fontsize=10)
        axes[1, column].set_title(f"learnt, epoch {epoch}: mean AUC {epochs.scores[epoch]:.2f}", fontsize=10)
    for axis in axes.flat:
        axis.set_axis_off()
        axis.set_aspect(photo.shape[0] / photo.shape[1])
    figure.colorbar(teacher, ax=axes[0, -1], shrink=0.8)
    figure.colorbar(pupil, ax=axes[1, -1], shrink=0.8)
    return figure
