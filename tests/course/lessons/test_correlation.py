"""Figures of notebook 03, and the numbers in them."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures
from strategies import random, uniform

from co3course.figures import png
from co3course.lessons.correlation import (
    FeaturePair,
    Stereo,
    auc,
    best_cells,
    cell_figure,
    chance,
    color_correlation,
    describe_cell,
    features_figure,
    networks_figure,
    split_correlations,
    split_figure,
    stereo_figure,
    stereo_pair,
    true_cells,
    within,
)
from co3lib.correlation import correlate, normalize_features


@pytest.fixture(scope="module")
def pairs():
    features = normalize_features(random(2, 6, 14, 14).float())
    correlation = correlate(features[:1], features[1:])[0]
    photos = tuple(np.random.default_rng(k).integers(0, 256, (360, 480, 3), np.uint8) for k in range(2))
    saliency = uniform(2, 14, 14, seed=3).float()
    return {
        "as they come": FeaturePair(photos, saliency, correlation),
        "mean removed": FeaturePair(photos, saliency, -correlation),
    }


@pytest.fixture(scope="module")
def stereo():
    return stereo_pair()


def test_guided_is_the_product_of_three(pairs):
    pair = pairs["as they come"]
    for p in ((0, 0, 13, 2), (5, 7, 1, 12)):
        product = pair.saliency[0, p[0], p[1]] * pair.saliency[1, p[2], p[3]] * pair.correlation[p]
        assert pair.weighted[p].item() == pytest.approx(product.item(), rel=1e-6)


@pytest.mark.parametrize("features, row, column", [*itertools.product(("as they come", "mean removed"), (0, 13), (0, 13))])
def test_cells_at_the_corners(pairs, features, row, column):
    draw = partial(cell_figure, pairs, features=features, row=row, column=column)
    assert plain_figures(draw) < LIMIT
    assert png(draw())
    assert f"({row}, {column})" in describe_cell(pairs, features=features, row=row, column=column)


def test_maps_of_a_cell_are_those_of_the_tensor_each_on_its_scale(pairs):
    pair = pairs["as they come"]
    maps = [axis.images[0] for axis in cell_figure(pairs, "as they come", 3, 5).axes[2:4]]
    for picture, values in zip(maps, (pair.correlation[3, 5], pair.weighted[3, 5]), strict=True):
        assert picture.get_clim() == (float(values.min()), float(values.max()))
    assert np.array_equal(maps[0].get_array(), pair.correlation[3, 5])
    assert np.array_equal(maps[1].get_array(), pair.weighted[3, 5])


def test_each_network_answers_for_the_place_on_its_own_grid(pairs):
    coarse, fine = pairs["as they come"].correlation, random(4, 6, 3, 5)
    draw = partial(networks_figure, pairs["as they come"].photos, {"coarse": coarse, "fine": fine}, (0.3, 0.9))
    assert plain_figures(draw) < LIMIT
    *_, first, second = [axis for axis in draw().axes if axis.images and axis.get_title(loc="left")]
    assert np.array_equal(first.images[0].get_array(), coarse[4, 12])
    assert np.array_equal(second.images[0].get_array(), fine[1, 5])
    assert [axis.get_title(loc="left") for axis in (first, second)] == ["coarse", "fine"]


def test_best_cells_are_the_loops():
    correlation = random(2, 3, 4, 5)
    found = best_cells(correlation)
    for i, j in itertools.product(range(2), range(3)):
        s, t = found[i, j].tolist()
        assert correlation[i, j, s, t] == correlation[i, j].max()


def test_true_cells_follow_corners_and_disparity():
    disparity = np.full((40, 80), 10.0)
    disparity[:10, :20] = np.inf
    truth, known = true_cells(disparity, (5, 40), (15, 10), grid=4)  # cells of 10 x 20 pixels
    assert truth[2, 1].tolist() == [1, 1 + (40 - 10 - 10) / 20]
    assert not known[0].any() and known[1, 1] and not known[1, 3]  # out of view above, and to the right


def test_stereo_truth_leaves_the_same_cell_wrong(stereo):
    same = torch.stack(torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij"), 2)
    assert stereo.known.sum() > 100
    assert not within(same, stereo.truth)[stereo.known].any()
    assert within(stereo.truth.round(), stereo.truth)[stereo.known].all()


def test_stereo_truth_shows_the_same_things(stereo):
    """Patches round true partners are more alike in colour than patches of cells drawn at random."""
    colors = -color_correlation(stereo)
    cells = stereo.truth[stereo.known].round().long().clamp(0, 13)
    assert colors[stereo.known][torch.arange(len(cells)), cells[:, 0], cells[:, 1]].mean() < 0.6 * colors.mean()


def test_chance_counts_the_cells_around():
    truth = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.5, 0.5], [9.0, 9.0]]]).double()
    known = torch.tensor([[True, True], [True, False]])
    stereo = Stereo(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), truth, known)
    assert chance(stereo) == 1 and chance(stereo, reach=0) == pytest.approx((1 + 1 + 0) / 12)


def test_split_correlations_are_the_loops():
    features, inside = random(3, 4, 2, 2, seed=5), uniform(3, 2, 2, seed=6) > 0.5
    same, different = split_correlations(features, inside)
    expected = ([], [])
    cells = list(itertools.product(range(2), range(2)))
    for n, m in itertools.permutations(range(3), 2):
        for p, q in itertools.product(cells, cells):
            if inside[(n, *p)]:
                value = features[n, :, p[0], p[1]] @ features[m, :, q[0], q[1]]
                expected[0 if inside[(m, *q)] else 1].append(value.item())
    for ours, loops in zip((same, different), expected, strict=True):
        assert sorted(ours.tolist()) == pytest.approx(sorted(loops))


def test_auc():
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert auc(torch.tensor([1.0]), torch.tensor([0.0, 1.0, 2.0, 1.0])) == 0.5


def test_static_figures(stereo, pairs):
    found = best_cells(color_correlation(stereo))
    figures = [
        features_figure(pairs["as they come"].photos[0], random(6, 14, 14), (0, 5)),
        split_figure({"one": (random(50), random(60, seed=1)), "other": (random(5), random(6, seed=1))}),
        stereo_figure(stereo, {"colours": found, "truth": stereo.truth.round().long()}),
    ]
    assert all(isinstance(figure, Figure) and png(figure) for figure in figures)
    assert "100% right" in figures[2].axes[3].get_title(loc="left")
