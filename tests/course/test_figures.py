"""co3course.figures: what the notebooks show, drawn from small inputs."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from co3course.figures import (
    PipelineTrace,
    contact_figure,
    figure_html,
    overlay_grid,
    pipeline_figure,
    png,
    show,
    trace_pipeline,
)
from co3lib.config import CoSegConfig
from co3lib.instance import Instance
from co3lib.segmentation import CoSegmenter


def photo(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def instance(height=40, width=60):
    mask = np.zeros((height, width), bool)
    mask[10:30, 20:40] = True
    return Instance(mask, 0.7, (20, 30), (20, 10, 40, 30))


@pytest.fixture
def trace():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 40, 60, generator=generator)
    cells = torch.tensor([[0, 0], [3, 5], [1, 2]])
    return PipelineTrace(photo(), maps[0], torch.randn(4, 6, generator=generator), cells, 1, maps[1], instance())


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_white_whatever_the_style(trace, style):
    figures = []
    with plt.style.context(style):
        figures = [overlay_grid([photo()], [[instance()]], ["one"]), pipeline_figure(trace, [instance()])]
        drawn = [pixels(figure) for figure in figures]
    for figure, image in zip(figures, drawn, strict=True):
        assert (image[0] == 255).all() and (image[:, 0] == 255).all()
        titles = [axis.get_title() or axis.get_title(loc="left") for axis in figure.axes]
        assert any(titles) and matplotlib.rcParams["axes.titlecolor"] == "auto"
        assert all(matplotlib.colors.to_rgb(axis.title.get_color()) == (0, 0, 0) for axis in figure.axes)


def test_grid_has_a_place_for_every_photo_and_shows_the_masks():
    photos = [photo(seed=k) for k in range(7)]
    plain = overlay_grid(photos, captions=[f"photo {k}" for k in range(7)])
    assert [axis.get_title() for axis in plain.axes][:7] == [f"photo {k}" for k in range(7)]
    assert len(plain.axes) == 8 and [bool(axis.images) for axis in plain.axes] == [True] * 7 + [False]
    np.testing.assert_array_equal(plain.axes[3].images[0].get_array(), photos[3])
    marked = overlay_grid(photos, [[instance()], *[[]] * 6])
    changed = (marked.axes[0].images[0].get_array() != photos[0]).any(2)
    assert changed[12:28, 22:38].mean() > 0.9 and not changed[:6].any()
    np.testing.assert_array_equal(marked.axes[1].images[0].get_array(), photos[1])
    np.testing.assert_allclose(marked.axes[0].collections[0].get_offsets(), [[30.5, 20.5]])


def test_photos_of_a_grid_are_read_from_their_files(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert png(overlay_grid([tmp_path / "a.png"])) == png(overlay_grid([photo]))


def test_large_photos_are_drawn_small_with_their_masks_in_place():
    large = np.zeros((800, 1200, 3), np.uint8)
    mask = np.zeros((800, 1200), bool)
    mask[400:, 600:] = True
    figure = overlay_grid([large], [[Instance(mask, 1.0, (600, 900), (600, 400, 1200, 800))]])
    drawn = figure.axes[0].images[0].get_array()
    height, width = drawn.shape[:2]
    assert max(height, width) <= 400
    assert drawn[-height // 4, -width // 4].any() and not drawn[: height // 3].any()
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), [[0.75 * width, 0.75 * height]], atol=1)


@pytest.mark.parametrize("arguments", [([],), ([photo()], [[], []]), ([photo()], [[]], ["a", "b"])])
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match="images"):
        overlay_grid(*arguments)


def test_pipeline_figure_shows_what_its_titles_name(trace):
    figure = pipeline_figure(trace, [instance()])
    axes = {axis.get_title(loc="left")[:1]: axis for axis in figure.axes if axis.get_title(loc="left")}
    assert sorted(axes) == list("123456")
    assert axes["2"].images[0].get_clim() == (0, 1)
    assert sum(axis.images[0].colorbar is not None for axis in axes.values()) == 3
    assert all(axis.get_xlabel() for axis in axes.values())
    # Peaks on no instance are rings. The instance is in rows 10 to 30 and columns 20 to 40.
    assert [len(one.get_facecolors()) for one in axes["3"].collections] == [0, 0, 1]
    # peaks lie in the middle of their cells: 40 x 60 pixels on a grid of 4 x 6
    offsets = [tuple(one.get_offsets()[0]) for one in axes["3"].collections]
    assert offsets == [(5, 5), (55, 35), (25, 15)]
    for number in "45":
        assert [tuple(one.get_offsets()[0]) for one in axes[number].collections] == [(55, 35)]
    for axis in axes.values():
        assert tuple(axis.images[0].get_extent()) == (0, 60, 40, 0)


def test_a_contact_sheet_has_a_title_for_each_class_and_a_place_for_each_photo():
    photos = {"a": [photo(seed=k) for k in range(7)], "b": [photo(seed=9)]}
    found = {"a": [[instance()], *[[]] * 6], "b": [[]]}
    figure = contact_figure(photos, found, {"a": "first $", "b": "second"})
    assert [part.get_suptitle() for part in figure.subfigs] == ["first $", "second"]
    drawn = [[bool(axis.images) for axis in part.axes] for part in figure.subfigs]
    assert drawn == [[True] * 7 + [False] * 5, [True]]
    assert (figure.subfigs[0].axes[0].images[0].get_array() != photos["a"][0]).any()
    assert png(figure)


def test_trace_agrees_with_predict():
    # The trace is of one scale, up to the proposal; more scales and refined outlines come after it.
    later = {"peak_scales": (1.0,), "refine_masks": False}
    config = CoSegConfig(input_size=128, mask_size=128, epochs=0, max_proposals=50, noise_percentile=0, **later)
    photos = [photo(96, 128, seed) // 8 for seed in range(2)]
    for image in photos:
        image[30:60, 40:80, 0] += 200
    segmenter = CoSegmenter(config).fit(photos, progress=False)
    best = segmenter.predict(photos, progress=False)[0][0]
    trace = trace_pipeline(segmenter, photos[0])
    assert trace.saliency.shape == trace.heat.shape == (96, 128) and trace.score.shape == (4, 4)
    np.testing.assert_array_equal(trace.chosen.mask, best.mask)
    assert trace.chosen.score == pytest.approx(best.score) and trace.chosen.peak == best.peak


def test_html_says_what_is_shown():
    page = figure_html(overlay_grid([photo()]), 'a "caption" & more', "what <is> seen")
    assert 'alt="what &lt;is&gt; seen"' in page and "<figcaption>a &quot;caption&quot; &amp; more</figcaption>" in page
    assert "data:image/png;base64," in page and "background:white" in page


@pytest.mark.parametrize("caption, alt, named", [("", "x", "caption"), ("x", " ", "alt")])
def test_a_figure_without_words_is_refused(caption, alt, named):
    with pytest.raises(ValueError, match=f"{named} must say something"):
        figure_html(overlay_grid([photo()]), caption, alt)


def test_show_displays_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    show(overlay_grid([photo()]), "caption", "alt")
    assert "<figcaption>caption" in shown[0].data


@pytest.mark.parametrize("name", ["a$b$.png", "$\\frac$", "100 $", "a_b^c", "back\\slash"])
def test_a_files_name_is_no_mathematics(name):
    figure = overlay_grid([photo()], captions=[name])
    assert pixels(figure).size and figure.axes[0].get_title() == name and not figure.axes[0].title.get_parse_math()
