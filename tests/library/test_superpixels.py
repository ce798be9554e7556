"""Superpixels: borders, means and sets of them, held against loops."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from strategies import examples

from co3lib.overlap import mask_iou
from co3lib.superpixels import borders, distinct_sets, means, region_iou

LABELS = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4))


@examples(60)
@given(LABELS, st.integers(0, 100))
def test_borders_are_the_loops(labels, seed):
    values = np.random.default_rng(seed).random(labels.shape)
    found: dict[tuple[int, int], list[float]] = {}
    for y, x in np.ndindex(*labels.shape):
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < labels.shape[0] and u < labels.shape[1] and labels[y, x] != labels[v, u]:
                pair = tuple(sorted((int(labels[y, x]), int(labels[v, u]))))
                found.setdefault(pair, []).append(max(values[y, x], values[v, u]))
    actual = borders(labels, values)
    assert list(zip(actual.first.tolist(), actual.second.tolist(), strict=True)) == sorted(found)
    assert actual.length.tolist() == [len(found[pair]) for pair in sorted(found)]
    np.testing.assert_allclose(actual.strength, [np.mean(found[pair]) for pair in sorted(found)], rtol=1e-12)
    assert not borders(labels).strength.any()


def test_the_borders_of_a_small_map():
    found = borders(np.array([[0, 0, 1], [2, 2, 1]], np.uint8))
    pairs = zip(found.first.tolist(), found.second.tolist(), found.length.tolist(), strict=True)
    assert list(pairs) == [(0, 1, 1), (0, 2, 2), (1, 2, 1)]


@examples(60)
@given(LABELS, st.integers(0, 100))
def test_means_are_the_loops(labels, seed):
    values = np.random.default_rng(seed).random((*labels.shape, 2))
    actual = means(values, labels, 6)
    expected = [values[labels == k].mean(0) if (labels == k).any() else [0, 0] for k in range(6)]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    np.testing.assert_array_equal(means(values, labels), actual[: labels.max() + 1])


@examples(60)
@given(hnp.arrays(bool, st.tuples(st.integers(0, 8), st.integers(1, 4))))
def test_equal_sets_have_one_number(sets):
    first, number = distinct_sets(sparse.csr_array(sets.astype(np.float32)))
    assert len(first) == len({row.tobytes() for row in sets})
    assert number.shape == (len(sets),)
    for one, other in itertools.combinations(range(len(sets)), 2):
        assert (number[one] == number[other]) == (sets[one] == sets[other]).all()
    for k, row in enumerate(first):
        assert row == np.flatnonzero(number == k)[0]


@examples(60)
@given(LABELS, st.integers(0, 100))
def test_overlaps_counted_by_superpixels_are_those_of_the_masks(labels, seed):
    draw = np.random.default_rng(seed)
    members = torch.from_numpy(draw.random((3, 5)) < 0.5)
    others = torch.from_numpy(draw.random((2, *labels.shape)) < 0.5)
    flat = torch.from_numpy(labels)
    pixels = torch.stack([torch.bincount(flat[mask], minlength=5) for mask in others])
    found = region_iou(members, torch.bincount(flat.flatten(), minlength=5), pixels)
    torch.testing.assert_close(found, mask_iou(members[:, flat], others))
