"""What notebook 05 shows: regional maxima, co-peaks as lines between two photos, the co-peak loss, and votes.

Shape letters: N images, C channels, H W photo size, ``h w`` and ``s t`` feature grids, Q peaks or co-peaks, G instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn.functional import max_pool1d

from co3lib.correlation import correlate
from co3lib.datasets.images import fit_within

from ..style import BLUE, VERMILION, dots, plain
from .saliency import Category

_LONGEST = 240  # pixels of a photo in a figure that a slider redraws
_GAP = 0.06  # between two photos, in widths
_DRAWN = 20  # co-peaks in a figure, the strongest: more are a tangle
RADII = (1, 2)


@dataclass(frozen=True)
class CoPeaks:
    """The co-peaks of a pair, highest first. first, second: (Q, 2) cells ``(i, j)`` and ``(s, t)``; values: (Q,)."""

    first: torch.Tensor
    second: torch.Tensor
    values: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class CopeakPair:
    """Two photos (H, W, 3) uint8, their saliency-weighted correlation (h, w, s, t), and its maxima at every radius."""

    photos: tuple[np.ndarray, np.ndarray]
    correlation: torch.Tensor
    maxima: Mapping[int, CoPeaks]


@dataclass(frozen=True)
class Hits:
    """Peaks and true instances: how many of the ``peaks`` lie on an instance, how many of the ``instances`` have a peak."""

    peaks: int
    on_instance: int
    instances: int
    found: int

    def __add__(self, other: Hits) -> Hits:
        return Hits(
            self.peaks + other.peaks,
            self.on_instance + other.on_instance,
            self.instances + other.instances,
            self.found + other.found,
        )


def maxima_within(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Cells that no cell within ``radius`` along every axis exceeds: bool, same shape.

    With radius 1 and no two equal neighbours these are the regional maxima; unlike those, a cell that equals its
    highest neighbour counts.
    """
    highest = values
    for axis in range(values.ndim):
        lines = highest.movedim(axis, -1)
        pooled = max_pool1d(lines.flatten(0, -2)[:, None], 2 * radius + 1, stride=1, padding=radius)
        highest = pooled.view(lines.shape).movedim(-1, axis)
    return values == highest


def read_off(mask: torch.Tensor, correlation: torch.Tensor) -> CoPeaks:
    """The co-peaks that a mask (h, w, s, t) bool marks in ``correlation``, highest first."""
    cells = mask.nonzero()
    values = correlation[mask]
    order = values.argsort(descending=True, stable=True)
    return CoPeaks(cells[order, :2], cells[order, 2:], values[order])


def read_pair(category: Category, first: int, second: int) -> CopeakPair:
    """Two photos of a category, the correlation of their saliency-weighted features, and its maxima."""
    weighted = category.output.weighted
    correlation = correlate(weighted[first][None], weighted[second][None])[0]
    photos = tuple(fit_within(category.photos[k], _LONGEST) for k in (first, second))
    maxima = {radius: read_off(maxima_within(correlation, radius), correlation) for radius in RADII}
    return CopeakPair(photos, correlation, maxima)


def keep_above(copeaks: CoPeaks, threshold: float) -> CoPeaks:
    """Those of at least ``threshold``."""
    count = int((copeaks.values >= threshold).sum())
    return CoPeaks(copeaks.first[:count], copeaks.second[:count], copeaks.values[:count])


def select(pair: CopeakPair, quantile: float, radius: int) -> CoPeaks:
    """The maxima within ``radius`` that reach the given quantile of all the pair's correlations."""
    return keep_above(pair.maxima[radius], _quantile(pair.correlation, quantile))


