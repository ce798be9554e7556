"""What notebook 05 shows: the data of its figures, and its figures at the ends of their ranges."""

from itertools import product

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures
from strategies import shuffled, uniform

from co3course.figures import png
from co3course.lessons.copeaks import (
    CopeakPair,
    Hits,
    for_hover,
    hits,
    keep_above,
    losses_figure,
    maxima_within,
    numbers_figure,
    on_instances,
    read_off,
    read_pair,
    score_figure,
    select,
    step_figure,
    votes_figure,
)
from co3course.lessons.saliency import Category
from co3lib.model import CoPeakOutput
from co3lib.peaks import copeaks, regional_maxima, score_peaks


@pytest.fixture(scope="module")
def pair() -> CopeakPair:
    """As large as the notebook's, of noise: more maxima than any photos have."""
    photos = tuple(np.full((240, 180 + 60 * k, 3), 90 + 60 * k, np.uint8) for k in range(2))
    masks = (torch.ones(1, 240, 180, dtype=torch.bool),) * 2
    output = CoPeakOutput(uniform(2, 8, 14, 14).float() - 0.5, uniform(2, 1, 14, 14, seed=1).float())
    return read_pair(Category(photos, masks, output, torch.zeros(2, 1, 64, 64)), 0, 1)


@pytest.mark.parametrize("radius", [1, 2])
def test_maxima_within_looks_at_every_cell_of_the_box(radius):
    values = shuffled(3, 5, 4, 6)
    mask = maxima_within(values, radius)
    for cell in product(*map(range, values.shape)):
        box = tuple(slice(max(c - radius, 0), c + radius + 1) for c in cell)
        assert bool(mask[cell]) == bool(values[cell] == values[box].max())


def test_radius_one_and_the_median_are_the_library_s_copeaks(pair):
    library = read_off(copeaks(pair.correlation[None])[0], pair.correlation)
    ours = select(pair, 0.5, 1)
    assert len(ours) == len(library) > 0
    assert torch.equal(ours.first, library.first) and torch.equal(ours.second, library.second)


def test_read_off_is_sorted_and_keeps_ends_and_values_together(pair):
    found = pair.maxima[1]
    assert (found.values.diff() <= 0).all()
    assert torch.equal(pair.correlation[(*found.first.T, *found.second.T)], found.values)
    above = keep_above(found, float(found.values[4]))
    assert len(above) == 5 and torch.equal(above.first, found.first[:5])


def test_a_larger_neighbourhood_and_a_higher_threshold_keep_fewer(pair):
    counts = [[len(select(pair, quantile, radius)) for quantile in (0.5, 0.9, 0.999)] for radius in (1, 2)]
    assert counts[0][0] > counts[1][0] > 0 and counts[0] == sorted(counts[0], reverse=True)


def test_hits():
    masks = torch.zeros(2, 8, 12, dtype=torch.bool)
    masks[0, :4, :6] = masks[1, 4:, 6:] = True  # the upper left and the lower right quarter
    cells = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 3]])
    assert on_instances(cells, masks, (4, 4)).tolist() == [[True, True, True, False], [False] * 4]
    met = hits(cells, masks, (4, 4))
    assert met == Hits(peaks=4, on_instance=3, instances=2, found=1)
    assert met + met == Hits(8, 6, 4, 2)
    assert hits(cells[:0], masks, (4, 4)) == Hits(0, 0, 2, 0)


@pytest.mark.parametrize("rank", [1, 20])
@pytest.mark.parametrize("quantile", [0.5, 0.999])
@pytest.mark.parametrize("radius", [1, 2])
def test_step_figure_at_the_ends_of_its_ranges(pair, rank, quantile, radius):
    assert isinstance(step_figure(pair, rank, quantile, radius), Figure)
    assert plain_figures(lambda: step_figure(pair, rank, quantile, radius)) < LIMIT
    assert not matplotlib.pyplot.get_fignums()


def test_step_figure_shows_the_slices_through_the_co_peak(pair):
    figure = step_figure(pair, 3, 0.5, 1)
    chosen = select(pair, 0.5, 1)
    (i, j), (s, t) = chosen.first[2].tolist(), chosen.second[2].tolist()
    first, second = (axis.images[0].get_array() for axis in figure.axes[1:3])
    assert np.array_equal(first, pair.correlation[:, :, s, t]) and np.array_equal(second, pair.correlation[i, j])
    assert f"{float(chosen.values[2]):.3f}" in figure.axes[0].get_title()
    assert figure.axes[1].images[0].get_clim() == figure.axes[2].images[0].get_clim()


def test_the_chosen_line_goes_from_the_first_photo_s_cell_to_the_second_s(pair):
    chosen = select(pair, 0.5, 1)
    lines = step_figure(pair, 3, 0.5, 1).axes[0].collections
    (i, j), (s, t) = chosen.first[2].tolist(), chosen.second[2].tolist()
    wanted = [[(j + 0.5) / 14, (i + 0.5) / 14], [1.06 + (t + 0.5) / 14, (s + 0.5) / 14]]
    assert lines[1].get_segments()[0] == pytest.approx(np.array(wanted))
    assert len(lines[0].get_segments()) == 20 < len(chosen)


def test_a_hover_figure_gets_the_strongest_first(pair):
    chosen = select(pair, 0.5, 1)
    photos, cells, values, shape = for_hover(pair, chosen)
    assert photos == pair.photos and shape == (14, 14, 14, 14) and len(cells) == len(values) == 40
    assert torch.equal(pair.correlation[tuple(cells.T)], values) and values[0] == pair.correlation.max()


def test_still_figures_can_be_drawn():
    photo = np.zeros((40, 60, 3), np.uint8)
    score = shuffled(1, 1, 5, 6).float()
    maxima, peaks = regional_maxima(score[:, 0])[0], score_peaks(score)[0, 0]
    figures = [
        numbers_figure({"a": (score[0, 0], peaks), "b": (score[0, 0], maxima)}),
        score_figure(photo, score[0, 0], maxima, peaks),
        losses_figure(torch.tensor([0.02, 0.5])),
        votes_figure(photo, score[0, 0], {"some": peaks.nonzero(), "none": torch.zeros(0, 2)}),
    ]
    assert all(png(figure).startswith(b"\x89PNG") for figure in figures)
    assert not matplotlib.pyplot.get_fignums()
