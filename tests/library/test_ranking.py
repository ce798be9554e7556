from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import close, load
from strategies import examples, masks, random, uniform

from co3lib.beyond.region_ranking import FIT_POWER, LEVELS, RegionRanker
from co3lib.instance import Instance
from co3lib.ranking import contours, mask_nms, masked_sums, noise_filter, rank_proposals, within_size_limits


def ranking_of(ranker: RegionRanker, name: str):
    """The paper's scores, or the default's."""
    return ranker.scores if name == "scores" else lambda *maps, **options: ranker.terms(*maps, **options).score()


def rectangle(height: int, width: int, top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def indices(kept) -> list[int]:
    return torch.as_tensor(kept).tolist()


def test_an_instance_gives_its_mask_at_the_photos_size():
    mask = rectangle(3, 4, 1, 3, 0, 2).numpy()
    own, enlarged = (Instance(mask, 0.5, (1, 0), (0, 1, 2, 3), size) for size in (None, (6, 12)))
    assert own.mask.dtype == bool and np.array_equal(own.mask, mask) and own.size == (3, 4)
    assert np.array_equal(enlarged.mask, mask.repeat(2, 0).repeat(3, 1)) and enlarged.size == (6, 12)


# Contours


@examples(40)
@given(masks(st.integers(0, 3), 7, 9), st.sampled_from([1, 3, 5, 7]))
def test_contours_are_the_loops(drawn, width):
    actual = contours(torch.from_numpy(drawn), width=width)
    assert actual.dtype == torch.bool
    np.testing.assert_array_equal(actual.numpy(), naive.contours(drawn, width))


@examples(40)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([3, 5, 7]), st.integers(0, 100))
def test_contours_by_a_square_larger_than_the_image_are_the_loops(height, width, square, seed):
    drawn = (uniform(2, height, width, seed=seed) < 0.5).numpy()
    np.testing.assert_array_equal(contours(torch.from_numpy(drawn), square).numpy(), naive.contours(drawn, square))


def test_contours_of_real_shapes_are_the_loops():
    proposals = load()["proposals"]
    np.testing.assert_array_equal(contours(proposals).numpy(), naive.contours(proposals.numpy()))


def test_the_contour_is_two_pixels_wide_on_either_side():
    inner = contours(rectangle(20, 20, 6, 14, 5, 15)[None])[0]
    assert torch.equal(inner, rectangle(20, 20, 4, 16, 3, 17) & ~rectangle(20, 20, 8, 12, 7, 13))


def test_the_border_of_the_image_is_no_contour():
    assert not contours(torch.ones(1, 6, 8, dtype=torch.bool)).any()
    assert not contours(torch.zeros(1, 6, 8, dtype=torch.bool)).any()
    half = contours(rectangle(6, 12, 0, 6, 0, 6)[None])[0]
    assert torch.equal(half, rectangle(6, 12, 0, 6, 4, 8))


@pytest.mark.parametrize("width", [0, 4, -3])
def test_a_contour_width_without_a_middle_is_named(width):
    with pytest.raises(ValueError, match="width"):
        contours(torch.ones(1, 4, 4, dtype=torch.bool), width=width)


@pytest.mark.parametrize("drawn", [torch.ones(4, 4, dtype=torch.bool), torch.full((1, 4, 4), 0.5)])
def test_bad_masks_are_named(drawn):
    with pytest.raises(ValueError, match="masks"):
        contours(drawn)


# Ranking


def test_ranking_of_the_authors_code():
    authors = load()
    saliency, proposals = authors["rank_saliency"], authors["proposals"]
    heat = authors["rank_response_times_saliency"] / saliency
    scores = rank_proposals(heat, saliency, proposals)
    assert scores.shape == (6, 30)
    best = scores.max(dim=1)
    close(best.values, authors["rank_best_score"])
    assert torch.equal(proposals[best.indices], authors["rank_best_mask"])


@examples(30)
@given(masks(st.integers(0, 4), 6, 5), st.integers(0, 100))
def test_ranking_is_the_loops(proposals, seed):
    heat, saliency = random(3, 6, 5, seed=seed), uniform(6, 5, seed=seed + 1)
    actual = rank_proposals(heat, saliency, torch.from_numpy(proposals), beta=0.3, gamma=0.05)
    expected = naive.rank_scores((heat * saliency).numpy(), saliency.numpy(), proposals, beta=0.3, gamma=0.05)
    assert actual.shape == expected.shape
    close(actual, expected)


def test_the_terms_of_equation_seven():
    heat, saliency = uniform(1, 12, 12, seed=1), uniform(12, 12, seed=2)
    proposal = rectangle(12, 12, 3, 9, 2, 7)
    response, edge = heat[0] * saliency, contours(proposal[None])[0]
    inside, along, outside = response[proposal].sum(), response[edge].sum(), (1 - saliency)[proposal].sum()
    for beta, gamma in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.8, 1e-5)]:
        scores = rank_proposals(heat, saliency, proposal[None], beta=beta, gamma=gamma)
        close(scores, (beta * inside + along - gamma * outside).reshape(1, 1))
    close(rank_proposals(heat, saliency, proposal[None]), (0.8 * inside + along - 1e-5 * outside).reshape(1, 1))


