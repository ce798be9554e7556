"""Notebook 11: maps of a photo side by side, and AP as bars.

Shape letters: H W size of the photo, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from ..style import BLUE, ORANGE, plain

_STEP = 2  # every second pixel is drawn, as in notebook 09


@plain
def maps_figure(pixels: np.ndarray, maps: Mapping[str, torch.Tensor], label: str) -> Figure:
    """A photo (H, W, 3) and maps of it beside it, (h, w) each, from 0 to 1, with one colour bar that says ``label``."""
    figure = Figure(figsize=(2.1 * (len(maps) + 1) + 0.7, 2.9), layout="constrained")
    axes = figure.subplots(1, len(maps) + 1)
    height, width = pixels.shape[:2]
    axes[0].imshow(pixels[::_STEP, ::_STEP], extent=(0, width, height, 0))
    axes[0].set_title("the photo", fontsize=10)
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        picture = axis.imshow(values.numpy(), cmap="cividis", vmin=0, vmax=1, extent=(0, width, height, 0))
        axis.set_title(title, fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.01, label=label)
    return figure


@plain
def precision_figure(precisions: Mapping[str, tuple[float, float]]) -> Figure:
    """AP25 and AP50 of every configuration, by its name, the first on top."""
    figure = Figure(figsize=(7.6, 0.55 * len(precisions) + 1.1), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(precisions))
    for k, (color, name) in enumerate(((BLUE, "AP25"), (ORANGE, "AP50"))):
        values = [precision[k] for precision in precisions.values()]
        bars = axis.barh(places + 0.38 * (k - 0.5), values, height=0.36, color=color, label=name)
        axis.bar_label(bars, fmt="%.2f", fontsize=9, padding=2)
    axis.set_yticks(places, list(precisions))
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.08), xlabel="average precision")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    return figure
