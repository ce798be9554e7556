"""Reading photos from a camera, a scanner or a web page: the method always gets (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn.functional import interpolate

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
# Pillow recognises these by their endings, but cannot make pixels of them by itself.
_NO_PIXELS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")


class ImageError(ValueError):
    """A photo that cannot be used; the message names it."""


def name_of(source, index: int = 0) -> str:
    """What a photo is called in messages and results: its file's name, or ``image 3`` for the fourth."""
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", "") or None
    return Path(source).name if isinstance(source, (str, Path)) else f"image {index}"


def read_image(source, name: str | None = None) -> np.ndarray:
    """A photo as a viewer shows it.

    EXIF rotation is applied, transparency laid on white, 16-bit values scaled, gray, palette and CMYK converted.

    Parameters
    ----------
    source : a path, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
    name : what the photo is called in errors; None: its file's name.

    Returns
    -------
    (H, W, 3) uint8, RGB.

    Raises
    ------
    ImageError : naming the photo, if it cannot be read.
    """
    name = name or (str(source) if isinstance(source, (str, Path)) else name_of(source))
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _from_array(np.asarray(source), name)
    if isinstance(source, Image.Image):
        try:
            return _to_rgb(_upright(source), name)
        except Exception as error:  # as in open_image
            raise _unreadable(name, error) from error
    if not isinstance(source, (str, Path)):
        raise ImageError(f"{name} must be a path, a PIL image or a uint8 array, got {type(source).__name__}")
    return _to_rgb(open_image(source), str(source))


def open_image(path: str | Path) -> Image.Image:
    """The image in a file, decoded and turned as its orientation says, its values as stored: any mode of Pillow's.

    Raises
    ------
    ImageError : naming the file, if it cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not there"
            raise ImageError(f"{path} is {what}; a photo's file was wanted")
        try:
            with Image.open(path) as image:
                return _upright(image)
        except ValueError as error:
            if "MAX_TEXT" not in str(error):
                raise
            # A PNG with more text than Pillow unpacks; a photo does not need it.
            with Image.open(io.BytesIO(_without_text(path.read_bytes()))) as image:
                return _upright(image)
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise _unreadable(str(path), error) from error


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of an image as stored, 1 to 8; 1 where there is none, or none that can be understood."""
    try:
        value = image.getexif().get(0x0112, 1)
        # Another type than the standard's, of the same value, says the same.
        value = value[0] if isinstance(value, (bytes, tuple, list)) and len(value) == 1 else float(value)
        return int(value) if value in _TURNS else 1
    except Exception:  # what is wrong with a photo's metadata is no reason to refuse the photo
        return 1


