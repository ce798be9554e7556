"""co3course.map: the strip of six steps, the notebook's own ones marked."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from reading import Page

from co3course.figures import PipelineTrace
from co3course.map import STEPS, map_html, show_map, strip_of
from co3lib.instance import Instance


def test_six_pictures_with_words_and_one_of_them_marked():
    text = map_html("peaks")
    page = Page(text)
    assert len(page.images) == page.captions == 6 and text.count("aria-current") == 1 and text.count("<b ") == 1
    assert [step in alt for step, alt in zip(STEPS, page.images, strict=True)] == [True] * 6
    assert ["this notebook" in alt for alt in page.images] == [False, False, True, False, False, False]
    assert "This notebook: 3 (peaks)." in text and text.count("grayscale") == 5


def test_several_steps_in_the_order_of_the_method():
    text = map_html("instances", "heat map")
    assert "This notebook: 4 (heat map) and 6 (instances)." in text and text.count("aria-current") == 2


@pytest.mark.parametrize("wrong", [(), ("copeaks",), ("peaks", "Peaks"), (3,)])
def test_other_names_are_refused(wrong):
    with pytest.raises(ValueError, match="steps must be of photo, co-saliency, peaks, heat map, proposal, instances, got "):
        show_map(*wrong)


def test_dark_text_on_white_and_nothing_from_elsewhere():
    text = map_html(*STEPS)
    assert "background:white;color:black" in text and "http" not in text and "<script" not in text
    assert len(text) < 200_000


def test_pictures_differ_and_none_is_empty():
    data = [part.partition('"')[0] for part in map_html("photo").split("base64,")[1:]]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in data]
    assert len(set(data)) == 6 and len({picture.shape for picture in pictures}) == 1
    assert all(picture.std() > 5 for picture in pictures)


def test_show_map_displays_it(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    show_map("proposal")
    assert [one.data for one in shown] == [map_html("proposal")]


def test_the_strip_shows_one_step_after_the_other():
    mask = np.zeros((40, 30), bool)
    mask[10:30, 10:20] = True
    thing = Instance(mask, 0.7, (20, 15), (10, 10, 20, 30))
    photo = np.full((40, 30, 3), (200, 30, 30), np.uint8)
    trace = PipelineTrace(
        photo, torch.ones(40, 30), torch.arange(12.0).reshape(4, 3), torch.tensor([[3, 2]]), 0, torch.ones(40, 30), thing
    )
    strip = np.asarray(strip_of(trace, []))
    side = strip.shape[1] // 6
    first, *others = (strip[:, k * side : (k + 1) * side].astype(int) for k in range(6))
    assert np.abs(first - (200, 30, 30)).max() <= 2
    assert np.abs(others[-1] - first).max() <= 2  # no instances were found
    assert all(np.abs(other - first).max() > 50 for other in others[:4])
