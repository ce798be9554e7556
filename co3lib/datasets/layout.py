"""Sets in the authors' layout: which photos, masks, priors and proposals there are.

A set's folder holds ``Image/<category>/<name>.jpg`` and ``Mask/<category>/<name>_InstID<k>.png``, one binary mask
an instance, and may hold ready-made saliency priors in ``SalRes_ZhangICCV17/<category>/<name>`` (``.mat`` or
``.npz`` with ``SalMap``, or a gray image) and proposals in ``MCG_fast/<category>/<name>`` (``.mat`` or ``.npz`` with
``masks`` and ``scores``). Photos, masks and gray images may be in any format that ``images.is_photo`` knows. Names are the
same however their accents are encoded; endings may be in capitals. What belongs to no photo is left out and named in a
warning.

A photo that EXIF turns is turned, and what was drawn on its pixels as stored is turned with it. Whether it was drawn on these
or on the photo as shown is decided by portrait or landscape; where that does not decide it, the file is refused.

Shape letters: H W image size, G ground-truth instances, K proposals.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from .. import checks
from ..files import path_of
from .array_files import read_arrays, read_masks
from .errors import DatasetError
from .images import is_photo, orientation, read_image, resize_nearest
from .mask_files import read_gray, read_mask

_PRIORS, _PROPOSALS = "SalRes_ZhangICCV17", "MCG_fast"
_CLUTTER = ("thumbs.db", "desktop.ini")  # left by Windows, beside the hidden files of other systems
_NAMED = 5  # files that are named one by one


@dataclass(frozen=True)
class Sample:
    """One photo of a set. What is in files is read when asked for, not before.

    Attributes
    ----------
    name : the photo's file without ending.
    category : its category's name.
    image_path : the file.
    mask_paths : its instances' masks.
    prior_path, proposals_path : ready-made; None where the set has none.
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
            mask = read_mask(path)
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
        values = read_gray(path) if is_photo(path) else read_arrays(path, ("SalMap",))[0]
        if values.ndim != 2 or not values.size:
            raise DatasetError(f"{path} must hold a map of shape (H, W), got {values.shape}")
        try:
            saliency = checks.saliency_map(values, str(path))
        except ValueError as error:
            raise DatasetError(str(error)) from error
        size, turn = self._size_and_turn()
        shown = torch.from_numpy(self._as_shown(saliency.numpy(), path, size, turn))
        return interpolate(shown[None, None], size, mode="bilinear")[0, 0]

    @property
    def proposals(self) -> torch.Tensor | None:
        """The ready-made proposals, best first: (K, H, W) bool, or None."""
        return self.best_proposals()

    def best_proposals(self, limit: int | None = None) -> torch.Tensor | None:
        """The best of the ready-made proposals. Those beyond ``limit`` take no memory.

        Parameters
        ----------
        limit : how many there are at most; None: all of them.

        Returns
        -------
        (N, H, W) bool, best first, N at most ``limit``; None where the set has no proposals.
        """
        if self.proposals_path is None:
            return None
        path, (size, turn) = self.proposals_path, self._size_and_turn()
        masks = read_masks(path, limit)
        if not masks.size:
            return torch.zeros(0, *size, dtype=torch.bool)
        return resize_nearest(torch.from_numpy(self._as_shown(masks, path, size, turn)), size)

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
    """A set in the authors' layout.

    Parameters
    ----------
    root : the folder that holds the set's folder.
    name : the set's name, that of its folder.

    Returns
    -------
    Category -> its samples, categories and photos in the order of their names.

    Raises
    ------
    DatasetError : naming what is missing, or what has the name of another.
    """
    folder = path_of(path_of(root, "root") / name, "name")
    images = folder / "Image"
    if not images.is_dir():
        raise DatasetError(f"{images} is not there; a set's folder must hold Image/<class>/<name>.jpg")
    categories = [path for path in _entries(images) if path.is_dir()]
    named = {same_name(path.name) for path in categories}
    left_out = [path for path in images.iterdir() if not path.is_dir()]
    for kind in ("Mask", _PRIORS, _PROPOSALS):
        left_out += [path for path in _entries(folder / kind) if same_name(path.name) not in named or not path.is_dir()]
    warn_of_left_out(folder, left_out)
    if len(named) < len(categories):
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
    """Warn, in one line, of files and folders that nothing is made of: "left out: 1 HEIC, 2 folders ...".

    Parameters
    ----------
    folder : from which their paths are named.
    paths : what is left out; hidden files and what Windows leaves are not named.
    """
    paths = sorted(path for path in paths if path.name[0] != "." and path.name.lower() not in _CLUTTER)
    if not paths:
        return
    kinds = Counter("folder" if path.is_dir() else path.suffix[1:].upper() or "without an ending" for path in paths)
    counts = ", ".join(f"{count} {kind}{'s' if kind == 'folder' and count > 1 else ''}" for kind, count in kinds.items())
    names = ", ".join(str(path.relative_to(folder)) for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    warnings.warn(f"left out: {counts} of {folder} ({names}{more})", stacklevel=3)


def _read_class(folder: Path, images: Path) -> list[Sample]:
    photos: dict[str, Path] = {}
    for path in list_photos(images):
        if (other := photos.setdefault(same_name(path.stem), path)) != path:
            raise DatasetError(f"{path} must have a name of its own, got the one of {other.name}; masks go by names")
    wanted = same_name(images.name)
    beside = {
        kind: [path for entry in _entries(folder / kind) if same_name(entry.name) == wanted for path in _entries(entry)]
        for kind in ("Mask", _PRIORS, _PROPOSALS)
    }
    masks: dict[str, dict[int, Path]] = {name: {} for name in photos}
    left_out = []
    for path in beside["Mask"]:
        found = re.fullmatch(r"(.+)_InstID(\d+)", same_name(path.stem), re.IGNORECASE)
        if not (found and found[1] in photos and is_photo(path)):
            left_out.append(path)
        elif (other := masks[found[1]].setdefault(int(found[2]), path)) != path:
            raise DatasetError(f"{path} must have a number of its own, got the one of {other.name}")
    ready: dict[str, dict[str, Path]] = {_PRIORS: {}, _PROPOSALS: {}}
    for kind, files in ready.items():
        for path in sorted(beside[kind], key=lambda path: (path.suffix.lower() != ".mat", is_photo(path), path)):
            known = path.suffix.lower() in (".mat", ".npz") or (kind == _PRIORS and is_photo(path))
            if not (known and same_name(path.stem) in photos and files.setdefault(same_name(path.stem), path) == path):
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


def same_name(name: str) -> str:
    """A name in the same spelling however its accents are encoded: macOS takes them apart, other systems do not."""
    return unicodedata.normalize("NFC", name)
