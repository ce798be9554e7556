"""Photos and masks of public data sets into the authors' layout, which ``read_set`` reads.

Photos are the original files, by hard links where the file system has them and as copies otherwise; they are never compressed
anew. Masks are PNG of one bit a pixel. A set is there whole or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from ...files import aside, make_folder, path_of, remove
from ..errors import DatasetError
from ..images import is_photo, orientation
from ..layout import same_name
from .photos import LeftOut, Photo
from .rules import Rules

_LONGEST = 180  # bytes of a name, which leaves room for what is put behind it


@dataclass(frozen=True)
class Built:
    """A set that was written.

    Attributes
    ----------
    folder : of the set.
    counts : a row for each class, with its ``photos`` and ``instances``.
    left_out : a line for each reason why something was not taken.
    """

    folder: Path
    counts: pd.DataFrame
    left_out: list[str]


def write_set(photos: Iterable[Photo], rules: Rules, out: str | Path, name: str, left_out: LeftOut | None = None) -> Built:
    """Write a set in the authors' layout.

    Parameters
    ----------
    photos : of an original, read as they are needed.
    rules : which are taken.
    out : the folder that is to hold the set's folder; made if it is not there.
    name : the set's name, that of its folder.
    left_out : what the original's reader leaves out, to which this adds.

    Raises
    ------
    DatasetError : if a set is already there, or no class has enough photos.
    OSError : naming the set, if writing fails. Nothing of the set is there then, nor after the process was killed.
    """
    left_out = left_out or LeftOut()
    if safe_name(name) != name:
        raise DatasetError(f"set must be a name that a folder can have everywhere, got {name!r}")
    target = path_of(make_folder(out, "out") / name, "set")
    if target.exists():
        raise DatasetError(f"{target} is already there; remove it, or name another set or folder")
    names, counts = _Names(), dict[str, dict[str, int]]()
    seen = set[tuple[str, Path]]()
    with aside(target) as part:
        for photo in photos:
            if (masks := rules.kept(photo.masks)) is None:
                continue
            why = "photos that come twice" if (photo.category, photo.image_path) in seen else _unusable(photo)
            if why:
                left_out.add(why, photo.image_path.name)
                continue
            seen.add((photo.category, photo.image_path))
            category = names.of("", photo.category)
            stem = names.of(category, photo.image_path.stem, photo.image_path)
            _link(photo.image_path, part / "Image" / category / f"{stem}{photo.image_path.suffix}")
            for k, mask in enumerate(masks, 1):
                path = part / "Mask" / category / f"{stem}_InstID{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
            count = counts.setdefault(category, {"photos": 0, "instances": 0})
            count["photos"] += 1
            count["instances"] += len(masks)
        for category in [category for category, count in counts.items() if count["photos"] < rules.minimum_photos]:
            left_out.add(f"classes with fewer than {rules.minimum_photos} photos", category)
            del counts[category]
            remove(part / "Image" / category)
            remove(part / "Mask" / category)
        if not counts:
            raise DatasetError("; ".join(["no class has enough photos by these rules, so no set was made", *left_out.lines()]))
    table = pd.DataFrame.from_dict(dict(sorted(counts.items())), orient="index", columns=["photos", "instances"])
    return Built(target, table, left_out.lines())


def safe_name(name: str) -> str:
    """A name that a file can have on every system, and that does not hide it: accents are kept, ``/`` and the like are not."""
    name = same_name(name.encode("utf-8", "replace").decode())
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]|^\.', "_", name)
    return name.encode()[:_LONGEST].decode(errors="ignore").strip().rstrip(". ") or "_"


class _Names:
    """Names of files, each within its folder for one thing only, also where capitals are not told apart."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str | Path], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def of(self, folder: str, wanted: str, thing: Path | None = None) -> str:
        """The name of a thing in a folder, the same at each call; a number is put behind that of another thing."""
        key = (folder, thing or wanted)
        if key not in self._given:
            name = first = safe_name(wanted)
            number = 1
            while (folder, name.casefold()) in self._taken:
                number += 1
                name = f"{first}_{number}"
            self._taken.add((folder, name.casefold()))
            self._given[key] = name
        return self._given[key]


def _unusable(photo: Photo) -> str | None:
    """What is wrong with a photo, if anything is: its file, or what its masks were drawn on."""
    if not is_photo(photo.image_path):
        return "photos that are not there" if not photo.image_path.is_file() else "files of no format that can be read"
    try:
        with Image.open(photo.image_path) as image:
            stored, turn = image.size[::-1], orientation(image)
    except Exception:  # each reader has its own exceptions for a damaged file
        return "photos that cannot be read"
    drawn = photo.masks.shape[1:]
    if drawn != stored and not (turn > 4 and drawn == stored[::-1]):
        return "photos of another size than their masks"
    if 1 < turn < 5 or (turn > 4 and stored[0] == stored[1]):
        return "photos that EXIF turns, with no telling whether their masks are turned"
    return None


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
