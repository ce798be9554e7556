"""How figures look, whatever style was set elsewhere."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from co3course.style import BLUE, dots, mark, plain


def test_a_style_set_elsewhere_changes_nothing():
    @plain
    def size():
        return matplotlib.rcParams["font.size"]

    with matplotlib.rc_context({"font.size": 30}):
        assert size() == size() == matplotlib.rcParamsDefault["font.size"]
        assert matplotlib.rcParams["font.size"] == 30


def test_dots_and_marks_are_white_with_a_black_rim():
    axis = Figure().subplots()
    dots(axis, 1.0, 2.0)
    dots(axis, np.array([1, 2]), np.array([3, 4]), area=9, zorder=3)
    mark(axis, 1.0, 2.0)
    mark(axis, np.array([1, 2]), np.array([3, 4]))
    for collection, count in zip(axis.collections, (1, 2), strict=True):
        assert len(collection.get_offsets()) == count
        assert collection.get_facecolor()[0].tolist() == [1, 1, 1, 1] and collection.get_edgecolor()[0].tolist() == [0, 0, 0, 1]
    for line, count in zip(axis.lines, (1, 2), strict=True):
        assert len(line.get_xdata()) == count and line.get_color() == "white" and line.get_markeredgecolor() == "black"
    assert BLUE.startswith("#")
