from __future__ import annotations

import math

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import close, load
from strategies import examples, random, shuffled, uniform, whole_numbers

from co3lib.correlation import correlate, normalize_features
from co3lib.losses import affinity_loss, copeak_loss, saliency_loss, saliency_weight
from co3lib.peaks import copeaks

FORMS = ["released", "published"]


def unit_features(*shape: int, seed: int) -> torch.Tensor:
    return normalize_features(random(*shape, seed=seed))


# Saliency


def test_saliency_of_the_authors_code():
    authors = load()
    close(saliency_weight(authors["saliency_prior"]), authors["saliency_weight"])
    close(saliency_loss(authors["saliency_big"], authors["saliency_prior"]), authors["saliency_loss"])


@examples(40)
@given(whole_numbers(2, st.integers(1, 3), 1, st.integers(1, 5), st.integers(1, 6), high=4))
def test_saliency_loss_is_the_loops(both):
    saliency, prior = both / 4
    actual = saliency_loss(torch.from_numpy(saliency), torch.from_numpy(prior))
    close(actual, naive.saliency_loss(saliency, prior))


def test_saliency_loss_by_hand():
    # One of four pixels is above the mean .25, so it weighs 3/4 and each of the others 1/4.
    prior = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    saliency = torch.tensor([0.5, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    close(saliency_weight(prior).ravel(), torch.tensor([0.75, 0.25, 0.25, 0.25]))
    close(saliency_loss(saliency, prior), (0.75 * 0.25 + 0.25 * 1.0) / 4)


def test_both_kinds_of_pixel_weigh_the_same_in_total():
    prior = uniform(3, 1, 7, 5, seed=1) ** 3
    weight = saliency_weight(prior)
    positive = prior > prior.mean(dim=(1, 2, 3), keepdim=True)
    for n in range(3):
        close(weight[n][positive[n]].sum(), weight[n][~positive[n]].sum())


def test_saliency_loss_adds_up_over_the_batch():
    saliency, prior = uniform(3, 1, 4, 6, seed=2), uniform(3, 1, 4, 6, seed=3)
    alone = [saliency_loss(saliency[n : n + 1], prior[n : n + 1]) for n in range(3)]
    close(saliency_loss(saliency, prior), sum(alone))


def test_saliency_equal_to_its_prior_costs_nothing():
    prior = uniform(2, 1, 4, 6, seed=4)
    assert saliency_loss(prior, prior) == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_flat_prior_asks_for_nothing(value):
    # All pixels are of one kind, and the share of the other kind is zero.
    assert saliency_loss(uniform(1, 1, 3, 7, seed=5), torch.full((1, 1, 3, 7), value, dtype=torch.float64)) == 0


def test_saliency_gradient():
    saliency, prior = uniform(2, 1, 3, 4, seed=6).requires_grad_(), uniform(2, 1, 3, 4, seed=7)
    assert torch.autograd.gradcheck(lambda s: saliency_loss(s, prior), (saliency,))


@pytest.mark.parametrize(
    "saliency, prior, name",
    [
        (torch.zeros(2, 3, 3), torch.zeros(2, 1, 3, 3), "saliency"),
        (torch.zeros(2, 3, 3, 3), torch.zeros(2, 1, 3, 3), "saliency"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(2, 3, 3), "prior"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(1, 1, 3, 3), "prior"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 6, 6), "prior"),
    ],
)
def test_bad_saliency_is_named(saliency, prior, name):
    with pytest.raises(ValueError, match=name):
        saliency_loss(saliency, prior)


# Co-peaks


def test_copeak_loss_of_the_authors_code():
    authors = load()
    correlation = authors["correlation"]
    close(copeak_loss(correlation), authors["copeak_loss"])
    mask = copeaks(correlation)
    close([one[where].mean() for one, where in zip(correlation, mask, strict=True)], authors["copeak_mean"])
    published = -authors["copeak_mean"].log()
    close(copeak_loss(correlation[:1], form="published"), published[0])
    close(copeak_loss(correlation[1:], form="published"), published[1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grid", [(3, 2, 2, 4), (1, 1, 1, 1), (1, 3, 3, 2)])
def test_copeak_loss_is_the_loops(form, grid):
    correlation = uniform(3, *grid, seed=8)
    close(copeak_loss(correlation, form=form), naive.copeak_loss(correlation.numpy(), form))


@examples(30)
@given(whole_numbers(st.integers(1, 2), *[st.integers(1, 3)] * 4, low=1, high=3))
def test_copeak_loss_with_plateaus_is_the_loops(correlation):
    for form in FORMS:
        close(copeak_loss(torch.from_numpy(correlation), form=form), naive.copeak_loss(correlation, form))


def test_copeak_loss_of_one_cell():
    correlation = torch.tensor([0.5]).reshape(1, 1, 1, 1, 1)
    close(copeak_loss(correlation), math.log(1 + math.exp(-0.5)))
    close(copeak_loss(correlation, form="published"), math.log(2))


@pytest.mark.parametrize("value, held", [(1e-4, 1e-4), (1e-7, 1e-7), (1e-9, 1e-8), (-0.5, 1e-8)])
def test_the_published_copeak_loss_is_held_above_1e_8_only(value, held):
    correlation = torch.tensor([value], dtype=torch.float64).reshape(1, 1, 1, 1, 1)
    close(copeak_loss(correlation, form="published"), -math.log(held))


@pytest.mark.parametrize("form", FORMS)
def test_copeak_gradient(form):
    correlation = shuffled(2, 2, 3, 3, 2, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: copeak_loss(c, form=form), (correlation,))


@pytest.mark.parametrize("form", FORMS)
def test_copeak_gradient_flows_only_through_copeaks(form):
    correlation = shuffled(2, 3, 3, 3, 3, seed=10).requires_grad_()
    (gradient,) = torch.autograd.grad(copeak_loss(correlation, form=form), correlation)
    mask = copeaks(correlation)
    assert 0 < mask.sum() < mask.numel()
    assert torch.equal(gradient != 0, mask)
    for one, where, values in zip(gradient, mask, correlation.detach(), strict=True):
        mean = values[where].mean()
        slope = torch.sigmoid(-mean) if form == "released" else 1 / mean
        close(one[where], (-slope / where.sum() / 2).expand(int(where.sum())))


@pytest.mark.parametrize("correlation", [torch.zeros(3, 3), torch.zeros(2, 2, 2, 2)])
def test_bad_correlation_is_named(correlation):
    with pytest.raises(ValueError, match="correlation"):
        copeak_loss(correlation)


# Affinity


def test_affinity_loss_of_the_authors_code():
    authors = load()
    close(affinity_loss(authors["features_normalized"], authors["saliency_small"]), authors["affinity_loss"])


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (1, 4)])
@pytest.mark.parametrize("alpha", [4.0, 0.0, 0.5])
def test_affinity_loss_is_the_loops(grid, alpha):
    features, saliency = unit_features(4, 3, *grid, seed=11), uniform(4, 1, *grid, seed=12)
    expected = naive.affinity_loss_released(features.numpy(), saliency.numpy(), alpha)
    close(affinity_loss(features, saliency, alpha=alpha), expected)


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (1, 4)])
@pytest.mark.parametrize("alpha", [4.0, 0.0, 0.5])
def test_published_affinity_loss_of_a_pair_is_the_loops(grid, alpha):
    features, saliency = unit_features(2, 3, *grid, seed=13), uniform(2, 1, *grid, seed=14)
    expected = naive.affinity_loss_published(features.numpy(), saliency.numpy(), alpha)
    close(affinity_loss(features, saliency, alpha=alpha, form="published"), expected)


