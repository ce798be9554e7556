"""What the benchmarks of speed share: a thing and its rival measured in turn, in one process, and the table of it.

Machines differ and are busy, so seconds say little and ratios of the same run more: every round measures the rival and then the
thing, and the ratio is the median over the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from co3cli.markdown import markdown
from co3lib.memory import keep_freed_memory

_COLUMNS = ["what", "median, ms", "spread, ms", "rival or limit", "its median, ms", "ratio", "reach"]


class Measured(NamedTuple):
    """Seconds, one a round, of a thing and of its rival."""

    own: list[float]
    rival: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(own / rival for own, rival in zip(*self, strict=True))


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(own: Callable[[], object], rival: Callable[[], object], rounds: int = 7) -> Measured:
    """Both are called once before they are measured."""
    keep_freed_memory()  # as the command and the notebooks do
    own(), rival()
    spans = [(seconds(rival), seconds(own)) for _ in range(rounds)]
    return Measured([own for _, own in spans], [rival for rival, _ in spans])


def row(what: str, measured: Measured, rival: str, reach: float | None, times: float = 1.0) -> list:
    """A row of the table; times: what the ratio is multiplied by, such as one over the number of peaks."""
    low, high = np.percentile(measured.own, [25, 75])
    return [
        what,
        f"{1000 * statistics.median(measured.own):.3g}",
        f"{1000 * (high - low):.2g}",
        rival,
        f"{1000 * statistics.median(measured.rival):.3g}",
        f"{measured.ratio * times:.3g}",
        "-" if reach is None else f"{reach:g}",
    ]


def show(title: str, rows: list[list]) -> None:
    """Print the table of one question. The spread is that between the quartiles of the rounds."""
    table = pd.DataFrame(rows, columns=_COLUMNS).set_index("what")
    print(f"{title}, {torch.get_num_threads()} thread(s):\n\n{markdown(table)}\n")
