"""Refined outlines: the cut against all sets there are, the energy against loops, and what the outline of a mask does."""

import itertools
import math

import numpy as np
import pytest
import torch
from draws import examples
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab
from skimage.segmentation import slic

from co3lib.beyond.refinement import SMOOTH, TRUST, WINDOW, RegionRefiner, minimum_cut, one_piece
from co3lib.overlap import mask_iou

RED, GREEN, BLUE = (200, 30, 30), (40, 160, 60), (40, 60, 200)


def gain(chosen, evidence, first, second, cost) -> float:
    """What a set is worth, by loops."""
    kept = sum(one for one, inside in zip(evidence, chosen, strict=True) if inside)
    return kept - sum(c for a, b, c in zip(first, second, cost, strict=True) if chosen[a] != chosen[b])


@examples(80)
@given(st.integers(1, 8), st.integers(0, 12), st.integers(0, 10_000))
def test_no_set_is_better_than_the_minimum_cut(things, pairs, seed):
    random = np.random.default_rng(seed)
    evidence = np.round(random.normal(size=things) * 2, 3)
    first, second = random.integers(0, things, (2, pairs))
    cost = np.round(random.uniform(0, 2, pairs), 3)
    chosen = minimum_cut(evidence, first, second, cost)
    assert chosen.shape == (things,) and chosen.dtype == bool
    every = [gain(one, evidence, first, second, cost) for one in itertools.product([False, True], repeat=things)]
    assert gain(chosen, evidence, first, second, cost) == pytest.approx(max(every), abs=1e-9)


def test_of_equal_sets_the_smallest():
    nothing = np.zeros(0, int)
    assert minimum_cut(np.array([1.0, 0.0, -1.0]), nothing, nothing, np.zeros(0)).tolist() == [True, False, False]
    assert not minimum_cut(np.zeros(3), np.array([0, 1]), np.array([1, 2]), np.ones(2)).any()


def test_of_a_mask_in_pieces_the_largest_stays():
    mask = torch.zeros(2, 30, 40, dtype=torch.bool)
    mask[0, 2:12, 2:12] = mask[0, 12:14, 12:14] = mask[0, 20:25, 30:38] = True  # the second touches the first at a corner
    mask[0, 4:6, 4:9] = mask[0, 0, 39] = False  # a hole of a ninth of what is left
    mask[1, 5, 5:8] = True
    kept = one_piece(mask)
    expected = mask.clone()
    expected[0, 12:14, 12:14] = expected[0, 20:25, 30:38] = False
    assert torch.equal(kept, expected)
    mask[0, 4, 4] = True  # and now one of a tenth
    expected[0, 2:12, 2:12] = True
    assert torch.equal(one_piece(mask), expected)
    assert torch.equal(one_piece(expected), expected)
    assert one_piece(mask[:0]).shape == (0, 30, 40)
    assert not one_piece(torch.zeros(1, 3, 3, dtype=torch.bool)).any()


def tiles(colours, side: int = 12) -> tuple[torch.Tensor, np.ndarray]:
    """A photo of square superpixels, each of one colour: labels (H, W) and pixels (H, W, 3)."""
    colours = np.array(colours, np.uint8)
    rows, columns = colours.shape[:2]
    labels = np.arange(rows * columns).reshape(rows, columns).repeat(side, 0).repeat(side, 1)
    return torch.from_numpy(labels), colours.reshape(-1, 3)[labels]


def energy(chosen, inside, share, colours, side: int) -> float:
    """The energy that ``refine`` documents, by loops over tiles all of whose middles are within reach."""
    rows, columns = inside.shape
    lab = rgb2lab(np.array(colours, np.uint8))
    cells = list(itertools.product(range(rows), range(columns)))

    def density(cell, part):
        near = [math.exp(-float(((lab[cell] - lab[other]) ** 2).sum()) / (2 * 8.0**2)) for other in part]
        return sum(near) / len(near) + 1e-4

    mask, around = [c for c in cells if inside[c]], [c for c in cells if not inside[c]]
    means = [sum(share[c] for c in part) / len(part) for part in (mask, around)]
    middle = sum(means) / 2
    total = 0.0
    for cell in cells:
        colour = min(max(math.log(density(cell, mask) / density(cell, around)), -3), 3)
        shared = min(max((share[cell] - middle) / max(means[0] - middle, 0.02), -2), 2)
        if chosen[cell]:
            total -= side * (colour + shared + (TRUST if inside[cell] else -TRUST))
        for down, right in ((1, 0), (0, 1)):
            beside = cell[0] + down, cell[1] + right
            if beside in cells and chosen[cell] != chosen[beside]:
                total += SMOOTH * side * math.exp(-float(np.linalg.norm(lab[cell] - lab[beside])) / 10)
    return total


