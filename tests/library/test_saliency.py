"""Saliency priors: what they must set apart, and on which odd photos they must not fall."""

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, random

from co3lib.beyond.priors import certainty_by_scale, class_evidence, classifier_prior, ddt_prior, shared_classes
from co3lib.saliency import _barrier_distance, saliency_prior


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


def test_ddt_prior_finds_what_recurs_whatever_its_sign():
    features, block = descriptors()
    for sign in (1, -1):
        prior = ddt_prior(sign * features)
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
    prior = ddt_prior(features, [there, photo])
    assert prior[0][block].mean() > 2 * prior[1][block].mean()
    assert prior[1][block].mean() > 0.2


def test_class_prior_wants_a_photo_per_feature_map():
    features, _ = descriptors(2)
    with pytest.raises(ValueError, match="features has 2, images has 1"):
        ddt_prior(features, [disc_photo()[0]])


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


def probabilities(logits):
    return [one.softmax(1) for one in logits]


def test_classifier_prior_finds_what_the_photos_are_recognized_by():
    features, logits, block = street()
    component = ddt_prior(features[0])
    assert component[:, block].mean() < 1.1 * component[:, 2:7, 1:7].mean()  # the component alone shows the road
    prior = classifier_prior(features, probabilities(logits))
    assert prior.shape == (5, 16, 16) and prior.min() >= 0 and prior.max() <= 1
    large = block.repeat_interleave(2, 0).repeat_interleave(2, 1)
    # 2.9: the block's own component, the second, counts most, by the square of its correlation with the classifier. Counted
    # by the correlation itself the first, the road, leaves 2.5; as much as the others it leaves 1.9.
    assert prior[:, large].mean() > 2.8 * prior[:, 4:14, 2:14].mean()
    assert prior[:, large].mean() > 0.85


def test_recognized_prior_takes_the_end_of_a_component_that_the_classifier_names():
    """The inner half of the photos is one end of the only component, the border the other; the classifier names the border."""
    features = 0.01 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0, 2:6, 2:6] += 3
    logits = torch.zeros(4, 9, 8, 8)
    logits[:, 5] = 12
    logits[:, 5, 2:6, 2:6] = 0
    prior = classifier_prior([features], probabilities([logits]))
    assert prior[:, 0].min() > 0.9 and prior[:, 2:6, 2:6].max() < 0.1


def test_recognized_prior_without_evidence_is_the_first_component():
    features = 0.01 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0, 2:6, 2:6] += 3
    prior = classifier_prior([features], probabilities([torch.zeros(4, 9, 8, 8)]))
    assert prior[:, 2:6, 2:6].min() > 0.9 and prior[:, 0].max() < 0.1


def test_recognized_prior_at_one_scale():
    features, logits, block = street()
    prior = classifier_prior(features[:1], probabilities(logits[:1]))
    assert prior.shape == (5, 8, 8)
    assert prior[:, block].min() > prior[:, ~block].max()


