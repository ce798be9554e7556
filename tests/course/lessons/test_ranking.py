"""The lesson of notebook 09: its sums are Eq. 7, and its figures follow a slider at once."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.figures import png
from co3course.lessons import ranking as lesson
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.evaluation import average_precision
from co3lib.overlap import mask_iou
from co3lib.ranking import mask_nms, noise_filter, rank_proposals
from co3lib.segmentation import CoSegmenter


@pytest.fixture(scope="module")
def scenes():
    samples = demo_set("collage")["coin"][:2]
    segmenter = CoSegmenter(CoSegConfig(epochs=0, prior="ddt")).fit([sample.image_path for sample in samples], progress=False)
    return [lesson.scene_of(segmenter, sample) for sample in samples]


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


@pytest.mark.parametrize("beta, gamma, cosaliency", [(0.8, 1e-5, True), (0.0, 1e-3, True), (2.0, 0.0, False)])
def test_the_sums_make_equation_seven(scenes, beta, gamma, cosaliency):
    scene = scenes[0]
    few = torch.arange(0, 1000, 25)
    guide = scene.saliency if cosaliency else torch.ones_like(scene.saliency)
    expected = rank_proposals(scene.heat, guide, scene.ranker.masks(few), beta, gamma)
    actual = lesson.scores(scene, beta, gamma, cosaliency)[:, few]
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_overlaps_are_those_of_masks(scenes):
    scene, few = scenes[1], torch.arange(0, 1000, 40)
    masks = scene.ranker.masks(few)
    torch.testing.assert_close(scene.ious[few], mask_iou(masks, scene.truth))
    torch.testing.assert_close(scene.overlaps[few][:, few], mask_iou(masks, masks))


def test_the_class_is_segmented_as_the_library_does(scenes):
    masks, scores = [], []
    for scene in scenes:
        best, chosen = lesson.scores(scene).max(1)
        candidates = scene.ranker.masks(chosen)
        kept = mask_nms(candidates, best, 0.3)
        masks.append(candidates[kept])
        scores.append(best[kept])
    keep = noise_filter(scores, 30)
    found = lesson.instances_of_class(scenes, nms_iou=0.3, percentile=30)
    for one, mask, score, kept, scene in zip(found, masks, scores, keep, scenes, strict=True):
        torch.testing.assert_close(one.scores, score[kept])
        drawn = lesson.masks_of(scene, one)
        assert all((a.mask == b.numpy()).all() for a, b in zip(drawn, mask[kept], strict=True))
    truth = [scene.truth for scene in scenes]
    left = [mask[kept] for mask, kept in zip(masks, keep, strict=True)]
    pooled = [score[kept] for score, kept in zip(scores, keep, strict=True)]
    assert lesson.precision(scenes, found, 0.25) == pytest.approx(average_precision(left, pooled, truth, 0.25))


def test_recall_grows_with_the_proposals(scenes):
    values = [lesson.recall(scenes, limit) for limit in (20, 200, 1000)]
    assert values == sorted(values) and 0 < values[-1] <= 1


def test_a_perfect_ranking_takes_the_nearest_proposal(scenes):
    for scene, one in zip(scenes, lesson.best_possible(scenes), strict=True):
        for proposal, peak, score in zip(one.proposals, one.peaks, one.scores, strict=True):
            y, x = scene.points[peak]
            assert scene.truth[:, y, x].any()
            assert score == scene.ious[:, scene.truth[:, y, x]].max(0).values[0] == scene.ious[proposal].max()


def test_the_strong_ones_and_those_that_are_right():
    one = lesson.Chosen(torch.tensor([2, 0, 1]), torch.arange(3), torch.tensor([1.0, 0.06, 0.04]))
    other = lesson.Chosen(torch.tensor([1]), torch.tensor([0]), torch.tensor([0.01]))
    none = lesson.Chosen(*torch.zeros(2, 0, dtype=torch.long), torch.zeros(0))
    assert [kept.proposals.tolist() for kept in lesson.strong([one, other, none])] == [[2, 0], [], []]
    assert [kept.proposals.tolist() for kept in lesson.strong([one], 1.0)] == [[2]]


def test_right_instances_and_their_area(scenes):
    found = lesson.best_possible(scenes)
    assert lesson.right(scenes, found, 0.0) == len(torch.cat([one.scores for one in found]))
    assert lesson.right(scenes, found, 1.0) == 0
    masks = torch.cat([scene.ranker.masks(one.proposals).flatten(1) for scene, one in zip(scenes, found, strict=True)])
    assert lesson.mean_area(scenes, found) == pytest.approx(float(masks.float().mean()), rel=1e-3)


def draws(scenes):
    """Every figure with a slider, at the ends of its ranges."""
    last = len(scenes[0].points) - 1
    ends = itertools.product((0, last), (0.0, 5.0), (1e-7, 1e-3), (True, False))
    yield from (lambda v=v: lesson.ranking_figure(scenes[0], *v) for v in ends)
    ends = itertools.product((0, 1), (0.0, 5.0), (1e-7, 1e-3), (0.0, 1.0), (0.0, 100.0), (True, False))
    yield from (lambda v=v: lesson.class_figure(scenes, *v) for v in ends)


def test_sliders_at_their_ends(scenes):
    for draw in draws(scenes):
        assert isinstance(draw(), Figure)


@pytest.mark.parametrize("name", ["ranking_figure", "class_figure"])
def test_sliders_are_quick(scenes, name):
    draw = {
        "ranking_figure": lambda: lesson.ranking_figure(scenes[0], 0),
        "class_figure": lambda: lesson.class_figure(scenes, 0),
    }[name]
    assert plain_figures(draw) < LIMIT


def test_the_still_figures(scenes):
    mask = scenes[0].truth[0].numpy()
    for figure in (
        lesson.proposals_figure(scenes[0], [0, 1, 2]),
        lesson.recall_figure(scenes, [50, 1000]),
        lesson.contour_figure(torch.from_numpy(mask)),
    ):
        assert png(figure).startswith(b"\x89PNG")
