from __future__ import annotations

from functools import partial

import pytest
import torch
from quickness import LIMIT, plain_figures

from co3course.lessons import affinity as lesson
from co3lib.correlation import normalize_features
from co3lib.datasets import demo_set
from co3lib.datasets.images import fit_within
from co3lib.losses import affinity_loss


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return normalize_features(torch.randn(2, 8, 14, 14, generator=generator, dtype=torch.float64))


@pytest.fixture(scope="module")
def pair(features) -> lesson.AffinityPair:
    pixels = tuple(fit_within(sample.image, 200) for sample in demo_set()["person"][:2])
    score = torch.randn(2, 1, 14, 14, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return lesson.make_pair(pixels, features, score)


def test_the_terms_of_all_cells_are_the_loss(pair, features):
    saliency = pair.score[:, None].sigmoid()
    terms = [lesson.terms_of(pair, row, column) for row in range(14) for column in range(14)]
    across = sum(one.together.sum() + one.apart.sum() for one in terms)
    whole = affinity_loss(features, saliency, form="published")
    own = [affinity_loss(features[[k, k]], saliency[[k, k]], form="published") / 3 for k in (0, 1)]
    assert torch.isclose(across, whole - own[0] - own[1])


def test_the_terms_to_hover_over_are_those_of_each_cell(pair):
    likeness, together, apart = lesson.terms_for_hover(pair, 2.0).values()
    terms = lesson.terms_of(pair, 3, 5, 2.0)
    assert torch.equal(likeness, pair.likeness)
    assert torch.allclose(together[3, 5], terms.together) and torch.allclose(apart[3, 5], terms.apart)


def test_terms_have_the_same_limits_about_zero(pair):
    limits = [axis.images[0].get_clim() for axis in lesson.terms_figure(pair, 3, 5).axes[2:6:3]]
    assert limits[0] == limits[1] and -limits[0][0] == limits[0][1] > 0


def test_without_sharpness_nothing_differs(pair):
    terms = lesson.terms_of(pair, 3, 5, sharpness=0.0)
    assert terms.own == 0.5 and not terms.apart.any()


@pytest.mark.parametrize("alpha", [0.25, 1.0, 4.0, 16.0])
@pytest.mark.parametrize("likeness", [0.05, 0.2, 0.5, 0.9])
def test_the_best_partner_costs_least(alpha, likeness):
    saliency = torch.linspace(0, 1, 100001, dtype=torch.float64)
    cost = saliency * (1 - likeness) + alpha * (1 - saliency).square() * likeness
    best = lesson.best_partner(torch.tensor(likeness, dtype=torch.float64), alpha)
    assert abs(saliency[cost.argmin()] - best) < 2e-5


@pytest.mark.parametrize("cell", [(0, 0), (13, 13), (0, 13)])
@pytest.mark.parametrize("alpha", [0.0, 16.0])
@pytest.mark.parametrize("sharpness", [0.0, 8.0])
def test_any_cell_is_drawn_at_once(pair, cell, alpha, sharpness):
    assert plain_figures(partial(lesson.terms_figure, pair, *cell, alpha, sharpness)) < LIMIT
    assert f"{cell}" in lesson.describe_terms(pair, *cell, alpha, sharpness)


@pytest.mark.parametrize("alpha", [0.0, 4.0, 16.0])
def test_any_alpha_is_drawn_at_once(alpha):
    assert plain_figures(partial(lesson.partner_figure, alpha)) < LIMIT