@pytest.mark.parametrize("seed", range(8))
def test_the_refined_mask_has_the_least_energy_of_all(seed):
    random = np.random.default_rng(seed)
    # Two rows of few tiles: from a mask of both ends everything is within reach.
    colours = np.clip(random.choice([60, 90, 120], (2, 4, 1)) + random.integers(-25, 25, (2, 4, 3)), 0, 255)
    inside = random.random((2, 4)) < 0.4
    inside[0, 0] = inside[1, 3] = True
    inside[1, 0] = False
    share = random.random((2, 4)) * 0.8 + 0.2 * inside
    labels, pixels = tiles(colours)
    refined = RegionRefiner(labels, pixels).refine(
        torch.from_numpy(inside.reshape(1, -1)), torch.from_numpy(share.reshape(1, -1))
    )
    least = min(
        energy(np.reshape(one, (2, 4)), inside, share, colours, 12)
        for one in itertools.product([False, True], repeat=8)
        if any(one)
    )
    assert energy(refined.numpy().reshape(2, 4), inside, share, colours, 12) == pytest.approx(least, abs=0.05)


def disc(size: int = 120, radius: int = 30, middle=(60, 60)) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2


def scene(*discs: np.ndarray, colour=RED):
    """Noisy red discs on green, and their superpixels."""
    pixels = np.where(np.any(discs, 0)[..., None], colour, GREEN) + np.random.default_rng(0).integers(-15, 15, (120, 120, 3))
    pixels = pixels.clip(0, 255).astype(np.uint8)
    labels = torch.from_numpy(slic(pixels, 300, compactness=10, start_label=0))
    return labels, pixels


def region(labels: torch.Tensor, mask: np.ndarray) -> torch.Tensor:
    """The superpixels that are mostly in a mask: (1, S)."""
    inside = torch.bincount(labels[torch.from_numpy(mask)], minlength=int(labels.max()) + 1)
    return (inside / torch.bincount(labels.flatten()) > 0.5)[None]


def iou(labels: torch.Tensor, regions: torch.Tensor, mask: np.ndarray) -> float:
    return float(mask_iou(regions[:, labels], torch.from_numpy(mask)[None])[0, 0])


@pytest.mark.parametrize("wrong", ["a part of it", "more than it"])
def test_an_outline_moves_to_where_the_colours_change(wrong):
    truth = disc()
    labels, pixels = scene(truth)
    mask = truth & (np.indices(truth.shape)[1] < 68) if wrong == "a part of it" else disc(radius=38)
    start, even = region(labels, mask), torch.full((1, int(labels.max()) + 1), 0.5)
    refined = RegionRefiner(labels, pixels).refine(start, even)
    assert iou(labels, start, truth) < 0.75
    assert iou(labels, refined, truth) > 0.9


def test_a_peaks_share_keeps_a_neighbour_of_like_colour_out():
    left, right = disc(radius=22, middle=(60, 40)), disc(radius=9, middle=(60, 75))
    labels, pixels = scene(left, right)
    start = region(labels, left)
    share = torch.where(region(labels, right), 0.1, torch.where(start, 0.8, 0.0))
    refiner = RegionRefiner(labels, pixels)
    refined = refiner.refine(start, share)
    assert iou(labels, refined, left) > 0.85
    assert not (refined[:, labels] & torch.from_numpy(right)).any()
    # Were the share on both, the mask would take as much of the other one as its superpixels have.
    both = refiner.refine(start, torch.where(region(labels, right), 0.8, share))
    assert (both[:, labels] & torch.from_numpy(right)).sum() > 0.4 * right.sum()


