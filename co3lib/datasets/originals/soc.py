"""SOC, Salient Objects in Clutter (Fan and others, ECCV 2018): its photos whose objects are told apart.

Its layout::

    <split>/Imgs/<name>.jpg
    <split>/Instance gt/gt/<name>.png              a colour for each object on black
    <split>/Instance gt/Instance name/<name>.txt   a line for each object, its class behind a colon

Splits are TrainSet, ValSet and TestSet, each an archive of its own. We had no copy to look into: the folders, the class behind
the colon, and that the n-th line names the n-th colour of red, green, blue, yellow and magenta, are what public programs for
SOC rely on. Folders' names may be in capitals or not. Photos whose colours and lines do not agree are left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import DatasetError
from .photos import LeftOut, Photo, lines_of
from .rules import Rules

SPLITS = ("TrainSet", "ValSet", "TestSet")
_COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))


def read_soc(source: Path, rules: Rules, left_out: LeftOut) -> Iterator[Photo]:
    """The photos of SOC whose objects are told apart.

    Parameters
    ----------
    source : the folder that holds the splits' folders.
    rules : its classes are those that the files name; its split is one of ``SPLITS``, or all that are there.
    left_out : to which are added photos that are not there, and those whose colours and classes do not agree.

    Raises
    ------
    DatasetError : naming what is not there or cannot be read.
    """
    splits = [path for name in ((rules.split,) if rules.split else SPLITS) if (path := _folder(source, name)) is not None]
    if not splits:
        raise DatasetError(f"{source} must hold {rules.split or ', '.join(SPLITS[:2]) + ' or ' + SPLITS[2]}, it does not")
    named = [(split, path) for split in splits for path in sorted(_needed(split, "Instance gt", "Instance name").glob("*.txt"))]
    classes = {path: [line.rpartition(":")[2].strip() for line in lines_of(path)] for _, path in named}
    wanted = rules.wanted({name for names in classes.values() for name in names})
    for split, path in tqdm(named, desc="SOC", unit="photo", disable=None):
        if not wanted.intersection(classes[path]):
            continue
        image_path = _needed(split, "Imgs") / f"{path.stem}.jpg"
        if not image_path.is_file():
            left_out.add("photos that are not there", image_path.name)
            continue
        masks = _masks(_needed(split, "Instance gt", "gt"), path.stem)
        if masks is None or len(masks) != len(classes[path]):
            left_out.add("photos whose colours and classes do not agree", image_path.name)
            continue
        for category in sorted(wanted.intersection(classes[path])):
            chosen = [mask for mask, name in zip(masks, classes[path], strict=True) if name == category]
            yield Photo(category, image_path, np.stack(chosen))


def _masks(folder: Path, name: str) -> list[np.ndarray] | None:
    """The masks of a photo's objects in the order of the colours; None if they are not the first of these."""
    path = next((path for ending in ("png", "PNG") if (path := folder / f"{name}.{ending}").is_file()), None)
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            colors = np.asarray(image.convert("RGB"))
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    masks = [(colors == color).all(2) for color in _COLORS]
    there = [bool(mask.any()) for mask in masks]
    count = sum(there)
    other = colors.any(2) & ~np.any(masks, axis=0)
    return None if other.any() or not all(there[:count]) else masks[:count]


def _folder(parent: Path, name: str) -> Path | None:
    """A folder by its name, however its capitals are."""
    found = parent.iterdir() if parent.is_dir() else ()
    return next((path for path in sorted(found) if path.is_dir() and path.name.lower() == name.lower()), None)


def _needed(parent: Path, *names: str) -> Path:
    for name in names:
        found = _folder(parent, name)
        if found is None:
            raise DatasetError(f"{parent} must hold a folder {name}, it does not")
        parent = found
    return parent
