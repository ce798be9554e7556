"""Which photos, masks, priors and proposals there are: sets in the authors' layout, and the bundled ones.

A set's folder holds ``Image/<class>/<name>.jpg`` and ``Mask/<class>/<name>_InstID<k>.png``, one binary mask
an instance, and may hold ready-made saliency priors in ``SalRes_ZhangICCV17/<class>/<name>`` (``.mat`` or
``.npz`` with ``SalMap``, or a gray image) and proposals in ``MCG_fast/<class>/<name>`` (``.mat`` or ``.npz`` with
``masks`` and ``scores``). Photos, masks and gray images may be in any format that ``images.is_photo`` knows. Names are the
same however their accents are encoded; endings may be in capitals. What belongs to no photo is left out and named in a
warning.

A photo that EXIF turns is turned, and what was drawn on its pixels as stored is turned with it: that, or whether it was drawn
on the photo as shown, is told by portrait or landscape. Where that does not tell, it is refused.

Shape letters: H W image size, G ground-truth instances, K proposals.
"""

from __future__ import annotations

import io
import os
import re
import struct
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image
from scipy import ndimage, sparse
from torch.nn.functional import interpolate

from . import checks, demo_sets
from .files import FolderError, aside, make_folder, path_of
from .images import ImageError, is_photo, open_image, orientation, read_image, resize_nearest

DEMO_SETS = ("coins", "collage")
_PRIORS, _PROPOSALS = "SalRes_ZhangICCV17", "MCG_fast"
_CLUTTER = ("thumbs.db", "desktop.ini")  # left by Windows, beside the hidden files of other systems
_NAMED = 5  # files that are named one by one
_MOST = 1 << 28  # values of a sparse matrix written out
_MATRIX, _COMPRESSED = 14, 15  # MATLAB v5's types of elements that hold others
_ELEMENTS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18)
_LOSSY = ("AVIF", "JPEG", "JPEG2000", "MPO", "WEBP")
_VOID = 255  # VOC's value of what is neither in nor out
_COLORFUL = 40  # by how much the channels of a gray JPEG may differ, of 255


class DatasetError(ValueError):
    """A set that cannot be read; the message names the file or folder."""


