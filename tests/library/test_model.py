from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from reference import close, load
from strategies import random
from torch import nn
from torch.nn import functional

from co3lib.backbones import Backbone
from co3lib.correlation import normalize_features
from co3lib.model import CoPeakNet, bilinear_kernel, upsample


def test_bilinear_kernel_of_the_authors_code():
    # With f = 4: t[i] = 1 - |i - 3.5| / 4 for i = 0 .. 7, and the kernel is t[i] t[j].
    close(bilinear_kernel(8), load()["bilinear_8"])


@pytest.mark.parametrize("factor", [2, 4, 32])
def test_enlarging_is_the_loops(factor):
    score = random(2, 1, 3, 2, seed=1)
    actual = upsample(score, factor)
    assert actual.shape == (2, 1, 3 * factor, 2 * factor)
    for one, map_ in zip(actual, score, strict=True):
        close(one[0], naive.bilinear_upsample(map_[0].numpy(), factor))


def test_away_from_the_border_enlarging_is_interpolation():
    score = random(1, 1, 14, 14, seed=2)
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    interpolated = functional.interpolate(score, scale_factor=32, mode="bilinear", align_corners=False)
    close(upsample(score, 32)[inner], interpolated[inner])


def test_the_border_fades():
    # The outermost pixel has lost almost half of its value, that of a corner almost three quarters.
    flat = upsample(torch.ones(1, 1, 3, 3, dtype=torch.float64), 32)[0, 0]
    close(flat[48, 0], 0.5 + 1 / 64)
    close(flat[0, 0], (0.5 + 1 / 64) ** 2)
    close(flat[16:-16, 16:-16], torch.ones(64, 64))


# The network


def network() -> CoPeakNet:
    """Two stages of stride 4 together, untrained but for a fixed backbone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 5, 2, stride=2), nn.Conv2d(5, 6, 2, stride=2)
    return CoPeakNet(Backbone("two", {"first": nn.Sequential(first, nn.ReLU()), "second": second}, [0.5] * 3, [0.2] * 3))


def test_the_score_starts_at_zero_and_the_random_numbers_stay_where_they_were():
    state = torch.get_rng_state()
    torch.use_deterministic_algorithms(True)  # memory that nothing is written to then holds NaN
    try:
        model = CoPeakNet(network().backbone)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.head.weight.shape == (1, 6, 1, 1) and not model.head.weight.any() and not model.head.bias.any()
    assert model.center.shape == (1, 6, 1, 1) and not model.center.any()
    output = model(random(2, 3, 32, 64).float())
    assert not output.score.any() and (output.saliency == 0.5).all()


def test_the_saliency_at_image_size_is_that_of_the_enlarged_score():
    model, score = network(), 4 * random(2, 1, 3, 2, seed=3)
    actual = model.saliency_at_image_size(score)
    assert actual.shape == (2, 1, 12, 8)
    expected = np.array([naive.bilinear_upsample(one[0].numpy(), 4) for one in score])
    close(actual[:, 0], torch.sigmoid(torch.from_numpy(expected)))
    # Enlarging the small saliency instead would fade to 0 at the border, and not to 1/2.
    assert (actual - upsample(score.sigmoid(), 4)).abs().max() > 0.2


def test_what_the_network_says_of_a_batch():
    model, images = network(), random(2, 3, 16, 24, seed=4).float()
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    nn.init.constant_(model.head.bias, 0.3)
    nn.init.constant_(model.center, 0.1)
    output = model(images)
    features = model.backbone(images) - 0.1
    score = (features * model.head.weight).sum(1, keepdim=True) + 0.3
    close(output.features, features)
    close(output.score, score)
    close(output.saliency, torch.sigmoid(score))
    close(output.normalized, normalize_features(features))
    close(output.weighted, normalize_features(features) * torch.sigmoid(score))
    halfway = model.forward_from(model.backbone(images, until="first"), "first")
    close(halfway.score, output.score)


def test_a_factor_of_one_enlarges_nothing():
    score = random(1, 1, 3, 2, seed=5)
    assert torch.equal(upsample(score, 1), score)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_bilinear_kernels_of_any_size(size):
    # Caffe's and MATLAB's: the triangle of half-width ceil(size / 2) round the middle.
    half = -(-size // 2)
    middle = half - 1 if size % 2 else half - 0.5
    triangle = torch.tensor([1 - abs(k - middle) / half for k in range(size)], dtype=torch.float64)
    close(bilinear_kernel(size), triangle[:, None] * triangle)


@pytest.mark.parametrize("score", [torch.zeros(2, 3, 3), torch.zeros(2, 2, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.long)])
def test_a_bad_score_is_named(score):
    with pytest.raises(ValueError, match="score"):
        upsample(score, 2)
