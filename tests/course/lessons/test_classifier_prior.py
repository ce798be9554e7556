"""The figures of notebook 11."""

from __future__ import annotations

import numpy as np
import torch

from co3course.figures import png
from co3course.lessons.classifier_prior import maps_figure, precision_figure


def test_maps_share_limits_and_lie_over_the_photo():
    pixels = np.zeros((60, 80, 3), np.uint8)
    figure = maps_figure(pixels, {"one": torch.rand(4, 4), "other": torch.full((4, 4), 0.2)}, "value")
    pictures = [axis.images[0] for axis in figure.axes[1:3]]
    assert [picture.get_clim() for picture in pictures] == [(0, 1)] * 2
    assert {tuple(picture.get_extent()) for picture in pictures} == {(0, 80, 60, 0)}
    assert png(figure).startswith(b"\x89PNG")


def test_bars_say_their_values():
    figure = precision_figure({"first": (0.5, 0.25), "last": (1.0, 0.75)})
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "last"] and axis.yaxis_inverted()
    assert sorted(text.get_text() for text in axis.texts) == ["0.25", "0.50", "0.75", "1.00"]
    assert png(figure).startswith(b"\x89PNG")
