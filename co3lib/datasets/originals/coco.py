"""COCO, and any other set whose instances are in a JSON file of COCO's form.

Its layout::

    annotations/instances_<split>.json   images (id, file_name, width, height), categories (id, name), and annotations
                                         (image_id, category_id, segmentation, iscrowd)
    <split>/<file_name>                  or images/<split>/<file_name>

A segmentation is a list of polygons, which pycocotools turns into a mask, or run lengths. ``iscrowd`` marks groups that are not
told apart; they are left out, and so are annotations without a segmentation. As cocodataset.org describes the format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as runs
from tqdm import tqdm

from ..errors import DatasetError
from ..export import decode_runs
from .photos import LeftOut, Photo, PhotoFiles
from .rules import Rules

SPLIT = "val2017"
_MOST = 10**9  # pixels of a photo; pycocotools writes beyond its memory where there are very many more
# The classes of VOC by COCO's names.
VOC_CLASSES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog", "horse",
    "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip


class CocoFile:
    """A JSON file of COCO's form.

    Parameters
    ----------
    path : the file.

    Raises
    ------
    DatasetError : naming the file, if it is not of that form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_bytes())
            self._images = {image["id"]: image for image in content["images"]}
            names = {category["id"]: category["name"] for category in content["categories"]}
            self._annotations: dict[int, list[tuple[str, dict]]] = {number: [] for number in self._images}
            for one in content["annotations"]:
                if not one.get("iscrowd") and one.get("segmentation"):
                    self._annotations[one["image_id"]].append((names[one["category_id"]], one))
            if not all(isinstance(name, str) for name in names.values()):
                raise ValueError("names of categories must be text")
        except FileNotFoundError as error:
            raise DatasetError(f"{path} is not there") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path} must be a JSON file of instances as COCO's are: {said}") from error
        self.classes = tuple(dict.fromkeys(names.values()))

    def read(self, folder: Path, rules: Rules, left_out: LeftOut) -> Iterator[Photo]:
        """The photos, in the order of the file.

        Parameters
        ----------
        folder : in which the photos are, or below which.
        rules : its classes are of ``classes``; it has no split.
        left_out : to which photos that are not there are added.

        Raises
        ------
        DatasetError : naming a segmentation that is none.
        """
        wanted, files = rules.wanted(self.classes), PhotoFiles(folder)
        for number, found_in in tqdm(self._annotations.items(), desc=self.path.name, unit="photo", disable=None):
            by_class: dict[str, list[dict]] = {}
            for category, one in found_in:
                if category in wanted:
                    by_class.setdefault(category, []).append(one)
            by_class = {category: found for category, found in by_class.items() if len(found) >= rules.minimum_instances}
            if not by_class:
                continue
            image = self._images[number]
            if (path := files.find(str(image.get("file_name")))) is None:
                left_out.add("photos that are not there", str(image.get("file_name")))
                continue
            for category, found in by_class.items():
                yield Photo(category, path, np.stack([self._mask(one, image) for one in found]))

    def _mask(self, annotation: dict, image: dict) -> np.ndarray:
        shape = annotation["segmentation"]
        try:
            size = int(image["height"]), int(image["width"])
            if min(size) < 1 or size[0] * size[1] > _MOST:
                raise ValueError(f"its photo is of {size[0]} x {size[1]} pixels")
            if isinstance(shape, list):
                # Two points are no area, and pycocotools would take four numbers for a box.
                shape = [np.asarray(polygon, float) for polygon in shape if len(polygon) >= 6]
                if not shape:
                    return np.zeros(size, bool)
                # pycocotools takes memory for each step along an outline, what is not finite for a number, and what is no list
                # of numbers for whatever lies in memory.
                if not all(polygon.ndim == 1 and (np.abs(polygon) <= 2 * max(size)).all() for polygon in shape):
                    raise ValueError("a polygon leaves its photo by far, or is no list of numbers")
                encoded = runs.merge(runs.frPyObjects([polygon.tolist() for polygon in shape], *size))
                return runs.decode(encoded).astype(bool)
            return decode_runs(shape, size)
        except Exception as error:  # pycocotools has bare ones
            said = " ".join(str(error).split()) or type(error).__name__
            raise DatasetError(
                f"{self.path} must hold polygons or run lengths in annotation {annotation.get('id')}: {said}"
            ) from error


def read_coco_split(source: Path, rules: Rules) -> tuple[CocoFile, Path]:
    """The annotations and the folder of photos of a split of COCO, ``SPLIT`` unless the rules name another.

    Raises
    ------
    DatasetError : naming what is not there.
    """
    split = rules.split or SPLIT
    folder = next((path for path in (source / split, source / "images" / split) if path.is_dir()), None)
    if folder is None:
        raise DatasetError(f"{source} must hold {split} or images/{split} with COCO's photos, it holds neither")
    return CocoFile(source / "annotations" / f"instances_{split}.json"), folder
