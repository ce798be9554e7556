"""Figures of notebook 06: what a pair of cells costs in the affinity loss.

Shape letters: H W photo size, ``h w`` feature grid, C channels; p a cell of the first photo, q of the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from co3lib.correlation import correlate

from ..style import BLUE, GREEN, ORANGE, VERMILION, dots, plain

_LIKENESS = {0.9: (BLUE, "-"), 0.5: (ORANGE, "--"), 0.2: (GREEN, "-."), 0.05: (VERMILION, ":")}


@dataclass(frozen=True)
class AffinityPair:
    """Two photos' pixels, (H, W, 3) uint8 each; score: (2, h, w), before the sigmoid; likeness: (h, w, h, w), ``T(p, q)``."""

    pixels: tuple[np.ndarray, np.ndarray]
    score: torch.Tensor
    likeness: torch.Tensor


@dataclass(frozen=True)
class Terms:
    """What a cell p pays for every cell q of the other photo, (h, w) each; saliency: of p, a number, and of the q."""

    together: torch.Tensor  # S(p) S(q) (1 - T)
    apart: torch.Tensor  # alpha (S(p) - S(q))^2 T
    own: float
    others: torch.Tensor


def make_pair(pixels: tuple[np.ndarray, np.ndarray], normalized: torch.Tensor, score: torch.Tensor) -> AffinityPair:
    """normalized: (2, C, h, w), features of length one; score: (2, 1, h, w)."""
    return AffinityPair(pixels, score[:, 0], correlate(normalized[:1], normalized[1:])[0])


def terms_of(pair: AffinityPair, row: int, column: int, alpha: float = 4.0, sharpness: float = 1.0) -> Terms:
    """The two terms of Eq. 4 for one cell p; sharpness: a factor on the score before the sigmoid (0: all saliencies 0.5)."""
    saliency = (sharpness * pair.score).sigmoid()
    own, others, likeness = saliency[0, row, column], saliency[1], pair.likeness[row, column]
    return Terms(own * others * (1 - likeness), alpha * (own - others).square() * likeness, float(own), others)


def best_partner(likeness: torch.Tensor, alpha: float) -> torch.Tensor:
    """The saliency in [0, 1] of a cell q that costs least beside a fully salient cell p, at a likeness T in (0, 1]."""
    return (1 - (1 - likeness) / (2 * alpha * likeness)).clamp(0, 1)


def describe_terms(pair: AffinityPair, row: int, column: int, alpha: float = 4.0, sharpness: float = 1.0) -> str:
    """One sentence with the numbers of ``terms_figure``."""
    terms = terms_of(pair, row, column, alpha, sharpness)
    return (
        f"Cell ({row}, {column}) with co-saliency {terms.own:.2f} pays on average {terms.together.mean():+.3f} in the first "
        f"term (salient with unlike cells) and {terms.apart.mean():+.3f} in the second (differing from like ones), "
        f"with alpha {alpha:g} and sharpness {sharpness:g}."
    )


def terms_for_hover(pair: AffinityPair, alpha: float = 4.0) -> dict[str, torch.Tensor]:
    """Likeness and both terms of Eq. 4 for all pairs of cells, (h, w, h, w) each, by name."""
    saliency = pair.score.sigmoid()
    own, others = saliency[0][:, :, None, None], saliency[1]
    together = own * others * (1 - pair.likeness)
    apart = alpha * (own - others).square() * pair.likeness
    return {"likeness T": pair.likeness, "first term: S S (1 - T)": together, "second term: alpha dS\u00b2 T": apart}


@plain
def terms_figure(pair: AffinityPair, row: int, column: int, alpha: float = 4.0, sharpness: float = 1.0) -> Figure:
    """Cell p in the first photo, and for every cell q of the second: its likeness, co-saliency, and both terms of Eq. 4. What
    has a sign is in colours of two kinds about a white zero, the terms with the same limits."""
    terms = terms_of(pair, row, column, alpha, sharpness)
    figure = Figure(figsize=(8.6, 5), layout="constrained")
    axes = figure.subplots(2, 3).T.ravel()
    grid = terms.others.shape
    for axis, pixels, title in zip(axes, pair.pixels, ("photo A, cell p", "photo B"), strict=False):
        axis.imshow(pixels, extent=(0, grid[1], grid[0], 0), aspect="auto")
        axis.set_title(title, fontsize=10, loc="left")
    dots(axes[0], column + 0.5, row + 0.5, area=60)
    most = max(1e-6, float(terms.together.abs().max()), float(terms.apart.abs().max()))
    maps = (
        ("likeness T(p, q)", pair.likeness[row, column], "PuOr_r", -1, 1),
        ("co-saliency S(q)", terms.others, "cividis", 0, 1),
        ("first term: S S (1 - T)", terms.together, "PuOr_r", -most, most),
        ("second term: alpha dS\u00b2 T", terms.apart, "PuOr_r", -most, most),
    )
    for axis, (title, values, colors, low, high) in zip(axes[2:], maps, strict=True):
        axis.set_title(title, fontsize=10, loc="left")
        shown = axis.imshow(values.numpy(), cmap=colors, vmin=low, vmax=high, aspect="auto")
        figure.colorbar(shown, ax=axis, fraction=0.05, pad=0.02, aspect=30)
    for axis in axes:
        axis.set_axis_off()
    return figure


@plain
def partner_figure(alpha: float) -> Figure:
    """What a cell q costs beside a fully salient cell p, against S(q), a line a likeness; a dot where it costs least."""
    figure = Figure(figsize=(5.5, 3))
    axis = figure.subplots()
    saliency = torch.linspace(0, 1, 101)
    for likeness, (color, style) in _LIKENESS.items():
        cost = saliency * (1 - likeness) + alpha * (1 - saliency).square() * likeness
        best = float(best_partner(torch.tensor(likeness), alpha)) if alpha else 0.0
        axis.plot(saliency, cost, color=color, ls=style, label=f"T = {likeness}")
        axis.scatter(best, best * (1 - likeness) + alpha * (1 - best) ** 2 * likeness, color=color, zorder=3)
    axis.set_xlabel("S(q), while S(p) = 1")
    axis.set_ylabel("cost of the pair")
    axis.set_title(f"alpha = {alpha:g}", fontsize=10, loc="left")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.17, top=0.9)
    return figure