def test_proposals_outside_the_size_limits_never_win():
    heat, saliency = uniform(2, 10, 10, seed=3), uniform(10, 10, seed=4)
    fits = rectangle(10, 10, 0, 10, 0, 8)
    fits[:5, 8] = True  # 85 of 100 pixels: the limit itself is allowed
    too_large = fits.clone()
    too_large[5, 8] = True
    empty = torch.zeros(10, 10, dtype=torch.bool)
    single = rectangle(10, 10, 4, 5, 4, 5)
    scores = rank_proposals(heat, saliency, torch.stack([fits, too_large, empty, single]))
    assert torch.isneginf(scores).tolist() == [[False, True, True, False]] * 2


def test_the_lower_size_limit():
    # One pixel is less than 0.00002 of 250 x 250 = 62500 pixels, two are more.
    heat, saliency = torch.ones(1, 250, 250), torch.ones(250, 250)
    proposals = torch.stack([rectangle(250, 250, 9, 10, 9, 9 + pixels) for pixels in (1, 2)])
    assert torch.isneginf(rank_proposals(heat, saliency, proposals)).tolist() == [[True, False]]


def test_ranking_in_single_precision():
    heat, saliency = uniform(2, 200, 220, seed=5), uniform(200, 220, seed=6)
    proposals = torch.stack([rectangle(200, 220, 10, 150, 20, 200), rectangle(200, 220, 0, 40, 0, 220)])
    single = rank_proposals(heat.float(), saliency.float(), proposals).double()
    torch.testing.assert_close(single, rank_proposals(heat, saliency, proposals), rtol=1e-5, atol=0)


def test_nothing_to_rank():
    assert masked_sums(torch.ones(2, 4, 5), torch.ones(0, 4, 5, dtype=torch.bool)).shape == (2, 0)
    saliency = torch.ones(4, 5)
    assert rank_proposals(torch.ones(0, 4, 5), saliency, torch.ones(3, 4, 5, dtype=torch.bool)).shape == (
        0,
        3,
    )
    assert rank_proposals(torch.ones(2, 4, 5), saliency, torch.ones(0, 4, 5, dtype=torch.bool)).shape == (
        2,
        0,
    )


@pytest.mark.parametrize(
    "heat, saliency, proposals, name",
    [
        (torch.ones(4, 5), torch.ones(4, 5), torch.ones(3, 4, 5, dtype=torch.bool), "heat_maps"),
        (torch.ones(2, 4, 5), torch.ones(1, 4, 5), torch.ones(3, 4, 5, dtype=torch.bool), "saliency"),
        (torch.ones(2, 4, 5), torch.ones(5, 4), torch.ones(3, 4, 5, dtype=torch.bool), "saliency"),
        (torch.ones(2, 4, 5), torch.ones(4, 5), torch.ones(4, 5, dtype=torch.bool), "proposals"),
        (torch.ones(2, 4, 5), torch.ones(4, 5), torch.ones(3, 8, 5, dtype=torch.bool), "proposals"),
        (torch.ones(2, 4, 5), torch.ones(4, 5), torch.full((3, 4, 5), 0.5), "proposals"),
        (torch.ones(2, 4, 5, dtype=torch.long), torch.ones(4, 5), torch.ones(3, 4, 5, dtype=torch.bool), "heat_maps"),
        (torch.ones(2, 4, 5), torch.ones(4, 5, dtype=torch.long), torch.ones(3, 4, 5, dtype=torch.bool), "saliency"),
    ],
)
def test_bad_ranking_arguments_are_named(heat, saliency, proposals, name):
    with pytest.raises(ValueError, match=name):
        rank_proposals(heat, saliency, proposals)


# Suppression


def test_suppression_of_the_authors_code():
    authors = load()
    kept = indices(mask_nms(authors["nms_in_mask"], authors["nms_in_score"]))
    assert torch.equal(authors["nms_in_mask"][kept], authors["nms_out_mask"])
    assert torch.equal(authors["nms_in_score"][kept], authors["nms_out_score"])


@examples(80)
@given(masks(st.integers(0, 8), 3, 4), st.data(), st.sampled_from([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0]))
def test_suppression_is_the_loops(drawn, data, limit):
    scores = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(drawn), max_size=len(drawn))), dtype=float)
    kept = mask_nms(torch.from_numpy(drawn), torch.from_numpy(scores), iou=limit)
    assert indices(kept) == naive.mask_nms(drawn, scores, limit)


