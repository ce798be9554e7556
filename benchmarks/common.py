"""What the benchmarks share: the classes they run over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from co3lib.datasets import Sample, demo_set, read_set
from co3lib.files import path_of, print_anything

BUNDLED = ("collage", "coins")
print_anything()  # classes are called as their folders are


def set_names(root: str | Path) -> list[str]:
    """The sets in a folder: its subfolders that hold ``Image`` and ``Mask``."""
    root = path_of(root, "--root")
    if not root.is_dir():
        raise SystemExit(f"--root must be a folder with sets in the authors' layout, got {root}, which is not one")
    names = sorted(path.name for path in root.iterdir() if (path / "Image").is_dir() and (path / "Mask").is_dir())
    if not names:
        raise SystemExit(f"--root {root} holds no set: no folder in it has both Image and Mask")
    return names


def every_set(root: str | Path | None, bundled: bool = False) -> list[tuple[str, str, list[Sample]]]:
    """(set, class, samples) of all sets under ``root``; of the bundled ones too if asked, or if there is no root."""
    return list(_classes(root, bundled or root is None))


def _classes(root, bundled: bool) -> Iterator[tuple[str, str, list[Sample]]]:
    for name in BUNDLED if bundled else ():
        for category, samples in demo_set(name).items():
            yield name, category, samples
    for name in set_names(root) if root is not None else ():
        for category, samples in read_set(root, name).items():
            yield name, category, samples