def on_instances(cells: torch.Tensor, masks: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Which cells (Q, 2) of a grid ``(h, w)`` are on which true instances (G, H, W) bool: (G, Q) bool. A cell is where its
    centre is."""
    scale = torch.tensor(masks.shape[1:]) / torch.tensor(grid)
    rows, columns = ((cells + 0.5) * scale).long().T
    return masks[:, rows, columns]


def for_hover(pair: CopeakPair, copeaks: CoPeaks) -> tuple:
    """Co-peaks of a pair as ``co3course.hover.hover_copeaks`` takes them, the strongest 40."""
    cells = torch.cat([copeaks.first, copeaks.second], 1)[:40]
    return pair.photos, cells, copeaks.values[:40], tuple(pair.correlation.shape)


def hits(cells: torch.Tensor, masks: torch.Tensor, grid: Sequence[int]) -> Hits:
    """How peaks (Q, 2), cells of a grid ``(h, w)``, lie on the true instances (G, H, W) bool."""
    on = on_instances(cells, masks, grid)
    return Hits(len(cells), int(on.any(0).sum()), len(masks), int(on.any(1).sum()))


@plain
def numbers_figure(maps: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> Figure:
    """Small maps as numbers on colour, title -> (values (h, w), marked (h, w) bool); marked cells have a frame."""
    figure = Figure(figsize=(3.4 * len(maps), 2.8), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    low = min(float(values.min()) for values, _ in maps.values())
    high = max(float(values.max()) for values, _ in maps.values())
    for axis, (title, (values, marked)) in zip(axes, maps.items(), strict=True):
        picture = axis.imshow(values.numpy(), cmap="cividis", vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(values.numpy()):
            dark = value < (low + high) / 2
            axis.text(j, i, f"{value:.3g}", ha="center", va="center", color="white" if dark else "black", fontsize=10)
        for i, j in marked.nonzero().tolist():
            axis.add_patch(_frame(i, j))
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(values.shape[1]))
        axis.set_yticks(range(values.shape[0]))
    figure.colorbar(picture, ax=axes, shrink=0.8)
    return figure


@plain
def score_figure(photo: np.ndarray, score: torch.Tensor, maxima: torch.Tensor, peaks: torch.Tensor) -> Figure:
    """A photo and its score map (h, w): regional maxima as rings, those that are peaks as full dots; masks (h, w) bool."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(photo, extent=(0, 1, 1, 0))
    picture = right.imshow(score.numpy(), extent=(0, 1, 1, 0), cmap="cividis")
    figure.colorbar(picture, ax=right, label="score, before the sigmoid")
    for axis, title in ((left, "the photo"), (right, "its score map")):
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
        _dots(axis, (maxima & ~peaks).nonzero(), score.shape, filled=False)
        _dots(axis, peaks.nonzero(), score.shape)
    return figure


@plain
def step_figure(pair: CopeakPair, rank: int, quantile: float, radius: int) -> Figure:
    """One co-peak of a pair, the ``rank``-th highest (from 1; the last where there are fewer), with the strongest
    others pale; beside it the two slices of the correlation that it is a maximum of."""
    copeaks = select(pair, quantile, radius)
    chosen = min(rank, len(copeaks)) - 1
    strongest = CoPeaks(*(values[: max(_DRAWN, chosen + 1)] for values in (copeaks.first, copeaks.second, copeaks.values)))
    figure = Figure(figsize=(9.6, 2.9))
    axes = figure.subplots(1, 3, width_ratios=(2.06, 1, 1))
    figure.subplots_adjust(left=0.01, right=0.93, bottom=0.02, top=0.86, wspace=0.06)
    scale = Normalize(0, float(pair.correlation.max()))
    _draw_lines(axes[0], pair, strongest, scale, chosen)
    (i, j), (s, t) = copeaks.first[chosen].tolist(), copeaks.second[chosen].tolist()
    slices = (pair.correlation[:, :, s, t], pair.correlation[i, j])
    titles = (f"first photo against ({s}, {t})", f"second photo against ({i}, {j})")
    for axis, values, cell, title in zip(axes[1:], slices, ((i, j), (s, t)), titles, strict=True):
        axis.imshow(values.numpy(), cmap="cividis", norm=scale)
        axis.add_patch(_frame(*cell, radius))
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    axes[0].set_title(f"co-peak {chosen + 1} of {len(copeaks)}: {float(copeaks.values[chosen]):.3f}", fontsize=10)
    bar = figure.add_axes((0.94, 0.1, 0.012, 0.7))
    figure.colorbar(ScalarMappable(scale, "cividis"), cax=bar)
    return figure


@plain
def losses_figure(means: torch.Tensor) -> Figure:
    """Both forms of the co-peak loss and the size of their gradients over the mean co-peak correlation; means: (P,), those
    of real pairs, as ticks on the axis."""
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    loss, gradient = figure.subplots(1, 2)
    x = np.linspace(0.005, 1, 400)
    loss.plot(x, np.log1p(np.exp(-x)), color=BLUE, label="released: log(1 + exp(-x))")
    loss.plot(x, -np.log(x), color=VERMILION, linestyle="--", label="published: -log(x)")
    gradient.plot(x, 1 / (1 + np.exp(x)), color=BLUE, label="released: 1 / (1 + exp(x))")
    gradient.plot(x, 1 / x, color=VERMILION, linestyle="--", label="published: 1 / x")
    gradient.set_yscale("log")
    for axis, title in ((loss, "loss of one pair"), (gradient, "size of its gradient (log scale)")):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("x, mean correlation at the co-peaks")
        axis.plot(means.numpy(), np.full(len(means), 0.02), "|", color="black", ms=12, transform=axis.get_xaxis_transform())
        axis.legend(fontsize=8)
    return figure


@plain
def votes_figure(photo: np.ndarray, votes: torch.Tensor, peaks: Mapping[str, torch.Tensor]) -> Figure:
    """Votes (h, w), times the co-saliency, as a map, and the photo once for each kind of peak, title -> cells (Q, 2)."""
    figure = Figure(figsize=(3.1 * (1 + len(peaks)), 3.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(peaks))
    picture = axes[0].imshow(votes.numpy(), extent=(0, 1, 1, 0), cmap="cividis", vmin=0)
    figure.colorbar(picture, ax=axes[0], shrink=0.7)
    axes[0].set_title("votes x co-saliency", fontsize=10)
    for axis, (title, cells) in zip(axes[1:], peaks.items(), strict=True):
        axis.imshow(photo, extent=(0, 1, 1, 0))
        _dots(axis, cells, votes.shape)
        axis.set_title(title, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    return figure


def _quantile(values: torch.Tensor, share: float) -> float:
    return float(np.quantile(values.numpy(), share))


def _frame(i: int, j: int, radius: int = 0) -> Rectangle:
    side = 2 * radius + 1
    return Rectangle((j - side / 2, i - side / 2), side, side, fill=False, edgecolor=VERMILION, linewidth=2.5)


def _dots(axis, cells: torch.Tensor, grid, filled: bool = True) -> None:
    y, x = ((cells + 0.5) / torch.tensor(grid)).T.numpy()
    face, edge = ("white", "black") if filled else ("none", "white")
    axis.scatter(x, y, s=42, facecolors=face, edgecolors=edge, linewidths=1.2)


def _draw_lines(axis, pair: CopeakPair, copeaks: CoPeaks, scale: Normalize, chosen: int) -> None:
    # Both photos share one axis, each one unit wide and high, so that a line can go from one to the other.
    grid = pair.correlation.shape
    axis.imshow(pair.photos[0], extent=(0, 1, 1, 0))
    axis.imshow(pair.photos[1], extent=(1 + _GAP, 2 + _GAP, 1, 0))
    axis.set(xlim=(0, 2 + _GAP), ylim=(1, 0))
    axis.set_axis_off()
    y0, x0 = ((copeaks.first + 0.5) / torch.tensor(grid[:2])).T.numpy()
    y1, x1 = ((copeaks.second + 0.5) / torch.tensor(grid[2:])).T.numpy()
    x1 = x1 + 1 + _GAP
    ends = np.stack([np.stack([x0, y0], 1), np.stack([x1, y1], 1)], 1)
    colors = matplotlib.colormaps["cividis"](scale(copeaks.values.numpy()))
    axis.add_collection(LineCollection(ends[::-1], colors=colors[::-1], linewidths=1.6, alpha=0.4))  # the highest on top
    axis.add_collection(LineCollection(ends[[chosen]], colors="black", linewidths=4.5))
    axis.add_collection(LineCollection(ends[[chosen]], colors=colors[[chosen]], linewidths=2.5))
    dots(axis, *ends[[chosen]].reshape(-1, 2).T, linewidth=1, zorder=3)