@pytest.mark.parametrize(
    "limit, inner, outer", [(0.4, 2, 5), (0.3, 3, 10), (0.6, 3, 5), (0.7, 7, 10), (0.1, 1, 10), (0.9, 9, 10)]
)
def test_an_overlap_at_the_limit_is_too_much(limit, inner, outer):
    small, large = rectangle(1, 10, 0, 1, 0, inner), rectangle(1, 10, 0, 1, 0, outer)
    pair, scores = torch.stack([small, large]), torch.tensor([1.0, 2.0])
    assert indices(mask_nms(pair, scores, iou=limit)) == [1]
    assert indices(mask_nms(pair, scores, iou=limit + 1e-3)) == [1, 0]


def test_a_suppressed_mask_suppresses_nothing():
    # b overlaps a, c overlaps b but not a: c stays, since b is gone.
    a, b, c = (rectangle(1, 20, 0, 1, left, left + 10) for left in (0, 4, 8))
    assert indices(mask_nms(torch.stack([c, b, a]), torch.tensor([1.0, 2.0, 3.0]))) == [2, 0]


def test_of_many_masks_with_one_score_the_first_comes_first():
    # So many that a sort which keeps no order would show.
    assert indices(mask_nms(torch.ones(400, 1, 2, dtype=torch.bool), torch.ones(400))) == [0]


def test_no_masks_to_suppress():
    assert indices(mask_nms(torch.zeros(0, 4, 5, dtype=torch.bool), torch.zeros(0))) == []


@pytest.mark.parametrize(
    "drawn, scores, name",
    [
        (torch.ones(4, 5, dtype=torch.bool), torch.ones(4), "masks"),
        (torch.full((3, 4, 5), 0.5), torch.ones(3), "masks"),
        (torch.ones(3, 4, 5, dtype=torch.bool), torch.ones(4), "scores"),
        (torch.ones(3, 4, 5, dtype=torch.bool), torch.ones(3, 1), "scores"),
    ],
)
def test_bad_suppression_arguments_are_named(drawn, scores, name):
    with pytest.raises(ValueError, match=name):
        mask_nms(drawn, scores)


# Noise filter


def test_noise_filter_of_the_authors_code():
    authors = load()
    kept = noise_filter([authors[f"eval_score_{k}"] for k in range(7)])
    assert [int(one.sum()) for one in kept] == authors["noise_filter_kept"].tolist()


@examples(100)
@given(
    st.lists(st.lists(st.integers(0, 6) | st.integers(0, 1000), max_size=5), max_size=6),
    st.sampled_from([0.0, 20.0, 50.0, 99.0, 100.0]),
)
def test_noise_filter_is_the_loops(scores, percentile):
    arrays = [np.array(one, dtype=float) / 8 for one in scores]
    actual = noise_filter([torch.from_numpy(one) for one in arrays], percentile=percentile)
    expected = naive.noise_filter(arrays, percentile)
    assert all(one.dtype == torch.bool for one in actual)
    assert [one.tolist() for one in actual] == [one.tolist() for one in expected]


def test_the_percentile_lies_between_midpoints():
    # Of seven scores the first is percentile 7.1 and the second 21.4: percentile 20 lies between them. The
    # other usual definition, 0 to 100 from the first to the last, puts it between the second and the third.
    assert noise_filter([torch.arange(7.0)])[0].tolist() == [False] + [True] * 6
    assert noise_filter([torch.arange(12.0)])[0].tolist() == [False] * 2 + [True] * 10
    assert noise_filter([torch.arange(10.0)])[0].tolist() == [False] * 2 + [True] * 8


def test_the_percentile_is_computed_in_double_precision():
    # The median 16777217 is no number of single precision; its neighbour, the first score, is below it.
    assert noise_filter([torch.tensor([16777216.0, 16777218.0])], percentile=50)[0].tolist() == [False, True]


def test_scores_equal_to_the_percentile_are_kept():
    kept = noise_filter([torch.tensor([0.1, 0.1]), torch.tensor([0.1, 0.7])])
    assert [one.tolist() for one in kept] == [[True, True], [True, True]]


def test_an_image_left_with_nothing_keeps_its_best():
    kept = noise_filter([torch.tensor([0.01, 0.02, 0.02]), torch.arange(10.0) + 1], percentile=50)
    assert kept[0].tolist() == [False, True, False]


def test_images_without_instances_stay_so():
    kept = noise_filter([torch.zeros(0), torch.tensor([1.0, 2.0])])
    assert kept[0].tolist() == []
    assert [one.tolist() for one in noise_filter([torch.zeros(0)])] == [[]]
    assert noise_filter([]) == []


@pytest.mark.parametrize("percentile", [-1.0, 100.5, 101.0, float("nan")])
def test_an_impossible_percentile_is_named(percentile):
    with pytest.raises(ValueError, match="percentile"):
        noise_filter([torch.tensor([1.0, 2.0])], percentile=percentile)