def is_photo(path: Path) -> bool:
    """Whether a file's ending is that of an image that can be read."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind in Image.OPEN and kind not in _NO_PIXELS and path.is_file()


def fit_within(image: np.ndarray, longest: int) -> np.ndarray:
    """Scale (H, W, 3) uint8 down, never up, until its longer side is at most ``longest`` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    return resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def resize_image(image: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear") -> np.ndarray:
    """Resize a photo, antialiased.

    Parameters
    ----------
    image : (H, W, 3) uint8.
    size : (height, width) in pixels.
    interpolation : "bilinear" or "bicubic", as for ``resize_maps``.

    Returns
    -------
    ``(*size, 3)`` uint8.
    """
    if interpolation == "bilinear":
        return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    resized = resize_maps(torch.from_numpy(image).movedim(-1, 0).float(), size, interpolation)
    return resized.round().clamp(0, 255).byte().movedim(0, -1).contiguous().numpy()


def resize_maps(maps: torch.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> torch.Tensor:
    """Resize maps.

    Parameters
    ----------
    maps : (Q, H, W), floating.
    size : (height, width) in pixels.
    interpolation : "bilinear", or "bicubic" as MATLAB's ``imresize``, antialiased where it makes them smaller and mirrored at
        their borders (libraries cut the kernel off there).

    Returns
    -------
    ``(Q, *size)``.
    """
    if not len(maps):
        return maps.new_zeros(0, *size)
    if interpolation == "bilinear":
        return interpolate(maps[:, None], size, mode="bilinear")[:, 0]
    rows, columns = (_bicubic(*lengths).to(maps) for lengths in zip(maps.shape[1:], size, strict=True))
    return rows @ maps @ columns.T


def _bicubic(old: int, new: int) -> torch.Tensor:
    """What each of ``new`` values takes from each of ``old`` ones along an axis: (new, old)."""
    wide = max(old / new, 1)  # the kernel's scale, above one for antialiasing
    at = (torch.arange(new, dtype=torch.float64)[:, None] + 0.5) * old / new - 0.5
    taken = (at - 2 * wide).floor() + torch.arange(int(4 * wide) + 3)
    far = (at - taken).abs() / wide
    weight = torch.where(far <= 1, 1.5 * far**3 - 2.5 * far**2 + 1, -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2) * (far < 2)
    mirrored = ((taken + 0.5 + old) % (2 * old) - old).abs().long()
    return torch.zeros(new, old, dtype=torch.float64).scatter_add_(1, mirrored, weight / weight.sum(1, keepdim=True))


def resize_nearest(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Nearest neighbour with half-pixel centres: (K, H, W) to ``(K, *size)``, of any type."""
    if tuple(masks.shape[1:]) == tuple(size):
        return masks
    rows, columns = (
        ((torch.arange(new, dtype=torch.float32, device=masks.device) + 0.5) * old / new).long().clamp_max(old - 1)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns]


def to_tensor(image: np.ndarray, size: int) -> torch.Tensor:
    """(H, W, 3) uint8 as the network's input (1, 3, size, size) in [0, 1], its aspect ratio not kept."""
    resized = resize_image(image, (size, size))
    return torch.from_numpy(resized.copy()).movedim(-1, 0)[None].float() / 255


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_fits or not array.size:
        came = f"{array.dtype} of shape {array.shape}"
        raise ImageError(f"{name} must be a uint8 array of shape (H, W, 3), got {came}")
    return _to_rgb(Image.fromarray(array), name)


def _upright(image: Image.Image) -> Image.Image:
    """The image decoded and turned. Pillow's own ``exif_transpose`` writes all of EXIF anew, and fails at any odd tag."""
    try:
        image.load()
    except Exception:
        undecoded = getattr(image, "tile", None)
        if image.format != "TIFF" or undecoded:
            raise
        image.load()  # the pixels are there, and only something beside them could not be read
    turn = _TURNS.get(orientation(image))  # a TIFF has been turned as it was loaded, and its tag removed
    return image if turn is None else image.transpose(turn)


def _without_text(png: bytes) -> bytes:
    """A PNG file's chunks that say what its pixels are; each is a length, a name, the content, and a checksum."""
    kept, start = [png[:8]], 8
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4])
        if png[start + 4 : start + 8] in _PNG_PIXELS:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"))
    if not pixels.size:
        raise ImageError(f"{name} must have at least one pixel, got a size of {image.size}")
    return pixels


def _unreadable(name: str, error: Exception) -> ImageError:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImageError):
        return error
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{name} is not a photo in a format that can be read")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{name} is too large to be read safely: {said}")
    if isinstance(error, MemoryError):
        return ImageError(f"{name} is too large for this machine's memory")
    if isinstance(error, OSError) and error.strerror:  # the file system's word, not a decoder's
        return ImageError(f"{name} cannot be read: {error.strerror}")
    return ImageError(f"{name} cannot be read as a photo, it seems to be damaged: {said}")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    # Sixteen bits fill their range; wider and floating-point ones say nothing of theirs: they are stretched.
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < values.max(initial=0) <= 65535):
        values = values / 257
    else:
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)  # holes are as dark, or bright, as the rest
        if not (low >= 0 and 1 < high <= 255):
            values = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
