"""A training that is watched: it is drawn after every epoch, ends when asked to, and its errors come out where one waits."""

from __future__ import annotations

import threading

import pytest
from matplotlib.figure import Figure

from co3course.live import LiveTraining


def figure(epoch: int, model) -> tuple[Figure, str]:
    return Figure(figsize=(1, 1)), f"epoch {epoch} of {model}"


def epochs_of(count: int, gate: threading.Event | None = None):
    def fit(on_epoch):
        for epoch in range(count + 1):
            if on_epoch(epoch, "a model"):
                return f"ended at {epoch}"
            if gate:
                gate.wait(10)
        return "trained"

    return fit


def texts(live: LiveTraining) -> tuple[str, str]:
    (_, _, said), picture = live.children[0].children, live.children[1]
    return said.value, picture.value


def test_it_is_drawn_and_waited_for():
    live = LiveTraining(epochs_of(3), figure, 3)
    assert live.wait() == "trained"
    said, picture = texts(live)
    assert said == "done after 3 of 3 epochs" and "epoch 3 of a model" in picture and live.epoch == 3


def test_the_button_ends_it_after_the_epoch_that_runs():
    gate = threading.Event()
    live = LiveTraining(epochs_of(9, gate), figure, 9)
    live.children[0].children[1].click()
    gate.set()
    assert live.wait() in ("ended at 0", "ended at 1")
    assert texts(live)[0] == f"stopped after {live.epoch} of 9 epochs" and live.children[0].children[1].disabled


def test_an_error_is_shown_and_raised_where_one_waits():
    def fit(on_epoch):
        raise ValueError("a < b")

    live = LiveTraining(fit, figure, 2)
    with pytest.raises(ValueError, match="a < b"):
        live.wait()
    assert "co3-error" in texts(live)[1] and "a &lt; b" in texts(live)[1] and texts(live)[0] == "failed"