def test_bad_scores_are_named():
    with pytest.raises(ValueError, match="scores"):
        noise_filter([torch.zeros(2, 2)])


# Proposals that are unions of cells


def same_as_masks(labels, members, heat, saliency, tolerance=1e-4):
    ranker = RegionRanker(labels, members)
    masks_ = members[:, labels.flatten()].reshape(-1, *labels.shape)
    expected = rank_proposals(heat, saliency, masks_, beta=0.3, gamma=0.05)
    actual = ranker.scores(heat, saliency, beta=0.3, gamma=0.05)
    assert actual.shape == (len(heat), len(members))
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)
    chosen = torch.arange(len(members))
    assert torch.equal(ranker.masks(chosen.flip(0)), masks_.flip(0))


@examples(60)
@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5)),
    masks(st.integers(0, 5), 1, 6),
    st.integers(0, 3),
    st.integers(0, 100),
)
def test_ranking_unions_of_scattered_superpixels(labels, members, peaks, seed):
    heat, saliency = random(peaks, *labels.shape, seed=seed), uniform(*labels.shape, seed=seed + 1)
    same_as_masks(torch.from_numpy(labels), torch.from_numpy(members[:, 0]), heat.float(), saliency.float())


@examples(20)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_ranking_unions_of_compact_superpixels(seed, cells):
    # Cells of the nearest of some random points: large ones, many of them cut off at the border.
    points = uniform(cells, 2, seed=seed) * torch.tensor([40.0, 50.0])
    grid = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij"), -1).double()
    labels = (grid[:, :, None] - points).square().sum(-1).argmin(-1)
    members = uniform(9, cells, seed=seed + 1) < 0.4
    heat, saliency = uniform(2, 40, 50, seed=seed + 2), uniform(40, 50, seed=seed + 3)
    same_as_masks(labels, members, heat.float(), saliency.float())


def test_ranking_unions_in_double_precision():
    labels = torch.arange(48).reshape(6, 8) // 5
    members = uniform(7, 10, seed=1) < 0.5
    same_as_masks(labels, members, uniform(2, 6, 8, seed=2), uniform(6, 8, seed=3), tolerance=1e-12)


def test_ranking_one_cell_no_cell_used_and_nothing():
    heat, saliency = uniform(2, 6, 8, seed=4).float(), uniform(6, 8, seed=5).float()
    one = torch.zeros(6, 8, dtype=torch.long)
    same_as_masks(one, torch.tensor([[True], [False]]), heat, saliency)
    assert torch.isneginf(RegionRanker(one, torch.tensor([[True], [False]])).scores(heat, saliency)).all()
    halves = (torch.arange(8) > 3).long().expand(6, 8)
    # The third cell has no pixel.
    same_as_masks(halves, torch.tensor([[True, False, True], [False, False, True]]), heat, saliency)
    same_as_masks(halves, torch.zeros(0, 2, dtype=torch.bool), heat, saliency)
    same_as_masks(halves, torch.eye(2, dtype=torch.bool), heat[:0], saliency)


# Our default: times fit, times contrast


