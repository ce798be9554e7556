from __future__ import annotations

import math

import pytest
import torch
from strategies import random, uniform

from co3lib.beyond.feature_heat import TEMPERATURE, feature_heat
from co3lib.correlation import normalize_features


def test_the_rule_in_plain_loops():
    features = normalize_features(random(1, 4, 3, 5))
    peaks = [(0, 1), (2, 4), (1, 0)]
    heat = feature_heat(features, torch.tensor(peaks))
    assert heat.shape == (3, 3, 5)
    for i in range(3):
        for j in range(5):
            alike = [float(features[0, :, p[0], p[1]] @ features[0, :, i, j]) for p in peaks]
            total = sum(math.exp(one / TEMPERATURE) for one in alike)
            for k, one in enumerate(alike):
                assert heat[k, i, j].item() == pytest.approx(max(one, 0) * math.exp(one / TEMPERATURE) / total, abs=1e-6)


def test_two_peaks_divide_what_is_like_both():
    # Two things and a background; the things are alike but for a little.
    thing, other, ground = torch.tensor([1.0, 0.2, 0.0]), torch.tensor([1.0, -0.2, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    features = normalize_features(torch.stack([thing, thing, ground, other, other], 1).view(1, 3, 1, 5))
    first, second = feature_heat(features, torch.tensor([[0, 0], [0, 4]]))[:, 0]
    assert first[0] == first[1] > 1.5 * second[0] > 0
    assert second[4] == second[3] > 1.5 * first[4]
    assert first[2] == second[2] == 0


def test_one_peak_has_all_that_is_like_it():
    features = normalize_features(uniform(1, 6, 4, 4))
    heat = feature_heat(features, torch.tensor([[3, 2]]))
    torch.testing.assert_close(heat[0], (features[0, :, 3, 2, None, None] * features[0]).sum(0))


def test_no_peaks_have_no_heat_maps():
    assert feature_heat(random(1, 2, 3, 4), torch.zeros(0, 2)).shape == (0, 3, 4)


@pytest.mark.parametrize("features, cells", [(torch.ones(2, 3, 4, 4), [[0, 0]]), (torch.ones(1, 3, 4, 4), [[0, 0, 0]])])
def test_wrong_shapes_are_named(features, cells):
    with pytest.raises(ValueError, match=r"normalized|cells"):
        feature_heat(features, torch.tensor(cells))
