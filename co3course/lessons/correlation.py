"""Figures of notebook 03: features, the correlation of one cell with another photo, and a check of it against truth.

Shape letters: N images, C channels, H W image size, ``h w`` and ``s t`` feature grids. A cell is ``(i, j)``, row and column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.stats import mannwhitneyu
from skimage.color import rgb2lab
from skimage.data import stereo_motorcycle

from co3lib.datasets.images import fit_within, resize_image

from ..style import BLUE, FAINT, GREEN, ORANGE, VERMILION, plain

RIGHT, WRONG, SAME, DIFFERENT = GREEN, VERMILION, BLUE, ORANGE
FIRST_CORNER, SECOND_CORNER, WINDOW = (0, 200), (90, 60), (400, 480)  # rows and columns of the stereo photos, in pixels
_LONGEST = 240  # pixels of a photo in a figure: more would not be seen
_NUMBERED = ((4, 1), (4, 7), (5, 6), (7, 4), (8, 9), (9, 6), (10, 1), (12, 8))  # cells of a 14 x 14 grid that a figure follows


@dataclass(frozen=True)
class FeaturePair:
    """Two photos and how alike their cells are: photos (H, W, 3) uint8 each; saliency (2, h, w) in [0, 1]; correlation
    (h, w, h, w), ``T[i, j, s, t]``."""

    photos: tuple[np.ndarray, np.ndarray]
    saliency: torch.Tensor
    correlation: torch.Tensor

    @property
    def weighted(self) -> torch.Tensor:
        """``Ts = S_n(p) S_m(q) T(p, q)``: (h, w, h, w)."""
        return self.correlation * self.saliency[0][:, :, None, None] * self.saliency[1]


@dataclass(frozen=True)
class Stereo:
    """Two views of one scene: first, second (H, W, 3) uint8; truth (h, w, 2), the place in the second view, in cells
    ``(row, column)``, of what is in the middle of each of the first's cells; known (h, w) bool: it is measured and in view."""

    first: np.ndarray
    second: np.ndarray
    truth: torch.Tensor
    known: torch.Tensor


# ------------------------------------------------------------------------------------------------------ numbers