@dataclass(frozen=True)
class Sample:
    """One photo of a set. What is in files is read when asked for, not before.

    name: the photo's file without ending; category: its class; image_path, mask_paths, prior_path,
    proposals_path: its files (the last two None where the set has none).
    """

    name: str
    category: str
    image_path: Path
    mask_paths: tuple[Path, ...] = field(repr=False)
    prior_path: Path | None = None
    proposals_path: Path | None = None

    @property
    def image(self) -> np.ndarray:
        """The photo: (H, W, 3) uint8."""
        return read_image(self.image_path)

    @property
    def masks(self) -> torch.Tensor:
        """The instances' masks: (G, H, W) bool."""
        size, turn = self._size_and_turn()
        masks = np.zeros((len(self.mask_paths), *size), bool)
        for k, path in enumerate(self.mask_paths):
            mask = _read_mask(path)
            if mask.shape not in (size, size[::-1] if turn > 4 else size):
                raise DatasetError(f"{path} must be of its photo's size {size}, got {mask.shape}")
            masks[k] = self._as_shown(mask, path, size, turn)
        return torch.from_numpy(masks)

    @property
    def prior(self) -> torch.Tensor | None:
        """The ready-made saliency prior: (H, W) in [0, 1], or None."""
        if self.prior_path is None:
            return None
        path = self.prior_path
        values = _read_gray(path) if is_photo(path) else _read_arrays(path, ("SalMap",))[0]
        if values.ndim != 2 or not values.size:
            raise DatasetError(f"{path} must hold a map of shape (H, W), got {values.shape}")
        try:
            values = checks.saliency_map(values, str(path))
        except ValueError as error:
            raise DatasetError(str(error)) from error
        size, turn = self._size_and_turn()
        values = torch.from_numpy(self._as_shown(values.numpy(), path, size, turn))
        return interpolate(values[None, None], size, mode="bilinear")[0, 0]

    @property
    def proposals(self) -> torch.Tensor | None:
        """The ready-made proposals, best first: (K, H, W) bool, or None."""
        if self.proposals_path is None:
            return None
        path, (size, turn) = self.proposals_path, self._size_and_turn()
        masks, scores = _read_arrays(path, ("masks", "scores"))
        scores = np.asarray(scores, dtype=np.float64).ravel()
        if masks.size == len(scores) == 0:
            return torch.zeros(0, *size, dtype=torch.bool)
        if masks.ndim == 2:  # MATLAB drops the last axis of a single proposal
            masks = masks[..., None]
        if masks.ndim != 3 or masks.shape[2] != len(scores) or not masks.size:
            raise DatasetError(
                f"{path} must hold masks of shape (H, W, K) and K scores, got {masks.shape} and {len(scores)}"
            )
        if np.isnan(scores).any() or (masks.dtype.kind == "f" and np.isnan(masks).any()):
            raise DatasetError(f"{path} must hold numbers in masks and scores, got NaN")
        best_first = np.argsort(-scores, kind="stable")
        masks = self._as_shown(np.moveaxis(masks, 2, 0)[best_first] > 0, path, size, turn)
        return resize_nearest(torch.from_numpy(masks), size)

    def _size_and_turn(self) -> tuple[tuple[int, int], int]:
        """The photo's (height, width) as it is shown, and EXIF's orientation of what is stored. Reads the whole photo."""
        size = self.image.shape[:2]
        with Image.open(self.image_path) as image:
            return size, orientation(image)

    def _as_shown(self, values: np.ndarray, path: Path, size: tuple[int, int], turn: int) -> np.ndarray:
        """What was drawn for the photo, (..., h, w), turned as the photo is, if it was drawn on its pixels as stored."""
        if turn == 1:
            return np.ascontiguousarray(values)
        shown, drawn = (np.sign(shape[-2] - shape[-1]) for shape in (size, values.shape))
        if turn < 5 or 0 in (shown, drawn):
            raise DatasetError(
                f"{path} fits its photo turned and not turned (EXIF orientation {turn}); save {self.image_path.name} turned, "
                "without the tag"
            )
        return np.ascontiguousarray(values if shown == drawn else _turned(values, turn))


def _turned(values: np.ndarray, turn: int) -> np.ndarray:
    """(..., h, w) turned by EXIF's orientation 5 to 8, as Pillow turns the photo."""
    across = values.swapaxes(-1, -2)
    return {5: across, 6: across[..., ::-1], 7: across[..., ::-1, ::-1], 8: across[..., ::-1, :]}[turn]


def read_set(root: str | Path, name: str) -> dict[str, list[Sample]]:
    """A set in the authors' layout: each class's samples, classes and photos in the order of their names.

    Raises ``DatasetError`` naming what is missing.
    """
    folder = path_of(root, "root") / name
    images = folder / "Image"
    if not images.is_dir():
        raise DatasetError(f"{images} is not there; a set's folder must hold Image/<class>/<name>.jpg")
    categories = sorted(path for path in images.iterdir() if path.is_dir() and path.name[0] != ".")
    left_out = [path for path in images.iterdir() if not path.is_dir()]
    for kind in ("Mask", _PRIORS, _PROPOSALS):
        named = {_same(path.name) for path in categories}
        left_out += [path for path in _entries(folder / kind) if _same(path.name) not in named]
    warn_of_left_out(folder, left_out)
    if len({_same(path.name) for path in categories}) < len(categories):
        raise DatasetError(f"{images} must hold each class once, got two folders whose names differ only in their encoding")
    classes = {path.name: _read_class(folder, path) for path in categories}
    if not any(classes.values()):
        raise DatasetError(f"{images} holds no photo; Image/<class>/<name>.jpg was wanted")
    return classes


def list_photos(folder: Path) -> list[Path]:
    """The photos in a folder, in the order of their names. What else is there, but for hidden files, is named in a warning."""
    entries = _entries(folder)
    photos = [path for path in entries if is_photo(path)]
    warn_of_left_out(folder, set(entries) - set(photos))
    return photos


