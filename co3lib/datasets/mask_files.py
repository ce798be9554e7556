"""Masks and gray images in files: which pixels are meant.

Shape letters: H W image size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from .errors import DatasetError
from .images import ImageError, open_image

_LOSSY = ("AVIF", "JPEG", "JPEG2000", "MPO", "WEBP")
_VOID = 255  # VOC's value of what is neither in nor out
_COLORFUL = 40  # by how much the channels of a gray JPEG may differ, of 255


def _open(path: Path) -> Image.Image:
    try:
        return open_image(path)
    except ImageError as error:
        raise DatasetError(str(error)) from error


def read_gray(path: Path) -> np.ndarray:
    """The values of a gray image as stored; transparency is laid on black.

    Returns
    -------
    (H, W), of the image's own type.

    Raises
    ------
    DatasetError : if the file cannot be read or is coloured.
    """
    image = _open(path)
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        values = np.asarray(image)
        # A PNG of 16 bits comes as 32 from older versions of Pillow.
        return values.astype(np.uint16) if image.mode == "I" and image.format == "PNG" else values
    colors = np.asarray(image.convert("RGBA")).astype(np.int32)
    if (np.ptp(colors[..., :3], axis=2) > _COLORFUL).mean() > 0.01:
        raise DatasetError(f"{path} must be a gray image, got a coloured one")
    return np.rint(colors[..., :3].mean(2) * colors[..., 3] / 255).astype(np.uint8)


def read_mask(path: Path) -> np.ndarray:
    """Where an image shows its instance.

    That is where it is opaque, where a palette's index is not 0, or where a value is over half of the range.

    Returns
    -------
    (H, W) bool.

    Raises
    ------
    DatasetError : if the file cannot be read, or that does not decide it, as with several labels, or with a label beside VOC's
        void of 255, which is neither in nor out.
    """
    image, lossy = _open(path), Image.registered_extensions().get(path.suffix.lower()) in _LOSSY
    refusal = DatasetError(
        f"{path} must be a mask of one instance, 0 outside of it, got an image that is not two-valued"
        " (a label beside void, or several labels, must be made one mask each)"
    )
    if image.has_transparency_data and image.mode in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa"):
        pixels = np.asarray(image.convert("RGBA"))
        alpha = pixels[..., 3]
        if alpha.min() != alpha.max():
            mask = _halves(alpha, lossy)
            if mask is None or _has_ground(pixels[mask][:, :3]):
                raise refusal
            return mask
        if not alpha.max():
            raise refusal
    if image.mode in ("P", "PA"):
        indices = np.asarray(image.getchannel(0))
        labels = np.unique(indices[indices != 0])
        # An edge may be smooth in a palette's colours as well; labels have areas, and void is void however thin.
        if len(labels) > 1 and (labels[-1] == _VOID or len(np.unique(indices[_flat(indices) & (indices != 0)])) > 1):
            raise refusal
        return indices != 0
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
    else:
        colors = np.asarray(image.convert("RGB")).astype(np.float64)
        values = colors.max(2)
        if not _one_color(colors, values):
            raise refusal
    mask = _halves(values, lossy)
    if mask is None:
        raise refusal
    return mask


def _halves(values: np.ndarray, lossy: bool) -> np.ndarray | None:
    """Where values (H, W) are in the upper half of their range, None where they are not two, with smooth edges at most; lossy:
    whether they come from a format that changes values a little."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        return None
    if values.min() == values.max():
        return values != 0
    upper = values > values.max() / 2
    if upper.all():
        return None
    low, high = np.median(values[~upper]), np.median(values[upper])  # lossy compression goes beyond both
    scaled = (values - low) / (high - low)
    # Edges are thin and change from pixel to pixel; the areas of a map of labels do not, and a photo is all in between.
    flat = _flat(values)
    neither = (np.abs(scaled) > 0.1) & (np.abs(scaled - 1) > 0.1)
    if (neither & flat).any() or (np.abs(scaled - 0.5) < 0.25).mean() > 0.25:
        return None
    # What is left are errors of lossy compression, or labels that are as near to each other or as far below void. A label is
    # the only other value, or has an area, and the other side of the range is even; errors are on both sides of an edge.
    below, above = np.unique(values[~upper]), np.unique(values[upper])
    if not lossy and min(len(below), len(above)) == 1:
        void = len(below) == 2 and above.tolist() == [_VOID] and not neither.any()
        if void or any(len(np.unique(values[flat & side])) > 1 for side in (upper, ~upper)):
            return None
    return scaled > 0.5


def _flat(values: np.ndarray) -> np.ndarray:
    """Which values (H, W) are those of all their eight neighbours: (H, W) bool, not at the border."""
    values = values.astype(np.float64)  # whole numbers have no infinity
    highest = ndimage.maximum_filter(values, 3, mode="constant", cval=np.inf)
    return highest == ndimage.minimum_filter(values, 3, mode="constant", cval=-np.inf)


def _one_color(colors: np.ndarray, values: np.ndarray) -> bool:
    """Whether colours (H, W, 3), of brightness ``values``, are a single colour on black, but for thin edges."""
    bright = values > values.max() / 2
    if not bright.any():
        return True
    hues = colors / np.maximum(values, 1)[..., None]
    other = bright & (np.abs(hues - np.median(hues[bright], axis=0)).max(2) > 0.25)
    return not ndimage.binary_erosion(other, np.ones((5, 5)), border_value=1).any()


def _has_ground(colors: np.ndarray) -> bool:
    """Whether opaque pixels (N, 3) are black and a single other colour: a mask in itself."""
    different = np.unique(colors, axis=0)
    return len(different) == 2 and not different[0].any()
