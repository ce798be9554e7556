"""Figures that answer by themselves: what is in the page is what was handed over. How they answer: tests/browser."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from co3course.hover import hover_copeaks, hover_correlation, hover_heat, hover_threshold
from co3lib.instance import Instance
from co3lib.overlap import tight_box

PHOTOS = [np.full((40, 60, 3), 90, np.uint8), np.full((50, 30, 3), 200, np.uint8)]
SEE, ALT = "You will see that it works.", "Two grey photos."


def numbers(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


def instance(rows: slice, score: float) -> Instance:
    mask = np.zeros((40, 60), bool)
    mask[rows, 10:30] = True
    return Instance(mask, score, (rows.start, 10), tight_box(mask))


def test_a_correlation_is_kept_to_a_part_in_255():
    values = torch.rand(3, 4, 5, 2, generator=torch.Generator().manual_seed(0)) * 3 - 1
    figure = hover_correlation(PHOTOS, {"T": values, "half": values / 2}, SEE, ALT, start=(2, 3))
    for kept, wanted in zip(figure.data["maps"], (values, values / 2), strict=True):
        found = kept["low"] + numbers(kept["values"], 3, 4, 5, 2) / 255 * (kept["high"] - kept["low"])
        np.testing.assert_allclose(found, wanted, atol=(kept["high"] - kept["low"]) / 255)
    assert figure.data["grids"] == [(3, 4), (5, 2)] and figure.data["start"] == [2, 3]


def test_copeaks_come_with_the_strongest_first():
    cells, values = torch.tensor([[0, 1, 2, 3], [1, 1, 0, 0]]), torch.tensor([0.25, 0.5])
    figure = hover_copeaks({"1 and 2": (PHOTOS, cells, values, (3, 4, 5, 6))}, SEE, ALT)
    assert figure.data["pairs"][0]["copeaks"] == [[1, 1, 0, 0, 0.5], [0, 1, 2, 3, 0.25]]


def test_heat_is_shown_over_its_maximum():
    heats = torch.zeros(2, 40, 60)
    heats[0, :20], heats[1, 20:] = 3, 0.5
    figure = hover_heat(PHOTOS[0], torch.tensor([[0.25, 0.5], [0.75, 0.5]]), heats, ["first", "second"], SEE, ALT)
    np.testing.assert_array_equal(numbers(figure.data["heats"], 2, *figure.data["size"]), (heats > 0) * 255)
    assert [(peak["y"], peak["said"]) for peak in figure.data["peaks"]] == [(0.25, "first"), (0.75, "second")]


def test_masks_and_whether_they_are_right():
    found = [[instance(slice(0, 20), 0.8), instance(slice(22, 40), 0.4)], []]
    true = torch.from_numpy(found[0][0].mask)[None]
    figure = hover_threshold(PHOTOS, found, SEE, ALT, [true, torch.ones(2, 50, 30, dtype=torch.bool)])
    first, second = figure.data["instances"][0]
    mask = np.zeros(40 * 60, bool)
    for number, end in enumerate(np.cumsum(first["runs"])):
        mask[end - first["runs"][number] : end] = number % 2
    np.testing.assert_array_equal(mask.reshape(40, 60), found[0][0].mask)
    assert (first["share"], first["right"], second["share"], second["right"]) == (1, True, 0.5, False)
    assert figure.data["there"] == 3 and hover_threshold(PHOTOS, found, SEE, ALT).data["there"] is None


def test_an_instance_that_is_too_small_to_be_seen_is_counted():
    large = np.zeros((900, 900, 3), np.uint8)
    mask = np.zeros((900, 900), bool)
    mask[1, 1] = True
    tiny = Instance(mask, 0.5, (1, 1), (1, 1, 2, 2))
    (entry,) = hover_threshold([large], [[tiny]], SEE, ALT, [torch.from_numpy(mask)[None]]).data["instances"][0]
    assert entry["right"] and len(entry["runs"]) == 1  # it is out everywhere on the small picture


def test_a_photo_of_nothing_is_a_page_as_well():
    assert hover_threshold(PHOTOS, [[], []], SEE, ALT).data["instances"] == [[], []]


def test_text_cannot_leave_its_place():
    figure = hover_threshold(PHOTOS, [[], []], "</p><b>", "</title><script>")
    assert "<script>" not in figure._repr_html_() and "<b>" not in figure._repr_html_()
    page = hover_heat(PHOTOS[0], torch.zeros(1, 2), torch.ones(1, 4, 4), ["</script>"], SEE, ALT).page
    assert page.count("</script>") == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: hover_correlation(PHOTOS[:1], {"T": torch.zeros(1, 1, 1, 1)}, SEE, ALT), "photos must be two"),
        (lambda: hover_correlation(PHOTOS, {"T": torch.zeros(1, 1, 1)}, SEE, ALT), "maps must have shape"),
        (lambda: hover_correlation(PHOTOS, {"T": torch.zeros(2, 2, 1, 1)}, SEE, ALT, (2, 0)), "start must be a cell"),
        (lambda: hover_correlation(PHOTOS, {"T": torch.full((1, 1, 1, 1), torch.nan)}, SEE, ALT), "must be finite"),
        (lambda: hover_correlation(PHOTOS, {"T": torch.zeros(1, 1, 1, 1)}, " ", ALT), "see must say something"),
        (lambda: hover_copeaks({}, SEE, ALT), "at least one"),
        (lambda: hover_heat(PHOTOS[0], torch.zeros(0, 2), torch.zeros(0, 4, 4), [], SEE, ALT), "at least one peak"),
        (lambda: hover_threshold(PHOTOS, [[]], SEE, ALT), "must be equally long"),
        (lambda: hover_threshold(PHOTOS, [[], []], SEE, ALT, start=0), r"start must be in \[0.01, 1\]"),
    ],
)
def test_what_cannot_be_drawn_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
