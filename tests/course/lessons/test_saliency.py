"""What notebook 04 shows: the data of its figures, and its figures at the ends of their ranges."""

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures
from strategies import uniform

from co3course.figures import png
from co3course.lessons.saliency import (
    Epochs,
    Priors,
    above_mean,
    epoch_figure,
    learn,
    learnt_figure,
    map_auc,
    maps_figure,
    mean_auc,
    order_figure,
    read_category,
    read_priors,
    weigh,
    weight_figure,
)
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.losses import saliency_weight

SMALL = CoSegConfig(input_size=64, copeak_weight=0, affinity_weight=0, init_head=False, epochs=2)


@pytest.fixture(scope="module")
def category():
    return read_category(demo_set("collage")["cat"][:2], SMALL)


def test_a_category_fits_together(category):
    n, _, h, w = category.output.features.shape
    assert n == len(category.photos) == len(category.masks) == 2
    assert category.output.score.shape == (n, 1, h, w) and category.prior.shape == (n, 1, 64, 64)
    assert category.output.features.mean((0, 2, 3)).abs().max() < 1e-5
    for photo, masks in zip(category.photos, category.masks, strict=True):
        assert masks.shape[1:] == photo.shape[:2] and masks.flatten(1).any(1).all()


def test_priors_are_at_the_photo_s_size(category):
    priors = read_priors(category, 1)
    assert list(priors.maps) == ["combined", "minimum barrier", "boundary connectivity", "DDT"]
    assert all(one.shape == priors.truth.shape and one.min() >= 0 and one.max() <= 1 for one in priors.maps.values())


def test_learning_is_looked_at_before_and_after_every_epoch(category):
    epochs = learn(category, category.prior, SMALL, shown=1)
    assert len(epochs.maps) == len(epochs.scores) == SMALL.epochs + 1
    assert (epochs.maps[0] == 0.5).all() and (epochs.maps[-1] != 0.5).any()
    assert np.array_equal(epochs.photo, category.photos[1])
    assert epochs.prior_score == mean_auc(category.prior, category.masks)


def test_auc_of_maps_is_that_of_pixel_pairs():
    truth = torch.zeros(16, 16, dtype=torch.bool)
    truth[:8] = True
    maps = (truth.float(), (~truth).float(), torch.ones(16, 16))
    assert [map_auc(values, truth) for values in maps] == [1, 0, 0.5]
    maps = torch.stack([truth, ~truth]).float()[:, None]
    assert mean_auc(maps, [truth[None], truth[None]]) == 0.5


def test_weights_are_the_library_s_where_the_threshold_is_the_mean():
    prior = uniform(6, 7).float() ** 3
    assert torch.equal(weigh(above_mean(prior)), saliency_weight(prior[None, None])[0, 0])


@pytest.fixture(scope="module")
def priors() -> Priors:
    maps = {"some": uniform(448, 448).float(), "flat": torch.zeros(448, 448)}
    return Priors(np.full((448, 448, 3), 90, np.uint8), torch.ones(448, 448, dtype=torch.bool), maps)


@pytest.mark.parametrize("kind", ["some", "flat"])
@pytest.mark.parametrize("threshold", [0.2, 3.0])
def test_weight_figure_at_the_ends_of_its_ranges(priors, kind, threshold):
    assert isinstance(weight_figure(priors, kind, threshold), Figure)
    assert plain_figures(lambda: weight_figure(priors, kind, threshold)) < LIMIT
    assert not matplotlib.pyplot.get_fignums()


def test_weight_figure_shows_positives_and_weights(priors):
    axes = weight_figure(priors, "some", 1.0).axes
    positive = above_mean(priors.maps["some"])
    assert np.array_equal(axes[2].images[0].get_array(), positive) and np.array_equal(
        axes[3].images[0].get_array(), weigh(positive)
    )


@pytest.mark.parametrize("epoch", [0, 12])
def test_epoch_figure_at_the_ends_of_its_ranges(epoch):
    maps = tuple(torch.full((112, 112), k / 12) for k in range(13))
    epochs = Epochs(np.zeros((448, 336, 3), np.uint8), maps, tuple(k / 12 for k in range(13)), maps[3], prior_score=0.5)
    figure = epoch_figure(epochs, epoch)
    assert np.array_equal(figure.axes[1].images[0].get_array(), maps[epoch])
    assert set(figure.axes[2].lines[0].get_ydata()) == {0.5}
    assert plain_figures(lambda: epoch_figure(epochs, epoch)) < LIMIT
    pupils = learnt_figure({"one": epochs, "other": epochs}, 12).axes
    assert np.array_equal(pupils[1].images[0].get_array(), maps[3]) and "AUC 0.50" in pupils[1].get_title()
    assert np.array_equal(pupils[4].images[0].get_array(), maps[12]) and "AUC 1.00" in pupils[4].get_title()
    assert not matplotlib.pyplot.get_fignums()


def test_still_figures_can_be_drawn():
    photo, one = np.zeros((40, 60, 3), np.uint8), uniform(32, 32).float()
    figures = [order_figure(one, one), maps_figure(photo, {"a": one, "b": one[:16]})]
    assert all(png(figure).startswith(b"\x89PNG") for figure in figures)
    assert not matplotlib.pyplot.get_fignums()
