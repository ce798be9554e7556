"""An exported page, opened without a network: it asks for nothing, and shows formulas and what stands for widgets."""

import nbformat
import pytest
from matplotlib.figure import Figure

from co3course.map import map_html
from co3course.runner import to_html
from co3course.widgets import explore, slider

TEXT = "# One\n\nA mean $\\bar x_{n} = \\frac{1}{N} \\sum_n x_n$ and\n\n"
TEXT += "$$\\hat f(p) = \\frac{f(p)}{\\sqrt{\\sum_c f_c^2}} \\tag{1}$$"
SEE = "You will see that it is steeper."


def draw(power):
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([k**power for k in range(4)])
    return figure


def words(power):
    return f"A curve of power {power}."


@pytest.fixture(scope="module")
def exported(chromium, tmp_path_factory):
    """The page, and what it asked for."""
    widget = explore(draw, {"power": slider("Power", 1, 4, 2)}, words, words, SEE)
    shown = [widget._repr_mimebundle_(), {"text/html": map_html("peaks")}, {"text/markdown": "It is **$x^2$**."}]
    outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
    cells = [nbformat.v4.new_markdown_cell(TEXT), nbformat.v4.new_code_cell("shown", outputs=outputs)]
    file = tmp_path_factory.mktemp("page") / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    file.with_suffix(".html").write_text(to_html(file), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.with_suffix(".html").as_uri())
    yield page, asked, said
    context.close()


def test_nothing_is_asked_for_and_nothing_goes_wrong(exported):
    page, asked, said = exported
    assert [url for url in asked if not url.startswith("data:")] == [page.url]
    assert said == []


def test_formulas_are_drawn_in_their_font(exported):
    page, _, _ = exported
    page.evaluate("document.fonts.ready")
    assert page.evaluate("[...document.fonts].map(one => one.family + ' ' + one.status)") == ["co3math loaded"]
    assert page.locator("math").count() == 3 and "$" not in page.inner_text("body") and "\\" not in page.inner_text("body")
    heights = page.locator("math").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert all(height > 8 for height in heights)
    fraction = page.locator("mfrac").first
    top, bottom = (fraction.locator(f"> :nth-child({k})").bounding_box()["y"] for k in (1, 2))
    assert bottom > top + 5


def test_the_first_picture_and_its_promise_stand_for_a_widget(exported):
    page, _, _ = exported
    assert page.get_by_text(SEE).is_visible() and page.get_by_text("you can change: Power").is_visible()
    images = page.locator("img").evaluate_all("all => all.map(one => [one.alt, one.complete && one.naturalWidth])")
    assert len(images) == 7 and all(alt.strip() and width for alt, width in images)
    assert images[0][0] == words(2)
