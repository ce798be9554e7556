from __future__ import annotations

from functools import partial

import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.lessons import training as lesson
from co3course.lessons.training import Frame, Task
from co3lib.backbones import build_backbone
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.inference import prepare
from co3lib.segmentation import CoSegmenter

EPOCHS, PHOTOS = 10, 4


@pytest.fixture(scope="module")
def task() -> Task:
    samples = demo_set()["person"][:PHOTOS]
    work = [prepare(sample.image, CoSegConfig()) for sample in samples]
    priors = torch.rand(PHOTOS, 448, 448, generator=torch.Generator().manual_seed(1))
    return Task("person", samples, work, priors, [])


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    scores = torch.randn(EPOCHS + 1, PHOTOS, 14, 14, generator=torch.Generator().manual_seed(2))
    scores[0] = 0  # as the released head starts: one plateau
    return [Frame(score, 0.03, 0.66, 0.05) for score in scores]


@pytest.mark.parametrize("epoch", [0, EPOCHS])
@pytest.mark.parametrize("photo", range(PHOTOS))
def test_any_epoch_of_any_photo_is_drawn_at_once(task, frames, epoch, photo):
    assert plain_figures(partial(lesson.frame_figure, task, frames, epoch, photo)) < LIMIT


def test_the_other_figures(task, frames):
    on_thing = lesson.things(task.samples, (14, 14))
    runs = {arm: frames for arm in lesson.ARMS if arm != "untrained"}
    precision = {arm: {"0.25": [0.1, 0.3], "0.5": [0.0, 0.1]} for arm in lesson.ARMS}
    assert isinstance(lesson.film_figure(task, frames, (0, 5, EPOCHS), (0, 1)), Figure)
    assert isinstance(lesson.curves_figure(runs, on_thing), Figure)
    assert isinstance(lesson.precision_figure(precision), Figure)


def test_separation_counts_pairs_and_halves_ties():
    score = torch.tensor([[[3.0, 1.0], [1.0, 0.0]]])
    on_thing = torch.tensor([[[True, True], [False, False]]])
    assert lesson.separation(score, on_thing) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert lesson.separation(torch.zeros(1, 2, 2), on_thing) == 0.5


def test_peaks_are_counted_on_things():
    score = torch.zeros(1, 5, 5)
    score[0, 1, 1], score[0, 3, 4] = 2.0, 1.0
    on_thing = torch.zeros(1, 5, 5, dtype=torch.bool)
    on_thing[0, :3, :3] = True
    assert lesson.peaks_on_things(Frame(score, 0, 0, 0), on_thing) == (1, 2)


def test_things_are_cells_whose_centre_is_on_a_mask(task):
    on_thing = lesson.things(task.samples, (14, 14))
    assert on_thing.shape == (PHOTOS, 14, 14)
    mask = task.samples[0].masks.any(0)
    y, x = (int(4.5 / 14 * size) for size in mask.shape)
    assert on_thing[0, 4, 4] == mask[y, x]


def test_a_trial_has_a_frame_an_epoch_and_a_precision():
    config = CoSegConfig(input_size=128, mask_size=128, max_proposals=50, prior="single", epochs=2)
    task = lesson.make_task("person", demo_set()["person"][:2], config)
    stage = build_backbone(config.backbone).middle_stage
    start, activations = lesson.start_of(task, config, stage)
    trial = lesson.run_trial(task, start, activations, stage, config)
    assert len(trial.frames) == 3
    assert trial.frames[0].score.shape == (2, 4, 4)
    assert min(trial.frames[-1].saliency, trial.frames[-1].copeak) > 0
    assert trial.frames[-1].affinity != trial.frames[0].affinity
    assert not torch.equal(trial.frames[0].score, trial.frames[2].score)
    assert 0 <= trial.precision["0.5"] <= trial.precision["0.25"] <= 1


def test_a_trial_is_what_fit_does():
    config = CoSegConfig(input_size=128, mask_size=128, max_proposals=50, prior="single", peak_source="score", epochs=1)
    task = lesson.make_task("person", demo_set()["person"][:2], config, segmented=1)
    assert len(task.work) == len(task.priors) == 2 and len(task.proposals) == 1
    segmenter = CoSegmenter(config)
    segmenter.fit_prepared(task.work, task.priors, progress=False)
    start, activations = lesson.start_of(task, config, segmenter.config.frozen_until)
    trial = lesson.run_trial(task, start, activations, segmenter.config.frozen_until, config)
    with torch.no_grad():
        score = segmenter.model.forward_from(activations, segmenter.config.frozen_until).score[:, 0]
    assert torch.allclose(trial.frames[-1].score, score, atol=1e-4)
    assert trial.precision == pytest.approx(lesson.precision(segmenter, task))