def test_recognized_prior_wants_as_many_scales_of_both():
    features, logits, _ = street(2)
    with pytest.raises(ValueError, match="features has 2, likely has 1"):
        classifier_prior(features, probabilities(logits[:1]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_classifier_prior_is_the_loops(seed, count):
    """Seven channels, of which five components count; three scales, of which the first says which end is the inner one."""
    features = [random(count, 7, side, side, seed=seed + side) for side in (4, 8, 16)]
    logits = [2 * random(count, 11, side, side, seed=seed - side) for side in (4, 8, 16)]
    for one, named in zip(features, logits, strict=True):
        side = one.shape[2]
        middle = slice(side // 4, side // 2), slice(side // 4, side - side // 4)
        one[:, 3, *middle] += 2.5
        one[:, 5, side // 2 :] += 4
        named[:, 6, *middle] += 5
    actual = classifier_prior(features, probabilities(logits)).numpy()
    expected = naive.classifier_prior([one.numpy() for one in features], [one.numpy() for one in logits])
    assert expected.std() > 0.1
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_even_evidence_leaves_the_first_component():
    """What the classifier says is the same everywhere, up to rounding: nothing correlates with that."""
    for seed in range(4):
        for count, classes in ((1, 1000), (4, 1000), (3, 9)):
            generator = torch.Generator().manual_seed(seed)
            said = 2 * torch.randn(classes, generator=generator)
            features, logits = [], []
            for side in (14, 21, 28):
                one = 0.01 * torch.randn(count, 3, side, side, generator=generator)
                one[:, 0, side // 4 : -(side // 4), side // 4 : -(side // 4)] += 3
                features.append(one)
                logits.append(said[None, :, None, None].repeat(count, 1, side, side))
            prior = classifier_prior(features, probabilities(logits))
            assert prior[:, 8:-8, 8:-8].min() > 0.9 and prior[:, 0].max() < 0.1


@pytest.mark.parametrize("count, sides", [(1, (2,)), (1, (1, 2)), (2, (1, 2, 3))])
def test_recognized_prior_of_a_few_cells(count, sides):
    features = [random(count, 4, side, side, seed=side).float() for side in sides]
    logits = [random(count, 9, side, side, seed=9 + side).float() for side in sides]
    prior = classifier_prior(features, probabilities(logits))
    assert prior.shape == (count, sides[-1], sides[-1])
    assert prior.isfinite().all() and prior.min() >= 0 and prior.max() <= 1


def test_no_photo_decides_alone_what_the_photos_share():
    """Of eight photos each, in turn, is left away: what is shown of the others hardly changes."""
    count = 8
    features, logits, block = street(count)
    generator = torch.Generator().manual_seed(5)
    for one, named in zip(features, logits, strict=True):
        scale = named.shape[2] // 8
        # Three words for the thing, two of a photo each; what is no thing goes by words of its own, surer in one photo.
        named += 2 * torch.randn(named.shape, generator=generator)
        named[: count // 2, 8, : 2 * scale] += 14
        named[0, 9, 6 * scale :] += 16
        named[3, 7] = 0  # one photo in which the thing has no name
        one += 0.3 * torch.randn(one.shape, generator=generator)
    every = classifier_prior(features, probabilities(logits))
    large = block.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert every[:, large].mean() > 2 * every[:, :4].mean()
    for away in range(count):
        rest = [k for k in range(count) if k != away]
        prior = classifier_prior([one[rest] for one in features], probabilities([one[rest] for one in logits]))
        assert torch.corrcoef(torch.stack([prior.flatten(), every[rest].flatten()]))[0, 1] > 0.97


def test_two_components_that_agree_alike_both_count():
    """Two things, each a component of its own: which of them the classifier is a little surer of decides little. Of the one
    component that agrees best alone, .69 of the other thing would be left."""
    features = 0.05 * torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    one, other = (slice(1, 3), slice(1, 3)), (slice(4, 7), slice(4, 7))
    features[:, 0, *one] += 5
    features[:, 4, *other] += 3.5
    for levels in ((7.0, 6.5), (6.5, 7.0)):
        logits = torch.zeros(4, 300, 8, 8)
        logits[:, 5, *one], logits[:, 5, *other] = levels
        prior = classifier_prior([features], probabilities([logits]))
        assert prior[:, *one].mean() > 0.8 and prior[:, *other].mean() > 0.8
        assert prior.mean() < 0.25


# What the photos have in common, by the classifier's words


def likely_of(photos, scales: int = 2, classes: int = 6) -> list[torch.Tensor]:
    """Probabilities at ``scales`` scales of 3, 4, ... cells; photos: for each of them the probability of classes 0, 1, ...
    in one of its cells."""
    maps = [torch.full((len(photos), classes, 3 + k, 3 + k), 1e-5, dtype=torch.float64) for k in range(scales)]
    for one in maps:
        for n, values in enumerate(photos):
            one[n, : len(values), 1, n % 3] = torch.tensor(values, dtype=torch.float64)
    return maps


@examples(60)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), st.integers(0, 1000))
def test_shared_classes_evidence_and_certainty_are_the_loops(photos, scales, classes, seed):
    logits = [4 * random(photos, classes, 2 + k, 3, seed=seed + k) for k in range(scales)]
    likely = probabilities(logits)
    arrays = [one.numpy() for one in likely]
    shared = shared_classes(likely)
    np.testing.assert_allclose(shared.numpy(), naive.shared_classes(arrays), rtol=1e-9)
    assert shared.max() == 1
    for one, expected in zip(class_evidence(likely, shared), naive.class_evidence(arrays, shared.numpy()), strict=True):
        np.testing.assert_allclose(one.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(certainty_by_scale(likely).numpy(), naive.certainty_by_scale(arrays), rtol=1e-9)


def test_a_class_of_one_photo_does_not_count_and_a_photo_without_it_does_not_forbid():
    for count in (3, 4, 5, 8, 10):
        everywhere_but_one = [[0.8, 0.0] for _ in range(count)]
        everywhere_but_one[1] = [1e-5, 0.9]
        shared = shared_classes(likely_of(everywhere_but_one))
        assert shared[0] == 1
        assert (shared[1:] < 1e-3).all()
        even = class_evidence(likely_of(everywhere_but_one), shared)[0]
        assert even[0].max() == pytest.approx(0.8, rel=1e-3) and even[1].max() < 1e-3


def test_classes_count_by_what_two_thirds_of_the_photos_reach():
    shared = shared_classes(likely_of([[0.64, 0.16, 0.16e-4]] * 5))
    assert shared[:3].tolist() == pytest.approx([1, 0.25, 0.25e-4])
    # Of five photos the second from below and two fifths of the way to the next.
    uneven = shared_classes(likely_of([[0.64, share] for share in (0.5, 0.1, 0.2, 0.3, 0.4)]))
    assert uneven[1] == pytest.approx((0.2 + 0.4 * 0.1) / 0.64)


def test_one_photo_shares_its_classes_with_itself():
    likely = likely_of([[0.9, 0.4]], scales=1)
    assert shared_classes(likely)[:2].tolist() == pytest.approx([1, 0.4 / 0.9])
    assert certainty_by_scale(likely).tolist() == [1]


def test_recognition_is_best_where_the_classifier_is_surest():
    near, far = likely_of([[0.9]] * 3, scales=1), likely_of([[0.3]] * 3, scales=1)
    assert certainty_by_scale(near + far).tolist() == pytest.approx([1, 1 / 3])
    # The mean over the photos: one in which it is not seen takes its part away.
    near[0][0, 0, 1, 0] = 0.0
    assert certainty_by_scale(near + far).tolist() == pytest.approx([1, 0.3 / 0.6], rel=1e-3)
