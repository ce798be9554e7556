"""Slides for teachers: every figure of the executed notebooks, one to a slide, in one HTML file that needs no network.

Keys: arrows, space and page keys go on and back, Home and End to the first and last, C to the contents. Printed, each slide is
a page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from co3lib.files import write_text

from .page import title_and_purpose

_FIGURE = re.compile(
    r"<figure[^>]*>\s*(?P<image><img[^>]*>)\s*<figcaption[^>]*>(?P<caption>.*?)</figcaption>\s*</figure>"
    r'|<div class="co3-hover"[^>]*>(?P<frame><iframe.*?</iframe>)<p[^>]*>(?P<said>.*?)</p></div>',
    re.S,
)
_TEMPLATE = Path(__file__).with_name("slides.html")


def make_slides(books: Sequence[Mapping], file: Path) -> int:
    """Write the slides of executed notebooks to ``file``; returns how many there are.

    A notebook has a slide with its title and one for each figure with a caption, which is the slide's title; figures that
    answer by themselves still do. A notebook without a figure has none.
    """
    slides, contents = [], []
    for book in books:
        title, purpose = (plain(text) for text in title_and_purpose(book))
        figures = list(figures_of(book))
        if not figures:
            continue
        contents.append(f'<li><a href="#{len(slides) + 1}">{html.escape(title)}</a> ({len(figures)})</li>')
        slides.append(f'class="first"><h1>{html.escape(title)}</h1><p>{html.escape(purpose)}</p>')
        slides += [f"><h2>{caption}</h2>{picture}<footer>{html.escape(title)}</footer>" for caption, picture in figures]
    if not slides:
        raise ValueError(f"notebooks must show at least one figure with a caption, got none in {len(books)}")
    numbered = "\n".join(f'<section id="{number}" {slide}</section>' for number, slide in enumerate(slides, start=1))
    text = _TEMPLATE.read_text(encoding="utf-8")
    write_text(file, text.replace("__CONTENTS__", "\n".join(contents), 1).replace("__SLIDES__", numbered, 1))
    return len(slides)


def figures_of(book: Mapping) -> Iterator[tuple[str, str]]:
    """(caption, picture) of each figure among a notebook's outputs, both as HTML."""
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            for figure in _FIGURE.finditer("".join(output.get("data", {}).get("text/html", ""))):
                yield figure["caption"] or figure["said"], figure["image"] or figure["frame"]


def plain(markdown: str) -> str:
    """Markdown of one paragraph without its signs."""
    without_links = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`$]|(?<!\w)_|_(?!\w)", "", without_links).split())
