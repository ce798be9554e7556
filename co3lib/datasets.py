"""Which photos, masks, priors and proposals there are: sets in the authors' layout, and the bundled ones.

A set's folder holds ``Image/<class>/<name>.jpg`` and ``Mask/<class>/<name>_InstID<k>.png``, one binary mask
an instance, and may hold ready-made saliency priors in ``SalRes_ZhangICCV17/<class>/<name>`` (``.mat`` or
``.npz`` with ``SalMap``, ``.png``) and proposals in ``MCG_fast/<class>/<name>`` (``.mat`` or ``.npz`` with
``masks`` and ``scores``).

Shape letters: H W image size, G ground-truth instances, K proposals.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image
from torch.nn.functional import interpolate

from . import demo_sets
from .files import FolderError, aside, make_folder, path_of
from .images import ImageError, read_image, resize_nearest

DEMO_SETS = ("coins", "collage")
_PHOTOS = (".jpg", ".jpeg", ".png")
_PRIORS, _PROPOSALS = "SalRes_ZhangICCV17", "MCG_fast"


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
        size = self.image.shape[:2]
        masks = np.zeros((len(self.mask_paths), *size), bool)
        for k, path in enumerate(self.mask_paths):
            mask = _read_mask(path)
            if mask.shape != size:
                raise DatasetError(f"{path} must be of its photo's size {size}, got {mask.shape}")
            masks[k] = mask
        return torch.from_numpy(masks)

    @property
    def prior(self) -> torch.Tensor | None:
        """The ready-made saliency prior: (H, W) in [0, 1], or None."""
        if self.prior_path is None:
            return None
        path = self.prior_path
        values = _read_gray(path) if path.suffix == ".png" else _read_arrays(path, ("SalMap",))[0]
        if values.ndim != 2 or not values.size:
            raise DatasetError(f"{path} must hold a map of shape (H, W), got {values.shape}")
        if not np.isfinite(values).all():
            raise DatasetError(f"{path} must hold finite saliency, got NaN or infinity")
        values = torch.from_numpy(np.asarray(values, dtype=np.float32))
        values = (values / 255 if values.max() > 1 else values).clamp(0, 1)
        return interpolate(values[None, None], self.image.shape[:2], mode="bilinear")[0, 0]

    @property
    def proposals(self) -> torch.Tensor | None:
        """The ready-made proposals, best first: (K, H, W) bool, or None."""
        if self.proposals_path is None:
            return None
        masks, scores = _read_arrays(self.proposals_path, ("masks", "scores"))
        scores = np.asarray(scores, dtype=np.float64).ravel()
        if masks.ndim == 2:  # MATLAB drops the last axis of a single proposal
            masks = masks[..., None]
        if masks.ndim != 3 or masks.shape[2] != len(scores):
            raise DatasetError(
                f"{self.proposals_path} must hold masks of shape (H, W, K) and K scores, "
                f"got {masks.shape} and {len(scores)}"
            )
        best_first = np.argsort(-scores, kind="stable")
        masks = torch.from_numpy(np.ascontiguousarray(np.moveaxis(masks, 2, 0)[best_first] > 0))
        return resize_nearest(masks, self.image.shape[:2])


def read_set(root: str | Path, name: str) -> dict[str, list[Sample]]:
    """A set in the authors' layout: each class's samples, classes and photos in the order of their names.

    Raises ``DatasetError`` naming what is missing.
    """
    folder = path_of(root, "root") / name
    images = folder / "Image"
    if not images.is_dir():
        raise DatasetError(f"{images} is not there; a set's folder must hold Image/<class>/<name>.jpg")
    names = sorted(path.name for path in images.iterdir() if path.is_dir() and path.name[0] != ".")
    classes = {category: _read_class(folder, category) for category in names}
    if not any(classes.values()):
        raise DatasetError(f"{images} holds no photo; Image/<class>/<name>.jpg was wanted")
    return classes


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


def _read_class(folder: Path, category: str) -> list[Sample]:
    paths = sorted(p for p in (folder / "Image" / category).iterdir() if p.suffix.lower() in _PHOTOS and p.name[0] != ".")
    masks: dict[str, list[tuple[int, Path]]] = {}
    mask_folder = folder / "Mask" / category
    for path in mask_folder.iterdir() if mask_folder.is_dir() else ():
        if found := re.fullmatch(r"(.+)_InstID(\d+)\.png", path.name):
            masks.setdefault(found[1], []).append((int(found[2]), path))
    return [
        Sample(
            name=path.stem,
            category=category,
            image_path=path,
            mask_paths=tuple(mask for _, mask in sorted(masks.get(path.stem, []))),
            prior_path=_first(folder / _PRIORS / category, path.stem, (".mat", ".npz", ".png")),
            proposals_path=_first(folder / _PROPOSALS / category, path.stem, (".mat", ".npz")),
        )
        for path in paths
    ]


def _first(folder: Path, stem: str, endings: tuple[str, ...]) -> Path | None:
    paths = (folder / f"{stem}{ending}" for ending in endings)
    return next((path for path in paths if path.is_file()), None)


def _read_gray(path: Path) -> np.ndarray:
    try:
        return read_image(path).max(2)
    except ImageError as error:
        raise DatasetError(str(error)) from error


def _read_mask(path: Path) -> np.ndarray:
    """Where an image (H, W) is not zero; the ones of a 16-bit file would not survive its scaling to eight bits."""
    gray = _read_gray(path)
    with Image.open(path) as image:
        return np.asarray(image) != 0 if image.mode.startswith("I") else gray > 0


def _read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Named arrays of an ``.npz``, a MATLAB v5 or a MATLAB v7.3 (HDF5) file, axes in MATLAB's order."""
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                arrays = {name: file[name] for name in names if name in file}
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:  # HDF5 lists MATLAB's axes the other way round
                arrays = {name: file[name][()].T for name in names if name in file}
        else:
            content = scipy.io.loadmat(path, variable_names=names)
            arrays = {name: content[name] for name in names if name in content}
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for name in names:
        if name not in arrays:
            raise DatasetError(f"{path} must hold {' and '.join(names)}, it lacks {name}")
        if arrays[name].dtype.kind not in "buif":
            raise DatasetError(f"{path} must hold numbers in {name}, got {arrays[name].dtype}")
    return [arrays[name] for name in names]