def test_what_is_far_away_stays_out():
    near, far = disc(radius=12, middle=(25, 25)), disc(radius=12, middle=(100, 100))
    labels, pixels = scene(near, far)
    start = region(labels, near)
    share = (start | region(labels, far)).float()
    refined = RegionRefiner(labels, pixels).refine(start, share)
    assert iou(labels, refined, near) > 0.8
    assert not (refined[:, labels] & torch.from_numpy(far)).any()
    rows = np.flatnonzero(refined[0][labels].any(1).numpy())
    assert rows.max() < 37 + WINDOW * 26 + 120 / 64 + 8  # and half a superpixel


def test_masks_are_refined_one_by_one_whatever_stands_beside_them():
    labels, pixels = scene(disc(radius=20, middle=(60, 40)), disc(radius=20, middle=(60, 85)))
    refiner, count = RegionRefiner(labels, pixels), int(labels.max()) + 1
    regions = torch.cat([region(labels, disc(radius=14, middle=(60, x))) for x in (40, 85)])
    shares = torch.rand(2, count, generator=torch.Generator().manual_seed(0))
    before = regions.clone()
    both = refiner.refine(regions, shares)
    assert torch.equal(regions, before)
    assert torch.equal(both, torch.cat([refiner.refine(regions[k : k + 1], shares[k : k + 1]) for k in (0, 1)]))
    assert torch.equal(refiner.refine(regions.flip(0), shares.flip(0)), both.flip(0))


def test_a_mask_that_would_vanish_or_has_nothing_around_it_stays():
    labels, pixels = tiles([[GREEN, GREEN, GREEN], [GREEN, RED, GREEN], [GREEN, GREEN, GREEN]])
    refiner = RegionRefiner(labels, pixels)
    # A green tile of which no share is in it: everything speaks against it.
    lost, against = torch.zeros(1, 9, dtype=torch.bool), torch.ones(1, 9)
    lost[0, 0], against[0, 0] = True, 0.0
    assert torch.equal(refiner.refine(lost, against), lost)
    everything = torch.ones(1, 9, dtype=torch.bool)
    assert torch.equal(refiner.refine(everything, torch.rand(1, 9)), everything)
    nothing = torch.zeros(1, 9, dtype=torch.bool)
    assert torch.equal(refiner.refine(nothing, torch.rand(1, 9)), nothing)
    assert refiner.refine(nothing[:0], torch.zeros(0, 9)).shape == (0, 9)


def test_superpixels_without_a_pixel_change_nothing():
    labels, pixels = tiles([[RED, RED, GREEN, GREEN], [RED, GREEN, GREEN, BLUE]])
    start, share = torch.zeros(1, 8, dtype=torch.bool), torch.linspace(1, 0, 8)[None]
    start[0, 0] = True
    expected = RegionRefiner(labels, pixels).refine(start, share)
    more = RegionRefiner(labels, pixels, 10).refine(
        torch.cat([start, torch.tensor([[True, False]])], 1), torch.cat([share, torch.tensor([[1.0, 1.0]])], 1)
    )
    assert torch.equal(more[:, :8], expected) and not more[:, 8:].any()


def test_a_photo_of_one_superpixel():
    labels, pixels = tiles([[RED]])
    one = torch.ones(1, 1, dtype=torch.bool)
    assert torch.equal(RegionRefiner(labels, pixels).refine(one, torch.ones(1, 1)), one)


def test_what_does_not_fit_is_named():
    labels, pixels = tiles([[RED, GREEN]])
    with pytest.raises(ValueError, match="pixels"):
        RegionRefiner(labels, pixels[:, :5])
    with pytest.raises(ValueError, match="labels"):
        RegionRefiner(labels - 1, pixels)
    with pytest.raises(ValueError, match="labels"):
        RegionRefiner(labels, pixels, 1)
    with pytest.raises(ValueError, match="labels"):
        RegionRefiner(labels.float(), pixels)
    refiner = RegionRefiner(labels, pixels)
    with pytest.raises(ValueError, match="regions"):
        refiner.refine(torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 3))
    with pytest.raises(ValueError, match="shares"):
        refiner.refine(torch.ones(1, 2, dtype=torch.bool), torch.ones(2, 2))
