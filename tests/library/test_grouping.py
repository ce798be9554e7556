"""Groups of peaks against the slow way: at every height of the water, which pieces of land are there."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, shuffled, whole_numbers

from co3lib.beyond.grouping import SHALLOW, group_peaks
from co3lib.peaks import peak_cells, score_peaks


def grouped(saliency, cells) -> list[tuple[frozenset[int], float]]:
    cells = torch.as_tensor(cells, dtype=torch.long).reshape(-1, 2)
    members, depth = group_peaks(torch.as_tensor(saliency), cells)
    assert members.dtype == torch.bool and members.shape == (len(depth), len(cells))
    # Every peak alone comes first, and is as deep as can be.
    assert torch.equal(members[: len(cells)], torch.eye(len(cells), dtype=torch.bool))
    assert (depth[: len(cells)] == 1).all()
    assert ((depth >= SHALLOW) & (depth <= 1)).all()
    return [(frozenset(row.nonzero().flatten().tolist()), float(one)) for row, one in zip(members, depth, strict=True)]


def same_as_slow(saliency: np.ndarray, cells) -> None:
    """Where two parts meet there is one way to join them; where more meet at one height, any order of two at a time will do."""
    found = grouped(saliency, cells)
    groups = [group for group, _ in found]
    assert len(set(groups)) == len(groups)
    for one in groups:  # nested or apart
        assert all(one <= other or other <= one or not one & other for other in groups)
    left = found[len(cells) :]
    for level, parts, tops in naive.peak_joins(saliency, cells):
        whole = frozenset().union(*parts)
        depths = [min(level / max(top, 1e-12), 1.0) for top in sorted(tops, reverse=True)[1:]]
        here = [(group, depth) for group, depth in left if group <= whole and not any(group <= part for part in parts)]
        left = [one for one in left if one not in here]
        if min(depths) >= SHALLOW:
            assert len(here) == len(parts) - 1 and whole in [group for group, _ in here]
        if max(depths) < SHALLOW:
            assert not here
        for group, depth in here:
            assert any(depth == pytest.approx(one, rel=1e-6) for one in depths)
            assert group == frozenset().union(*(part for part in parts if part & group))
        if len(parts) == 2:
            assert len(here) == (min(depths) >= SHALLOW)
    assert not left


def draw_cells(data, shape: tuple[int, int]) -> list[tuple[int, int]]:
    every = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    return data.draw(st.lists(st.sampled_from(every), unique=True, max_size=7))


@examples(150)
@given(whole_numbers(st.integers(1, 6), st.integers(1, 6), high=4), st.data())
def test_groups_of_any_cells_on_land_full_of_plateaus(saliency, data):
    same_as_slow(saliency, draw_cells(data, saliency.shape))


@examples(60)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000), st.data())
def test_groups_of_any_cells_on_land_without_plateaus(height, width, seed, data):
    saliency, cells = shuffled(height, width, seed=seed).numpy(), draw_cells(data, (height, width))
    same_as_slow(saliency, cells)
    # No two cells are equally high, so that there is one answer, also where more than two parts meet.
    assert dict(grouped(saliency, cells)) == pytest.approx(dict(naive.group_peaks(saliency, cells)))


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_the_peaks_of_a_score(seed):
    score = 2 * torch.nn.functional.interpolate(shuffled(1, 1, 5, 5, seed=seed) - 0.5, (14, 14), mode="bicubic")[0, 0] * 3
    cells = peak_cells(score_peaks(score[None, None])[0, 0], score)
    assert len(cells) > 3
    saliency = score.sigmoid().numpy()
    same_as_slow(saliency, cells.tolist())
    assert dict(grouped(saliency, cells)) == pytest.approx(dict(naive.group_peaks(saliency, cells.tolist())))


def test_two_tops_of_one_hill_and_another_hill():
    """A ridge of two tops with a pass of .6, another of .4 that a pass of .2 parts from it, and one that lies alone."""
    land = torch.tensor([0.0, 0.9, 0.6, 0.8, 0.2, 0.4, 0.0, 0.7]).expand(1, 8)
    a, b, c, alone = ((0, column) for column in (1, 3, 5, 7))
    expected = [({0}, 1), ({1}, 1), ({2}, 1), ({3}, 1), ({0, 1}, 0.6 / 0.8), ({0, 1, 2}, 0.2 / 0.4)]
    assert [(set(group), pytest.approx(depth)) for group, depth in grouped(land, [a, b, c, alone])] == expected
    # The depth is that of the lower of the two highest tops, in whatever order the peaks come.
    assert dict(grouped(land, [b, alone, a])) == pytest.approx(
        {frozenset({0}): 1, frozenset({1}): 1, frozenset({2}): 1, frozenset({0, 2}): 0.75}
    )


def test_a_pass_that_lies_deep_separates_two_hills():
    for height, joined in ((0.3, True), (0.29, False)):
        land = torch.tensor([[1.0, height, 1.0]], dtype=torch.float64)
        assert (len(grouped(land, [(0, 0), (0, 2)])) == 3) is joined
    # Nothing is above water between hills that nothing joins.
    assert len(grouped([[0.9, 0.0, 0.8]], [(0, 0), (0, 2)])) == 2


def test_a_join_that_is_too_deep_leaves_those_above_it():
    land = [[0.9, 0.8, 0.9, 0.1, 0.9, 0.8, 0.9]]
    found = grouped(land, [(0, 0), (0, 2), (0, 4), (0, 6)])
    assert [set(group) for group, _ in found[4:]] == [{0, 1}, {2, 3}]


def test_cells_at_the_border_touch_across_corners_and_not_across_the_photo():
    corner = torch.zeros(3, 3)
    corner[0, 0] = corner[1, 1] = corner[2, 2] = 0.9
    assert len(grouped(corner, [(0, 0), (2, 2)])) == 3
    rim = torch.zeros(3, 4)
    rim[0, 3] = rim[1, 0] = 0.9  # neighbours in memory only
    assert len(grouped(rim, [(0, 3), (1, 0)])) == 2


def test_no_peak_and_one():
    assert grouped(torch.rand(4, 5), []) == []
    assert grouped(torch.rand(4, 5), [(2, 3)]) == [(frozenset({0}), 1.0)]
    assert len(grouped(torch.zeros(2, 2), [(0, 0), (1, 1)])) == 2


@pytest.mark.parametrize(
    "saliency, cells, name",
    [
        (torch.rand(1, 4, 4), torch.zeros(1, 2), "saliency"),
        (torch.ones(4, 4, dtype=torch.long), torch.zeros(1, 2), "saliency"),
        (torch.rand(4, 4), torch.zeros(2), "cells"),
        (torch.rand(4, 4), torch.zeros(2, 3), "cells"),
    ],
)
def test_bad_arguments_are_named(saliency, cells, name):
    with pytest.raises(ValueError, match=name):
        group_peaks(saliency, cells)