def warn_of_left_out(folder: Path, paths: Iterable[Path]) -> None:
    """Warn, in one line, of files and folders that nothing is made of: "left out: 1 HEIC, 2 folders ..."."""
    paths = sorted(path for path in paths if path.name[0] != "." and path.name.lower() not in _CLUTTER)
    if not paths:
        return
    kinds = Counter("folder" if path.is_dir() else path.suffix[1:].upper() or "without an ending" for path in paths)
    counts = ", ".join(f"{count} {kind}{'s' if kind == 'folder' and count > 1 else ''}" for kind, count in kinds.items())
    names = ", ".join(str(path.relative_to(folder)) for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    warnings.warn(f"left out: {counts} of {folder} ({names}{more})", stacklevel=3)


def demo_set(name: str = "collage") -> dict[str, list[Sample]]:
    """A bundled set, made at first use from photos that scikit-image ships and kept in ``cache_folder()``, from where it
    is read again, even by those who cannot write there.

    name: "collage" or "coins". No network is used. Both are synthetic; ``data/README.md`` tells how they are
    made.
    """
    if name not in DEMO_SETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, DEMO_SETS))}, got {name!r}")
    digest = demo_sets.recipe_digest(name)[:12]
    made = (folder / digest for folder in _cache_folders())
    root = next((root for root in made if (root / name).is_dir()), None)
    if root is None:
        root = cache_folder() / digest
        try:
            with aside(root / name) as part:
                demo_sets.build(name, part)
        except OSError:
            if not (root / name).is_dir():  # another process was quicker otherwise
                raise
    return read_set(root, name)


def cache_folder() -> Path:
    """Where made and downloaded data are kept: ``$CO3_DATA``, else ``data/cache`` of the checkout if that can be written
    to, else the user's cache folder, ``$XDG_CACHE_HOME/co3`` or ``~/.cache/co3``."""
    *preferred, last = _cache_folders()
    for folder in preferred:
        with suppress(FolderError):
            return make_folder(folder, "data/cache")
    return make_folder(last, "the folder of the bundled photos")


def _cache_folders() -> list[Path]:
    if os.environ.get("CO3_DATA"):
        return [path_of(os.environ["CO3_DATA"], "CO3_DATA")]
    checkout = Path(__file__).resolve().parents[1] / "data"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "co3"
    return [checkout / "cache", users] if checkout.is_dir() else [users]


def _read_class(folder: Path, images: Path) -> list[Sample]:
    photos: dict[str, Path] = {}
    for path in list_photos(images):
        if (other := photos.setdefault(_same(path.stem), path)) != path:
            raise DatasetError(f"{path} must have a name of its own, got the one of {other.name}; masks go by names")
    beside = {
        kind: [path for one in _entries(folder / kind) if _same(one.name) == _same(images.name) for path in _entries(one)]
        for kind in ("Mask", _PRIORS, _PROPOSALS)
    }
    masks: dict[str, dict[int, Path]] = {name: {} for name in photos}
    left_out = []
    for path in beside["Mask"]:
        found = re.fullmatch(r"(.+)_InstID(\d+)", _same(path.stem), re.IGNORECASE)
        if not (found and found[1] in photos and is_photo(path)):
            left_out.append(path)
        elif (other := masks[found[1]].setdefault(int(found[2]), path)) != path:
            raise DatasetError(f"{path} must have a number of its own, got the one of {other.name}")
    ready: dict[str, dict[str, Path]] = {_PRIORS: {}, _PROPOSALS: {}}
    for kind, files in ready.items():
        for path in sorted(beside[kind], key=lambda path: (path.suffix.lower() != ".mat", is_photo(path), path)):
            known = path.suffix.lower() in (".mat", ".npz") or (kind == _PRIORS and is_photo(path))
            if not (known and _same(path.stem) in photos and files.setdefault(_same(path.stem), path) == path):
                left_out.append(path)
    warn_of_left_out(folder, left_out)
    return [
        Sample(
            name=path.stem,
            category=images.name,
            image_path=path,
            mask_paths=tuple(mask for _, mask in sorted(masks[name].items())),
            prior_path=ready[_PRIORS].get(name),
            proposals_path=ready[_PROPOSALS].get(name),
        )
        for name, path in photos.items()
    ]


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def _same(name: str) -> str:
    """One spelling of a name: macOS takes accents apart, other systems do not."""
    return unicodedata.normalize("NFC", name)


