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
def tasks_figure(shown: Page) -> Figure:
    """The photo, the answer of co-segmentation (one mask) and that of instance co-segmentation (one a thing)."""
    union = shown.masks.any(0)[None]
    pictures = (shown.photo, _tinted(shown.photo, union), _tinted(shown.photo, shown.masks))
    titles = ("the photo", "co-segmentation: 1 mask", f"instance co-segmentation: {len(shown.masks)} masks")
    return _row(pictures, titles, 3.2)


@plain
def page_figure(pages: Mapping[str, Sequence[Page]], category: str, number: int, masks: bool) -> Figure:
    """Photo ``number`` (counted from 1) of a class, with its instances in colours or without."""
    shown = pages[category][number - 1]
    figure = Figure(figsize=(3.6, 3.6))
    axis = figure.add_axes((0.02, 0.02, 0.96, 0.88))
    axis.imshow(_tinted(shown.photo, shown.masks) if masks else shown.photo)
    axis.set_axis_off()
    axis.set_title(f"{shown.name}, {len(shown.masks)} instances", fontsize=11, loc="left", parse_math=False)
    return figure


def describe_page(pages: Mapping[str, Sequence[Page]], category: str, number: int, masks: bool) -> str:
    """``page_figure`` in one sentence."""
    photo_masks = pages[category][number - 1].masks
    sizes = ", ".join(f"{share:.0%}" for share in shares(photo_masks).tolist())
    drawn = "shown" if masks else "hidden"
    return f"Photo {number} of the class {category}: {len(photo_masks)} instances covering {sizes} of it; masks {drawn}."


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
    titles = ["the photo", "prior", *(f"proposal {index}: IoU {overlap:.2f}" for index, overlap in found)]
    figure = _row(pictures, titles, 2.1)
    figure.colorbar(figure.axes[1].images[0], ax=figure.axes[1], shrink=0.7, pad=0.02)
    return figure


def _row(pictures: Sequence, titles: Sequence[str], width: float) -> Figure:
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(width * len(pictures), width * tallest + 0.35), layout="constrained")
    for axis, picture, title in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, titles, strict=True):
        axis.set_axis_off()
        axis.set_title(title, fontsize=9, loc="left")
        axis.imshow(np.asarray(picture), cmap="cividis", vmin=0, vmax=1)
    return figure


def _tinted(photo: np.ndarray, masks: torch.Tensor) -> np.ndarray:
    # Drawn like found instances; a peak and a score, which a true mask does not have, are not drawn.
    things = [Instance(mask, 0.0, (0, 0), tight_box(mask)) for mask in masks.numpy() if mask.any()]
    return overlay(photo, things)
