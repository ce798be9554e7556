"""Notebook 13: a folder of one's own photos: checks, scales, scores, and their figures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.datasets.export import overlay
from co3lib.datasets.images import ImageError, fit_within, orientation, read_image
from co3lib.instance import Instance

from ..figures import at_size
from ..session import WHOLE_PHOTO
from ..style import BLUE, plain

SMALL, LONG = 200, 2.5
"""A longer side under so many pixels, and a longer side so many times the shorter, are worth a warning."""

_ORIENTATION = 0x0112  # EXIF's tag for which side is up
_LONGEST = 360  # pixels of a photo in an album: more would not be seen
_GRAY = "#BBBBBB"


# ----------------------------------------------------------------------------------------------------- the folder


def example_folder(folder: Path) -> list[Path]:
    """A folder as one may have it: four windows of the photo of coins, the first stored lying on its side (EXIF orientation 6),
    a damaged file, one in a format that cannot be read, and one that is there twice. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    windows = demo_set("coins")["coin"]
    paths = []
    for k in WHOLE_PHOTO:
        paths.append(folder / windows[k].image_path.name)
        paths[-1].write_bytes(windows[k].image_path.read_bytes())
    upright = Image.fromarray(windows[WHOLE_PHOTO[0]].image)
    exif = Image.Exif()
    exif[_ORIENTATION] = 6  # "turn me by 90 degrees clockwise to see me upright"
    upright.transpose(Image.Transpose.ROTATE_90).save(paths[0], exif=exif)
    others = [folder / "coin_90.png", folder / "coin_91.heic", folder / "coin_92.png"]
    for path, data in zip(others, (paths[1].read_bytes()[:5000], b"", paths[1].read_bytes()), strict=True):
        path.write_bytes(data)
    return paths + others


def check_photos(paths: Sequence[Path]) -> pd.DataFrame:
    """What the files show before anything is computed, one row a file: width and height as a viewer shows them,
    whether EXIF turns it, usable, and a remark (why not, or what may go wrong)."""
    rows, seen = [], {}
    for path in paths:
        row = {"file": path.name, "width": 0, "height": 0, "turned": False, "usable": False, "remark": ""}
        rows.append(row)
        try:
            height, width = read_image(path).shape[:2]
            with Image.open(path) as image:
                row["turned"] = orientation(image) != 1
        except ImageError as error:
            row["remark"] = str(error).replace(str(path), path.name)
            continue
        row |= {"width": width, "height": height, "usable": True}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in seen:
            row |= {"usable": False, "remark": f"the same file as {seen[digest]}"}
        elif max(width, height) < SMALL:
            row["remark"] = f"small: under {SMALL} pixels, little is to be seen"
        elif max(width, height) > LONG * min(width, height):
            row["remark"] = "long: the network sees it squeezed into a square"
        seen.setdefault(digest, path.name)
    return pd.DataFrame(rows).set_index("file")


# -------------------------------------------------------------------------------------------------- what was found


def scales_table(config: CoSegConfig, stride: int) -> pd.DataFrame:
    """One row a scale, from small to large: the side of the network's input, cells along a side, what share of the photo's
    side a cell is. stride: input pixels from cell to cell."""
    rows = [(side, side // stride, stride / side) for side in sorted(config.peak_sizes)]
    columns = ["input, pixels", "cells along a side", "a cell's share of the side"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[0])


@dataclass(frozen=True)
class Album:
    """Photos, small enough to be drawn quickly, and what was found in each, best first; best: the highest score of all."""

    names: tuple[str, ...]
    photos: tuple[np.ndarray, ...]
    found: tuple[tuple[Instance, ...], ...]
    best: float


def album_of(names: Sequence[str], photos: Sequence, found: Sequence[Sequence[Instance]]) -> Album:
    """photos: as ``read_image`` takes them, read one at a time; found: instances in the photos' own pixels, as ``predict``
    gives them."""
    small = tuple(fit_within(read_image(photo), _LONGEST) for photo in photos)
    resized = tuple(tuple(at_size(instances, photo.shape[:2])) for photo, instances in zip(small, found, strict=True))
    best = max((instance.score for instances in found for instance in instances), default=0.0)
    return Album(tuple(names), small, resized, best)


def above(instances: Sequence[Instance], best: float, share: float) -> list[Instance]:
    """The instances whose score is at least ``share`` of the category's ``best``."""
    return [instance for instance in instances if instance.score >= share * best]


@plain
def album_figure(album: Album, photo: int, share: float) -> Figure:
    """One photo, beside it the same with the instances whose score is at least ``share`` of the album's best."""
    kept = above(album.found[photo], album.best, share)
    figure = Figure(figsize=(8, 3.9))
    axes = figure.subplots(1, 2)
    axes[0].imshow(album.photos[photo])
    axes[1].imshow(overlay(album.photos[photo], kept, labels=True))
    axes[0].set_title(album.names[photo], fontsize=10, parse_math=False)
    axes[1].set_title(f"{len(kept)} of {len(album.found[photo])} found are kept", fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.92, wspace=0.03)
    return figure


@plain
def score_figure(album: Album, share: float) -> Figure:
    """Every detection's score as a share of the album's best, one column a photo; blue: kept at ``share`` (dashed line)."""
    figure = Figure(figsize=(8, 3.4))
    axis = figure.subplots()
    for k, instances in enumerate(album.found):
        shares = [instance.score / album.best if album.best > 0 else 0.0 for instance in instances]
        values = np.array(shares, dtype=float)
        colors = np.where(values >= share, BLUE, _GRAY)
        axis.scatter(np.full(len(values), k), values, s=30, color=colors, edgecolors="black", linewidths=0.5)
    axis.axhline(share, color="black", linestyle="--", label=f"threshold: {share:g} of the best score")
    axis.set_xticks(range(len(album.names)), album.names, rotation=20, ha="right", fontsize=8, parse_math=False)
    axis.set(ylim=(-0.05, 1.05), ylabel="score / best score")
    axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.22, top=0.9)
    return figure
