"""An instance that was found: its mask, its score, its peak and its box; and which of many are shown.

Shape letters: H W image size, M instances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as rle
from scipy import ndimage

from . import checks
from .datasets.images import resize_nearest
from .overlap import mask_iou, tight_box
from .torch_defaults import torch_defaults


class Instance:
    """One found instance, in the photo's own pixels.

    The mask is kept as run lengths, a few kilobytes for any photo, and made anew whenever it is asked for.

    Parameters
    ----------
    mask : (H, W) bool, of the photo or smaller.
    score : higher is better; comparable within a category.
    peak : ``(y, x)`` of the peak from which it was found.
    box : the mask's tight box ``(x0, y0, x1, y1)``, x1 and y1 exclusive.
    size : (height, width) of the photo, to which a smaller mask is enlarged by nearest neighbour; None: the mask's own.
    """

    def __init__(self, mask, score: float, peak: tuple[int, int], box: tuple[int, int, int, int], size=None):
        mask = np.asarray(mask, dtype=bool)
        self.score, self.peak, self.box, self.size = score, peak, box, tuple(size or mask.shape)
        self._runs = rle.encode(np.asfortranarray(mask, dtype=np.uint8))

    @property
    @torch_defaults()
    def mask(self) -> np.ndarray:
        """The mask at the photo's size: (H, W) bool."""
        mask = torch.from_numpy(rle.decode(self._runs).view(bool))
        return resize_nearest(mask[None], self.size)[0].contiguous().numpy()

    def __repr__(self) -> str:
        return f"Instance(score={self.score:.4g}, peak={self.peak}, box={self.box}, size={self.size})"


def masks_of(instances: Sequence[Instance], size: tuple[int, int]) -> torch.Tensor:
    """The masks of a photo's instances.

    Parameters
    ----------
    instances : of one photo.
    size : (height, width) of the result where there is no instance.

    Returns
    -------
    (M, H, W) bool.
    """
    masks = [torch.from_numpy(instance.mask) for instance in instances]
    return torch.stack(masks) if masks else torch.zeros((0, *size), dtype=torch.bool, device="cpu")


@torch_defaults()
def overlaps_with(instances: Sequence[Instance], masks: torch.Tensor) -> torch.Tensor:
    """The IoU of a photo's instances with other masks, as ``overlap.mask_iou`` of ``masks_of`` gives it.

    Parameters
    ----------
    instances : of one photo.
    masks : (G, H, W) bool.

    Returns
    -------
    (M, G) double.
    """
    masks = checks.masks(masks, "masks", ("G", "H", "W"))
    size = masks.shape[1], masks.shape[2]
    if not (instances and len(masks) and all(one.size == tuple(one._runs["size"]) == size for one in instances)):
        return mask_iou(masks_of(instances, size), masks)
    # The run lengths are at hand, so that the masks need not be made.
    others = rle.encode(np.asfortranarray(masks.cpu().numpy().view(np.uint8).transpose(1, 2, 0)))
    return torch.from_numpy(rle.iou([instance._runs for instance in instances], others, [False] * len(others)))


SHOWN = 0.05
"""The share of the category's best score from which an instance is shown."""


def shown(found: Sequence[Sequence[Instance]], share: float = SHOWN) -> list[list[Instance]]:
    """Which instances to show, or to go on with: those whose score is at least a share of the best one of all photos, without
    what a better one covers (``without_overlap``).

    Parameters
    ----------
    found : the instances of every photo of a category, as ``CoSegmenter.predict`` gives them.
    share : of the best score, in [0, 1].

    Returns
    -------
    The instances of every photo, best first; none for a photo in which nothing reaches the share.
    """
    checks.between(share, "share", 0, 1)
    least = share * max((instance.score for instances in found for instance in instances), default=0.0)
    return [without_overlap([instance for instance in instances if instance.score >= least]) for instances in found]


def without_overlap(instances: Sequence[Instance]) -> list[Instance]:
    """Every pixel to the best instance that has it, so that no two overlap.

    Of an instance that loses pixels the largest piece stays, without strips that are thinner than a hundredth of the photo;
    one that keeps less than half of its pixels is left out.

    Parameters
    ----------
    instances : of one photo.

    Returns
    -------
    The instances that are left, best first.
    """
    kept: list[Instance] = []
    taken = None
    # Masks of one size as they are kept, which is smaller than the photo, or else all at the photo's.
    small = len({tuple(instance._runs["size"]) for instance in instances}) == 1
    for instance in sorted(instances, key=lambda one: -one.score):
        mask = rle.decode(instance._runs).astype(bool) if small else instance.mask
        taken = np.zeros_like(mask) if taken is None else taken
        left = mask & ~taken
        if left.sum() < mask.sum():
            left = _largest_piece(left)
        if not left.any() or 2 * left.sum() < mask.sum():
            continue
        taken |= left
        kept.append(instance if left.sum() == mask.sum() else _with_mask(instance, left))
    return kept


def _with_mask(instance: Instance, mask: np.ndarray) -> Instance:
    """The instance with a smaller mask (H, W) bool, its peak at the mask's pixel that is nearest to its own."""
    scale = np.array(instance.size) / mask.shape
    places = np.argwhere(mask)
    nearest = places[((places + 0.5 - (np.array(instance.peak) + 0.5) / scale) ** 2).sum(1).argmin()]
    own = (np.array(instance.peak) / scale).astype(int)
    peak = instance.peak
    if not mask[tuple(own)]:
        y, x = (nearest + 0.5) * scale
        peak = int(y), int(x)
    changed = Instance(mask, instance.score, peak, instance.box, instance.size)
    changed.box = tight_box(changed.mask)
    return changed


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (H, W) bool after strips that are thinner than a hundredth of it are gone."""
    thin = max(1, round(max(mask.shape) / 200))
    square = np.ones((3, 3))
    core = ndimage.binary_erosion(mask, square, iterations=thin, border_value=1)
    opened = ndimage.binary_dilation(core, square, iterations=thin) & mask
    pieces, count = ndimage.label(opened)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else np.zeros_like(mask)
