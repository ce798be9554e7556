"""How the course's figures look: matplotlib's plain style, colours that colour-blind people distinguish, dots on photos."""

from __future__ import annotations

import matplotlib.style
import numpy as np

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE = "#56B4E9", "#CC79A7"
"""The palette of Okabe and Ito, as far as it is used."""
FAINT = "#777777"
"""Of lines that only help to read a figure."""

plain = matplotlib.style.context("default")
"""Decorator of functions that draw: a style that was set elsewhere changes nothing."""


def dots(axis, x, y, area: float = 24, linewidth: float = 1.2, hollow: bool = False, **more) -> None:
    """White dots with a black rim, seen on any photo and any colour map, at x and y (numbers or arrays of one length); area: of
    each, in square points; hollow: rings in place of dots."""
    if hollow:
        axis.scatter(x, y, s=area, facecolors="none", edgecolors="white", linewidths=linewidth, **more)
    else:
        axis.scatter(x, y, s=area, color="white", edgecolors="black", linewidths=linewidth, **more)


def mark(axis, x, y) -> None:
    """As ``dots``, as one line without strokes, which is drawn faster: for figures that a slider redraws."""
    axis.plot(np.atleast_1d(x), np.atleast_1d(y), "o", color="white", markeredgecolor="black", markersize=5)
