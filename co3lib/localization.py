"""Object co-localisation (paper, Section 4.4): one box per photo.

The authors released no code for this variant; the definition used here: a photo's box is the tight box of its best
instance, and CorLoc (``evaluation.corloc``) counts it as right if its IoU with any ground-truth box is at least 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from . import checks
from .overlap import tight_box
from .ranking import Instance
from .torch_defaults import torch_defaults


@torch_defaults()
def best_box(instances: Sequence[Instance]) -> torch.Tensor | None:
    """The box (4,) ``x0 y0 x1 y1`` of a photo's best instance; None if nothing was found. ``ValueError`` for a score of NaN."""
    if not instances:
        return None
    if any(math.isnan(one.score) for one in instances):
        raise ValueError("scores of instances must be numbers that can be ordered, got NaN")
    return torch.tensor(max(instances, key=lambda instance: instance.score).box)


@torch_defaults()
def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Tight boxes of masks, the empty ones left out: (G, H, W) bool -> (G', 4)."""
    masks = checks.masks(masks, "masks", ("G", "H", "W"))
    boxes = [tight_box(mask) for mask in masks.numpy() if mask.any()]
    return torch.tensor(boxes).reshape(-1, 4)
