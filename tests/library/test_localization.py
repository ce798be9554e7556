from __future__ import annotations

import numpy as np
import pytest
import torch

from co3lib.evaluation import best_box, mask_boxes
from co3lib.instance import Instance


def instance(score: float, box) -> Instance:
    return Instance(np.ones((8, 9), bool), score, (0, 0), box)


def test_the_best_instance_gives_the_box_wherever_it_stands():
    found = [instance(0.1, (0, 0, 2, 2)), instance(0.7, (1, 2, 5, 6)), instance(-3.0, (3, 3, 4, 4))]
    for turn in range(3):
        assert best_box(found[turn:] + found[:turn]).tolist() == [1, 2, 5, 6]


def test_nothing_found_is_no_box():
    assert best_box([]) is None


def test_a_score_of_nan_has_no_best():
    with pytest.raises(ValueError, match="got NaN"):
        best_box([instance(0.1, (0, 0, 2, 2)), instance(float("nan"), (1, 2, 5, 6))])


def test_boxes_of_masks_without_the_empty_ones():
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[2, 4, 6] = True
    assert mask_boxes(masks).tolist() == [[2, 1, 6, 3], [6, 4, 7, 5]]
    assert mask_boxes(masks.numpy()).tolist() == mask_boxes(masks).tolist()


@pytest.mark.parametrize("count", [0, 2])
def test_no_boxes_is_still_a_list_of_boxes(count):
    assert mask_boxes(torch.zeros(count, 5, 7, dtype=torch.bool)).shape == (0, 4)


def test_one_mask_alone_is_refused():
    with pytest.raises(ValueError, match="masks"):
        mask_boxes(torch.ones(5, 7, dtype=torch.bool))
