"""Sliders on top of plain figure functions.

``explore(draw, controls, caption, alt, see)`` shows ``draw(**values)``, a function to a matplotlib ``Figure``, and draws it
anew when a control is moved. The functions themselves are in ``co3course.lessons``, one module a notebook; here is nothing but
the wiring, so that what a widget shows can be had, and tested, without a widget.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
from matplotlib.figure import Figure

from .figures import figure_html

_WIDE = ipywidgets.Layout(width="36em")
_LABEL = {"description_width": "17em"}
# Two things that JupyterLab and ipywidgets leave undone for whoever works with keys or a screen reader: a slider's handle has
# no name, and arrow keys on a menu are taken for moving to another cell. A style sheet, though empty, says when it has come
# into the page, and by then labels and controls are there.
_FOR_KEYS = """<style onload="
const box = this.closest('.widget-vbox');
for (const one of box.querySelectorAll('[role=slider], select'))
  one.dataset.lmSuppressShortcuts = true;
for (const one of box.querySelectorAll('.widget-slider'))
  one.querySelector('[role=slider]')?.setAttribute('aria-label', one.querySelector('label').textContent);
"></style>"""

_PROMISE = '<p class="co3-see" style="margin:0.4em 0;max-width:60em;line-height:1.4">{}</p>'


def slider(label: str, low: float, high: float, value: float, step: float = 1) -> ipywidgets.Widget:
    """A slider with its label and its number; whole numbers if all of ``low, high, value, step`` are. It reports its value
    when it is let go, or at each press of an arrow key."""
    if not low <= value <= high:
        raise ValueError(f"value of the slider {label!r} must be in [{low}, {high}], got {value}")
    whole = all(isinstance(number, int) for number in (low, high, value, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    more = {} if whole else {"readout_format": ".3g"}
    return kind(
        value, min=low, max=high, step=step, description=label, continuous_update=False, layout=_WIDE, style=_LABEL, **more
    )


def choice(label: str, options: Sequence, value=None) -> ipywidgets.Widget:
    """A menu; ``options`` are values, or pairs ``(text, value)``; the first is chosen unless ``value`` is given."""
    menu = ipywidgets.Dropdown(options=options, description=label, layout=_WIDE, style=_LABEL)
    if value is not None:
        menu.value = value
    return menu


def explore(
    draw: Callable[..., Figure],
    controls: Mapping[str, ipywidgets.Widget],
    caption: Callable[..., str],
    alt: Callable[..., str],
    see: str,
) -> ipywidgets.VBox:
    """Controls above the figure that they change. Where no kernel answers, in a saved page, the first figure is shown.

    draw, caption, alt: called with one keyword argument a control, named as in ``controls``; caption and alt say what *this*
    figure shows, with its numbers, and are what a screen reader reads out. see: what one finds out by moving the controls, a
    sentence in plain text that begins with "You will see". An error at the first drawing is raised; one that
    a moved control causes is shown in place of the figure, and raised no further, as nobody would see it.
    """
    if not see.startswith("You will see "):
        raise ValueError(f"see must begin with 'You will see ', got {see!r}")
    promise = ipywidgets.HTML(_PROMISE.format(html.escape(see)))
    picture = ipywidgets.HTML()

    def values() -> dict:
        return {name: control.value for name, control in controls.items()}

    def page() -> str:
        now = values()
        said = caption(**now)
        return figure_html(draw(**now), said, said if alt is caption else alt(**now))

    def redraw(_change) -> None:
        try:
            picture.value = page() + _FOR_KEYS
        except Exception as error:
            where = ", ".join(f"{name} = {value!r}" for name, value in values().items())
            message = html.escape(f"Error displaying this figure at {where}: {type(error).__name__}: {error}")
            picture.value = f'<p role="alert" class="co3-error">{message}</p>'

    first = page()
    picture.value = first + _FOR_KEYS
    for control in controls.values():
        control.observe(redraw, names="value")
    labels = ", ".join(control.description for control in controls.values())
    still = _PROMISE.format(html.escape(f"{see} (When the notebook runs, you can change: {labels}.)"))
    return _Explored([*controls.values(), promise, picture], still=still + first)


class _Explored(ipywidgets.VBox):
    """Controls and figure; ``still`` is what a page shows in which nothing runs."""

    def __init__(self, children: Sequence[ipywidgets.Widget], still: str):
        super().__init__(children)
        self._still = still

    def _repr_mimebundle_(self, **options) -> dict:
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/html": self._still}
