from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, masks

from co3lib.overlap import box_iou, mask_iou, tight_box


@examples(60)
@given(masks(st.integers(0, 4), 3, 4), masks(st.integers(0, 4), 3, 4))
def test_mask_overlap_is_the_loops(first, second):
    actual = mask_iou(torch.from_numpy(first), torch.from_numpy(second))
    assert actual.shape == (len(first), len(second))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            union = (one | other).sum()
            assert actual[i, j] == ((one & other).sum() / union if union else 0)


@pytest.mark.parametrize("noisy", [(), (0, 1), (0,), (1,)])
def test_masks_of_any_kind_overlap_as_their_pixels_do(noisy):
    # Noise, and what is made of few runs, are counted in different ways.
    draw, y, x = np.random.default_rng(0), *np.ogrid[:60, :90]
    both = []
    for k in (0, 1):
        smooth = [(y - 20 - 9 * n) ** 2 + (x - 30 - 7 * n * k) ** 2 < (5 + 4 * n) ** 2 for n in range(5)]
        both.append(draw.random((5, 60, 90)) < 0.5 if k in noisy else np.stack([*smooth[:4], smooth[0] & False]))
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in both[1]] for a in both[0]]
    assert torch.equal(mask_iou(*map(torch.from_numpy, both)), torch.tensor(expected, dtype=torch.float64))


def test_thresholds_are_met_exactly():
    # 2 of 5 pixels is 0.4 in double precision, not a little more or less.
    strip = torch.arange(10)[None, None]
    assert mask_iou(strip < 2, strip < 5).item() == 0.4
    assert mask_iou(strip < 7, strip < 10).item() == 0.7


def test_masks_of_other_sizes_are_refused():
    # As many pixels, so that nothing but the check would notice.
    with pytest.raises(ValueError, match="second"):
        mask_iou(torch.ones(1, 4, 6, dtype=torch.bool), torch.ones(1, 6, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="first"):
        mask_iou(torch.ones(4, 6, dtype=torch.bool), torch.ones(1, 4, 6, dtype=torch.bool))


boxes = st.tuples(*[st.integers(0, 5)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


def drawn(box) -> torch.Tensor:
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@examples(60)
@given(boxes, boxes)
def test_box_overlap_is_that_of_their_pixels(first, second):
    actual = box_iou(torch.tensor([first]), torch.tensor([second]))
    assert actual.item() == mask_iou(drawn(first)[None], drawn(second)[None]).item()


def test_boxes_without_area_overlap_nothing():
    for corners in ([2, 2, 2, 5], [5, 5, 1, 1], [5, 1, 1, 5]):
        box = torch.tensor([corners])
        assert box_iou(box, box).item() == 0
        assert box_iou(box, torch.tensor([[0, 0, 9, 9]])).item() == 0


def test_boxes_of_fractions_overlap_in_double_precision():
    small = torch.tensor([[0.1, 0.2, 0.3, 0.7]])  # single precision, and less than one pixel
    assert box_iou(small, small).item() == 1
    assert box_iou(torch.tensor([[0, 0, 0.5, 1]]), torch.tensor([[0.25, 0, 0.5, 1]])).item() == 0.5


def test_no_boxes():
    assert box_iou(torch.zeros(0, 4), torch.ones(3, 4)).shape == (0, 3)
    with pytest.raises(ValueError, match="first"):
        box_iou(torch.zeros(2, 5), torch.ones(3, 4))


@examples(40)
@given(boxes)
def test_the_tight_box_of_a_rectangle(box):
    assert tight_box(drawn(box)) == box
    assert tight_box(drawn(box).numpy()) == box


def test_the_tight_box_holds_every_piece():
    mask = np.zeros((9, 12), bool)
    mask[2, 10] = mask[7, 1] = True
    assert tight_box(mask) == (1, 2, 11, 8)


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="mask must have at least one pixel"):
        tight_box(np.zeros((3, 4), bool))
