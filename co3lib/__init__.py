"""DeepCO3: a mask for each single thing that photos share, without labels.

    from co3lib import CoSegmenter
    instances = CoSegmenter().fit(photos).predict(photos)

The names below are imported when they are first asked for, so that ``import co3lib`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import CoSegConfig
    from .datasets import demo_set
    from .instance import Instance
    from .segmentation import CoSegmenter

    __version__: str

__all__ = ["CoSegConfig", "CoSegmenter", "Instance", "__version__", "demo_set"]

_MODULES = {"CoSegConfig": "config", "CoSegmenter": "segmentation", "Instance": "instance", "demo_set": "datasets"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("co3lib")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