def patches(seed: int, cells: int = 12, proposals: int = 7, peaks: int = 3):
    """Compact cells of a 20 x 24 image, unions of them, heat maps and a co-saliency."""
    points = uniform(cells, 2, seed=seed) * torch.tensor([20.0, 24.0])
    grid = torch.stack(torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij"), -1).double()
    labels = (grid[:, :, None] - points).square().sum(-1).argmin(-1)
    members = uniform(proposals, cells, seed=seed + 1) < 0.3
    return labels, members, random(peaks, 20, 24, seed=seed + 2).float() + 0.5, uniform(20, 24, seed=seed + 3).float()


@pytest.mark.parametrize("seed", range(4))
def test_scores_by_fit_and_contrast_are_the_loops(seed):
    labels, members, heat, saliency = patches(seed)
    # Cells differ in co-saliency as a whole, so that some proposals stand out and some do not.
    saliency = saliency * uniform(12, seed=seed + 9).float()[labels]
    # Heat that sums to one is as much on a few pixels as on many: a weak peak's counts as much as a strong one's.
    heat = heat * torch.tensor([1.0, 30.0, 0.01])[:, None, None]
    ranker, arrays = RegionRanker(labels, members), [one.numpy() for one in (heat, saliency, labels, members)]
    groups = [[0], [1], [2], [0, 2], [0, 1, 2]]
    table = torch.tensor([[q in group for q in range(3)] for group in groups])
    for more, told in (
        ({}, {}),
        ({"groups": torch.eye(3, dtype=torch.bool), "power": 1.0}, {}),
        ({"power": 0.5}, {"power": 0.5}),
        ({"groups": table}, {"groups": groups}),
        ({"groups": table[3:4]}, {"groups": groups[3:4]}),
        ({"groups": table, "power": torch.tensor([1, 0.5, 2, 0.5, 0.3])}, {"groups": groups, "power": [1, 0.5, 2, 0.5, 0.3]}),
    ):
        actual = ranker.terms(heat, saliency, beta=0.6, gamma=1e-4, **more).score()
        expected = naive.distinct_scores(*arrays, beta=0.6, gamma=1e-4, **told)
        assert (expected > 1e-4).any()
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("first", [0, 1, 4])
def test_more_proposals_are_ranked_as_if_they_had_been_there(first):
    labels, members, heat, saliency = patches(5)
    whole, ranker = RegionRanker(labels, members), RegionRanker(labels, members[:first])
    before = ranker.terms(heat, saliency).score()
    more = ranker.extended(members[first:])
    assert torch.equal(more.scores(heat, saliency), whole.scores(heat, saliency))
    assert torch.equal(more.terms(heat, saliency).score(), whole.terms(heat, saliency).score())
    assert torch.equal(more.masks(torch.tensor([6])), whole.masks(torch.tensor([6])))
    assert torch.equal(ranker.terms(heat, saliency).score(), before)  # it is another ranker


@pytest.mark.parametrize("seed", range(4))
def test_level_sets_are_the_connected_cells_above_a_level(seed):
    labels = patches(seed, cells=30)[0]
    values = uniform(30, seed=seed + 9).float()
    ranker = RegionRanker(labels, uniform(2, 30, seed=seed) < 0.5)
    pairs = [*zip(labels[1:].flatten().tolist(), labels[:-1].flatten().tolist(), strict=True)]
    pairs += zip(labels[:, 1:].flatten().tolist(), labels[:, :-1].flatten().tolist(), strict=True)
    expected, used = set(), sorted(set(labels.flatten().tolist()))
    for level in LEVELS:
        above = {cell for cell in used if values[cell] > level * values[used].max()}
        while above:
            part, size = {min(above)}, 0
            while len(part) > size:
                size = len(part)
                part |= {b for a, b in [*pairs, *((b, a) for a, b in pairs)] if a in part and b in above}
            expected.add(frozenset(part))
            above -= part
    found = [frozenset(row.nonzero().flatten().tolist()) for row in ranker.level_sets(values[labels])]
    assert set(found) == expected and len(found) == len(expected) > len(LEVELS)


def test_level_sets_of_a_level_map_and_of_none():
    labels, members = patches(1)[:2]
    ranker = RegionRanker(labels, members)
    assert ranker.unions(ranker.level_sets(torch.full((20, 24), 0.4))).all((1, 2)).tolist() == [True]
    assert ranker.level_sets(torch.zeros(20, 24)).shape == (0, 12)


def test_heat_of_any_strength_scores_alike():
    labels, members, heat, saliency = patches(1)
    ranker = RegionRanker(labels, members)
    groups, power = torch.tensor([[True, False, False], [True, True, True]]), torch.tensor([1.0, 0.5])
    once = ranker.terms(heat, saliency, groups=groups, power=power).score()
    assert (once > 1e-4).any()
    for factors in ([1e4, 1e4, 1e4], [1e-4, 3.0, 100.0]):
        stronger = heat * torch.tensor(factors)[:, None, None]
        scores = ranker.terms(stronger, saliency, groups=groups, power=power).score()
        torch.testing.assert_close(scores, once, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("ranking", ["scores", "terms"])
def test_bad_maps_and_groups_are_named_in_both_rankings(ranking):
    score = getattr(RegionRanker(torch.zeros(4, 5, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool)), ranking)
    good = torch.ones(2, 4, 5), torch.ones(4, 5)
    for heat in (torch.ones(4, 5), torch.ones(2, 5, 4), torch.ones(2, 4, 5, dtype=torch.long)):
        with pytest.raises(ValueError, match="heat_maps"):
            score(heat, good[1])
    for saliency in (torch.ones(5, 4), torch.ones(4, 5, dtype=torch.long)):
        with pytest.raises(ValueError, match="saliency"):
            score(good[0], saliency)
    for groups in (torch.ones(2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool), torch.full((1, 2), 0.5)):
        with pytest.raises(ValueError, match="groups"):
            score(*good, groups=groups)


def test_a_groups_score_by_equation_seven_is_the_mean_of_its_peaks():
    labels, members, heat, saliency = patches(2)
    ranker = RegionRanker(labels, members)
    alone = ranker.scores(heat, saliency)
    groups = torch.tensor([[True, False, True], [False, True, False]])
    together = ranker.scores(heat, saliency, groups=groups)
    close(together, torch.stack([(alone[0] + alone[2]) / 2, alone[1]]))
    assert torch.equal(ranker.scores(heat, saliency, groups=torch.eye(3, dtype=torch.bool)), alone)


def test_the_shares_of_a_group_are_its_peaks_together():
    labels, members, heat, saliency = patches(3)
    ranker = RegionRanker(labels, members)
    alone = ranker.shares(heat, saliency)
    groups = torch.tensor([[True, False, True], [True, True, True]])
    together = ranker.shares(heat, saliency, groups)
    close(together[0], alone[0] + alone[2])
    # All peaks together have all of the co-saliency.
    mean = torch.tensor([float(saliency[labels == cell].mean()) for cell in range(12)])
    close(together[1], mean)


def halves_and_quarter():
    """An 8 x 8 image in four cells of two columns; the co-saliency is the two in the middle, a peak on each of them."""
    labels = (torch.arange(8) // 2).expand(8, 8)
    saliency = ((labels == 1) | (labels == 2)).float()
    heat = torch.stack([(labels == 1).float(), (labels == 2).float()])
    return labels, heat + 0.01, saliency


def test_peaks_divide_what_is_salient_among_themselves():
    labels, heat, saliency = halves_and_quarter()
    members = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0]]).bool()
    ranker = RegionRanker(labels, members)
    # By Eq. 7 a proposal with more in it is never worse for it; the fit makes each peak take its own half.
    assert ranker.scores(heat, saliency, gamma=0).argmax(1).tolist() != [0, 1]
    assert ranker.terms(heat, saliency).score().argmax(1).tolist() == [0, 1]


