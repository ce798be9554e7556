from __future__ import annotations

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import close, load
from strategies import examples, masks

from co3lib.counts import Counts, counts
from co3lib.evaluation import (
    MEASURES,
    THRESHOLDS,
    average_precision,
    best_box,
    corloc,
    evaluate,
    mask_boxes,
    match,
    mean_over_classes,
    pooled_average_precision,
    precision_recall,
)
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.ranking import noise_filter


def row(*cells: int, width: int = 12) -> torch.Tensor:
    """A mask of one row with the given cells."""
    mask = torch.zeros(1, width, dtype=torch.bool)
    mask[0, list(cells)] = True
    return mask


def authors_lists() -> tuple[list, list, list]:
    authors = load()
    return tuple([authors[f"eval_{kind}_{k}"] for k in range(7)] for kind in ("pred", "score", "gt"))


# Average precision


def test_average_precision_of_the_authors_code():
    predictions, scores, truth = authors_lists()
    values = [average_precision(predictions, scores, truth, iou=limit) for limit in THRESHOLDS]
    close(values, load()["ap_25_50_75"])


def test_average_precision_after_the_authors_noise_filter():
    predictions, scores, truth = authors_lists()
    kept = noise_filter(scores, percentile=20.0)
    predictions = [one[keep] for one, keep in zip(predictions, kept, strict=True)]
    scores = [one[keep] for one, keep in zip(scores, kept, strict=True)]
    values = [average_precision(predictions, scores, truth, iou=limit) for limit in (0.25, 0.5, 0.75)]
    close(values, load()["ap_25_50_75_after_noise_filter"])


@examples(120)
@given(st.data(), st.sampled_from([0.0, 0.2, 0.25, 0.3, 0.5, 0.6, 0.7]))
def test_average_precision_is_the_loops(data, limit):
    images = data.draw(st.integers(1, 3))
    predictions = [data.draw(masks(st.integers(0, 4), 2, 3)) for _ in range(images)]
    truth = [data.draw(masks(st.integers(0, 3), 2, 3)) for _ in range(images - 1)]
    truth.append(data.draw(masks(st.integers(1, 3), 2, 3)))
    # Among equal scores the earlier image, and in it the earlier mask, comes first.
    scores = [np.array([data.draw(st.integers(0, 5)) for _ in one], dtype=float) for one in predictions]
    actual = average_precision(
        [torch.from_numpy(one) for one in predictions],
        [torch.from_numpy(one) for one in scores],
        [torch.from_numpy(one) for one in truth],
        iou=limit,
    )
    assert isinstance(actual, float)
    close(actual, naive.average_precision(predictions, scores, truth, limit))


def test_perfect_predictions():
    truth = [torch.stack([row(0, 1), row(4, 5)]), torch.stack([row(7)])]
    assert average_precision(truth, [torch.tensor([0.1, 0.5]), torch.tensor([0.3])], truth) == 1.0


def test_nothing_found():
    truth = [torch.stack([row(0, 1)])]
    assert average_precision([torch.stack([row(5)])], [torch.tensor([0.9])], truth) == 0.0
    assert average_precision([torch.zeros(0, 1, 12, dtype=torch.bool)], [torch.zeros(0)], truth) == 0.0


@pytest.mark.parametrize("iou, inner, outer", [(0.5, 1, 2), (0.25, 1, 4), (0.75, 3, 4), (0.3, 3, 10), (0.7, 7, 10)])
def test_the_overlap_must_exceed_the_threshold(iou, inner, outer):
    predictions, truth = [row(*range(inner))[None]], [row(*range(outer))[None]]
    assert average_precision(predictions, [torch.tensor([1.0])], truth, iou=iou) == 0.0
    assert average_precision(predictions, [torch.tensor([1.0])], truth, iou=iou - 1e-3) == 1.0


def test_an_instance_is_found_once():
    instance = row(0, 1, 2)
    twice = torch.stack([instance, instance])
    truth = [torch.stack([instance, row(8, 9)])]
    # Recall ends at a half, reached with precision 1; the second of the two is wrong.
    close(average_precision([twice], [torch.tensor([0.9, 0.8])], truth), 0.5)


def test_a_detection_takes_the_next_best_instance():
    # Both detections overlap the first instance; the second of them still exceeds .25 with the other one.
    truth = [torch.stack([row(0, 1, 2, 3), row(4, 5, 6)])]
    predictions = [torch.stack([row(0, 1, 2, 3), row(2, 3, 4, 5)])]
    scores = [torch.tensor([0.9, 0.8])]
    close(average_precision(predictions, scores, truth, iou=0.25), 1.0)
    close(average_precision(predictions, scores, truth, iou=0.5), 0.5)


