"""co3lib.instance: which of the instances are shown, and that no two of these overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from co3lib.instance import SHOWN, Instance, masks_of, overlaps_with, shown, without_overlap
from co3lib.overlap import mask_iou, tight_box


def instance(score, y0, y1, x0, x1, shape=(100, 100), size=None):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    scale = (size or shape)[0] // shape[0]
    box = tuple(scale * side for side in tight_box(mask))
    return Instance(mask, score, (scale * y0, scale * x0), box, size)


def test_those_are_shown_that_reach_a_share_of_the_best_of_all_photos():
    found = [[instance(1.0, 0, 20, 0, 20), instance(0.04, 50, 70, 50, 70)], [instance(0.05, 0, 20, 0, 20)], []]
    assert [[one.score for one in kept] for kept in shown(found)] == [[1.0], [0.05], []] and SHOWN == 0.05
    assert [len(kept) for kept in shown(found, 0.06)] == [1, 0, 0] and [len(kept) for kept in shown(found, 0)] == [2, 1, 0]
    assert shown([]) == [] and shown([[], []]) == [[], []]
    with pytest.raises(ValueError, match="share must lie in"):
        shown(found, float("nan"))


def test_a_pixel_goes_to_the_better_one_whatever_the_order():
    best, second = instance(0.9, 0, 40, 0, 40), instance(0.5, 20, 60, 0, 40)
    for order in ([best, second], [second, best]):
        first, other = without_overlap(order)
        assert first is best and other.score == 0.5
        assert other.box == (0, 40, 40, 60) and other.mask.sum() == 20 * 40 and not (other.mask & best.mask).any()
        assert other.peak == (40, 0)  # its own, at (20, 0), is the best one's now


def test_one_that_is_mostly_covered_is_left_out_and_its_rest_is_free():
    best, covered, third = instance(0.9, 0, 40, 0, 40), instance(0.5, 0, 40, 10, 60), instance(0.1, 0, 40, 40, 60)
    assert [one.score for one in without_overlap([best, covered, third])] == [0.9, 0.1]


def test_thin_strips_and_small_pieces_go():
    # A better one cuts the mask into a strip of one pixel above it and a large piece below.
    whole, bar = instance(0.5, 10, 60, 10, 60), instance(0.9, 11, 20, 0, 100)
    rest = without_overlap([whole, bar])[1]
    assert rest.box == (10, 20, 60, 60) and rest.mask.sum() == 40 * 50


def test_what_is_at_the_photos_border_stays():
    rest = without_overlap([instance(0.9, 0, 100, 60, 100), instance(0.5, 0, 100, 0, 70)])[1]
    assert rest.box == (0, 0, 60, 100) and rest.mask.sum() == 6000


def test_masks_that_are_kept_small_come_back_at_the_photos_size():
    size = (400, 400)
    best, second = instance(0.9, 0, 40, 0, 40, size=size), instance(0.5, 20, 60, 0, 40, size=size)
    rest = without_overlap([best, second])[1]
    assert rest.mask.shape == size and rest.box == (0, 160, 160, 240) and rest.mask[rest.peak]
    mixed = without_overlap([best, instance(0.5, 80, 240, 0, 160, shape=size)])[1]
    assert mixed.box == (0, 160, 160, 240)


@given(st.lists(st.tuples(*[st.integers(0, 29)] * 4, st.floats(0.01, 1)), max_size=6))
def test_no_two_overlap_and_none_grows(corners):
    found = [instance(s, min(a, b), max(a, b) + 1, min(c, d), max(c, d) + 1, (30, 30)) for a, b, c, d, s in corners]
    kept = without_overlap(found)
    assert not kept or sum(one.mask.astype(int) for one in kept).max() == 1
    assert [one.score for one in kept] == sorted((one.score for one in kept), reverse=True)
    assert all(tight_box(one.mask) == tuple(one.box) and one.mask[tuple(one.peak)] for one in kept)
    # What is kept at a threshold is the same whether the overlap is taken away before or after.
    assert [one.score for one in without_overlap([one for one in found if one.score >= 0.5])] == [
        one.score for one in kept if one.score >= 0.5
    ]


@pytest.mark.parametrize("size", [None, (24, 40)])
def test_overlaps_from_run_lengths_are_those_of_the_masks(size):
    draw = np.random.default_rng(3)
    small = [np.kron(draw.random((3, 5)) < 0.6, np.ones((4, 4))) > 0 for _ in range(4)]
    found = [Instance(mask, 1.0, (0, 0), (0, 0, 20, 12), size) for mask in small]
    truth = torch.from_numpy(draw.random((3, *(size or (12, 20)))) < 0.5)
    assert torch.equal(overlaps_with(found, truth), mask_iou(masks_of(found, (0, 0)), truth))
    assert overlaps_with([], truth).shape == (0, 3)
    assert overlaps_with(found, truth[:0]).shape == (4, 0)
