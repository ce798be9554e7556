"""Penn-Fudan, pedestrians on streets: 170 photos, 345 masks.

Its layout::

    PennFudanPed/PNGImages/<name>.png
    PennFudanPed/PedMasks/<name>_mask.png   0 ground, 1, 2, ... the pedestrians

As its page and torchvision's tutorial describe it. It has one class and no splits. The paper does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import DatasetError
from .photos import LeftOut, Photo, read_labels
from .rules import Rules

CLASS = "pedestrian"


def read_penn_fudan(source: Path, rules: Rules, left_out: LeftOut) -> Iterator[Photo]:
    """The photos of Penn-Fudan.

    Parameters
    ----------
    source : the folder ``PennFudanPed``.
    rules : its only class is ``CLASS``; it has no split.
    left_out : to which photos that are not there are added.

    Raises
    ------
    DatasetError : naming what is not there or cannot be read.
    """
    rules.wanted((CLASS,))
    paths = sorted((source / "PedMasks").glob("*_mask.png"))
    if not paths:
        raise DatasetError(f"{source / 'PedMasks'} must hold <name>_mask.png, it holds none")
    for path in tqdm(paths, desc="Penn-Fudan", unit="photo", disable=None):
        image_path = source / "PNGImages" / f"{path.stem.removesuffix('_mask')}.png"
        if not image_path.is_file():
            left_out.add("photos that are not there", image_path.name)
            continue
        labels = read_labels(path)
        numbers = [label for label in np.unique(labels) if label]
        yield Photo(CLASS, image_path, np.stack([labels == label for label in numbers]) if numbers else labels[None] > 0)