def test_what_does_not_stand_out_is_no_instance():
    labels, heat, saliency = halves_and_quarter()
    members = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0]]).bool()
    assert torch.isneginf(RegionRanker(labels, members).terms(heat, saliency).score()).tolist() == [[True, False]] * 2
    # But where nothing does, the photo is not left without anything.
    flat = RegionRanker(labels, members).terms(heat, torch.full((8, 8), 0.5)).score()
    assert torch.isfinite(flat).all()


def test_terms_can_be_left_out_of_the_score():
    labels, members, heat, saliency = patches(4)
    saliency, heat = saliency * uniform(12, seed=13).float()[labels], heat.clamp_min(0)
    ranker = RegionRanker(labels, members)
    terms = ranker.terms(heat, saliency)
    paper = ranker.scores(heat / heat.sum((1, 2), keepdim=True), saliency)
    assert torch.isfinite(paper).any() and torch.equal(torch.isfinite(paper).any(0), terms.usable)
    expected = torch.where(torch.isfinite(paper), paper.clamp_min(0), paper)
    close(terms.score(fit=False, contrast=False), expected)
    close(terms.score(contrast=False), expected * terms.fit**FIT_POWER)
    clear = terms.contrast >= 0.05
    assert clear.any() and not clear.all()
    close(terms.score(fit=False)[:, clear], (expected * terms.contrast)[:, clear])
    assert terms.fit.min() >= 0 and terms.fit.max() <= 1 and terms.contrast.abs().max() <= 1


def test_the_target_is_the_share_over_its_largest_value():
    labels, members, heat, saliency = patches(5)
    ranker, heat = RegionRanker(labels, members), heat.clamp_min(0)
    shares = ranker.shares(heat / heat.sum((1, 2), keepdim=True), saliency)
    expected = shares / shares.amax(1, keepdim=True).clamp_min(0.05)
    close(ranker.terms(heat, saliency).target, expected)
    close(ranker.terms(heat, saliency, power=0.5).target, expected.sqrt())


def test_the_sums_are_equation_seven_term_by_term():
    labels, members, heat, saliency = patches(6)
    sums, masks_ = RegionRanker(labels, members).sums(heat, saliency), members[:, labels]
    close(sums.inside, torch.einsum("qyx,kyx->qk", heat * saliency, masks_.float()))
    close(sums.contour, torch.einsum("qyx,kyx->qk", heat * saliency, contours(masks_).float()))
    close(sums.background, torch.einsum("yx,kyx->k", 1 - saliency, masks_.float()))
    close(sums.score(0.3, 0.05), 0.3 * sums.inside + sums.contour - 0.05 * sums.background)


def test_no_peaks_and_no_proposals_have_no_distinct_scores():
    labels, heat, saliency = halves_and_quarter()
    one = torch.tensor([[False, True, True, False]])
    assert RegionRanker(labels, one).terms(heat[:0], saliency).score().shape == (0, 1)
    assert RegionRanker(labels, one[:0]).terms(heat, saliency).score().shape == (2, 0)


