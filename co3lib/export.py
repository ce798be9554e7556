"""Results for others: COCO JSON, and photos with the found instances drawn on them.

Shape letters: H W image size, G ground-truth instances.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as rle
from scipy import ndimage

from . import checks
from .files import aside, path_of, write_text
from .overlap import tight_box
from .ranking import Instance

GROUND_TRUTH, RESULTS = "ground_truth.json", "results.json"

# Okabe and Ito's colours but black, strong contrasts first: readers with any colour vision tell them apart.
COLORS = (
    (230, 159, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
)


class ExportError(ValueError):
    """Files of results that cannot be read; the message names the file."""


@dataclass(frozen=True)
class PhotoResult:
    """What was found in one photo, and what there was to find if that is known.

    name: the photo's file; category: its class; size: (H, W); instances: found ones, best first; truth: (G,
    H, W) bool, or None where it is not known.
    """

    name: str
    category: str
    size: tuple[int, int]
    instances: Sequence[Instance]
    truth: torch.Tensor | None = None


def to_coco(photos: Sequence[PhotoResult]) -> tuple[dict, list[dict]]:
    """COCO's ground truth (photos, categories, true masks) and results, as for ``json.dump``.

    Photos are numbered from 1 in their order, categories from 1 in the order of their names. Masks are run
    lengths, boxes ``x y width height``. What COCO has no place for, its tools pass over: a result's ``peak``
    (y, x), a photo's class and whether its truth is known. Raises ``ValueError`` for a mask that is empty or
    not of its photo's size, and for a score that is not finite.
    """
    categories = {name: k for k, name in enumerate(sorted({photo.category for photo in photos}), start=1)}
    images, annotations, results = [], [], []
    for image_id, photo in enumerate(photos, start=1):
        height, width = (int(n) for n in photo.size)
        category_id, known = categories[photo.category], photo.truth is not None
        described = {"id": image_id, "file_name": photo.name, "height": height, "width": width}
        images.append({**described, "category_id": category_id, "has_truth": known})
        shared = {"image_id": image_id, "category_id": category_id}
        truth = checks.masks(photo.truth, f"truth of {photo.name}", ("G", height, width)) if known else ()
        for mask in truth:
            shape = _shape(mask.numpy(), photo, "true mask")
            area = int(mask.sum())
            annotations.append({**shared, "id": len(annotations) + 1, **shape, "area": area, "iscrowd": 0})
        for found in photo.instances:
            if not math.isfinite(found.score):
                raise ValueError(f"scores of {photo.name} must be finite, got {found.score}")
            shape = _shape(found.mask, photo, "instance mask")
            peak = [int(p) for p in found.peak]
            results.append({**shared, **shape, "score": float(found.score), "peak": peak})
    truth = {
        "info": {"description": "instance co-segmentation by co3lib"},
        "images": images,
        "categories": [{"id": k, "name": name} for name, k in categories.items()],
        "annotations": annotations,
    }
    return truth, results


def write_coco(folder: str | Path, photos: Sequence[PhotoResult]) -> None:
    """Write ``ground_truth.json`` and ``results.json`` for ``COCO(ground truth).loadRes(results)``.

    (pycocotools itself cannot load results in which there is not one instance; ``read_coco`` can.)
    """
    folder = path_of(folder, "folder")
    for name, content in zip((GROUND_TRUTH, RESULTS), to_coco(photos), strict=True):
        write_text(folder / name, json.dumps(content, allow_nan=False))


def read_coco(folder: str | Path) -> list[PhotoResult]:
    """What ``write_coco`` wrote. Raises ``ExportError`` naming the file that is missing or damaged."""
    contents = []
    for path in (path_of(folder, "folder") / name for name in (GROUND_TRUTH, RESULTS)):
        try:
            contents.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ExportError(f"{path} cannot be read as JSON: {error}") from error
    truth, results = contents
    try:
        categories = {category["id"]: category["name"] for category in truth["categories"]}
        found: dict[int, list[Instance]] = {image["id"]: [] for image in truth["images"]}
        for result in results:
            mask = rle.decode(result["segmentation"]).astype(bool)
            instance = Instance(mask, result["score"], tuple(result["peak"]), tight_box(mask))
            found[result["image_id"]].append(instance)
        known: dict[int, list[np.ndarray]] = {image["id"]: [] for image in truth["images"]}
        for annotation in truth["annotations"]:
            known[annotation["image_id"]].append(rle.decode(annotation["segmentation"]).astype(bool))
        photos = []
        for image in truth["images"]:
            size = image["height"], image["width"]
            masks = torch.from_numpy(np.array(known[image["id"]], dtype=bool).reshape(-1, *size))
            photos.append(
                PhotoResult(
                    name=image["file_name"],
                    category=categories[image["category_id"]],
                    size=size,
                    instances=found[image["id"]],
                    truth=masks if image["has_truth"] else None,
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{folder} holds no results as write_coco writes them: {error!r}") from error
    return photos


def overlay(image: np.ndarray, instances: Sequence[Instance], labels: bool = False) -> np.ndarray:
    """A copy of the photo with each instance tinted, outlined and, if wanted, labelled with its score.

    image: (H, W, 3) uint8; instances: masks of the same (H, W), best first. Returns (H, W, 3) uint8. Where
    instances overlap the best is on top. There are seven colours, the eighth instance has the first one's
    again.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}")
    size = image.shape[:2]
    drawn = image.astype(np.float32)
    line = max(1, round(max(size) / 200))
    colors = [COLORS[k % len(COLORS)] for k in range(len(instances))]
    for instance, color in reversed(list(zip(instances, colors, strict=True))):
        mask = np.asarray(instance.mask, dtype=bool)
        if mask.shape != size:
            raise ValueError(f"masks must be of the image's size {size}, got {mask.shape}")
        # The image's border is no contour: an instance that leaves the photo is open there.
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=line, border_value=1)
        drawn[inner] = 0.6 * drawn[inner] + 0.4 * np.array(color, np.float32)
        drawn[mask & ~inner] = color
    drawn = np.rint(drawn).astype(np.uint8)
    return _labelled(drawn, instances, colors) if labels else drawn