def test_better_scored_detections_choose_first():
    truth = [row(0, 1, 2, 3)[None]]
    predictions = [torch.stack([row(0, 1, 2, 3), row(0, 1, 2)])]
    # The worse mask scores higher and covers the instance; the right one comes too late and is wrong.
    close(average_precision(predictions, [torch.tensor([0.2, 0.9])], truth), 1.0)
    two = [torch.stack([row(0, 1, 2, 3), row(9)])]
    close(average_precision(predictions, [torch.tensor([0.2, 0.9])], two), 0.5)


def test_the_images_of_a_class_are_pooled():
    # In order of score: wrong (image 0), right (1), right (0); precisions 0, 1/2, 2/3 under the envelope 2/3.
    truth = [row(0)[None], row(1)[None]]
    predictions = [torch.stack([row(5), row(0)]), row(1)[None]]
    scores = [torch.tensor([0.9, 0.1]), torch.tensor([0.5])]
    close(average_precision(predictions, scores, truth), 2 / 3)


def test_the_envelope_is_monotone():
    # Right, wrong, right, right of four instances: precisions 1, 1/2, 2/3, 3/4; the envelope makes 2/3 a 3/4.
    truth = [torch.stack([row(0), row(1), row(2), row(3)])]
    predictions = [torch.stack([row(0), row(9), row(1), row(2)])]
    close(average_precision(predictions, [torch.tensor([4.0, 3.0, 2.0, 1.0])], truth), (1 + 0.75 + 0.75) / 4)


def test_images_of_different_size():
    truth = [row(0, width=3)[None], row(7, width=9)[None]]
    close(average_precision(truth, [torch.tensor([1.0]), torch.tensor([2.0])], truth), 1.0)


def test_wrong_detections_on_an_image_without_instances_count():
    truth = [torch.zeros(0, 1, 12, dtype=torch.bool), row(1)[None]]
    predictions = [row(5)[None], row(1)[None]]
    close(average_precision(predictions, [torch.tensor([0.9]), torch.tensor([0.5])], truth), 0.5)


def test_a_class_without_instances_scores_nothing():
    empty = [torch.zeros(0, 1, 12, dtype=torch.bool)]
    value = average_precision([row(5)[None]], [torch.tensor([0.9])], empty)
    assert math.isnan(value) or value == 0.0


@pytest.mark.parametrize(
    "predictions, scores, truth, name",
    [
        ([row(1)[None]] * 2, [torch.ones(1)], [row(1)[None]] * 2, "scores"),
        ([row(1)[None]], [torch.ones(1)], [row(1)[None]] * 2, "ground_truth"),
        ([row(1)[None]], [torch.ones(2)], [row(1)[None]], "scores"),
        ([row(1)], [torch.ones(1)], [row(1)[None]], "predictions"),
        ([3], [torch.ones(1)], [row(1)[None]], r"predictions\[0\]"),
        ([None], [[]], [row(1)[None]], r"predictions\[0\]"),
        ([row(1)[None]], [None], [row(1)[None]], r"scores\[0\]"),
        ([row(1)[None]], [torch.ones(1)], [row(1)], "ground_truth"),
        ([row(1)[None]], [torch.ones(1)], [row(1, width=9)[None]], "ground_truth"),
    ],
)
def test_bad_average_precision_arguments_are_named(predictions, scores, truth, name):
    with pytest.raises(ValueError, match=name):
        average_precision(predictions, scores, truth)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("everything", [True, False])
def test_scores_that_are_not_finite_are_refused(odd, everything):
    truth = [torch.stack([row(0), row(1)]), torch.stack([row(2)])]
    values = [torch.tensor([0.5, odd]), torch.tensor([odd if everything else 0.3])]
    if everything:
        values[0][:] = odd
    with pytest.raises(ValueError, match=rf"scores\[0\] must be finite, got {odd}"):
        average_precision(truth, values, truth)
    with pytest.raises(ValueError, match=rf"scores\[0\] must be finite, got {odd}"):
        pooled_average_precision([torch.eye(2), torch.eye(1)], values)
    nothing = [one[:0] for one in truth]
    with pytest.raises(ValueError, match=r"scores\[0\] must be finite"):
        average_precision(truth, values, nothing)  # refused as well where there is no AP to be wrong


