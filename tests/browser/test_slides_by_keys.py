"""Slides, opened without a network and worked with keys."""

import nbformat
from matplotlib.figure import Figure

from co3course.figures import figure_html
from co3course.slides import make_slides


def test_slides_go_on_and_back(chromium, tmp_path):
    pages = [figure_html(Figure(figsize=(2, 1)), caption, "A white square") for caption in ("first", "second")]
    outputs = [nbformat.v4.new_output("display_data", {"text/html": page}) for page in pages]
    cells = [nbformat.v4.new_markdown_cell("# Squares\n\nTwo."), nbformat.v4.new_code_cell("1", outputs=outputs)]
    make_slides([nbformat.v4.new_notebook(cells=cells)], tmp_path / "slides.html")
    context = chromium.new_context(viewport={"width": 900, "height": 600}, offline=True)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "slides.html").as_uri())
    seen = []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "c"):
        page.keyboard.press(key)
        seen.append((page.locator("#where").inner_text(), page.locator("section.now :is(h1, h2)").inner_text()))
    third = ("3 of 3", "second")
    assert seen == [("1 of 3", "Squares"), ("2 of 3", "first"), third, third, ("2 of 3", "first"), ("Contents", seen[-1][1])]
    page.get_by_role("link", name="Squares").click()
    assert page.locator("section.now h1").inner_text() == "Squares"
    page.keyboard.press("ArrowRight")
    box = page.locator("section.now img").bounding_box()
    assert box["y"] + box["height"] <= 600 and box["width"] > 500
    assert all(url.startswith(("file:", "data:")) for url in asked)
    context.close()
