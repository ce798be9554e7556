from __future__ import annotations

import numpy as np
import pytest
import torch
from strategies import random

from co3lib.beyond.baselines import connected_components, dff_head
from co3lib.beyond.priors import principal_component
from co3lib.overlap import tight_box


def disc_map() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    saliency = torch.full((60, 80), 0.1)
    saliency[(rows - 20) ** 2 + (columns - 20) ** 2 < 100] = 0.9
    saliency[40:50, 50:75] = 0.8
    saliency[45, 60] = 0.95
    saliency[5, 70] = 1.0  # a speck of 0.02 % of the map
    return saliency


def test_each_component_is_an_instance_best_first():
    saliency = disc_map()
    found = connected_components(saliency)
    assert len(found) == 2
    disc, bar = sorted(found, key=lambda one: one.box[1])
    assert bar.box == (50, 40, 75, 50)
    assert bar.peak == (45, 60)
    assert disc.box == tight_box(disc.mask)
    assert np.array_equal(disc.mask | bar.mask, (saliency > 0.5).numpy() & ~(saliency == 1).numpy())
    for one in found:
        assert one.mask[one.peak]
        assert one.score == pytest.approx(float(saliency[torch.from_numpy(one.mask)].sum()) / 4800)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_pixels_that_touch_at_a_corner_are_one_component():
    saliency = torch.zeros(20, 20)
    saliency[2:6, 2:6] = saliency[6:10, 6:10] = 1.0
    assert [one.box for one in connected_components(saliency)] == [(2, 2, 10, 10)]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_map_has_no_instances(value):
    assert connected_components(torch.full((20, 30), value)) == []


def test_a_wrong_map_is_named():
    with pytest.raises(ValueError, match="saliency"):
        connected_components(torch.ones(1, 20, 30))


def planted(seed: int = 0, sign: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (3, 12, 8, 9) in which one non-negative direction marks an object away from the border."""
    mask = torch.zeros(3, 8, 9, dtype=torch.bool)
    for k in range(3):
        mask[k, 2 + k : 5 + k, 2:6] = True
    direction, ground = random(2, 12, seed=seed).float().abs()
    features = 0.05 * random(3, 12, 8, 9, seed=seed + 1).float()
    features += torch.where(mask[:, None], 3 * direction[None, :, None, None], ground[None, :, None, None])
    return sign * features, mask


def score(features, head) -> torch.Tensor:
    weight, bias = head
    assert weight.shape == (features.shape[1],)
    assert bias.shape == ()
    return torch.einsum("nchw,c->nhw", features, weight) + bias


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sign", [1, -1])
def test_ddt_finds_the_planted_object(seed, sign):
    features, mask = planted(seed, sign)
    assert torch.equal(score(features, principal_component(features)) > 0, mask)


def test_ddt_is_the_first_principal_component():
    features = random(2, 5, 6, 7, seed=3)
    cells = features.movedim(1, -1).reshape(-1, 5)
    _, vectors = torch.linalg.eigh((cells - cells.mean(0)).T @ (cells - cells.mean(0)))
    weight, bias = principal_component(features)
    assert abs(float(weight @ vectors[:, -1] / weight.norm())) == pytest.approx(1, abs=1e-9)
    scores = score(features, (weight, bias))
    assert float(scores.mean()) == pytest.approx(0, abs=1e-9)
    assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_dff_finds_the_planted_object(seed):
    features, mask = planted(seed)
    scores = score(features, dff_head(features))
    assert scores[mask].min() > scores[~mask].max()


@pytest.mark.parametrize("head", [principal_component, dff_head])
@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (1, 6, 2, 2), (2, 6, 1, 5), (1, 40, 3, 3)])
def test_small_grids_give_finite_scores(head, shape):
    features = random(*shape, seed=5).float()
    assert all(torch.isfinite(part).all() for part in head(features))


@pytest.mark.parametrize("head", [principal_component, dff_head])
def test_constant_features_give_finite_scores(head):
    assert all(torch.isfinite(part).all() for part in head(torch.full((2, 6, 3, 3), 0.5)))
    assert all(torch.isfinite(part).all() for part in head(torch.zeros(2, 6, 3, 3)))


@pytest.mark.parametrize("head", [principal_component, dff_head])
def test_the_same_features_give_the_same_head(head):
    features, _ = planted()
    before = torch.random.get_rng_state()
    assert all(torch.equal(one, other) for one, other in zip(head(features), head(features), strict=True))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("head", [principal_component, dff_head])
@pytest.mark.parametrize("features", [torch.ones(6, 3, 3), torch.ones(1, 6, 3, 3, dtype=torch.long)])
def test_wrong_features_are_named(head, features):
    with pytest.raises(ValueError, match="features"):
        head(features)
