from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.lessons.evaluation import (
    change,
    changed_figure,
    class_curves,
    class_figure,
    describe_changed,
    outcome,
    outline,
    photo_scene,
    pooled_curve,
    scene_figure,
    shift,
    toy_scene,
)
from co3lib.datasets import demo_set
from co3lib.evaluation import pooled_average_precision
from co3lib.instance import Instance
from co3lib.overlap import mask_iou, tight_box


@pytest.fixture(scope="module")
def scene():
    """A bundled photo whose detections are its true masks, moved, and again, unmoved."""
    sample = demo_set()["cat"][1]
    masks = [shift(mask, 15 * k, 5).numpy() for k, mask in enumerate(sample.masks)] + list(sample.masks.numpy())
    found = [Instance(mask, 1 / (k + 1), (0, 0), tight_box(mask)) for k, mask in enumerate(masks)]
    return photo_scene(sample.image, found, sample.masks)


def test_the_toy_is_what_the_notebook_works_out_by_hand():
    toy = toy_scene()
    assert mask_iou(toy.masks, toy.truth).max(1).values.tolist() == pytest.approx([5 / 7, 1, 1 / 2, 1, 5 / 7])
    for iou, flags, value in ((0.25, "10110", 5 / 6), (0.5, "10011", 11 / 15), (0.75, "01010", 1 / 3)):
        right, area = outcome(toy, iou)
        assert "".join(str(int(flag)) for flag in right) == flags and area == pytest.approx(value)


@pytest.mark.parametrize("right, down", [(0, 0), (3, -2), (-3, 2), (7, 0), (-9, 0), (0, 40)])
def test_a_mask_moves_and_leaves_the_image(right, down):
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    wanted = torch.zeros_like(mask)
    for y, x in mask.nonzero().tolist():
        if 0 <= y + down < 5 and 0 <= x + right < 7:
            wanted[y + down, x + right] = True
    assert torch.equal(shift(mask, right, down), wanted)


def test_a_change_touches_one_detection_and_not_the_scene_itself():
    toy = toy_scene()
    changed = change(toy, 3, 0.25, right=-2)
    assert torch.equal(changed.masks[2], toy.truth[1]) and changed.scores[2] == pytest.approx(0.95)
    assert torch.equal(changed.masks[[0, 1, 3, 4]], toy.masks[[0, 1, 3, 4]]) and toy.scores[2] == 0.7


def test_an_outline_runs_along_the_pixels_edges():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 0:2] = True
    edges = outline(mask)
    assert len(edges) == 8 and edges[..., 0].max() == 2 and edges[..., 0].min() == 0
    assert edges[..., 1].min() == 1 and edges[..., 1].max() == 3
    assert len(outline(mask[:0])) == 0


@pytest.mark.parametrize("added, right, down, iou", [(-0.9, -20, -5, 0.25), (0.5, 20, 5, 0.75), (0.0, 0, 0, 0.5)])
def test_the_explorer_of_the_toy_at_its_ends(added, right, down, iou):
    for which in (1, 5):
        assert plain_figures(lambda which=which: changed_figure(toy_scene(), which, added, right, down, iou)) < LIMIT
        score = float(toy_scene().scores[which - 1]) + added
        assert f"score {score:.3g}" in describe_changed(toy_scene(), which, added, right, down, iou)


@pytest.mark.parametrize("added, right, down, iou", [(-1.0, -300, -300, 0.25), (1.0, 120, 120, 0.75)])
def test_the_explorer_of_a_photo_at_its_ends(scene, added, right, down, iou):
    for which in (1, len(scene.scores)):
        assert plain_figures(lambda which=which: changed_figure(scene, which, added, right, down, iou)) < LIMIT


def test_whoever_chooses_a_detection_sees_which_it_is_and_nothing_else_moves(scene):
    def pixels(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())

    one, other = (changed_figure(scene, which, 0.0, 0, 0, 0.5) for which in (1, 2))
    assert (pixels(one) != pixels(other)).any()
    assert outcome(change(scene, 2), 0.5)[1] == outcome(scene, 0.5)[1]


def test_a_photo_in_which_nothing_was_found():
    sample = demo_set()["cat"][0]
    empty = photo_scene(sample.image, [], sample.masks)
    assert outcome(empty, 0.5)[1] == 0
    assert isinstance(scene_figure(empty), Figure)


def test_the_whole_scene_is_in_the_picture(scene):
    for drawn in (toy_scene(), scene):
        left = scene_figure(drawn).axes[0]
        height, width = drawn.truth.shape[1:]
        assert (left.get_xlim(), left.get_ylim()) == ((0, width), (height, 0))


@pytest.mark.parametrize("iou", [0.05, 0.5, 0.95])
def test_curves_of_classes(iou):
    generator = torch.Generator().manual_seed(0)
    ious, scores = (
        {name: [torch.rand(*shape, generator=generator).double() for _ in range(10)] for name in "abcde"}
        for shape in ((20, 4), (20,))
    )
    curves = class_curves(ious, scores)
    assert plain_figures(lambda: class_figure(curves, iou)) < LIMIT
    assert curves.at("b", iou) == pooled_average_precision(ious["b"], scores["b"], iou)
    assert f"b {curves.at('b', iou):.3f}" in curves.describe(iou)
    precision, recall = pooled_curve(ious["a"], scores["a"], iou)
    assert len(precision) == len(recall) == 200
    assert 0 <= pooled_average_precision(ious["a"], scores["a"], iou) <= recall[-1]
