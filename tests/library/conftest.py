"""Networks that are built once for many tests."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest


@pytest.fixture(scope="session")
def built_networks() -> dict:
    """What builds each kind of network for ``co3lib.segmentation``, from the second time on by copying. Building takes longer
    than all else in a fit of small photos."""
    from co3lib import segmentation  # not before: the mutation run changes modules before they are imported

    def copied(build):
        once = cache(build)
        return lambda *arguments: deepcopy(once(*arguments))

    return {name: copied(getattr(segmentation, name)) for name in ("build_backbone", "build_both")}


@pytest.fixture(scope="module")
def networks_built_once(built_networks):
    from co3lib import segmentation

    with pytest.MonkeyPatch.context() as patch:
        for name, build in built_networks.items():
            patch.setattr(segmentation, name, build)
        yield