def _open(path: Path) -> Image.Image:
    try:
        return open_image(path)
    except ImageError as error:
        raise DatasetError(str(error)) from error


def _read_gray(path: Path) -> np.ndarray:
    """The values (H, W) of a gray image as stored, of their own type; transparency is laid on black."""
    image = _open(path)
    if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
        values = np.asarray(image)
        # A PNG of 16 bits comes as 32 from older versions of Pillow.
        return values.astype(np.uint16) if image.mode == "I" and image.format == "PNG" else values
    colors = np.asarray(image.convert("RGBA")).astype(np.int32)
    if (np.ptp(colors[..., :3], axis=2) > _COLORFUL).mean() > 0.01:
        raise DatasetError(f"{path} must be a gray image, got a coloured one")
    return np.rint(colors[..., :3].mean(2) * colors[..., 3] / 255).astype(np.uint8)


def _read_mask(path: Path) -> np.ndarray:
    """Where an image (H, W) shows its instance: where it is opaque, where a palette's index is not 0, where a value is over
    half of the range. ``DatasetError`` where that does not tell, as where there are several labels, or one beside VOC's void
    of 255, which is neither in nor out."""
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
        indices = np.asarray(image if image.mode == "P" else image.getchannel(0))
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
    share = (values - low) / (high - low)
    # Edges are thin and change from pixel to pixel; the areas of a map of labels do not, and a photo is all in between.
    flat = _flat(values)
    neither = (np.abs(share) > 0.1) & (np.abs(share - 1) > 0.1)
    if (neither & flat).any() or (np.abs(share - 0.5) < 0.25).mean() > 0.25:
        return None
    # What is left are errors of lossy compression, or labels that are as near to each other or as far below void. A label is
    # the only other value, or has an area, and the other side of the range is even; errors are on both sides of an edge.
    below, above = np.unique(values[~upper]), np.unique(values[upper])
    if not lossy and min(len(below), len(above)) == 1:
        void = len(below) == 2 and above.tolist() == [_VOID] and not neither.any()
        if void or any(len(np.unique(values[flat & side])) > 1 for side in (upper, ~upper)):
            return None
    return share > 0.5


def _flat(values: np.ndarray) -> np.ndarray:
    """Which values (H, W) are those of all their eight neighbours: (H, W) bool, not at the border."""
    values = values.astype(np.float64)  # whole numbers have no infinity
    highest = ndimage.maximum_filter(values, 3, mode="constant", cval=np.inf)
    return highest == ndimage.minimum_filter(values, 3, mode="constant", cval=-np.inf)


def _one_color(colors: np.ndarray, values: np.ndarray) -> bool:
    """Whether colours (H, W, 3), of brightness ``values``, are one colour on black, but for thin edges."""
    bright = values > values.max() / 2
    if not bright.any():
        return True
    hues = colors / np.maximum(values, 1)[..., None]
    other = bright & (np.abs(hues - np.median(hues[bright], axis=0)).max(2) > 0.25)
    return not ndimage.binary_erosion(other, np.ones((5, 5)), border_value=1).any()


def _has_ground(colors: np.ndarray) -> bool:
    """Whether opaque pixels (N, 3) are black and one other colour: a mask in itself."""
    different = np.unique(colors, axis=0)
    return len(different) == 2 and not different[0].any()


