"""Is a figure drawn soon enough for a slider? Against a plain figure of the same process, for machines differ and are busy."""

import time

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

LIMIT = 8  # plain figures: about .4 s of a processor that nothing else uses


def plain_figure() -> Figure:
    """Six small pictures in their axes."""
    figure = Figure(layout="constrained")
    for axis in figure.subplots(2, 3).flat:
        axis.imshow(np.zeros((64, 64)))
    return figure


def _seconds(draw) -> float:
    started = time.process_time()
    drawn = draw()
    assert isinstance(drawn, Figure)
    return time.process_time() - started


def plain_figures(draw) -> float:
    """How many plain figures are drawn in the processor's time of one of ``draw``: the shortest of three each, in turn."""
    before = pyplot.get_fignums()
    spans = [(_seconds(draw), _seconds(plain_figure)) for _ in range(3)]
    assert pyplot.get_fignums() == before, "a figure was left to pyplot, which keeps it"
    drawn, plain = map(min, zip(*spans, strict=True))
    return drawn / plain
