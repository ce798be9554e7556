from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import close, load
from strategies import examples, random, uniform, whole_numbers

from co3lib.correlation import correlate, normalize_features, pair_up, weight_by_saliency

GRIDS = [((3, 4), (2, 5)), ((1, 1), (1, 1)), ((1, 6), (4, 1)), ((5, 2), (5, 2))]


def test_features_of_the_authors_code():
    authors = load()
    close(normalize_features(authors["features"]), authors["features_normalized"])


def test_correlation_of_the_authors_code():
    authors = load()
    weighted = authors["features_normalized"] * authors["saliency_small"]
    close(correlate(weighted[:2], weighted[2:]), authors["correlation"])


def test_pairs_and_saliency_weighting_of_the_authors_code():
    authors = load()
    weighted = weight_by_saliency(authors["features_normalized"], torch.sigmoid(authors["score"]))
    close(correlate(*pair_up(weighted)), authors["correlation"])


@pytest.mark.parametrize("first_grid, second_grid", GRIDS)
def test_correlation_is_the_four_loops(first_grid, second_grid):
    first, second = random(2, 3, *first_grid, seed=1), random(2, 3, *second_grid, seed=2)
    actual = correlate(first, second)
    assert actual.shape == (2, *first_grid, *second_grid)
    close(actual, naive.correlate(first.numpy(), second.numpy()))


@examples(20)
@given(whole_numbers(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), low=-3))
def test_normalized_features_are_the_loops(features):
    close(normalize_features(torch.from_numpy(features)), naive.normalize_features(features))


def test_epsilon_is_added_to_the_squared_length():
    features = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    close(normalize_features(features, eps=11.0).ravel(), torch.tensor([0.5, 4 / 6]))


def test_a_cell_without_features_stays_zero():
    assert torch.equal(normalize_features(torch.zeros(1, 4, 2, 3)), torch.zeros(1, 4, 2, 3))


def test_swapping_the_images_swaps_the_axes():
    first, second = random(2, 3, 2, 4, seed=3), random(2, 3, 3, 1, seed=4)
    close(correlate(second, first).permute(0, 3, 4, 1, 2), correlate(first, second))


def test_saliency_guides_by_the_product_of_both_ends():
    first, second = random(1, 3, 2, 4, seed=5), random(1, 3, 3, 2, seed=6)
    one, other = uniform(1, 1, 2, 4, seed=7), uniform(1, 1, 3, 2, seed=8)
    weighted = correlate(weight_by_saliency(first, one), weight_by_saliency(second, other))
    close(weighted, correlate(first, second) * one[:, 0, :, :, None, None] * other[:, 0, None, None])


def test_image_k_is_paired_with_image_k_plus_half_the_batch():
    batch = torch.arange(6.0).reshape(6, 1, 1, 1)
    first, second = pair_up(batch)
    assert first.ravel().tolist() == [0, 1, 2]
    assert second.ravel().tolist() == [3, 4, 5]


def test_an_odd_batch_cannot_be_paired():
    with pytest.raises(ValueError, match="batch"):
        pair_up(torch.zeros(5, 3, 2, 2))


def test_precision_and_type_are_kept():
    features = random(2, 3, 2, 2)
    for dtype in (torch.float32, torch.float64):
        assert normalize_features(features.to(dtype)).dtype == dtype
        assert correlate(features.to(dtype), features.to(dtype)).dtype == dtype


def test_arrays_are_taken():
    features = np.random.default_rng(0).random((2, 3, 2, 2))
    close(normalize_features(features), naive.normalize_features(features))
    close(correlate(features, features), naive.correlate(features, features))


def test_gradients():
    first, second = random(2, 3, 2, 3, seed=9).requires_grad_(), random(2, 3, 1, 2, seed=10).requires_grad_()
    assert torch.autograd.gradcheck(correlate, (first, second))
    assert torch.autograd.gradcheck(normalize_features, (first,))


@pytest.mark.parametrize(
    "features",
    [torch.zeros(3, 2, 2), torch.zeros(1, 3, 2, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.long), "text"],
)
def test_bad_features_are_named(features):
    with pytest.raises(ValueError, match="features"):
        normalize_features(features)


@pytest.mark.parametrize(
    "first, second, name",
    [
        (torch.zeros(3, 2, 2), torch.zeros(1, 3, 2, 2), "first"),
        (torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2), "second"),
        (torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2), "second"),
        (torch.zeros(2, 3, 2, 2), torch.zeros(1, 3, 2, 2), "second"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.long), torch.zeros(1, 3, 2, 2), "first"),
    ],
)
def test_images_that_do_not_go_together_are_named(first, second, name):
    with pytest.raises(ValueError, match=name):
        correlate(first, second)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda whole, good: normalize_features(whole), "features"),
        (lambda whole, good: correlate(whole, good), "first"),
        (lambda whole, good: correlate(good, whole), "second"),
        (lambda whole, good: weight_by_saliency(whole, good[:, :1]), "features"),
        (lambda whole, good: weight_by_saliency(good, whole[:, :1]), "saliency"),
    ],
)
def test_whole_numbers_are_refused(call, name):
    whole, good = torch.ones(1, 2, 3, 3, dtype=torch.long), torch.ones(1, 2, 3, 3)
    with pytest.raises(ValueError, match=f"{name} must be of a floating-point type"):
        call(whole, good)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 2), (3, 2)])
def test_only_an_even_number_of_images_is_paired(shape):
    with pytest.raises(ValueError, match=f"even number of images, got {shape[0]}"):
        pair_up(torch.zeros(shape))
