"""Proposals: what they must find, in which order, and on which odd photos they must not fall."""

import numpy as np
import pytest
import torch

from co3lib.overlap import mask_iou
from co3lib.proposals import Regions, propose, propose_regions, regions_of


def scene(height=120, width=160, seed=0):
    """A red disc and a small blue square on noisy green, and their masks (2, H, W)."""
    rows, columns = np.indices((height, width))
    disc = (rows - 60) ** 2 + (columns - 60) ** 2 < 30**2
    square = (abs(rows - 90) < 5) & (abs(columns - 130) < 5)
    image = np.empty((height, width, 3))
    image[:] = (60, 140, 60)
    image[disc], image[square] = (190, 50, 40), (40, 60, 190)
    image += np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), torch.from_numpy(np.stack([disc, square]))


def test_things_of_both_sizes_have_a_proposal_among_the_first():
    image, things = scene()
    proposals = propose(image, 50)
    assert proposals.dtype == torch.bool
    assert proposals.shape[1:] == things.shape[1:]
    assert (mask_iou(proposals, things).amax(0) > 0.9).all()


def test_a_thing_of_two_parts_has_a_proposal_as_a_whole_and_in_parts():
    image, _ = scene()
    image[40:80, 100:120], image[40:80, 120:140] = (230, 200, 40), (40, 40, 40)
    parts = torch.zeros(3, 120, 160, dtype=torch.bool)
    parts[0, 40:80, 100:120] = parts[1, 40:80, 120:140] = True
    parts[2] = parts[0] | parts[1]
    assert (mask_iou(propose(image, 500), parts).amax(0) > 0.85).all()


def test_fewer_proposals_are_the_first_of_more():
    image, _ = scene()
    few, many = propose_regions(image, 20), propose_regions(image, 200)
    assert len(few.members) == 20
    assert len(many.members) > 20
    assert torch.equal(few.members, many.members[:20])


def test_proposals_are_deterministic_and_none_repeats_another():
    image, _ = scene()
    proposals = propose(image, 300)
    assert torch.equal(proposals, propose(image.copy(), 300))
    overlap = mask_iou(proposals, proposals).fill_diagonal_(0)
    assert overlap.max() <= 0.7 + 1e-6


def test_no_proposal_is_nearly_the_whole_photo():
    image, _ = scene()
    share = propose(image).float().mean((1, 2))
    assert share.max() < 0.72
    assert share.min() > 1e-4


def test_a_large_photo_is_worked_at_a_bounded_size():
    image, things = scene()
    large = image.repeat(8, 0).repeat(8, 1)
    regions = propose_regions(large, 60)
    assert max(regions.labels.shape) <= 400
    masks = regions.masks((960, 1280))
    assert (mask_iou(masks, things.repeat_interleave(8, 1).repeat_interleave(8, 2)).amax(0) > 0.85).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 3), (1, 700), (5, 5)])
@pytest.mark.parametrize("noise", [False, True])
def test_tiny_and_thin_photos_have_proposals(shape, noise):
    image = np.full((*shape, 3), 90, np.uint8)
    if noise:
        image = np.random.default_rng(1).integers(0, 256, image.shape).astype(np.uint8)
    proposals = propose(image, 10)
    assert 1 <= len(proposals) <= 10
    assert proposals.shape[1:] == shape
    assert proposals.flatten(1).any(1).all()


def test_a_photo_without_edges_has_one_proposal_the_whole():
    assert torch.equal(propose(np.full((40, 50, 3), 200, np.uint8)), torch.ones(1, 40, 50, dtype=torch.bool))


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 5), np.uint8), np.zeros((0, 8, 3), np.uint8), "photo.jpg"],
)
def test_what_is_no_photo_is_refused_by_name(image):
    with pytest.raises(ValueError, match="image must be a uint8 array"):
        propose(image)


def test_a_limit_under_one_is_refused():
    with pytest.raises(ValueError, match="limit"):
        propose(scene()[0], 0)


def test_masks_of_regions_take_any_size():
    regions = Regions(torch.tensor([[0, 1], [2, 1]]), torch.tensor([[True, False, True], [False, True, False]]))
    assert torch.equal(regions.masks(), torch.tensor([[[1, 0], [1, 0]], [[0, 1], [0, 1]]]).bool())
    assert torch.equal(regions.masks((4, 4))[0], torch.tensor([[1, 1, 0, 0]] * 4).bool())


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_ready_made_masks_survive_the_compact_form(count):
    masks = torch.rand(count, 13, 17, generator=torch.Generator().manual_seed(count)) > 0.6
    regions = regions_of(masks)
    assert regions.labels.shape == (13, 17)
    assert torch.equal(regions.masks(), masks)


def test_pixels_in_the_same_masks_share_a_superpixel():
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, :4], masks[1, :, :4] = True, True
    assert regions_of(masks).members.shape == (2, 4)
