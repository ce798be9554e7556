from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import load
from strategies import examples, random, whole_numbers

from co3lib.correlation import correlate
from co3lib.peaks import copeak_votes, copeaks, peak_cells, score_peaks


def same(actual: torch.Tensor, expected: np.ndarray) -> None:
    assert actual.dtype == torch.bool
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual.numpy(), expected)


def grid(*rows) -> torch.Tensor:
    return torch.tensor([[rows]], dtype=torch.float64)


def test_copeaks_of_the_authors_code():
    authors = load()
    assert torch.equal(copeaks(authors["correlation"]), authors["copeak_mask"])


def test_score_peaks_of_the_authors_code():
    authors = load()
    assert torch.equal(score_peaks(authors["score"]), authors["score_peak_mask"])


@examples(150)
@given(whole_numbers(st.integers(1, 3), 1, st.integers(1, 7), st.integers(1, 7), high=3))
def test_score_peaks_are_the_loops(score):
    same(score_peaks(torch.from_numpy(score)), naive.score_peaks(score))


@examples(100)
@given(whole_numbers(st.integers(1, 2), *[st.integers(1, 3)] * 4, high=3))
def test_copeaks_are_the_loops(correlation):
    same(copeaks(torch.from_numpy(correlation)), naive.peaks(correlation))


@examples(15)
@given(whole_numbers(1, 3, 4, 5, 2, high=30))
def test_copeaks_of_larger_grids_are_the_loops(correlation):
    same(copeaks(torch.from_numpy(correlation)), naive.peaks(correlation))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_peaks_of_continuous_values_are_the_loops(dtype):
    correlation, score = random(2, 4, 3, 2, 5, seed=1).to(dtype), random(3, 1, 9, 6, seed=2).to(dtype)
    same(copeaks(correlation), naive.peaks(correlation.numpy()))
    same(score_peaks(score), naive.score_peaks(score.numpy()))


def test_a_flat_map_is_one_plateau():
    assert score_peaks(torch.full((2, 1, 3, 4), 0.7)).all()
    assert copeaks(torch.zeros(1, 2, 3, 3, 2)).all()


def test_a_single_cell_is_a_peak():
    assert score_peaks(torch.tensor([[[[-3.0]]]])).tolist() == [[[[True]]]]
    assert copeaks(torch.tensor([[[[[-3.0]]]]])).tolist() == [[[[[True]]]]]


def test_a_plateau_with_a_higher_end_is_no_peak():
    # The left 2s see nothing higher around them; only their plateau's right end does.
    score = grid([2, 2, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0])
    assert score_peaks(score).ravel().nonzero().ravel().tolist() == [4]


def test_a_plateau_joined_at_a_corner_is_one():
    # The two 2s touch diagonally, and one of them touches a 3.
    score = grid([2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0])
    assert score_peaks(score).nonzero()[:, 2:].tolist() == [[2, 2]]


def test_a_copeak_must_beat_its_diagonal_neighbours_too():
    correlation = torch.zeros(1, 3, 3, 3, 3)
    correlation[0, 0, 0, 0, 0], correlation[0, 1, 1, 1, 1], correlation[0, 2, 2, 0, 2] = 1.0, 2.0, 1.5
    assert copeaks(correlation).nonzero().tolist() == [[0, 1, 1, 1, 1]]


def test_copeaks_a_cell_apart_are_both_kept():
    correlation = torch.zeros(1, 3, 3, 3, 3)
    correlation[0, 0, 0, 0, 0], correlation[0, 2, 0, 0, 0] = 1.0, 2.0
    assert copeaks(correlation).nonzero().tolist() == [[0, 0, 0, 0, 0], [0, 2, 0, 0, 0]]


def test_maxima_below_the_median_are_dropped():
    score = grid([9, 9, 9, 9, 9, 0, 1, 0])
    assert score_peaks(score).ravel().tolist() == [True] * 5 + [False] * 3


def test_the_median_of_an_even_number_is_the_middle_of_two():
    # Sorted 0 1 5 5: the maximum 1 reaches the lower of the middle two, not their mean.
    assert score_peaks(grid([1, 0, 5, 5])).ravel().tolist() == [False, False, True, True]


def test_a_maximum_equal_to_the_median_is_kept():
    # Sorted 0 0 1 5 5: the maximum 1 is the median itself.
    assert score_peaks(grid([1, 0, 0, 5, 5])).ravel().tolist() == [True, False, False, True, True]


def test_every_image_has_its_own_median():
    low, high = random(1, 1, 5, 6, seed=3), random(1, 1, 5, 6, seed=4) + 100
    together = score_peaks(torch.cat([low, high]))
    assert torch.equal(together, torch.cat([score_peaks(low), score_peaks(high)]))
    first, second = random(1, 2, 3, 3, 2, seed=5), random(1, 2, 3, 3, 2, seed=6) - 100
    together = copeaks(torch.cat([first, second]))
    assert torch.equal(together, torch.cat([copeaks(first), copeaks(second)]))


def test_every_map_has_a_peak_at_its_maximum():
    correlation = random(3, 4, 3, 2, 4, seed=7)
    mask = copeaks(correlation)
    for one, where in zip(correlation, mask, strict=True):
        assert where.ravel()[one.argmax()]