def test_choosing_no_masks_of_unions():
    ranker = RegionRanker(torch.zeros(3, 4, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool))
    assert ranker.masks(torch.zeros(0, dtype=torch.long)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    "labels, members, name",
    [
        (torch.zeros(4, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool), "labels"),
        pytest.param(torch.full((4, 5), 3), torch.ones(2, 3, dtype=torch.bool), "labels"),
        pytest.param(torch.full((4, 5), -1), torch.ones(2, 3, dtype=torch.bool), "labels"),
        pytest.param(torch.full((4, 5), 0.5), torch.ones(2, 3, dtype=torch.bool), "labels"),
        (torch.zeros(4, 5, dtype=torch.long), torch.full((2, 3), 0.5), "members"),
        (torch.zeros(4, 5, dtype=torch.long), torch.ones(3, dtype=torch.bool), "members"),
    ],
)
def test_bad_unions_are_named(labels, members, name):
    with pytest.raises(ValueError, match=name):
        RegionRanker(labels, members)


@pytest.mark.parametrize(
    "heat, saliency, name",
    [
        (torch.ones(2, 4, 6), torch.ones(4, 5), "heat_maps"),
        (torch.ones(4, 5), torch.ones(4, 5), "heat_maps"),
        (torch.ones(2, 4, 5), torch.ones(5, 4), "saliency"),
    ],
)
def test_bad_maps_for_unions_are_named(heat, saliency, name):
    ranker = RegionRanker(torch.zeros(4, 5, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match=name):
        ranker.scores(heat, saliency)


def test_both_rankings_have_the_papers_weights_and_include_the_size_limits():
    # 17 of 20 cells are 85 % and one pixel of 50,000 is 0.002 %: both may win; a cell more and nothing may not.
    labels = torch.arange(20).reshape(4, 5).repeat_interleave(50, 0).repeat_interleave(50, 1)
    labels[0, 0] = 20
    members = torch.zeros(4, 21, dtype=torch.bool)
    members[0, [*range(17), 20]] = members[1, [*range(18), 20]] = members[2, 20] = True
    heat, saliency = uniform(2, 200, 250), uniform(200, 250, seed=1)
    masks_ = members[:, labels.flatten()].reshape(-1, 200, 250)
    response, edges, outside = heat * saliency, contours(masks_), 1 - saliency
    pairs = zip(masks_, edges, strict=True)
    sums = [0.8 * response[:, m].sum(1) + response[:, e].sum(1) - 1e-5 * outside[m].sum() for m, e in pairs]
    expected = torch.stack(sums, 1)
    for scores in (RegionRanker(labels, members).scores(heat, saliency), rank_proposals(heat, saliency, masks_)):
        assert torch.isfinite(scores).tolist() == [[True, False, True, False]] * 2
        torch.testing.assert_close(scores[:, [0, 2]], expected[:, [0, 2]], rtol=1e-5, atol=1e-6)
    assert within_size_limits(masks_).tolist() == [True, False, True, False]
    for one, fits in zip(members.split(1), [True, False, True, False], strict=True):
        assert torch.isfinite(RegionRanker(labels, one).terms(heat, saliency).score()).tolist() == [[fits]] * 2


def test_all_of_a_photo_of_one_pixel_is_too_much():
    assert within_size_limits(torch.ones(1, 1, 1, dtype=torch.bool)).tolist() == [False]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_may_be_whole_numbers_of_any_type(kind):
    labels, members, heat, saliency = patches(5)
    actual, expected = RegionRanker(labels.to(kind), members), RegionRanker(labels, members)
    assert torch.equal(actual.scores(heat, saliency), expected.scores(heat, saliency))
    assert torch.equal(actual.masks(torch.arange(7)), expected.masks(torch.arange(7)))


@pytest.mark.parametrize("ranking", ["scores", "default_scores"])
def test_both_rankings_of_unions_have_the_papers_weights(ranking):
    labels, members, heat, saliency = patches(7)
    score = ranking_of(RegionRanker(labels, members), ranking)
    assert torch.equal(score(heat, saliency), score(heat, saliency, beta=0.8, gamma=1e-5))
    assert not torch.equal(score(heat, saliency), score(heat, saliency, beta=0.8, gamma=2e-5))


@pytest.mark.parametrize("ranking", ["scores", "default_scores"])
@pytest.mark.parametrize("kinds", [("double", "double"), ("float", "double"), ("double", "float")])
def test_heat_and_saliency_may_be_of_either_precision(ranking, kinds):
    labels, members, heat, saliency = patches(4)
    score, groups = ranking_of(RegionRanker(labels, members), ranking), torch.tensor([[True, False, True]])
    for options in ({}, {"groups": groups}):
        actual = score(getattr(heat, kinds[0])(), getattr(saliency, kinds[1])(), **options)
        torch.testing.assert_close(actual, score(heat, saliency, **options).double(), rtol=1e-4, atol=1e-7)


def test_a_peak_without_heat_and_a_cell_without_pixels_change_nothing():
    labels, members, heat, saliency = patches(6)
    expected = RegionRanker(labels, members).terms(heat, saliency).score()
    more = torch.cat([members, torch.arange(7)[:, None] < 3], 1)  # the thirteenth cell is nowhere
    actual = RegionRanker(labels, more).terms(torch.cat([heat, torch.zeros(1, 20, 24)]), saliency).score()
    assert (expected > 0).any()
    close(actual[:3], expected)
    assert ((actual[3] == 0) | torch.isneginf(actual[3])).all()


def test_shares_of_single_pixels():
    # Two peaks of the same strength, one on the left and one on the right; nobody's heat is in the middle.
    ranker, saliency = RegionRanker(torch.arange(3)[None], torch.ones(1, 3, dtype=torch.bool)), torch.tensor([[0.2, 0.4, 0.6]])
    heat = torch.tensor([[[5.0, -9, 0]], [[-1, 0, 7]], [[0, -2, 0]]])
    close(ranker.shares(heat, saliency), torch.tensor([[0.2, 0, 0], [0, 0, 0.6], [0, 0, 0]]))


@pytest.mark.parametrize("seed", range(2))
def test_scores_by_fit_and_contrast_where_everything_is_faint_are_the_loops(seed):
    labels, members, heat, saliency = patches(seed)
    saliency = 0.04 * saliency * uniform(12, seed=seed + 9).float()[labels]
    actual = RegionRanker(labels, members).terms(heat, saliency, beta=0.6, gamma=0.0).score()
    expected = naive.distinct_scores(*[one.numpy() for one in (heat, saliency, labels, members)], beta=0.6, gamma=0.0)
    assert (expected > 1e-9).any()
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=1e-12)


