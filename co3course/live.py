"""A training that is watched while it runs, with a button that ends it.

``live = LiveTraining(fit, draw, epochs)`` starts at once, in a thread, so that the page goes on answering; the cell that needs
what was trained calls ``live.wait()`` first. Headless, that is all there is to it. While a cell
waits, the kernel does not hear the button.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from .figures import figure_html


class LiveTraining(ipywidgets.VBox):
    """A figure that is drawn anew after every epoch, a bar of the epochs, and a button that ends the training after the one
    that runs.

    Parameters
    ----------
    fit : called with ``on_epoch=``, as ``CoSegmenter.fit`` and ``train`` take it; what it returns is what ``wait`` returns.
    draw : called with ``(epoch, model)`` before the first epoch and after each: a figure and its caption.
    epochs : how many there will be.
    """

    def __init__(self, fit: Callable[..., Any], draw: Callable[[int, Any], tuple[Figure, str]], epochs: int):
        self._picture = ipywidgets.HTML()
        self._bar = ipywidgets.IntProgress(0, min=0, max=epochs, description="epochs")
        self._stop = ipywidgets.Button(description="Stop here", tooltip="End the training after the epoch that runs")
        self._said = ipywidgets.Label("starting")
        super().__init__([ipywidgets.HBox([self._bar, self._stop, self._said]), self._picture])
        self._asked = threading.Event()
        self._stop.on_click(lambda _: self._asked.set())
        self._fit, self._draw = fit, draw
        self._result: Any = None
        self._error: BaseException | None = None
        self.epoch = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _repr_mimebundle_(self, **options) -> dict:
        still = "<p>When the notebook runs, the training is shown here while it goes on, with a button that ends it.</p>"
        return {**super()._repr_mimebundle_(**options), "text/html": still}

    def wait(self) -> Any:
        """What was trained, once it is; an error of the training is raised here."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._fit(on_epoch=self._after)
            ended = "stopped" if self.epoch < self._bar.max else "done"
            self._said.value = f"{ended} after {self.epoch} of {self._bar.max} epochs"
        except BaseException as error:
            self._error = error
            message = html.escape(f"{type(error).__name__}: {error}")
            self._picture.value = f'<p role="alert" class="co3-error">The training stopped: {message}</p>'
            self._said.value = "failed"
        self._stop.disabled = True

    def _after(self, epoch: int, model) -> bool:
        figure, caption = self._draw(epoch, model)
        self._picture.value = figure_html(figure, caption, caption)
        self._bar.value = self.epoch = epoch
        self._said.value = f"after epoch {epoch} of {self._bar.max}"
        return self._asked.is_set()