def test_published_affinity_loss_adds_up_over_the_pairs():
    features, saliency = unit_features(4, 3, 2, 3, seed=25), uniform(4, 1, 2, 3, seed=26)
    pairs = [affinity_loss(features[k::2], saliency[k::2], form="published") for k in range(2)]
    close(affinity_loss(features, saliency, form="published"), sum(pairs))


def test_affinity_loss_takes_an_odd_batch():
    features, saliency = unit_features(3, 4, 2, 2, seed=15), uniform(3, 1, 2, 2, seed=16)
    close(affinity_loss(features, saliency), naive.affinity_loss_released(features.numpy(), saliency.numpy()))


def test_affinity_loss_does_not_see_the_order_of_the_images():
    features, saliency = unit_features(4, 3, 2, 2, seed=17), uniform(4, 1, 2, 2, seed=18)
    order = torch.tensor([2, 0, 3, 1])
    close(affinity_loss(features[order], saliency[order]), affinity_loss(features, saliency))


def test_affinity_loss_in_single_precision():
    # 6 images of 14 x 14 cells: well over a million terms, most of them small.
    features, saliency = unit_features(6, 8, 14, 14, seed=19), uniform(6, 1, 14, 14, seed=20)
    close(affinity_loss(features.float(), saliency.float()), affinity_loss(features, saliency))
    cells, s = features.permute(0, 2, 3, 1).reshape(-1, 8), saliency.reshape(-1)
    alike = cells @ cells.T
    terms = s[:, None] * s * (1 - alike) + 4 * (s[:, None] - s) ** 2 * alike
    close(affinity_loss(features, saliency), terms.mean())