def test_distinct_scores_are_never_below_zero():
    labels, heat, saliency = halves_and_quarter()
    bright, dark = torch.tensor([[0, 1, 1, 0]]).bool(), torch.tensor([[1, 0, 0, 0]]).bool()
    # Where the background weighs more than all else, and where the only proposal is darker than what is around it.
    for members, gamma in ((bright, 10.0), (dark, 0.0)):
        scores = RegionRanker(labels, members).terms(heat, saliency - 0.1 * (saliency > 0), gamma=gamma).score()
        assert (scores >= 0).all()


def test_standing_out_by_a_twentieth_is_enough():
    saliency = torch.tensor([[0, 0.05, 0, 0, 1, 0, 0, 0.04, 0]])
    ranker = RegionRanker(torch.arange(9)[None], torch.eye(9, dtype=torch.bool)[[1, 4, 7]])
    assert torch.isfinite(ranker.terms(torch.ones(1, 1, 9), saliency).score()).tolist() == [[True, True, False]]


def test_scores_of_nan_are_refused():
    masks = torch.eye(2, dtype=torch.bool)[:, None]
    with pytest.raises(ValueError, match="scores must be numbers that can be ordered, got NaN"):
        mask_nms(masks, torch.tensor([0.5, float("nan")]))
    assert mask_nms(masks, torch.tensor([-torch.inf, 0.5])).tolist() == [1, 0]  # as rank_proposals gives them


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_the_noise_filter_wants_finite_scores(odd):
    with pytest.raises(ValueError, match=rf"scores\[1\] must be finite, got {odd}"):
        noise_filter([torch.tensor([0.5]), torch.tensor([0.1, odd])])


def test_level_sets_are_cut_at_three_levels_unless_told_otherwise():
    # Neighbouring columns of ever lower co-saliency: a level more, or another, gives other sets.
    ranker = RegionRanker(torch.arange(10)[None], torch.ones(1, 10, dtype=torch.bool))
    found = ranker.level_sets(torch.arange(10, 0, -1)[None] / 10)
    assert sorted(found.sum(1).tolist()) == [3, 5, 7]
    with pytest.raises(ValueError, match="saliency must be of a floating-point type"):
        ranker.level_sets(torch.arange(10)[None])


def test_the_sums_have_the_papers_weights():
    labels, members, heat, saliency = patches(4)
    sums = RegionRanker(labels, members).sums(heat, saliency)
    assert torch.equal(sums.score(), 0.8 * sums.inside + sums.contour - 1e-5 * sums.background)


def test_fit_and_contrast_of_no_pixel_of_all_and_of_one_border():
    labels = torch.tensor([[0, 1]])
    ranker = RegionRanker(labels, torch.tensor([[False, False], [True, True], [True, False]]))
    terms = ranker.terms(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[0.75, 0.25]]))
    assert terms.contrast.tolist() == [0, 0.5, 0.5]  # nothing lies outside of all; 0.75 inside less 0.25 outside
    nothing = ranker.terms(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 2))
    assert nothing.fit.tolist() == [[0, 0, 0]] and nothing.contrast.tolist() == [0, 0, 0]


def test_shares_do_not_depend_on_how_much_heat_a_peak_has():
    labels, members, heat, saliency = patches(5)
    ranker, heat = RegionRanker(labels, members), heat.clamp_min(0)
    close(ranker.shares(heat * torch.tensor([1.0, 7.0, 0.1])[:, None, None], saliency), ranker.shares(heat, saliency))
