"""The page is the library: the same instances as from ``CoSegmenter`` in the released configuration."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from co3lib import deepco3 as page
from co3lib import segmentation
from co3lib.datasets import demo_set
from co3lib.datasets.images import fit_within
from co3lib.deepco3 import deepco3
from co3lib.segmentation import CoSegConfig, CoSegmenter


def photos(count: int) -> list[np.ndarray]:
    # Small ones: what takes time is proposals and heat maps.
    return [fit_within(sample.image, 160) for sample in demo_set("collage")["cat"][:count]]


def blocks(size: tuple[int, int], draw: torch.Generator) -> torch.Tensor:
    """Thirty rectangles of any kind: (30, H, W) bool."""
    masks = torch.zeros(30, *size, dtype=torch.bool)
    for mask in masks:
        top, left = (int(torch.randint(0, length - 20, (), generator=draw)) for length in size)
        height, width = torch.randint(8, 60, (2,), generator=draw).tolist()
        mask[top : top + height, left : left + width] = True
    return masks


def same(images, priors, proposals, epochs: int) -> None:
    segmenter = CoSegmenter(CoSegConfig.released(epochs=epochs)).fit(images, priors=priors, progress=False)
    expected = segmenter.predict(images, proposals, progress=False)
    found = deepco3(images, priors, proposals, epochs=epochs)
    assert sum(map(len, found)) > len(images)
    for instances, wanted in zip(found, expected, strict=True):
        assert [(one.peak, one.box) for one in instances] == [(one.peak, one.box) for one in wanted]
        assert [one.score for one in instances] == pytest.approx([one.score for one in wanted], rel=1e-4)
        for one, other in zip(instances, wanted, strict=True):
            np.testing.assert_array_equal(one.mask, other.mask)


def test_from_photos_alone():
    same(photos(2), None, None, epochs=2)


def test_with_priors_and_proposals_that_are_given():
    draw = torch.Generator().manual_seed(0)
    images = photos(3)  # an odd batch
    priors = [torch.rand(image.shape[:2], generator=draw) for image in images]
    same(images, priors, [blocks(image.shape[:2], draw) for image in images], epochs=1)


def test_priors_of_large_photos_are_the_librarys(monkeypatch):
    learned = []

    def stop(*arguments, **_):
        learned.append(next(one for one in arguments if isinstance(one, torch.Tensor) and one.shape[1] == 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "train", stop)
    monkeypatch.setattr(segmentation, "train", stop)
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(90, 0).repeat(90, 1)
    for method in (
        CoSegmenter(CoSegConfig.released()).fit,
        lambda images: deepco3(images, proposals=[torch.ones(1, 540, 720) > 0]),
    ):
        with pytest.raises(KeyboardInterrupt):
            method([image])
    torch.testing.assert_close(*learned)


def test_it_is_one_page_without_a_configuration():
    source = inspect.getsource(page)
    assert len(source.splitlines()) <= 120
    assert "import CoSegConfig" not in source and "config." not in source
