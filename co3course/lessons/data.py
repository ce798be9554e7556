"""Figures of notebook 01: photos, their instances, priors and proposals, and what a set holds.

Shape letters: H W image size, G ground-truth instances, K proposals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from co3lib.datasets import Sample
from co3lib.datasets.export import overlay
from co3lib.datasets.images import fit_within, resize_nearest
from co3lib.instance import Instance
from co3lib.overlap import mask_iou, tight_box

from ..style import BLUE, plain

_LONGEST = 320  # pixels of a photo in a figure: more would not be seen


@dataclass(frozen=True)
class Page:
    """One photo, small, as the figures show it. name: the photo's; photo (H, W, 3) uint8; masks (G, H, W) bool."""

    name: str
    photo: np.ndarray
    masks: torch.Tensor


# ------------------------------------------------------------------------------------------------------ numbers


def page(sample: Sample) -> Page:
    """A photo and its true masks, made small."""
    photo = fit_within(sample.image, _LONGEST)
    return Page(sample.name, photo, resize_nearest(sample.masks, photo.shape[:2]))


def shares(masks: torch.Tensor) -> torch.Tensor:
    """What part of the photo each mask covers: (G, H, W) bool -> (G,)."""
    return masks.flatten(1).double().mean(1)


def statistics(classes: Mapping[str, Sequence[Sample]]) -> pd.DataFrame:
    """One row an instance: class, photo, share of the photo that it covers."""
    rows = [
        (name, sample.name, share)
        for name, samples in classes.items()
        for sample in samples
        for share in shares(sample.masks).tolist()
    ]
    return pd.DataFrame(rows, columns=["class", "photo", "share"])


def best_proposals(proposals: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The proposal that overlaps each true instance best: (K, H, W), (G, H, W) bool -> indices (G,), IoU (G,)."""
    best = mask_iou(proposals, truth).max(0)
    return best.indices, best.values


# ------------------------------------------------------------------------------------------------------ figures


@plain
def tasks_figure(shown: Page, name: str) -> Figure:
    """The photo, and beside it four answers: rows by what is given, columns by one mask for all things or one for each. The
    class's name stands on the masks of the row in which it is known."""
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    axes = figure.subplot_mosaic([["photo", "semantic", "instance"], ["photo", "shared", "each"]])
    union, things = shown.masks.any(0)[None], shown.masks
    answers = {
        "semantic": ("semantic segmentation", union, f"given: photos with masks of {name}s"),
        "instance": ("instance segmentation", things, f"given: photos with a mask of each {name}"),
        "shared": ("co-segmentation", union, "given: only photos that share something"),
        "each": ("instance co-segmentation", things, "given: only photos that share something"),
    }
    for axis in axes.values():
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes["photo"].imshow(shown.photo)
    axes["photo"].set_title("the photo", fontsize=11, loc="left")
    for key, (title, masks, given) in answers.items():
        axes[key].imshow(_tinted(shown.photo, masks))
        axes[key].set_title(f"{title}: {len(masks)}", fontsize=11, loc="left", weight="bold" if key == "each" else "normal")
        axes[key].set_xlabel(given, fontsize=9, loc="left")
        for mask in masks.numpy() if key in ("semantic", "instance") else ():
            y, x = (float(places.mean()) for places in np.nonzero(mask))
            axes[key].text(x, y, name, ha="center", va="center", color="white", weight="bold", fontsize=11)
    return figure


@dataclass(frozen=True)
class Candidates:
    """A small photo, and for each of its instances the IoU of every proposal. photo (H, W, 3) uint8; proposals (K, H, W) bool;
    overlaps (K, G)."""

    photo: np.ndarray
    proposals: torch.Tensor
    overlaps: torch.Tensor


def candidates(sample: Sample, proposals: torch.Tensor) -> Candidates:
    """What ``first_figure`` shows of a photo and its proposals (K, H, W) bool."""
    photo = page(sample).photo
    return Candidates(photo, resize_nearest(proposals, photo.shape[:2]), mask_iou(proposals, sample.masks))


@plain
def first_figure(shown: Candidates, first: int) -> Figure:
    """For each instance the best of the ``first`` proposals of the list."""
    best = shown.overlaps[:first].max(0)
    width, (height, long) = 2.3, shown.photo.shape[:2]
    figure = Figure(figsize=(width * len(best.values), width * height / long + 0.3))
    for k, (index, overlap) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
        axis = figure.add_subplot(1, len(best.values), k + 1)
        axis.imshow(_tinted(shown.photo, shown.proposals[index][None]))
        axis.set_axis_off()
        axis.set_title(f"cat {k + 1}: IoU {overlap:.2f}", fontsize=10, weight="bold" if overlap > 0.5 else "normal")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.92, wspace=0.03)
    return figure


