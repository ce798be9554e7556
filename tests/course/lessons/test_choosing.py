"""The lesson of notebook 12: its ladder shares what it may, its figures follow a slider."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.figures import png
from co3course.lessons import choosing as lesson
from co3course.lessons.ranking import scene_of
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.inference import prepare
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegmenter
from co3lib.selection import prepare_proposals

UNTRAINED = CoSegConfig(epochs=0, prior="ddt", prior_scales=(1.0,), peak_scales=(1.0,))
WAYS = [("Eq. 7", False, False), ("with fit", True, False), ("with both", True, True)]


@pytest.fixture(scope="module")
def samples():
    return demo_set("collage")["coin"][:2]


@pytest.fixture(scope="module")
def steps(samples):
    closer = UNTRAINED.model_copy(update={"peak_scales": (1.0, 1.5)})
    plain = UNTRAINED.model_copy(update={"refine_masks": False})
    configs = {"paper's ranking": plain.model_copy(update={"ranking": "released"}), "proposals": plain, "ours": UNTRAINED}
    configs["votes"] = UNTRAINED.model_copy(update={"peak_source": "copeak"})
    configs["closer"] = closer
    return lesson.run_ladder(samples, samples, configs)


@pytest.fixture(scope="module")
def scene(steps, samples):
    return scene_of(steps["ours"].segmenter, samples[0])


@pytest.fixture(scope="module")
def terms(scene):
    return scene.ranker.terms(scene.heat, scene.saliency)


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


def test_a_ladder_shares_networks_and_heat_maps(steps):
    paper, proposals, ours, votes, closer = steps.values()
    assert paper.segmenter.model is ours.segmenter.model is votes.segmenter.model is closer.segmenter.model
    for one, other in zip(proposals.seen, ours.seen, strict=True):
        assert one[0] is other[0]
    assert ours.seen[0][0] is not votes.seen[0][0] and ours.seen[0][0] is not paper.seen[0][0]
    assert [one.segmenter.config.refine_masks for one in (paper, proposals, ours)] == [False, False, True]
    assert any((one.mask != other.mask).any() for one, other in zip(proposals.instances[0], ours.instances[0], strict=False))
    assert ([len(one) for one in ours.seen], [len(one) for one in closer.seen]) == ([1, 1], [2, 2])
    assert (ours.segmenter.config.peak_source, votes.segmenter.config.peak_source) == ("score", "copeak")


def test_a_step_finds_what_the_library_finds(steps, samples):
    fitted = CoSegmenter(UNTRAINED).fit([sample.image_path for sample in samples], progress=False)
    found = fitted.predict([sample.image_path for sample in samples], progress=False)
    for one, other in zip(found, steps["ours"].instances, strict=True):
        assert [(i.peak, i.box) for i in one] == [(i.peak, i.box) for i in other]
        assert [i.score for i in one] == pytest.approx([i.score for i in other], rel=1e-4)


def draw_slider(scene, terms, peak, fit, contrast):
    return lesson.choice_figure(scene, terms, peak, [("chosen", fit, contrast)])


def test_sliders_at_their_ends(scene, terms):
    for ends in itertools.product((0, len(scene.points) - 1), (True, False), (True, False)):
        assert isinstance(draw_slider(scene, terms, *ends), Figure)


def test_sliders_are_quick(scene, terms):
    assert plain_figures(lambda: draw_slider(scene, terms, 0, True, True)) < LIMIT


def test_outlines_before_and_after(scene):
    proposals = prepare_proposals(prepare(scene.pixels, UNTRAINED), UNTRAINED)
    ranker = proposals.ranker
    shares = ranker.shares(scene.heat, scene.saliency)
    best = ranker.members[ranker.terms(scene.heat, scene.saliency).score()[:1].argmax(1)].bool()
    refined = proposals.refiner.refine(best, shares[:1])
    figure = lesson.outline_figure(scene.pixels, proposals, best[0], refined[0], shares[0])
    assert png(figure).startswith(b"\x89PNG")
    colour, share = (axis.images[0].get_array() for axis in figure.axes[1:3])
    assert np.nanmin(colour) >= -3 and np.nanmax(colour) <= 3 and np.nanmax(share) <= 2
    # All four show the same part of the photo.
    assert len({axis.images[0].get_array().shape[:2] for axis in figure.axes[:4]}) == 1


def groups_figure(pixels, steps):
    """Of the peaks at the scale of training: all single ones, and the first two as a group."""
    scale = steps["ours"].seen[0][0]
    groups = torch.eye(len(scale.cells)).bool()
    groups = torch.cat([groups, groups[:1] | groups[1:2]])
    mask = scale.heat[0].numpy() > 0  # instances are at the photo's size, the figure at the size of the masks
    found = {"alone": [Instance(mask, 1.0, (0, 0), tight_box(mask))], "nothing": []}
    return lesson.groups_figure(pixels, scale, groups, torch.tensor([1.0] * len(scale.cells) + [0.5]), found)


def test_a_group_is_a_line_with_its_depth(scene, steps):
    first, *photos = groups_figure(scene.pixels, steps).axes[:3]
    assert [text.get_text() for text in first.texts] == ["0.50"] and len(photos) == 2
    assert [len(line.get_xdata()) for line in first.lines] == [2, len(steps["ours"].seen[0][0].cells)]


def test_the_still_figures(scene, terms, steps):
    for figure in (
        lesson.scales_figure(scene.pixels, steps["closer"].seen[0]),
        lesson.choice_figure(scene, terms, 0, WAYS),
        groups_figure(scene.pixels, steps),
    ):
        assert png(figure).startswith(b"\x89PNG")
