"""The lesson of notebook 08: its maps are the library's, its measures are what they say, its figures are quick."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.figures import png
from co3course.lessons import peak_backprop as lesson
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.inference import find_peaks, prepare, run_network
from co3lib.peak_backprop import response_maps_from
from co3lib.segmentation import CoSegmenter


@pytest.fixture(scope="module")
def segmenter():
    paths = [sample.image_path for sample in demo_set("collage")["cat"][:2]]
    return CoSegmenter(CoSegConfig(epochs=0, prior="ddt")).fit(paths, progress=False)


@pytest.fixture(scope="module")
def descent(segmenter):
    sample = demo_set("collage")["cat"][1]
    image = prepare(sample.image_path, segmenter.config)
    view = run_network(segmenter.model, image, segmenter.config)
    cells = find_peaks(view.output, segmenter.config, segmenter.partners)
    return lesson.descend(segmenter.model, image, view, cells, sample.masks, limit=2)


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


@pytest.mark.parametrize("stage", ["blocks.2", "blocks.4", "blocks.5"])
def test_a_stages_map_is_the_librarys(segmenter, descent, stage):
    with torch.no_grad():
        start = segmenter.model.backbone(descent.tensor, until=stage)
    expected = response_maps_from(segmenter.model, start, stage, descent.cells)
    torch.testing.assert_close(descent.maps[stage], expected, rtol=1e-3, atol=1e-7)


def test_the_images_map_is_the_librarys(segmenter, descent):
    expected = response_maps_from(segmenter.model, descent.tensor, None, descent.cells)
    torch.testing.assert_close(descent.maps[lesson.IMAGE], expected, rtol=1e-3, atol=1e-7)
    assert list(descent.maps) == [lesson.IMAGE, *segmenter.model.backbone.stage_names]


def test_the_gradients_size(segmenter, descent):
    image = descent.tensor.clone().requires_grad_()
    i, j = descent.cells[0].tolist()
    (gradient,) = torch.autograd.grad(segmenter.model(image).score[0, 0, i, j], image)
    expected = (gradient * segmenter.model.backbone.std).abs().sum(1)
    actual = lesson.stage_maps(segmenter.model, descent.tensor, descent.cells[:1], rule=False)[lesson.IMAGE]
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-6)


def test_every_peak_lies_on_its_instance(descent):
    for (y, x), mask in zip(descent.points.tolist(), descent.truth, strict=True):
        assert mask[y, x]


def test_all_the_relevance_is_accounted_for(segmenter, descent):
    hooks = [len(module._forward_hooks) for module in segmenter.model.modules()]
    ends = lesson.where_relevance_ends(segmenter.model, descent.tensor, descent.cells[0])
    assert sum(ends.values()) == pytest.approx(1, abs=1e-2)
    assert ends["arrives at the image"] == pytest.approx(float(descent.maps[lesson.IMAGE][0].sum()), rel=1e-2)
    assert [len(module._forward_hooks) for module in segmenter.model.modules()] == hooks


def test_shares_by_hand():
    heat = torch.tensor([[[5.0, 3.0, 1.0, 1.0, 0.0, -7.0]]])
    mask = torch.tensor([[[True, False, False, True, True, True]]])
    assert lesson.share_inside(heat, mask).item() == pytest.approx(0.6)
    # 5 and 3 hold 80 % of 10; of the four pixels of the mask one is among them.
    assert lesson.share_covered(heat, mask).item() == pytest.approx(0.25)


def test_means_over_peaks(descent):
    inside, covered, total = lesson.measure([descent, descent], "blocks.4")
    heat = descent.heat("blocks.4")
    assert inside == pytest.approx(float(lesson.share_inside(heat, descent.truth).mean()))
    assert covered == pytest.approx(float(lesson.share_covered(heat, descent.truth).mean()))
    assert total == pytest.approx(float(descent.maps["blocks.4"].sum((1, 2)).mean()))


def test_the_slider_at_its_ends(descent):
    for peak in (0, len(descent.cells) - 1):
        for stage in descent.maps:
            assert isinstance(lesson.stage_figure(descent, peak, stage), Figure)
            assert stage in lesson.say_stage(descent, peak, stage)


@pytest.mark.parametrize("stage", [lesson.IMAGE, "blocks.5"])
def test_the_slider_is_quick(descent, stage):
    def draw():
        lesson.say_stage(descent, 0, stage)
        lesson.say_stage(descent, 0, stage)
        return lesson.stage_figure(descent, 0, stage)

    assert plain_figures(draw) < LIMIT


def test_the_still_figures(descent):
    stages = list(descent.maps)
    for figure in (
        lesson.compare_figure(descent, 0, descent.heat("blocks.1")[0]),
        lesson.way_down_figure(descent, 0, stages),
        lesson.peaks_figure(descent, "blocks.4"),
        lesson.measure_figure(stages, [0.5] * len(stages), [0.2] * len(stages)),
    ):
        assert png(figure).startswith(b"\x89PNG")
