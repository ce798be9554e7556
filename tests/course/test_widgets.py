"""co3course.widgets without a browser; tests/browser works the same widgets with keys."""

import ipywidgets
import matplotlib.pyplot
import pytest
from matplotlib.figure import Figure

from co3course.widgets import choice, explore, slider

SEE = "You will see that it gets steeper."


def draw(power, colour):
    if colour == "none":
        raise KeyError("no <such> colour")
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([k**power for k in range(3)], color=colour)
    return figure


def words(power, colour):
    return f"A {colour} curve of power {power}."


@pytest.fixture
def widget():
    controls = {"power": slider("Power", 1, 4, 2), "colour": choice("Colour", ["red", "blue", "none"])}
    return explore(draw, controls, words, words, SEE)


def test_a_slider_of_whole_numbers_and_one_of_others():
    whole, other = slider("Peaks", 0, 9, 3), slider("Weight", 0, 1, 0.5, 0.1)
    assert isinstance(whole, ipywidgets.IntSlider) and isinstance(other, ipywidgets.FloatSlider)
    assert (whole.min, whole.max, whole.value, whole.step) == (0, 9, 3, 1)
    assert (other.value, other.step, other.description) == (0.5, 0.1, "Weight")
    assert not whole.continuous_update and not other.continuous_update


@pytest.mark.parametrize("value", [-1, 10])
def test_a_slider_starts_in_its_range(value):
    with pytest.raises(ValueError, match=r"'Peaks' must be in \[0, 9\]"):
        slider("Peaks", 0, 9, value)


def test_a_menu():
    assert choice("Photo", [("first", 0), ("second", 1)]).value == 0
    assert choice("Photo", [("first", 0), ("second", 1)], 1).label == "second"


def test_the_figure_follows_the_controls(widget):
    power, colour, _, picture = widget.children
    assert words(2, "red") in picture.value and 'alt="A red curve of power 2."' in picture.value
    before = picture.value
    power.value = 3
    assert words(3, "red") in picture.value and picture.value != before
    colour.value = "blue"
    assert words(3, "blue") in picture.value
    assert not matplotlib.pyplot.get_fignums()


def test_an_error_is_shown_in_place_of_the_figure_and_goes_with_the_next(widget):
    _, colour, _, picture = widget.children
    colour.value = "none"
    assert "<img" not in picture.value and 'class="co3-error"' in picture.value and 'role="alert"' in picture.value
    assert "power = 2, colour = &#x27;none&#x27;" in picture.value and "no &lt;such&gt; colour" in picture.value
    colour.value = "blue"
    assert words(2, "blue") in picture.value and "co3-error" not in picture.value


def test_an_error_at_the_first_drawing_is_raised():
    controls = {"power": slider("Power", 1, 4, 2), "colour": choice("Colour", ["none"])}
    with pytest.raises(KeyError, match="no <such> colour"):
        explore(draw, controls, words, words, SEE)


def test_a_caption_must_say_something():
    controls = {"power": slider("Power", 1, 4, 2), "colour": choice("Colour", ["red"])}
    with pytest.raises(ValueError, match="caption must say something"):
        explore(draw, controls, lambda power, colour: " ", words, SEE)


def test_a_promise_under_the_controls_and_in_what_is_shown_without_a_kernel():
    controls = {"power": slider("Power", 1, 4, 2), "colour": choice("Colour", ["red", "blue"])}
    widget = explore(draw, controls, words, words, see="You will see that it is <steeper>.")
    _, _, promise, picture = widget.children
    assert "You will see that it is &lt;steeper&gt;." in promise.value and words(2, "red") in picture.value
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = bundle["text/html"]
    assert "&lt;steeper&gt;" in still and "you can change: Power, Colour" in still and 'alt="A red curve of power 2."' in still
    assert "onload" not in still
    with pytest.raises(ValueError, match="see must begin with 'You will see '"):
        explore(draw, controls, words, words, see="It is steeper.")
