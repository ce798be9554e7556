"""The sets that need no download, and where they are kept once they are made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..files import FolderError, aside, make_folder, path_of
from . import demo_sets
from .layout import Sample, read_set

DEMO_SETS = ("coins", "collage")


def demo_set(name: str = "collage") -> dict[str, list[Sample]]:
    """A bundled set: synthetic, and no network is used. ``data/README.md`` says how the sets are made.

    It is made at first use from photos that scikit-image ships, and kept in ``cache_folder()``, from where it is read again,
    even by those who cannot write there.

    Parameters
    ----------
    name : "collage" or "coins".

    Returns
    -------
    Category -> samples, as ``layout.read_set`` gives them.

    Raises
    ------
    ValueError : for another name.
    """
    if name not in DEMO_SETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, DEMO_SETS))}, got {name!r}")
    digest = demo_sets.recipe_digest(name)[:12]
    made = (folder / digest for folder in _cache_folders())
    root = next((root for root in made if (root / name).is_dir()), None)
    if root is None:
        root = cache_folder() / digest
        try:
            with aside(root / name) as part:
                demo_sets.build(name, part)
        except OSError:
            if not (root / name).is_dir():  # another process was quicker otherwise
                raise
    return read_set(root, name)


def cache_folder() -> Path:
    """Where made and downloaded data are kept.

    ``$CO3_DATA``, else ``data/cache`` of the checkout if that can be written to, else the user's cache folder,
    ``$XDG_CACHE_HOME/co3`` or ``~/.cache/co3``.
    """
    *preferred, last = _cache_folders()
    for folder in preferred:
        with suppress(FolderError):
            return make_folder(folder, "data/cache")
    return make_folder(last, "the folder of the bundled photos")


def _cache_folders() -> list[Path]:
    if os.environ.get("CO3_DATA"):
        return [path_of(os.environ["CO3_DATA"], "CO3_DATA")]
    checkout = Path(__file__).resolve().parents[2] / "data"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "co3"
    return [checkout / "cache", users] if checkout.is_dir() else [users]
