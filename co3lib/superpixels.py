"""Superpixels: which of them touch, what values are in them, and which sets of them are the same.

Shape letters: H W image size, C channels, S superpixels, E pairs that touch, M sets, D different sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse


@dataclass(frozen=True)
class Borders:
    """The borders of superpixels.

    Attributes
    ----------
    first, second : (E,) int64, the two superpixels that touch, each pair once with the smaller number first, in rising order.
    length : (E,) int64, how many pairs of neighbouring pixels (side by side or one above the other) lie on the border.
    strength : (E,) float64, the mean over these pairs of the larger of their two values.
    """

    first: np.ndarray
    second: np.ndarray
    length: np.ndarray
    strength: np.ndarray


def borders(labels: np.ndarray, values: np.ndarray | None = None) -> Borders:
    """Every two superpixels that touch.

    Parameters
    ----------
    labels : (H, W), integers from 0, the superpixel of every pixel.
    values : (H, W), of which ``strength`` is the mean; None: it is zero everywhere.
    """
    labels = labels.astype(np.int64)
    first, second = _neighbours(labels)
    apart = first != second
    first, second, count = first[apart], second[apart], labels.max(initial=0) + 1
    key, inverse = np.unique(np.minimum(first, second) * count + np.maximum(first, second), return_inverse=True)
    length = np.bincount(inverse, minlength=len(key))
    strength = np.zeros(len(key))
    if values is not None:
        larger = np.maximum(*_neighbours(values))[apart]
        strength = np.bincount(inverse, larger, minlength=len(key)) / length
    return Borders(key // count, key % count, length, strength)


def _neighbours(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both values of all pairs of neighbouring pixels."""
    first = np.r_[values[:, :-1].ravel(), values[:-1].ravel()]
    second = np.r_[values[:, 1:].ravel(), values[1:].ravel()]
    return first, second


def means(values: np.ndarray, labels: np.ndarray, count: int | None = None) -> np.ndarray:
    """The mean of values over every superpixel.

    Parameters
    ----------
    values : (H, W, C).
    labels : (H, W), integers from 0, the superpixel of every pixel.
    count : S; None: the largest label plus one.

    Returns
    -------
    (S, C), zero where a superpixel has no pixel.
    """
    labels, count = labels.ravel(), count or 0
    sums = [np.bincount(labels, channel.ravel(), count) for channel in np.moveaxis(values, 2, 0)]
    return np.stack(sums, 1) / np.maximum(np.bincount(labels, minlength=count), 1)[:, None]


def distinct_sets(sets: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Which sets of superpixels differ.

    Parameters
    ----------
    sets : (M, S) of 0 and 1.

    Returns
    -------
    first : (D,), the first of the sets that are equal.
    number : (M,), the number 0 .. D - 1 of every set among them.
    """
    # Equal sets have equal sums of random numbers, and others practically never do. Sums that overflow wrap round, which does
    # no harm.
    code = np.random.default_rng(0).integers(1, 2**62, sets.shape[1], dtype=np.int64)
    _, first, number = np.unique(sets.astype(np.int64) @ code, return_index=True, return_inverse=True)
    return first, number.reshape(-1)


def region_iou(members: torch.Tensor, area: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Intersection over union of masks made of superpixels with other masks, counted superpixel by superpixel.

    Parameters
    ----------
    members : (M, S) bool, the superpixels of each mask.
    area : (S,), pixels of each superpixel.
    pixels : (G, S), how many pixels of each superpixel every other mask has.

    Returns
    -------
    (M, G) double, in [0, 1]; 0 where both are empty.
    """
    members, area, pixels = members.double(), area.double(), pixels.double()
    common = members @ pixels.T
    return common / ((members @ area)[:, None] + pixels.sum(1) - common).clamp_min(1)
