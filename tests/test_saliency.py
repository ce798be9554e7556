"""Saliency priors: what they must set apart, and on which odd photos they must not fall."""

import numpy as np
import pytest
import torch

from co3lib.saliency import _barrier_distance, class_prior, recognized_prior, saliency_prior


def disc_photo(seed=0, center=(50, 90)):
    """A red disc on noisy green that fades from left to right, and the disc's mask."""
    rows, columns = np.indices((110, 150))
    disc = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < 25**2
    image = np.empty((110, 150, 3))
    image[:] = (60, 150, 60)
    image += (columns / 150 * 50)[..., None]
    image[disc] = (190, 60, 40)
    image += np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), torch.from_numpy(disc)


def test_a_thing_away_from_the_border_stands_out_from_a_shaded_ground():
    image, disc = disc_photo()
    prior = saliency_prior(image)
    assert prior.dtype == torch.float32
    assert prior.shape == disc.shape
    assert prior.min() >= 0
    assert prior.max() <= 1
    assert prior[disc].mean() > 0.8
    assert prior[~disc].mean() < 0.2
    found = prior > 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.8


def test_what_reaches_the_border_is_background():
    image, disc = disc_photo(center=(20, 90))
    prior = saliency_prior(image, "minimum_barrier")
    assert prior[disc].mean() < 0.3


def test_enlarging_a_photo_enlarges_its_prior():
    image, disc = disc_photo()
    large = saliency_prior(image.repeat(6, 0).repeat(6, 1))
    assert large.shape == (660, 900)
    disc = disc.repeat_interleave(6, 0).repeat_interleave(6, 1)
    assert large[disc].mean() > 0.8
    assert large[~disc].mean() < 0.2


def test_the_prior_is_deterministic():
    image, _ = disc_photo()
    assert torch.equal(saliency_prior(image), saliency_prior(image.copy()))


def test_faint_noise_is_no_saliency():
    image = np.random.default_rng(0).integers(127, 130, (60, 80, 3)).astype(np.uint8)
    assert saliency_prior(image).max() < 0.5
    assert not saliency_prior(np.full((60, 80, 3), 128, np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 700), (7, 5)])
def test_tiny_and_thin_photos_have_a_prior(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    prior = saliency_prior(image)
    assert prior.shape == shape
    assert prior.isfinite().all()


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 5), np.uint8), np.zeros((0, 8, 3), np.uint8)]
)
def test_what_is_no_photo_is_refused_by_name(image):
    with pytest.raises(ValueError, match="image must be a uint8 array"):
        saliency_prior(image)


def test_barrier_is_the_least_range_on_a_path_and_not_its_length():
    # 0 - 1 - 2 - 3, and a detour 0 - 4 - 3 with a peak; the seed is 0.
    neighbours = [[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]
    values = np.array([0.0, 1.0, -1.0, 0.5, 5.0])
    assert np.allclose(_barrier_distance(values, neighbours, np.array([0])), [0, 1, 2, 2, 5])


def descriptors(count=4):
    """Features whose one direction marks a block off the border of every grid, and the block: (N, 6, 8, 8), (8, 8)."""
    generator = torch.Generator().manual_seed(0)
    features = 0.1 * torch.randn(count, 6, 8, 8, generator=generator)
    block = torch.zeros(8, 8, dtype=torch.bool)
    block[2:5, 3:6] = True
    features[:, 2, block] -= 3
    return features, block


def test_class_prior_finds_what_recurs_whatever_its_sign():
    features, block = descriptors()
    for sign in (1, -1):
        prior = class_prior(sign * features)
        assert prior.shape == (4, 8, 8)
        assert prior[:, block].min() > 0.5
        assert prior[:, ~block].max() < 0.2
        assert prior.max() <= 1


def test_class_prior_is_weighted_by_the_photos_own_saliency():
    features, block = descriptors(2)
    rows, columns = np.indices((80, 80)) // 10
    photo = np.full((80, 80, 3), 100, np.uint8)
    there = photo.copy()
    there[block.numpy()[rows, columns]] = (220, 40, 40)
    prior = class_prior(features, [there, photo])
    assert prior[0][block].mean() > 2 * prior[1][block].mean()
    assert prior[1][block].mean() > 0.2


def test_class_prior_wants_a_photo_per_feature_map():
    features, _ = descriptors(2)
    with pytest.raises(ValueError, match="features has 2, images has 1"):
        class_prior(features, [disc_photo()[0]])


def street(count=5, classes=20):
    """Photos with a large area that varies most and a small block that the classifier names.

    Returns features at two scales, logits likewise, and the block (8, 8)."""
    generator = torch.Generator().manual_seed(3)
    block = torch.zeros(8, 8, dtype=torch.bool)
    block[3:5, 2:5] = True
    features = 0.1 * torch.randn(count, 6, 8, 8, generator=generator)
    features[:, 0, 2:7, 1:7] += 5  # the road: most of the variance
    features[:, 4, block] += 2
    logits = torch.zeros(count, classes, 8, 8)
    logits[:, 7, block] = 12
    finer = [torch.nn.functional.interpolate(maps, scale_factor=2) for maps in (features, logits)]
    return [features, finer[0]], [logits, finer[1]], block


def test_recognized_prior_finds_what_the_photos_are_recognized_by():
    features, logits, block = street()
    component = class_prior(features[0])
    assert component[:, block].mean() < 1.1 * component[:, 2:7, 1:7].mean()  # the component alone shows the road
    prior = recognized_prior(features, logits)
    assert prior.shape == (5, 16, 16) and prior.min() >= 0 and prior.max() <= 1
    large = block.repeat_interleave(2, 0).repeat_interleave(2, 1)
    # Nearly four: the block's own component, the second, is taken; a mixture with the first, the road, gives 1.8.
    assert prior[:, large].mean() > 3 * prior[:, 4:14, 2:14].mean()


def test_recognized_prior_takes_the_end_of_a_component_that_the_classifier_names():
    """The inner half of the photos is one end of the only component, the border the other; the classifier names the border."""
    features = 0.01 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0, 2:6, 2:6] += 3
    logits = torch.zeros(4, 9, 8, 8)
    logits[:, 5] = 12
    logits[:, 5, 2:6, 2:6] = 0
    prior = recognized_prior([features], [logits])
    assert prior[:, 0].min() > 0.9 and prior[:, 2:6, 2:6].max() < 0.1


def test_recognized_prior_without_evidence_is_the_first_component():
    features = 0.01 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0, 2:6, 2:6] += 3
    prior = recognized_prior([features], [torch.zeros(4, 9, 8, 8)])
    assert prior[:, 2:6, 2:6].min() > 0.9 and prior[:, 0].max() < 0.1


def test_recognized_prior_at_one_scale():
    features, logits, block = street()
    prior = recognized_prior(features[:1], logits[:1])
    assert prior.shape == (5, 8, 8)
    assert prior[:, block].min() > prior[:, ~block].max()


def test_recognized_prior_wants_as_many_scales_of_both():
    features, logits, _ = street(2)
    with pytest.raises(ValueError, match="features has 2, logits has 1"):
        recognized_prior(features, logits[:1])