@pytest.mark.parametrize("form", FORMS)
def test_affinity_gradient(form):
    features = unit_features(2, 3, 2, 2, seed=21).requires_grad_()
    saliency = uniform(2, 1, 2, 2, seed=22).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, s: affinity_loss(f, s, form=form), (features, saliency))


def test_losses_reach_the_features():
    features, saliency = (
        random(2, 3, 3, 2, seed=23).requires_grad_(),
        uniform(2, 1, 3, 2, seed=24).requires_grad_(),
    )
    unit = normalize_features(features)
    weighted = unit * saliency
    loss = copeak_loss(correlate(weighted[:1], weighted[1:])) + affinity_loss(unit, saliency)
    for gradient in torch.autograd.grad(loss, (features, saliency)):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    "features, saliency, name",
    [
        (torch.zeros(3, 2, 2), torch.zeros(1, 1, 2, 2), "features"),
        (torch.zeros(2, 3, 2, 2), torch.zeros(2, 2, 2), "saliency"),
        (torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), "saliency"),
        (torch.zeros(2, 3, 2, 2), torch.zeros(4, 1, 2, 2), "saliency"),
        (torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 2, 3), "saliency"),
    ],
)
def test_bad_affinity_arguments_are_named(features, saliency, name):
    with pytest.raises(ValueError, match=name):
        affinity_loss(features, saliency)


def test_an_odd_batch_has_no_published_affinity():
    with pytest.raises(ValueError, match=r"features|batch"):
        affinity_loss(torch.zeros(3, 2, 2, 2), torch.zeros(3, 1, 2, 2), form="published")


@pytest.mark.parametrize("form", ["Released", "eq4", None])
def test_an_unknown_form_is_named(form):
    with pytest.raises(ValueError, match="form"):
        copeak_loss(torch.ones(1, 1, 1, 1, 1), form=form)
    with pytest.raises(ValueError, match="form"):
        affinity_loss(torch.ones(2, 1, 1, 1), torch.ones(2, 1, 1, 1), form=form)


def test_the_published_copeak_loss_is_held_at_1e_8_and_not_before():
    for value, expected in ((1e-4, 9.21034), (1e-7, 16.11810), (1e-12, 18.42068)):
        close(copeak_loss(torch.full((1, 2, 2, 2, 2), value, dtype=torch.float64), "published"), expected)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda whole, good: saliency_weight(whole[:, :1]), "prior"),
        (lambda whole, good: saliency_loss(whole[:, :1], good[:, :1]), "saliency"),
        (lambda whole, good: saliency_loss(good[:, :1], whole[:, :1]), "prior"),
        (lambda whole, good: affinity_loss(whole, good[:, :1]), "features"),
        (lambda whole, good: affinity_loss(good, whole[:, :1]), "saliency"),
    ],
)
def test_whole_numbers_are_refused(call, name):
    with pytest.raises(ValueError, match=f"{name} must be of a floating-point type"):
        call(torch.ones(2, 2, 3, 3, dtype=torch.long), torch.ones(2, 2, 3, 3))