def write_overlay(
    path: str | Path, image: np.ndarray, instances: Sequence[Instance], labels: bool = False
) -> None:
    """Write ``overlay(image, instances, labels)`` to an image file, its format told by the path's ending."""
    path = path_of(path, "path")
    ending = path.suffix.lower()
    if ending not in Image.registered_extensions():
        raise ValueError(f"path must end like an image's name, for example .png, got {path}")
    drawn = Image.fromarray(overlay(image, instances, labels))
    with aside(path) as part:
        drawn.save(part, format=Image.registered_extensions()[ending])


def _shape(mask, photo: PhotoResult, what: str) -> dict:
    """A mask (H, W) as COCO's ``segmentation`` and ``bbox``."""
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != tuple(photo.size):
        raise ValueError(f"each {what} of {photo.name} must be of its size {photo.size}, got {mask.shape}")
    if not mask.any():
        raise ValueError(f"each {what} of {photo.name} must have at least one pixel, got an empty one")
    encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    x0, y0, x1, y1 = tight_box(mask)
    runs = {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
    return {"segmentation": runs, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _labelled(image: np.ndarray, instances: Sequence[Instance], colors: Sequence[tuple]) -> np.ndarray:
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10, max(image.shape) / 32))
    for instance, color in reversed(list(zip(instances, colors, strict=True))):
        text = f"{instance.score:.3g}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = math.ceil(right - left) + 4, math.ceil(bottom - top) + 4
        x = max(0, min(instance.box[0], canvas.width - width))
        y = max(0, min(instance.box[1], canvas.height - height))
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill="black", outline=color)
        pen.text((x + 2 - left, y + 2 - top), text, fill="white", font=font)
    return np.array(canvas)
