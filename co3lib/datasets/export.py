"""Results for others: COCO JSON, and photos with the detections drawn on them.

Shape letters: H W image size, G ground-truth instances.
"""

from __future__ import annotations

import io
import json
import math
import operator
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from pycocotools import mask as rle
from scipy import ndimage

from .. import checks
from ..files import aside, path_of
from ..instance import Instance
from ..overlap import tight_box
from .images import read_image

COCO_FILES = GROUND_TRUTH, RESULTS, INSTANCES = "ground_truth.json", "results.json", "instances.json"

# Okabe and Ito's colours but black, strong contrasts first: readers with any colour vision can distinguish them.
COLORS = (
    (230, 159, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
)

# COCO's tools want every photo to have a licence; of these none is known.
_LICENSE = {"id": 1, "name": "unknown", "url": ""}


class ExportError(ValueError):
    """Files of results that cannot be read; the message names the file."""


class PhotoResult:
    """The detections in one photo, and its ground truth if that is known.

    The truth is kept as run lengths, as instances' masks are, and made anew whenever it is asked for.

    Parameters
    ----------
    name : the photo's file.
    category : its category's name.
    size : (H, W).
    instances : the detections, best first.
    truth : (G, H, W) bool; None where it is not known.
    """

    def __init__(
        self, name: str, category: str, size: tuple[int, int], instances: Sequence[Instance], truth: torch.Tensor | None = None
    ):
        self.name, self.category, self.size, self.instances = name, category, (int(size[0]), int(size[1])), instances
        self._truth = None
        if truth is not None:
            masks = checks.masks(truth, f"truth of {name}", ("G", *self.size)).numpy()
            self._truth = [rle.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]

    @property
    def truth(self) -> torch.Tensor | None:
        """The ground-truth masks: (G, H, W) bool; None where they are not known."""
        if self._truth is None:
            return None
        masks = np.zeros((len(self._truth), *self.size), bool)
        for mask, runs in zip(masks, self._truth, strict=True):
            mask[:] = rle.decode(runs)
        return torch.from_numpy(masks)


def to_coco(photos: Sequence[PhotoResult]) -> tuple[dict, list[dict]]:
    """Photos' truth and detections as COCO's JSON.

    Photos are numbered from 1 in their order, categories from 1 in the order of their names. Where photos share a
    name, their ``file_name`` has the category before it, and the photo's number where they share that too. Masks are
    run lengths, boxes ``x y width height``. Results have no ``bbox``: pycocotools would take its area for the mask's.
    What COCO has no place for, its tools pass over: a result's ``peak`` (y, x), a photo's own name, its category and
    whether its truth is known.

    Returns
    -------
    COCO's ground truth (photos, categories, true masks) and its results, as for ``json.dump``.

    Raises
    ------
    ValueError : for a mask that is empty or not of its photo's size, and for a score that is not finite.
    """
    categories = {name: k for k, name in enumerate(sorted({photo.category for photo in photos}), start=1)}
    images: list[dict] = []
    annotations: list[dict] = []
    results: list[dict] = []
    for image_id, (photo, file_name) in enumerate(zip(photos, _file_names(photos), strict=True), start=1):
        height, width = photo.size
        category_id, masks = categories[photo.category], photo.truth
        described = {"id": image_id, "file_name": file_name, "height": height, "width": width, "license": _LICENSE["id"]}
        images.append({**described, "name": photo.name, "category_id": category_id, "has_truth": masks is not None})
        shared = {"image_id": image_id, "category_id": category_id}
        for mask in () if masks is None else masks:
            annotations.append({**shared, "segmentation": _run_lengths(mask.numpy(), photo, "true mask")})
        for found in photo.instances:
            if not math.isfinite(found.score):
                raise ValueError(f"scores of {photo.name} must be finite, got {found.score}")
            segmentation = _run_lengths(found.mask, photo, "instance mask")
            peak = [int(p) for p in found.peak]
            results.append({**shared, "segmentation": segmentation, "score": float(found.score), "peak": peak})
    truth = {
        "info": {"description": "instance co-segmentation by co3lib", "contributor": "co3lib"},
        "licenses": [_LICENSE],
        "images": images,
        "categories": [{"id": k, "name": name, "supercategory": ""} for name, k in categories.items()],
        "annotations": _annotations(annotations),
    }
    return truth, results


def write_coco(folder: str | Path, photos: Sequence[PhotoResult]) -> None:
    """Write photos' truth and detections as COCO files.

    ``ground_truth.json`` and ``results.json`` are for ``COCO(ground truth).loadRes(results)``, ``instances.json`` is for
    annotation tools: a whole COCO data set whose annotations are the detections. (pycocotools itself cannot load results
    without any detection; ``read_coco`` can.)

    Parameters
    ----------
    folder : where to; made if it is not there.
    photos : their truth and detections.

    Raises
    ------
    ValueError : as ``to_coco``.
    """
    folder = path_of(folder, "folder")
    truth, results = to_coco(photos)
    contents = truth, results, {**truth, "annotations": _annotations(results)}
    texts = [json.dumps(content, allow_nan=False) for content in contents]
    with ExitStack() as together:  # all three are put in place, or none
        for name, text in zip(COCO_FILES, texts, strict=True):
            together.enter_context(aside(folder / name)).write_text(text, encoding="utf-8")


def read_coco(folder: str | Path) -> list[PhotoResult]:
    """What ``write_coco`` wrote, from ``ground_truth.json`` and ``results.json``.

    Raises
    ------
    ExportError : naming the file that is missing or damaged.
    """
    paths = [path_of(folder, "folder") / name for name in (GROUND_TRUTH, RESULTS)]
    truth, results = (_read_json(path, kind) for path, kind in zip(paths, (dict, list), strict=True))
    with _as_written(paths[0]):
        categories = {category["id"]: category["name"] for category in truth["categories"]}
        sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        if len(sizes) < len(truth["images"]):
            raise ValueError("two photos have the same id")
        for size in sizes.values():
            if not all(isinstance(side, int) and side > 0 for side in size):
                raise ValueError(f"a photo's height and width must be whole numbers above 0, got {size}")
        instances: dict[int, list[Instance]] = {image["id"]: [] for image in truth["images"]}
        known: dict[int, list[dict]] = {image["id"]: [] for image in truth["images"] if image["has_truth"]}
        for annotation in truth["annotations"]:
            known.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
        if strange := set(known) - set(sizes):
            raise KeyError(*strange)
        photos = {}
        for image in truth["images"]:
            k = image["id"]
            masks = [_mask(segmentation, sizes[k]) for segmentation in known[k]] if k in known else None
            photos[k] = PhotoResult(
                name=image.get("name", image["file_name"]),
                category=categories[image["category_id"]],
                size=sizes[k],
                instances=instances[k],
                truth=None if masks is None else torch.from_numpy(np.array(masks, bool).reshape(-1, *sizes[k])),
            )
    with _as_written(paths[1]):
        for result in results:
            k = result["image_id"]
            mask = _mask(result["segmentation"], sizes[k])
            score = float(result["score"])
            if not math.isfinite(score):
                raise ValueError(f"scores must be finite, got {score}")
            y, x = result["peak"]
            instances[k].append(Instance(mask, score, (y, x), tight_box(mask)))
    return list(photos.values())


def overlay(image: np.ndarray, instances: Sequence[Instance], labels: bool = False) -> np.ndarray:
    """A copy of a photo with each instance tinted and outlined. Where instances overlap, a pixel is the best one's
    alone: nothing of those below shines through. (``instance.shown`` also takes away what is then left as thin strips.)

    Parameters
    ----------
    image : (H, W, 3) uint8.
    instances : masks of the same (H, W), best first. There are seven colours; the eighth has the first one's again.
    labels : whether each is labelled with its score.

    Returns
    -------
    (H, W, 3) uint8.

    Raises
    ------
    ValueError : for an image of another type or shape, and for a mask of another size.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}")
    size = image.shape[:2]
    drawn = image.astype(np.float32)
    line = max(1, round(max(size) / 200))
    colors = [COLORS[k % len(COLORS)] for k in range(len(instances))]
    taken = np.zeros(size, dtype=bool)
    for instance, color in zip(instances, colors, strict=True):
        whole = np.asarray(instance.mask, dtype=bool)
        if whole.shape != size:
            raise ValueError(f"masks must be of the image's size {size}, got {whole.shape}")
        mask = whole & ~taken
        taken |= whole
        if not mask.any():
            continue
        # One pixel round the box says where the mask ends; the rest of a large photo would only cost time.
        x0, y0, x1, y1 = tight_box(mask)
        part = np.s_[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]
        mask, colored = mask[part], drawn[part]
        # The image's border is no contour: an instance that leaves the photo is open there.
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=line, border_value=1)
        colored[inner] = 0.6 * colored[inner] + 0.4 * np.array(color, np.float32)
        colored[mask & ~inner] = color
    drawn = np.rint(drawn).astype(np.uint8)
    return _labelled(drawn, instances, colors) if labels else drawn


def write_overlay(path: str | Path, image: np.ndarray, instances: Sequence[Instance], labels: bool = False) -> None:
    """Write ``overlay(image, instances, labels)`` to an image file.

    Parameters
    ----------
    path : the file; its ending says in which format.
    image, instances, labels : as for ``overlay``.

    Raises
    ------
    ValueError : before anything is drawn, for an ending whose format cannot be written.
    """
    path = path_of(path, "path")
    kind = _format(path)
    drawn = Image.fromarray(overlay(image, instances, labels))
    with aside(path) as part:
        drawn.save(part, format=kind)


def overlay_names(photos: Sequence[PhotoResult]) -> list[str]:
    """What the overlays of photos are called: their ``file_name`` in ``to_coco`` with ``.png`` in place of its ending.

    Those that would share a name keep their ending before it, and those that share that too have the photo's number as a folder
    instead. Names that differ only in case or in how their accents are encoded count as shared: for some file systems they
    are the same.
    """
    forms = []
    for number, name in enumerate(_file_names(photos), start=1):
        short = f"{_without_ending(name)}.png"
        forms.append((short, f"{name}.png", f"{number}/{short}"))
    used = [0] * len(forms)
    while True:
        alike: dict[str, list[int]] = {}
        for k, (form, which) in enumerate(zip(forms, used, strict=True)):
            alike.setdefault(unicodedata.normalize("NFC", form[which]).casefold(), []).append(k)
        shared = [group for group in alike.values() if len(group) > 1]
        if not shared:
            return [form[which] for form, which in zip(forms, used, strict=True)]
        for group in shared:
            # Where a short form is also another's longer form, the short one is replaced.
            shortest = min(used[k] for k in group)
            for k in group:
                used[k] += used[k] == shortest


def write_overlays(folder: str | Path, photos: Sequence[PhotoResult], images: Sequence) -> None:
    """Write one labelled overlay a photo into a folder, under its name of ``overlay_names``.

    Parameters
    ----------
    folder : where to.
    photos : the detections in each photo.
    images : the photos themselves, as ``read_image`` takes them, read one at a time.
    """
    checks.same_length(photos=photos, images=images)
    for name, photo, image in zip(overlay_names(photos), photos, images, strict=True):
        write_overlay(Path(folder) / name, read_image(image), photo.instances, labels=True)


def _format(path: Path) -> str:
    """Pillow's name of the format in which to write colours under this name, tried out: many it can only read, or write
    only in black and white, or no larger than an icon."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    size, file = (300, 2), io.BytesIO()
    try:
        Image.new("RGB", size).save(file, format=kind)
        with Image.open(file) as written:
            fits = written.size == size
    except UnidentifiedImageError:  # written, but Pillow does not read it: a PDF
        fits = True
    except Exception:  # each format has its own way of refusing; no format at all is refused too
        fits = False
    if kind is None or not fits:
        raise ValueError(f"path must end like an image's name in a format that can be written, such as .png, got {path}")
    return kind


def _without_ending(name: str) -> str:
    """A file's name without the ending of an image, if it has such an ending."""
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending.lower() in Image.registered_extensions() else name


def _file_names(photos: Sequence[PhotoResult]) -> list[str]:
    names = [photo.name for photo in photos]
    for prefixes in ([photo.category for photo in photos], range(1, len(photos) + 1)):
        count = Counter(names)
        names = [
            name if count[name] == 1 else f"{prefix}/{photo.name}"
            for name, prefix, photo in zip(names, prefixes, photos, strict=True)
        ]
    return names


def _annotations(entries: Sequence[Mapping]) -> list[dict]:
    """COCO's annotations from anything with ``segmentation``: with id, area, box and ``iscrowd``."""
    return [
        {
            "id": k,
            **entry,
            "area": int(rle.area(entry["segmentation"])),
            "bbox": [int(n) for n in rle.toBbox(entry["segmentation"])],
            "iscrowd": 0,
        }
        for k, entry in enumerate(entries, start=1)
    ]


def _run_lengths(mask, photo: PhotoResult, what: str) -> dict:
    """A mask (H, W) as COCO's ``segmentation``."""
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != tuple(photo.size):
        raise ValueError(f"each {what} of {photo.name} must be of its size {photo.size}, got {mask.shape}")
    if not mask.any():
        raise ValueError(f"each {what} of {photo.name} must have at least one pixel, got an empty one")
    encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def decode_runs(segmentation: Mapping, size: tuple[int, int]) -> np.ndarray:
    """Run lengths of COCO, ``size`` and ``counts``, as a mask.

    Parameters
    ----------
    segmentation : its counts are COCO's text of them, or a list of whole numbers.
    size : (H, W), what it must be of.

    Returns
    -------
    (H, W) bool.

    Raises
    ------
    ValueError : for run lengths that are not those of such a mask, which pycocotools would fill with whatever lies in memory.
    """
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"a segmentation is of size {segmentation['size']}, its photo of {list(size)}")
    counts = segmentation["counts"]
    counts = list(map(operator.index, counts)) if isinstance(counts, list) else _counts(counts)
    if any(count < 0 for count in counts):
        raise ValueError("the run lengths of a segmentation must not be negative")
    if sum(counts) != math.prod(size):
        raise ValueError(f"the run lengths of a segmentation must be of {math.prod(size)} pixels, they are of {sum(counts)}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def _mask(segmentation: Mapping, size: tuple[int, int]) -> np.ndarray:
    """As ``decode_runs``; a mask without a pixel is refused too, and a list, which is not what is written here."""
    if not isinstance(segmentation["counts"], str):
        raise ValueError(f"the run lengths of a segmentation must be text, got {type(segmentation['counts']).__name__}")
    mask = decode_runs(segmentation, size)
    if not mask.any():
        raise ValueError("the run lengths of a segmentation must be of at least one pixel of its thing, they are of none")
    return mask


def _counts(text: str) -> list[int]:
    """The run lengths in COCO's text of them: six bits a letter from "0" on, low ones first; the sixth says that more
    follow, the last fifth is the sign; from the fourth on less the one before the last."""
    counts: list[int] = []
    value, shift = 0, 0
    for code in text.encode("ascii"):
        digit = code - 48
        if not 0 <= digit < 64:
            raise ValueError(f"the run lengths of a segmentation hold {chr(code)!r}")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (digit & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("the run lengths of a segmentation are cut off")
    return counts


def _read_json(path: Path, kind: type):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise ExportError(f"{path} is not as write_coco writes it: it holds a {type(content).__name__}")
    return content


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """``ExportError`` naming the file for any error that content of another form leads to."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing or unknown" if isinstance(error, KeyError) else str(error)
        raise ExportError(f"{path} is not as write_coco writes it: {said}") from error


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
