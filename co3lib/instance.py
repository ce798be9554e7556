"""An instance that was found: its mask, its score, its peak and its box.

Shape letters: H W image size, M instances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as rle

from .datasets.images import resize_nearest
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
