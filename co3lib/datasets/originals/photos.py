"""What the readers of public data sets yield, and what they leave out.

Shape letters: H W image size, G instances.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError

_NAMED = 5  # photos that are named one by one


@dataclass(frozen=True)
class Photo:
    """A photo with all its instances of one class. A photo that shows two classes is yielded twice.

    Attributes
    ----------
    category : the class's name, as the original has it.
    image_path : the file.
    masks : (G, H, W) bool, on the photo's pixels as stored or as shown; those without a pixel are none.
    """

    category: str
    image_path: Path
    masks: np.ndarray


class LeftOut:
    """What was not taken, and why: to be said in one line for each reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        """Count one more: ``what`` are they, as in "photos that are not there", and which is it."""
        self._names.setdefault(what, []).append(name)

    def lines(self) -> list[str]:
        """One line for each reason, which names the first."""
        return [
            f"left out, {what}: {len(names)} ({', '.join(names[:_NAMED])}"
            f"{f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''})"
            for what, names in self._names.items()
        ]


def read_labels(path: Path) -> np.ndarray:
    """The indices of a palette image, or the values of a gray one: (H, W).

    Raises
    ------
    DatasetError : naming the file, if it cannot be read or has colours in place of labels.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    if labels.ndim != 2 or labels.dtype == bool:
        raise DatasetError(f"{path} must be an image of labels, gray or with a palette, got one of mode {image.mode}")
    return labels


class PhotoFiles:
    """The photos below a folder, found by the name that an annotation gives them. Nothing outside of it is found."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DatasetError(f"{folder} must be the folder of the photos, got {'a file' if folder.is_file() else 'nothing'}")
        self._by_path: dict[str, Path] = {}
        self._by_name: dict[str, list[Path]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self._by_path[_spelled(path.relative_to(folder).as_posix())] = path
            self._by_name.setdefault(_spelled(path.name), []).append(path)

    def find(self, name: str) -> Path | None:
        """The file of a name or of a relative path; None if there is none, or several of that name."""
        name = _spelled(name.replace("\\", "/"))
        if found := self._by_path.get(name.removeprefix("./")):
            return found
        alike = self._by_name.get(name.rpartition("/")[2], [])
        return alike[0] if len(alike) == 1 else None


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file that are not empty, without spaces around them.

    Raises
    ------
    DatasetError : naming the file, if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is not there") from error
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{path} cannot be read as text: {error}") from error
    yield from filter(None, map(str.strip, text.splitlines()))


def _spelled(name: str) -> str:
    return unicodedata.normalize("NFC", name)