def test_peaks_do_not_take_part_in_gradients():
    correlation = random(1, 3, 3, 3, 3, seed=8).requires_grad_()
    assert not copeaks(correlation).requires_grad


@pytest.mark.parametrize("score", [torch.zeros(1, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(3)])
def test_a_bad_score_is_named(score):
    with pytest.raises(ValueError, match="score"):
        score_peaks(score)


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 3, 3, 3), (1, 1, 3, 3, 3, 3)])
def test_a_bad_correlation_is_named(shape):
    with pytest.raises(ValueError, match="correlation"):
        copeaks(torch.zeros(shape))


# Peaks as seeds


def test_cells_of_peaks_come_highest_first():
    score = random(1, 1, 9, 8, seed=9)
    mask = score_peaks(score)[0, 0]
    cells = peak_cells(mask, score[0, 0])
    assert sorted(cells.tolist()) == mask.nonzero().tolist()
    heights = score[0, 0][cells[:, 0], cells[:, 1]]
    assert torch.equal(heights, heights.sort(descending=True).values)


def test_a_plateau_is_one_peak():
    score = grid([5, 5, 5, 0, 0, 0], [5, 5, 5, 0, 0, 4], [5, 5, 5, 0, 0, 4], [0, 0, 0, 0, 0, 4])
    assert peak_cells(score_peaks(score)[0, 0], score[0, 0]).tolist() == [[1, 1], [2, 5]]


def test_no_peaks_no_cells():
    assert peak_cells(torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, 4)).shape == (0, 2)


def test_every_cell_of_a_plateau_if_asked_for():
    score = grid([5, 5, 0, 0, 6], [0, 0, 0, 0, 0])
    assert peak_cells(score_peaks(score)[0, 0], score[0, 0], every=True).tolist() == [[0, 4], [0, 0], [0, 1]]
    assert peak_cells(torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, 4), every=True).shape == (0, 2)


def test_two_copeaks_with_one_partner_are_one_vote():
    one, partner = torch.ones(1, 1, 1, 1), torch.tensor([1.0, 0, 0, 0, 1]).reshape(1, 1, 1, 5)
    assert copeaks(correlate(one, partner)).sum() == 2
    assert copeak_votes(one, partner).item() == 1
    assert copeak_votes(one, partner.repeat(3, 1, 1, 1)).item() == 3


def test_votes_count_the_partners_a_cell_has_a_copeak_with():
    features, partners = random(1, 3, 3, 2, seed=10).abs(), random(4, 3, 2, 3, seed=11).abs()
    expected = np.zeros((3, 2))
    for partner in partners:
        mask = naive.peaks(correlate(features, partner[None]).numpy())[0]
        expected += mask.any(axis=(2, 3))
    np.testing.assert_array_equal(copeak_votes(features, partners).numpy(), expected)
    assert 0 < expected.max() <= 4


def test_several_copeaks_with_one_partner_are_one_vote():
    # One cell, and three of the first partner's cells that match it equally well, none beside another; one of the second's.
    features = torch.ones(1, 1, 1, 1)
    partners = torch.tensor([[1.0, 0, 1, 0, 1], [0, 0, 1, 0, 0]]).reshape(2, 1, 1, 5)
    assert [int(copeaks(correlate(features, one[None])).sum()) for one in partners] == [3, 1]
    assert copeak_votes(features, partners).tolist() == [[2.0]]


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: score_peaks(torch.ones(1, 1, 3, 3, dtype=torch.long)), "score"),
        (lambda: copeaks(torch.ones(1, 2, 2, 2, 2, dtype=torch.long)), "correlation"),
        (lambda: copeak_votes(torch.ones(1, 2, 3, 3, dtype=torch.long), torch.ones(1, 2, 3, 3)), "features"),
        (lambda: copeak_votes(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3, dtype=torch.long)), "partners"),
    ],
)
def test_whole_numbers_are_refused(call, name):
    with pytest.raises(ValueError, match=f"{name} must be of a floating-point type"):
        call()


@pytest.mark.parametrize("features", [torch.ones(2, 2, 3, 3), torch.ones(2, 3, 3)])
def test_votes_are_of_one_image(features):
    with pytest.raises(ValueError, match="features must have shape"):
        copeak_votes(features, torch.ones(1, 2, 3, 3))


def test_a_map_of_another_size_has_no_cells_of_peaks():
    with pytest.raises(ValueError, match="height must have shape"):
        peak_cells(torch.ones(3, 4, dtype=torch.bool), torch.ones(4, 3))


def test_peaks_that_touch_at_a_corner_are_one_and_others_are_not():
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.bool)
    cells = peak_cells(mask, torch.tensor([[5.0, 0, 0, 7], [0, 5, 0, 0], [0, 0, 0, 6]]))
    assert cells.tolist() == [[0, 3], [2, 3], [0, 0]] and cells.dtype == torch.long


def test_peaks_of_equal_height_keep_their_order():
    mask = torch.zeros(1, 40, dtype=torch.bool)
    mask[0, ::2] = True
    assert peak_cells(mask, torch.ones(1, 40)).tolist() == [[0, k] for k in range(0, 40, 2)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_peaks_of_scores_of_any_precision(dtype):
    score = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(score_peaks(score), score_peaks(score.double()))
