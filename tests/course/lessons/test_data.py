"""Figures of notebook 01, and the numbers in them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from matplotlib.figure import Figure
from quickness import LIMIT, plain_figures

from co3course.figures import png
from co3course.lessons.data import (
    best_proposals,
    candidates,
    describe_first,
    first_figure,
    helpers_figure,
    page,
    shares,
    statistics,
    statistics_figure,
    tasks_figure,
)
from co3lib.datasets import demo_set


@pytest.fixture(scope="module")
def samples():
    return demo_set("collage")["cat"][:3]


@pytest.fixture(scope="module")
def pages(samples):
    return {"cat": [page(sample) for sample in samples]}


def test_pages_are_small_and_keep_every_instance(samples, pages):
    for sample, one in zip(samples, pages["cat"], strict=True):
        assert max(one.photo.shape) <= 320 and one.masks.shape == (len(sample.mask_paths), *one.photo.shape[:2])
        assert torch.allclose(shares(one.masks), shares(sample.masks), atol=0.003)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_the_first_proposals(samples, first):
    sample = samples[0]
    proposals = torch.cat([torch.zeros_like(sample.masks[:1]), sample.masks[:1], sample.masks.any(0)[None]])
    shown = candidates(sample, proposals)
    draw = partial(first_figure, shown, first)
    assert plain_figures(draw) < LIMIT
    titles = [axis.get_title() for axis in draw().axes]
    assert len(titles) == len(sample.masks) and titles[0] == f"cat 1: IoU {0 if first == 1 else 1:.2f}"
    assert f"first {first} proposals" in describe_first(shown, first)
    assert describe_first(shown, 1).endswith("above 0.5: 0.")


def test_statistics_have_a_row_an_instance(samples):
    table = statistics({"cat": samples})
    assert len(table) == sum(len(sample.mask_paths) for sample in samples)
    first = table[table.photo == samples[0].name].share.tolist()
    expected = [mask.sum() / mask.size for mask in samples[0].masks.numpy()]
    assert first == pytest.approx(expected)


def test_best_proposals():
    truth = torch.zeros(2, 4, 4, dtype=torch.bool)
    truth[0, :2], truth[1, 2:, :2] = True, True
    proposals = torch.stack([torch.ones(4, 4, dtype=torch.bool), truth[1], truth[0] | truth[1]])
    indices, overlaps = best_proposals(proposals, truth)
    assert indices.tolist() == [2, 1] and overlaps.tolist() == pytest.approx([8 / 12, 1])


def test_static_figures(samples, pages):
    sample = samples[0]
    proposals = torch.cat([sample.masks, torch.ones_like(sample.masks[:1])])
    figures = [
        tasks_figure(pages["cat"][0], "cat"),
        statistics_figure(statistics({"cat": samples, "other": samples[:1]})),
        helpers_figure(sample, torch.rand(sample.image.shape[:2]), proposals),
    ]
    assert all(isinstance(figure, Figure) and png(figure) for figure in figures)
    bars = [bar.get_height() for bar in figures[1].axes[0].patches]
    assert sum(bars) == 4  # four photos in the table
    assert figures[2].axes[2].get_title(loc="left") == "no. 0: IoU 1.00"
