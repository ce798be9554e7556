"""Outlines drawn with VIA, the VGG Image Annotator: its projects and its exported annotations, version 2 and 1.

A project holds in ``_via_img_metadata`` what an export of annotations as JSON holds by itself: for each photo a ``filename``
and ``regions``, a list in version 2 and numbered in version 1. A region's ``shape_attributes`` are a polygon (``all_points_x``,
``all_points_y``), a rect (``x``, ``y``, ``width``, ``height``), a circle (``cx``, ``cy``, ``r``) or an ellipse (``cx``, ``cy``,
``rx``, ``ry`` and, in later versions, ``theta``). Points and lines have no area and are left out.

The names are those of VIA's own code. Two things are our reading of it: ``theta`` turns in radians, clockwise on the screen, as
a canvas draws it; and coordinates count from the photo's corner, so that a pixel belongs to a region if its centre lies within.

A region's class is the value of one of its ``region_attributes``, which the person who drew it named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.draw import polygon2mask
from tqdm import tqdm

from ..errors import DatasetError
from ..images import orientation
from .photos import LeftOut, Photo, PhotoFiles
from .rules import Rules

ONLY_CLASS = "object"  # of a file whose regions have no attributes at all
_AREAS = ("polygon", "rect", "circle", "ellipse")


def read_via(path: Path, folder: Path, rules: Rules, left_out: LeftOut, attribute: str | None = None) -> Iterator[Photo]:
    """The photos of a VIA file.

    Parameters
    ----------
    path : the JSON file, a project or exported annotations.
    folder : in which the photos are, or below which.
    rules : its classes are the values of ``attribute``; it has no split.
    left_out : to which are added photos that are not there, and regions without an area or a class.
    attribute : which of the regions' attributes is the class; None: the only one that there is, and ``ONLY_CLASS`` for all
        regions where there is none.

    Raises
    ------
    DatasetError : naming the file, if it is not of VIA's form, or its attributes leave it open which is the class.
    """
    entries = _entries(path)
    attribute = _chosen(path, attribute, {name for _, regions in entries for region in regions for name in _attributes(region)})
    wanted = rules.wanted({name for _, regions in entries for one in regions if (name := _class_of(one, attribute))})
    files = PhotoFiles(folder)
    for name, regions in tqdm(entries, desc=path.name, unit="photo", disable=None):
        by_class: dict[str, list[dict]] = {}
        for region in regions:
            category, shape = _class_of(region, attribute), region.get("shape_attributes") or {}
            if category is None:
                left_out.add("regions without a class", name)
            elif shape.get("name") not in _AREAS:
                left_out.add("regions without an area", name)
            elif category in wanted:
                by_class.setdefault(category, []).append(shape)
        if not by_class:
            continue
        if (image_path := files.find(name)) is None:
            left_out.add("photos that are not there", name)
            continue
        try:
            with Image.open(image_path) as image:
                size = image.size if orientation(image) > 4 else image.size[::-1]  # a browser shows it turned
        except Exception:  # each reader has its own exceptions for a damaged file
            left_out.add("photos that cannot be read", name)
            continue
        for category, shapes in by_class.items():
            yield Photo(category, image_path, np.stack([_mask(shape, size, path, name) for shape in shapes]))


def _entries(path: Path) -> list[tuple[str, list[dict]]]:
    """Each photo's name and its regions."""
    try:
        content = json.loads(path.read_bytes())
        entries = content.get("_via_img_metadata", content).values()
        found = []
        for entry in entries:
            regions = entry["regions"]
            found.append((str(entry["filename"]), list(regions.values() if isinstance(regions, dict) else regions)))
        every = [region for _, regions in found for region in regions]
        if not all(isinstance(region, dict) and isinstance(region.get("shape_attributes") or {}, dict) for region in every):
            raise TypeError("a region or its shape is no object")
        return found
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is not there") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path} must be a JSON file of VIA, a project or exported annotations: {said}") from error


def _attributes(region: dict) -> dict:
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _chosen(path: Path, attribute: str | None, names: set[str]) -> str | None:
    if attribute is not None and attribute not in names:
        raise DatasetError(f"{path} must have an attribute {attribute!r}, got {', '.join(sorted(names)) or 'none'}")
    if attribute is None and len(names) > 1:
        raise DatasetError(f"attribute must say which is the class in {path}, one of {', '.join(sorted(names))}")
    return attribute or next(iter(names), None)


def _class_of(region: dict, attribute: str | None) -> str | None:
    """A region's class; None if it has none, or several."""
    if attribute is None:
        return ONLY_CLASS
    value = _attributes(region).get(attribute)
    if isinstance(value, dict):  # boxes that can be ticked
        ticked = [name for name, is_set in value.items() if is_set]
        value = ticked[0] if len(ticked) == 1 else None
    return str(value).strip() or None if value is not None else None


def _mask(shape: dict, size: tuple[int, int], path: Path, name: str) -> np.ndarray:
    """A region (H, W) bool: the pixels whose centres lie within its shape."""
    try:
        if shape["name"] == "polygon":
            corners = np.stack([shape["all_points_y"], shape["all_points_x"]], axis=1).astype(float)
            if not np.isfinite(corners).all():
                raise ValueError("its corners must be finite")
            return polygon2mask(size, corners - 0.5)
        y, x = (np.arange(length)[:, None] + 0.5 for length in size)
        x = x.T
        if shape["name"] == "rect":
            left, top = float(shape["x"]), float(shape["y"])
            within = (left <= x) & (x < left + float(shape["width"])) & (top <= y) & (y < top + float(shape["height"]))
            return np.asarray(within)
        y, x = y - float(shape["cy"]), x - float(shape["cx"])
        if shape["name"] == "circle":
            return x**2 + y**2 <= float(shape["r"]) ** 2
        theta = float(shape.get("theta", 0))
        along, across = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
        return (along * float(shape["ry"])) ** 2 + (across * float(shape["rx"])) ** 2 <= (
            float(shape["rx"]) * float(shape["ry"])
        ) ** 2
    except (KeyError, TypeError, ValueError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path} must hold shapes that can be drawn, not so a {shape['name']} of {name}: {said}") from error
