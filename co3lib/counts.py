"""How many instances are shown, how many of them are right and how many are missed, as ``evaluation`` matches them.

Shape letters: H W image size, G ground-truth instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from . import checks
from .evaluation import match, overlaps
from .instance import Instance
from .torch_defaults import torch_defaults


class Counts(NamedTuple):
    """How many instances are shown, how many of them are right, and how many true ones none of them is right for."""

    shown: int
    right: int
    missed: int

    def __str__(self) -> str:
        return f"{self.shown} shown, {self.right} right, {self.missed} missed"


@torch_defaults()
def counts(found: Sequence[Sequence[Instance]], truth: Iterable[torch.Tensor], iou: float = 0.5) -> Counts:
    """How many of the instances are right, by the rule of ``match``.

    Parameters
    ----------
    found : the instances of every photo.
    truth : over photos, masks (G, H, W) bool of what there is to find.
    iou : what a right one's IoU must exceed, in [0, 1].
    """
    checks.between(iou, "iou", 0, 1)
    ious, scores = overlaps(found, truth)
    right = sum(int(match(overlap, value, iou).sum()) for overlap, value in zip(ious, scores, strict=True))
    return Counts(sum(map(len, found)), right, sum(overlap.shape[1] for overlap in ious) - right)