def best_cells(correlation: torch.Tensor) -> torch.Tensor:
    """The cell of the second image that correlates best with each of the first: (h, w, s, t) -> (h, w, 2)."""
    best, columns = correlation.flatten(2).argmax(2), correlation.shape[3]
    return torch.stack([best // columns, best % columns], 2)


def true_cells(
    disparity: np.ndarray, first_corner: tuple[int, int], second_corner: tuple[int, int], grid: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the middles of the cells of one window of a left photo are in a window of the right one.

    disparity: (H, W), how many pixels further left a point of the first window is in the right photo; not finite where
    it was not measured. Corners: the windows' first row and column in their photos. A grid has ``grid`` x ``grid`` cells.
    Returns truth (h, w, 2) in cells, the middle of cell ``(i, j)`` being ``(i, j)``, and known (h, w) bool.
    """
    size = np.array(disparity.shape)
    middles = [(np.arange(grid) + 0.5) * side / grid for side in size]
    rows, columns = np.meshgrid(*middles, indexing="ij")
    moved = disparity[rows.astype(int), columns.astype(int)]
    measured = np.isfinite(moved)
    rows = rows + first_corner[0] - second_corner[0]
    columns = columns + first_corner[1] - second_corner[1] - np.where(measured, moved, 0)
    places = np.stack([rows, columns], 2)
    known = measured & (places >= 0).all(2) & (places < size).all(2)
    return torch.from_numpy(places * grid / size - 0.5), torch.from_numpy(known)


def stereo_pair(grid: int = 14) -> Stereo:
    """Windows of scikit-image's stereo motorcycle photos, cut at different places, so that what is seen in one is far from
    where it is in the other."""
    left, right, disparity = stereo_motorcycle()
    (y, x), (v, u), (height, width) = FIRST_CORNER, SECOND_CORNER, WINDOW
    truth, known = true_cells(disparity[y : y + height, x : x + width], FIRST_CORNER, SECOND_CORNER, grid)
    return Stereo(left[y : y + height, x : x + width], right[v : v + height, u : u + width], truth, known)


def within(found: torch.Tensor, truth: torch.Tensor, reach: float = 1) -> torch.Tensor:
    """Whether found cells (h, w, 2) are at most ``reach`` rows and ``reach`` columns from the true places (h, w, 2)."""
    return ((found - truth).abs() <= reach).all(2)


def chance(stereo: Stereo, reach: float = 1) -> float:
    """The share of known cells for which a cell drawn at random is within reach."""
    grid = stereo.known.shape
    every = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), 2).flatten(0, 1)
    distance = (stereo.truth[stereo.known][:, None] - every).abs()
    return float((distance <= reach).all(2).double().mean())


def color_correlation(stereo: Stereo) -> torch.Tensor:
    """What a correlation of colours would be: minus the distance of two cells' mean colours in Lab, (h, w, h, w)."""
    grid = tuple(stereo.known.shape)
    cells = [torch.from_numpy(rgb2lab(resize_image(view, grid))).flatten(0, 1) for view in (stereo.first, stereo.second)]
    return -torch.cdist(*cells).reshape(*grid, *grid)


def split_correlations(normalized: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The correlations of cells of different photos, by what the cells show.

    normalized: (N, C, h, w); inside: (N, h, w) bool, cells mostly on an instance. Returns those of two inside cells, and
    those of an inside cell and an outside one, each as one long vector.
    """
    cells, inside = normalized.flatten(2).transpose(1, 2), inside.flatten(1)
    same, different = [], []
    for n in range(len(cells)):
        for m in range(len(cells)):
            if n != m:
                product = cells[n][inside[n]] @ cells[m].T
                same.append(product[:, inside[m]].flatten())
                different.append(product[:, ~inside[m]].flatten())
    return torch.cat(same), torch.cat(different)


def auc(higher: torch.Tensor, lower: torch.Tensor) -> float:
    """How often a value drawn from ``higher`` exceeds one drawn from ``lower``, ties counting half."""
    return float(mannwhitneyu(higher.numpy(), lower.numpy()).statistic / (len(higher) * len(lower)))


# ------------------------------------------------------------------------------------------------------ figures


@plain
def features_figure(photo: np.ndarray, features: torch.Tensor, channels: Sequence[int]) -> Figure:
    """A photo under its feature grid, some channels with the same limits, and the length of every cell's vector.

    photo: (H, W, 3) uint8; features: (C, h, w).
    """
    figure = Figure(figsize=(11, 2.7), layout="constrained")
    axes = figure.subplots(1, len(channels) + 2)
    grid = features.shape[1:]
    _photo(axes[0], photo, grid)
    axes[0].set_title("the photo and the grid", fontsize=10, loc="left")
    axes[0].set_xticks(np.arange(-0.5, grid[1]), labels=[])
    axes[0].set_yticks(np.arange(-0.5, grid[0]), labels=[])
    axes[0].grid(color="white", linewidth=0.5)
    axes[0].tick_params(length=0)
    chosen = features[list(channels)]
    most = float(chosen.abs().max())
    for axis, channel, values in zip(axes[1:-1], channels, chosen, strict=True):
        picture = axis.imshow(values.numpy(), cmap="cividis", vmin=-most, vmax=most)
        axis.set_title(f"channel {channel}", fontsize=10, loc="left")
    figure.colorbar(picture, ax=axes[1:-1], shrink=0.8, pad=0.02)
    picture = axes[-1].imshow(features.square().sum(0).sqrt().numpy(), cmap="magma", vmin=0)
    axes[-1].set_title("length of the vectors", fontsize=10, loc="left")
    figure.colorbar(picture, ax=axes[-1], shrink=0.8, pad=0.02)
    for axis in axes[1:]:
        axis.set(xticks=(), yticks=())
    return figure


@plain
def cell_figure(pairs: Mapping[str, FeaturePair], features: str, row: int, column: int) -> Figure:
    """Cell ``(row, column)`` of the first photo and its correlation over the second, raw and weighted by the saliency, each on
    a scale of its own, or the weighted map would be nearly black. ``features``: which of the pairs."""
    pair = pairs[features]
    raw, weighted = pair.correlation[row, column], pair.weighted[row, column]
    grid = pair.saliency.shape[1:]
    figure = Figure(figsize=(10, 2.5), layout="constrained")
    axes = figure.subplots(1, 4)
    _photo(axes[0], pair.photos[0], grid)
    _box(axes[0], (row, column), WRONG)
    _photo(axes[1], pair.photos[1], grid)
    for axis, values, color in ((axes[2], raw, WRONG), (axes[3], weighted, SAME)):
        picture = axis.imshow(values.numpy(), cmap="cividis")
        figure.colorbar(picture, ax=axis, shrink=0.8, pad=0.02)
        _box(axes[1], _argmax(values), color, solid=color == WRONG)
        _box(axis, _argmax(values), color, solid=color == WRONG)
    titles = (f"photo A, cell ({row}, {column})", "photo B, best cells", "raw T over B", "weighted Ts over B")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xticks=(), yticks=())
        axis.set_title(title, fontsize=10, loc="left")
    return figure


def describe_cell(pairs: Mapping[str, FeaturePair], features: str, row: int, column: int) -> str:
    """``cell_figure`` in one sentence, with its numbers."""
    pair = pairs[features]
    said = []
    for name, values in (("T", pair.correlation[row, column]), ("Ts", pair.weighted[row, column])):
        said.append(f"highest {name} {float(values.max()):.2f} in cell {_argmax(values)} of B")
    cell = f"Cell ({row}, {column}) of photo A, saliency there {float(pair.saliency[0, row, column]):.2f}"
    return f"{cell}; features {features}: {said[0]} (solid), {said[1]} (dashed)."


@plain
def networks_figure(
    photos: Sequence[np.ndarray], correlations: Mapping[str, torch.Tensor], place: tuple[float, float]
) -> Figure:
    """How alike the cells of the second photo are to one place of the first, by several networks.

    photos: two, (H, W, 3) uint8; correlations: (h, w, s, t) of each network, by its name, of any grid; place: (y, x) in shares
    of the first photo.
    """
    figure = Figure(figsize=(2.6 * (2 + len(correlations)), 2.6), layout="constrained")
    axes = figure.subplots(1, 2 + len(correlations))
    for axis, photo, title in zip(axes, photos, ("photo A, a place", "photo B"), strict=False):
        _photo(axis, photo, (1, 1))
        axis.set_title(title, fontsize=10, loc="left")
    y, x = place
    axes[0].plot(x - 0.5, y - 0.5, "o", color=WRONG, markeredgecolor="white", markersize=9)
    for axis, (name, values) in zip(axes[2:], correlations.items(), strict=True):
        height, width = values.shape[:2]
        picture = axis.imshow(values[int(y * height), int(x * width)].numpy(), cmap="cividis")
        figure.colorbar(picture, ax=axis, shrink=0.8, pad=0.02)
        axis.set_title(name, fontsize=10, loc="left")
    for axis in axes:
        axis.set(xticks=(), yticks=())
    return figure


@plain
def split_figure(splits: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> Figure:
    """For each kind of features, how the correlations of two inside cells and of an inside and an outside one spread."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots(1, len(splits), sharex=True, sharey=True)
    bins = np.linspace(-0.6, 1, 81)
    for axis, (name, (same, different)) in zip(axes, splits.items(), strict=True):
        for values, color, style, label in (
            (same, SAME, "-", "both cells inside"),
            (different, DIFFERENT, "--", "one inside, one outside"),
        ):
            share = np.histogram(values.numpy().clip(-0.6, 1), bins)[0] / len(values)
            label = f"{label}, mean {float(values.mean()):+.2f}"
            axis.stairs(share, bins, color=color, linewidth=2, linestyle=style, label=label)
        axis.axvline(0, color=FAINT, linewidth=0.8)
        axis.set_title(f"{name}: AUC {auc(same, different):.2f}", fontsize=11, loc="left")
        axis.set_xlabel("correlation T")
        axis.legend(frameon=False, fontsize=9, loc="upper right")
    axes[0].set_ylabel("share of the pairs")
    axes[0].set_ylim(0, 1.3 * axes[0].get_ylim()[1])  # room for the legends above the curves
    return figure


@plain
def stereo_figure(stereo: Stereo, found: Mapping[str, torch.Tensor]) -> Figure:
    """Top: some cells of the first view, and in the second where the first of the matches puts them (square) and where they
    truly are (cross). Bottom: for each of two matches, which cells of the first view are right and which wrong."""
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    top, bottom = figure.subplots(2, 2)
    grid = stereo.known.shape
    matches = next(iter(found.values()))
    right = within(matches, stereo.truth)
    _photo(top[0], stereo.first, grid)
    _photo(top[1], stereo.second, grid)
    for number, cell in enumerate((place for place in _NUMBERED if stereo.known[place]), start=1):
        color = RIGHT if right[cell] else WRONG
        _box(top[0], cell, color)
        _box(top[1], matches[cell].tolist(), color)
        y, x = stereo.truth[cell].tolist()
        top[1].plot(x, y, "P", color="white", markeredgecolor="black", markersize=7)
        for axis, (i, j) in ((top[0], cell), (top[1], matches[cell].tolist())):
            style = {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.1", "alpha": 0.85}
            axis.text(j - 0.5, i - 0.5, str(number), fontsize=8, ha="right", va="bottom", bbox=style)
    top[0].set_title("first view: some cells", fontsize=11, loc="left")
    top[1].set_title("second view: found (square), true (cross)", fontsize=11, loc="left")
    for axis, (name, cells) in zip(bottom, found.items(), strict=True):
        _photo(axis, stereo.first // 2 + 127, grid)  # paler, so that the marks are seen
        right = within(cells, stereo.truth)
        for which, marker, color in ((right, "o", RIGHT), (~right, "x", WRONG)):
            rows, columns = np.nonzero((which & stereo.known).numpy())
            axis.plot(columns, rows, marker, color=color, markersize=6, markeredgewidth=1.8, linestyle="none")
        share = float(right[stereo.known].double().mean())
        axis.set_title(f"{name}: {share:.0%} right (dots)", fontsize=11, loc="left")
    for axis in (*top, *bottom):
        axis.set(xticks=(), yticks=())
    return figure


def _photo(axis, photo: np.ndarray, grid) -> None:
    """A photo under a grid of cells: the middle of cell ``(i, j)`` is at ``x = j, y = i``."""
    axis.imshow(fit_within(photo, _LONGEST), extent=(-0.5, grid[1] - 0.5, grid[0] - 0.5, -0.5), aspect="auto")
    axis.set_box_aspect(1)  # the network sees every photo as a square


def _box(axis, cell, color: str, solid: bool = True) -> None:
    row, column = cell
    corner = (column - 0.5, row - 0.5)
    # White lies below every colour, so that a solid box shows between the dashes of one on the same cell.
    axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=3.6, zorder=1))
    style = "-" if solid else (0, (1.8, 1.8))
    axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=color, linewidth=2, linestyle=style, zorder=2))


def _argmax(values: torch.Tensor) -> tuple[int, int]:
    return divmod(int(values.argmax()), values.shape[1])
