"""Overlaps of masks and boxes, and the box of a mask.

Shape letters: H W image size, M and G masks or boxes. A box is ``x0 y0 x1 y1``, x1 and y1 exclusive.
"""

from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask as rle

from . import checks
from .torch_defaults import torch_defaults

_SHORT = 100  # pixels for each byte of its run lengths, from which on a mask is compared by them; noise has more


@torch_defaults()
def mask_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every mask with every other.

    Parameters
    ----------
    first : (M, H, W) bool.
    second : (G, H, W) bool.

    Returns
    -------
    (M, G) double, in [0, 1]; 0 where both are empty.
    """
    first = checks.masks(first, "first", ("M", "H", "W"))
    second = checks.masks(second, "second", ("G", *first.shape[1:]))
    if not (first.numel() and second.numel()):
        return torch.zeros(len(first), len(second), dtype=torch.float64)
    runs = _runs(first), _runs(second)
    if max(map(_mean_length, runs)) < first[0].numel() / _SHORT:
        return torch.from_numpy(rle.iou(*runs, [False] * len(second)))
    first, second = first.flatten(1).float(), second.flatten(1).float()
    # Counts of pixels are exact in single precision up to 2^24; their ratio, compared with thresholds, is not.
    intersection = first @ second.T
    union = first.sum(1)[:, None].double() + second.sum(1)[None] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros((), dtype=torch.float64))


def _runs(masks: torch.Tensor) -> list[dict]:
    """The run lengths of masks (M, H, W), row by row: pycocotools takes columns, so each is handed over as its transpose."""
    return rle.encode(masks.cpu().contiguous().numpy().view(np.uint8).transpose(2, 1, 0))


def _mean_length(runs: list[dict]) -> float:
    return sum(len(one["counts"]) for one in runs) / len(runs)


@torch_defaults()
def box_iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every box with every other.

    Parameters
    ----------
    first : (M, 4), ``x0 y0 x1 y1``, x1 and y1 exclusive.
    second : (G, 4), likewise.

    Returns
    -------
    (M, G) double.
    """
    first = checks.tensor(first, "first", ("M", 4)).double()
    second = checks.tensor(second, "second", ("G", 4)).double()
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (high - low).clamp_min(0).prod(-1)
    # Of a box whose corners have changed places the intersection is 0, whatever its area.
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros((), dtype=torch.float64))


def tight_box(mask) -> tuple[int, int, int, int]:
    """The tight box of a mask.

    Parameters
    ----------
    mask : (H, W).

    Returns
    -------
    ``(x0, y0, x1, y1)``, in pixels, x1 and y1 exclusive.

    Raises
    ------
    ValueError : if the mask is empty.
    """
    mask = np.asarray(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("mask must have at least one pixel to have a box, got an empty one")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