@pytest.mark.parametrize("kind", [list, np.array, lambda values: torch.tensor(values, dtype=torch.float64)])
def test_scores_are_told_apart_in_double_precision(kind):
    # The right one scores higher by less than single precision can tell; ties would go to the first.
    predictions, truth = [torch.stack([row(5), row(0)])], [row(0)[None]]
    assert average_precision(predictions, [kind([0.1, 0.1 + 1e-12])], truth) == 1.0


@pytest.mark.parametrize(
    "nothing", [[], (), np.zeros(0), torch.zeros(0), np.zeros((0, 1, 12), bool), np.zeros((0, 5, 7)), torch.zeros(0, 4)]
)
def test_an_empty_list_is_a_photo_without_finds(nothing):
    truth = [row(0)[None], row(1)[None]]
    assert average_precision([truth[0], nothing], [[0.5], []], truth) == 0.5
    assert average_precision([nothing, nothing], [[], []], truth) == 0.0
    assert average_precision([truth[0], truth[0]], [[0.5], [0.9]], [truth[0], nothing]) == 0.5  # the false one comes first
    assert math.isnan(average_precision([nothing], [[]], [nothing]))
    assert math.isnan(average_precision([], [], []))
    with pytest.raises(ValueError, match=r"scores\[0\]"):
        average_precision([nothing, nothing], [[0.1], []], truth)


def test_overlaps_are_left_as_they_were():
    ious = torch.tensor([[0.9, 0.6], [0.8, 0.1]], dtype=torch.float64)
    before = ious.clone()
    assert match(ious, torch.tensor([0.5, 0.4]), 0.5).tolist() == [True, False]
    assert torch.equal(ious, before)


def test_of_many_detections_with_one_score_the_first_comes_first():
    # So many that a sort which keeps no order would show.
    scores, right = torch.ones(400), torch.arange(400) == 0
    assert torch.equal(match(torch.full((400, 1), 0.6), scores, 0.5), right)
    assert pooled_average_precision([0.6 * right[:, None].double()], [scores]) == 1.0


def test_precision_and_recall_are_in_double_precision():
    precision, recall = precision_recall(torch.tensor([True, False, True]), torch.tensor([0.3, 0.2, 0.1]), 3)
    assert precision.tolist() == [1, 1 / 2, 2 / 3] and recall.tolist() == [1 / 3, 1 / 3, 2 / 3]


@pytest.mark.parametrize("overlap, wanted", [(0.5, 0.0), (0.51, 1.0)])
def test_pooled_overlaps_must_exceed_a_half_unless_told_otherwise(overlap, wanted):
    assert pooled_average_precision([torch.tensor([[overlap]])], [torch.ones(1)]) == wanted


def test_what_is_shown_is_counted():
    truth = torch.zeros(2, 4, 6, dtype=torch.bool)
    truth[0, :, :2], truth[1, :, 3:5] = True, True
    half = truth[0].clone()
    half[:, 1] = False
    right, wrong = (Instance(mask.numpy(), 0.5, (0, 0), (0, 0, 1, 1)) for mask in (truth[0], half))
    assert counts([[right, right], []], [truth, truth[:1]]) == Counts(2, 1, 2)  # one true mask is taken once
    assert counts([[wrong]], [truth]) == (1, 0, 2) and counts([[wrong]], [truth], 0.4) == (1, 1, 1)
    assert str(counts([[]], [truth])) == "0 shown, 0 right, 2 missed"
    with pytest.raises(ValueError, match="iou must lie in"):
        counts([[]], [truth], 2)


def test_the_mean_over_classes_leaves_out_those_without_an_instance():
    assert mean_over_classes({"cat": 0.5, "dog": math.nan, "cow": 1.0}) == 0.75
    assert math.isnan(mean_over_classes({"dog": math.nan})) and math.isnan(mean_over_classes({}))


# Boxes


