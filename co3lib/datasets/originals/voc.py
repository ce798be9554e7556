"""PASCAL VOC 2012, its photos with masks of single objects.

Its layout::

    VOC2012/ImageSets/Segmentation/<split>.txt   names of the photos; splits train, val and trainval
    VOC2012/JPEGImages/<name>.jpg
    VOC2012/SegmentationObject/<name>.png        0 ground, 1, 2, ... the objects, 255 void
    VOC2012/SegmentationClass/<name>.png         0 ground, 1 to 20 the classes, 255 void

Void is the contour of each object, and what is too hard to tell; it belongs to no instance. An object is of the class that most
of its pixels have in SegmentationClass. As the development kit describes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import DatasetError
from .photos import LeftOut, Photo, lines_of, read_labels
from .rules import Rules

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SPLIT = "trainval"
_GROUND, _VOID = 0, 255


def read_voc(source: Path, rules: Rules, left_out: LeftOut) -> Iterator[Photo]:
    """The photos of VOC 2012 that have masks of single objects.

    Parameters
    ----------
    source : the folder ``VOC2012``.
    rules : its classes are of ``CLASSES``; its split is ``SPLIT`` unless it names another.
    left_out : to which photos that are not there are added.

    Raises
    ------
    DatasetError : naming a file that is not as described above.
    """
    wanted = rules.wanted(CLASSES)
    names = list(lines_of(source / "ImageSets" / "Segmentation" / f"{rules.split or SPLIT}.txt"))
    for name in tqdm(names, desc="VOC 2012", unit="photo", disable=None):
        image_path = source / "JPEGImages" / f"{name}.jpg"
        if not image_path.is_file():
            left_out.add("photos that are not there", image_path.name)
            continue
        for category, masks in _objects(source, name).items():
            if category in wanted:
                yield Photo(category, image_path, np.stack(masks))


def _objects(source: Path, name: str) -> dict[str, list[np.ndarray]]:
    """Class -> masks (H, W) of a photo's objects."""
    path = source / "SegmentationObject" / f"{name}.png"
    objects, classes = read_labels(path), read_labels(source / "SegmentationClass" / f"{name}.png")
    if objects.shape != classes.shape:
        raise DatasetError(f"{path} must be of the same size as in SegmentationClass {classes.shape}, got {objects.shape}")
    found: dict[str, list[np.ndarray]] = {}
    for label in np.unique(objects):
        if label in (_GROUND, _VOID):
            continue
        mask = objects == label
        votes = classes[mask]
        votes = votes[(votes != _GROUND) & (votes != _VOID)]
        if not len(votes) or votes.max() > len(CLASSES):
            raise DatasetError(f"{path} must have a class of 1 to {len(CLASSES)} in SegmentationClass under object {label}")
        found.setdefault(CLASSES[np.bincount(votes).argmax() - 1], []).append(mask)
    return found