def describe_first(shown: Candidates, first: int) -> str:
    """``first_figure`` in one sentence."""
    overlaps = shown.overlaps[:first].max(0).values
    said = ", ".join(f"{value:.2f}" for value in overlaps.tolist())
    return f"The best of the first {first} proposals for each cat: IoU {said}; above 0.5: {int((overlaps > 0.5).sum())}."


@plain
def statistics_figure(table: pd.DataFrame) -> Figure:
    """Left: how many photos have how many instances; right: the size of every instance, a dot each, by class."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    counts = table.groupby(["class", "photo"]).size().value_counts().sort_index()
    left.bar(counts.index, counts.values, color=BLUE, width=0.7)
    left.bar_label(left.containers[0])
    left.set(xlabel="instances in the photo", ylabel="photos", xticks=counts.index, ylim=(0, counts.max() * 1.15))
    names = list(dict.fromkeys(table["class"]))
    for k, name in enumerate(names):
        values = np.sort(table.share[table["class"] == name].to_numpy())
        right.plot(100 * values, np.full(len(values), k), "o", color=BLUE, alpha=0.45, markeredgewidth=0)
        right.plot(100 * np.median(values), k, "|", color="black", markersize=18, markeredgewidth=2)
    right.set(yticks=range(len(names)), yticklabels=names, xlim=(0, None), ylim=(len(names) - 0.4, -0.6))
    right.set_xlabel("percent of the photo (bar: the class's median)")
    return figure


@plain
def helpers_figure(sample: Sample, prior: torch.Tensor, proposals: torch.Tensor) -> Figure:
    """A photo, its prior (H, W) in [0, 1], and for each true instance the best of its proposals (K, H, W) bool."""
    photo = page(sample).photo
    indices, overlaps = best_proposals(proposals, sample.masks)
    best = resize_nearest(proposals[indices], photo.shape[:2])
    pictures = [photo, prior, *(_tinted(photo, mask[None]) for mask in best)]
    found = zip(indices.tolist(), overlaps.tolist(), strict=True)
    titles = ["the photo", "prior", *(f"no. {index}: IoU {overlap:.2f}" for index, overlap in found)]
    figure = _row(pictures, titles, 2.1)
    figure.colorbar(figure.axes[1].images[0], ax=figure.axes[1], shrink=0.7, pad=0.02)
    return figure


def _row(pictures: Sequence, titles: Sequence[str], width: float) -> Figure:
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(width * len(pictures), width * tallest + 0.35), layout="constrained")
    for axis, picture, title in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, titles, strict=True):
        axis.set_axis_off()
        axis.set_title(title, fontsize=10, loc="left")
        axis.imshow(np.asarray(picture), cmap="cividis", vmin=0, vmax=1)
    return figure


def _tinted(photo: np.ndarray, masks: torch.Tensor) -> np.ndarray:
    # Drawn like found instances; a peak and a score, which a true mask does not have, are not drawn.
    things = [Instance(mask, 0.0, (0, 0), tight_box(mask)) for mask in masks.numpy() if mask.any()]
    return overlay(photo, things)