def boxes(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def test_corloc_counts_images():
    truth = [
        boxes([0, 0, 10, 10]),
        boxes([0, 0, 10, 10], [20, 20, 40, 30]),
        boxes([5, 5, 9, 9]),
        boxes([0, 0, 4, 4]),
    ]
    predicted = [
        torch.tensor([0, 0, 10, 10]),
        torch.tensor([21, 20, 40, 30]),
        torch.tensor([20, 20, 30, 30]),
        None,
    ]
    close(corloc(predicted, truth), 0.5)


def test_corloc_includes_its_limit():
    # 10 x 10 inside 10 x 20: exactly one half.
    truth = [boxes([0, 0, 10, 20])]
    assert corloc([torch.tensor([0.0, 0.0, 10.0, 10.0])], truth) == 1.0
    assert corloc([torch.tensor([0.0, 0.0, 10.0, 9.9])], truth) == 0.0
    assert corloc([torch.tensor([0.0, 0.0, 10.0, 10.0])], truth, iou=0.51) == 0.0


@pytest.mark.parametrize("limit, inner", [(0.3, 3), (0.6, 6), (0.7, 7), (0.9, 9)])
def test_corloc_at_other_limits(limit, inner):
    assert corloc([torch.tensor([0, 0, inner, 1])], [boxes([0, 0, 10, 1])], iou=limit) == 1.0


@examples(60)
@given(st.lists(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), max_size=4), min_size=1, max_size=4))
def test_corloc_is_the_loops(drawn):
    corners = [[[min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1] for a, b, c, d in one] for one in drawn]
    predicted = [torch.tensor(one[0]) if one else None for one in corners]
    truth = [boxes(*one[1:]) for one in corners]
    expected = naive.corloc([one[0] if one else None for one in corners], [one[1:] for one in corners])
    close(corloc(predicted, truth), expected)


def test_an_image_without_a_box_is_missed():
    assert corloc([None, torch.tensor([0, 0, 4, 4])], [boxes([0, 0, 4, 4])] * 2) == 0.5
    assert corloc([torch.tensor([0, 0, 4, 4])], [boxes()]) == 0.0


def test_corloc_takes_tuples_and_lists():
    assert corloc([(0, 0, 4, 4)], [[(0, 0, 4, 4)]]) == 1.0


@pytest.mark.parametrize(
    "predicted, truth, name",
    [
        ([None], [boxes()] * 2, "ground_truth_boxes"),
        ([torch.zeros(2, 4)], [boxes()], "predicted_boxes"),
        ([torch.zeros(3)], [boxes()], "predicted_boxes"),
        ([torch.zeros(4)], [torch.zeros(2, 5)], "ground_truth_boxes"),
        ([torch.tensor([0, 0, 4, math.nan])], [boxes([0, 0, 4, 4])], r"predicted_boxes\[0\] must be finite, got nan"),
        ([torch.tensor([0, 0, 4, 4])], [boxes([0, 0, 4, math.inf])], r"ground_truth_boxes\[0\] must be finite, got inf"),
    ],
)
def test_bad_boxes_are_named(predicted, truth, name):
    with pytest.raises(ValueError, match=name):
        corloc(predicted, truth)


@pytest.mark.parametrize("limit", [-0.1, 1.1, math.nan, 50])
def test_a_limit_is_a_share(limit):
    with pytest.raises(ValueError, match="iou must lie in"):
        corloc([(0, 0, 4, 4)], [[(0, 0, 4, 4)]], iou=limit)
    with pytest.raises(ValueError, match="iou must lie in"):
        average_precision([row(1)[None]], [[0.5]], [row(1)[None]], iou=limit)


def test_corloc_of_no_images_does_not_invent_a_number():
    try:
        value = corloc([], [])
    except ValueError as error:
        assert "boxes" in str(error)
    else:
        assert math.isnan(value) or value == 0.0


def test_a_category_is_evaluated_by_its_masks_and_boxes():
    generator = torch.Generator().manual_seed(3)
    truth = [torch.rand(count, 5, 12, generator=generator) < 0.4 for count in (2, 1, 3)]
    drawn = [torch.cat([truth[0][1:], truth[0][:1].roll(4, 2)]), truth[1].roll(6, 2), truth[2][:0]]
    scores = [torch.rand(len(masks), generator=generator, dtype=torch.float64) for masks in drawn]
    found = [
        [Instance(mask, float(score), (0, 0), tight_box(mask)) for mask, score in zip(masks.numpy(), values, strict=True)]
        for masks, values in zip(drawn, scores, strict=True)
    ]
    expected = {name: average_precision(drawn, scores, truth, iou) for name, iou in MEASURES.items()}
    expected["CorLoc"] = corloc([best_box(instances) for instances in found], [mask_boxes(masks) for masks in truth])
    assert evaluate(found, iter(truth)) == expected and 0 < expected["CorLoc"] < 1
    assert 0 < expected["AP50"] < 1
