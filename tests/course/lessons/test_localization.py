from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.lessons.localization import (
    answer_figure,
    at_sizes,
    cosaliency,
    features_of,
    gallery,
    maps_figure,
    overlaps_of,
    untrained,
)
from co3lib.beyond.methods import with_head
from co3lib.beyond.priors import principal_component
from co3lib.config import CoSegConfig
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegmenter

METHODS = ("ours", "DDT + our pipeline", "DFF + our pipeline", "DDT, components", "prior, components")


def block(size, y: int, x: int, side: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


@pytest.fixture(scope="module")
def shown():
    """Two photos: in the first each method finds the one square there is, in the second another place, or nothing."""
    generator = np.random.default_rng(0)
    sizes = (480, 360), (300, 420)
    images = [generator.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    truth = [torch.from_numpy(block(size, 40, 60, 120))[None] for size in sizes]
    good = Instance(block(sizes[0], 40, 60, 120), 0.9, (50, 70), (60, 40, 180, 160))
    bad = Instance(block(sizes[1], 200, 300, 60), 0.5, (210, 310), (300, 200, 360, 260))
    found = {method: [[good], [bad]] for method in METHODS[:-1]} | {METHODS[-1]: [[good], []]}
    maps = {method: [torch.rand(size) for size in sizes] for method in METHODS}
    return gallery(images, truth, maps, found)


def test_an_answer_is_its_best_masks_box_at_the_figures_size(shown):
    right, wrong = shown.answers["ours"]
    assert right.right and right.iou == 1 and right.found == 1
    assert right.box == (30, 20, 90, 80) == tuple(shown.truth[0][0].tolist())  # 480 pixels shown in 240
    assert not wrong.right and wrong.iou == 0
    nothing = shown.answers["prior, components"][1]
    assert nothing.box is None and not nothing.right


def test_words_say_what_a_figure_shows(shown):
    assert "IoU of 1.00 with a true box and is right" in shown.describe(0, "ours")
    assert "is wrong" in shown.describe(1, "ours")
    assert "nothing was found" in shown.describe(1, "prior, components")


@pytest.mark.parametrize("photo", [0, 1])
def test_figures_are_drawn_at_once(shown, photo):
    for method in (METHODS[0], METHODS[-1]):
        assert plain_figures(lambda method=method: answer_figure(shown, photo, method)) < LIMIT
    assert isinstance(maps_figure(shown, photo), Figure)


def test_overlaps_with_and_without_instances():
    truth = [torch.from_numpy(block((20, 30), 2, 3, 10))[None]] * 2
    mask = block((20, 30), 2, 3, 10)
    ious = overlaps_of([[Instance(mask, 1.0, (2, 3), tight_box(mask))], []], truth)
    assert ious[0].tolist() == [[1.0]] and ious[1].shape == (0, 1)


def test_maps_take_their_photos_sizes():
    images = [np.zeros((30, 40, 3), np.uint8), np.zeros((50, 20, 3), np.uint8)]
    maps = at_sizes(torch.stack([torch.full((4, 4), 0.3), torch.full((4, 4), 0.7)]), images)
    assert [tuple(one.shape) for one in maps] == [(30, 40), (50, 20)]
    assert torch.allclose(maps[1], torch.tensor(0.7))


def test_another_head_changes_the_score_and_nothing_else():
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 255, (100, 120, 3), dtype=np.uint8) for _ in range(3)]
    start = untrained(images, CoSegConfig(input_size=128))
    assert not start.model.head.weight.any()
    features = features_of(start, images)
    weight, bias = principal_component(features)
    start.certainty = {128: 0.9}
    other = with_head(start, features, weight, bias)
    assert other.scale_weights == start.scale_weights != CoSegmenter(start.config).scale_weights
    assert not start.model.head.weight.any()
    scores = other.model.head(features)[:, 0]
    assert torch.allclose(scores, features.movedim(1, -1) @ weight + bias, atol=1e-4)
    assert torch.equal(features_of(other, images), features)
    assert other.partners.shape == features.shape
    maps = cosaliency(other.model, features, images)
    assert [one.shape for one in maps] == [(100, 120)] * 3 and 0 <= maps[0].min() <= maps[0].max() <= 1
    assert len(other.predict(images, progress=False)) == 3