def _read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Named arrays of an ``.npz``, a MATLAB v5 or a MATLAB v7.3 (HDF5) file, axes in MATLAB's order."""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path) as file:
                arrays = {name: file[name] for name in names if name in file}
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                arrays = {name: _from_hdf5(file[name]) for name in names if name in file}
        else:
            # MATLAB stores whole numbers as small as they fit; it is their type that says what they mean.
            file = io.BytesIO(_checked_v5(path.read_bytes()))
            content = scipy.io.loadmat(file, variable_names=names, mat_dtype=True)
            arrays = {name: _written_out(content[name]) for name in names if name in content}
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    for name in names:
        if name not in arrays:
            raise DatasetError(f"{path} must hold {' and '.join(names)}, it lacks {name}")
        if arrays[name].dtype.kind not in "buif":
            raise DatasetError(f"{path} must hold numbers in {name}, got {arrays[name].dtype}")
    return [arrays[name] for name in names]


def _checked_v5(content: bytes) -> bytes:
    """A MATLAB v5 file with its compressed elements written out. ``ValueError`` for an element that is longer than the file,
    of a type that there is not, or missing: scipy.io takes types for places in memory, and the process would end."""
    if len(content) < 128 or 0 in content[:4]:  # v4, or nothing
        return content
    order = "<" if content[126:128] == b"IM" else ">"

    def elements(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
        """Each element's type, its content, and the whole of it with its tag."""
        start = 0
        while start + 8 <= len(data):
            kind, size = struct.unpack_from(f"{order}II", data, start)
            begin, end = start + 8, start + 8 + size
            if kind >> 16:  # up to four bytes, beside their type
                kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
            elif kind != _COMPRESSED:
                end += -size % 8
            if kind not in _ELEMENTS or begin + size > len(data):
                raise ValueError("it is cut off or damaged")
            yield kind, data[begin : begin + size], data[start:end]
            start = end

    def check(matrix: memoryview) -> None:
        parts = [(kind, part) for kind, part, _ in elements(matrix)]
        for kind, part in parts:
            if kind == _MATRIX:
                check(part)
        flags = struct.unpack_from(f"{order}I", parts[0][1])[0] if parts and len(parts[0][1]) >= 8 else 0
        wanted = {4: 4, 5: 6}.get(flags & 0xFF, 4 if 6 <= flags & 0xFF <= 15 else 0)  # of text, sparse matrices and numbers
        if wanted and (len(parts) < wanted + bool(flags & 0x800) or any(kind in (_MATRIX, _COMPRESSED) for kind, _ in parts)):
            raise ValueError("it is cut off or damaged")

    written = [content[:128]]
    for kind, body, whole in elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            written.append(zlib.decompressobj().decompress(body, 8 * _MOST))
        else:
            written.append(whole)
        for inner, part, _ in elements(memoryview(written[-1])):
            if inner == _MATRIX:
                check(part)
    return b"".join(written)


def _from_hdf5(entry: h5py.Dataset | h5py.Group) -> np.ndarray:
    """What MATLAB wrote under one name; HDF5 lists its axes the other way round."""
    if "MATLAB_sparse" in entry.attrs:
        size = int(entry.attrs["MATLAB_sparse"]), len(entry["jc"]) - 1
        data, rows, columns = (entry[key][()] if key in entry else np.zeros(0) for key in ("data", "ir", "jc"))
        return _written_out(sparse.csc_array((data, rows.astype(np.int64), columns.astype(np.int64)), size))
    if isinstance(entry, h5py.Group):
        raise ValueError(f"{entry.name} is a struct")
    values = entry[()]
    if entry.attrs.get("MATLAB_empty"):  # its size is stored in place of its values
        shape = tuple(int(n) for n in np.ravel(values))
        if 0 not in shape:
            raise ValueError(f"{entry.name} is marked as empty and of size {shape}")
        return np.zeros(shape)
    values = np.asarray(values).T
    return values.astype(bool) if entry.attrs.get("MATLAB_class") in (b"logical", "logical") else values


def _written_out(values: np.ndarray | sparse.sparray) -> np.ndarray:
    """Values as an array; a sparse matrix is of doubles or logical, both of which are what they say."""
    if not sparse.issparse(values):
        return values
    if np.prod(values.shape, dtype=float) > _MOST:
        raise ValueError(f"a sparse matrix of size {values.shape} is too large")
    values = sparse.csc_array(values)
    values.check_format(full_check=True)  # places outside of the matrix would be written to all the same
    return values.toarray().astype(np.float64)
