"""The map at the head of every notebook: the six steps on one photo, the notebook's own ones in colour.

``python -m co3course.map`` draws the six pictures anew, from a run of the library's default, into ``map.png`` beside this file.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path

from PIL import Image

STEPS = {
    "photo": "the photos share a kind of thing",
    "co-saliency": "where it is",
    "peaks": "points on the instances",
    "heat map": "the pixels behind one peak",
    "proposal": "the region that fits it best",
    "instances": "what is found",
}
"""The steps, and what each picture shows."""
_SIZE = (168, 224)  # width and height of a picture in pixels, in the proportion of the photo
_PICTURE = Path(__file__).with_name("map.png")
_STRIP = "margin:0;padding:0.6em;background:white;color:black;font-family:sans-serif;font-size:14px;line-height:1.3"
_PANELS = "display:grid;grid-template-columns:repeat(auto-fit,minmax(110px,1fr));gap:0.6em"
_PANEL = "margin:0;padding:4px;border-radius:4px;"
_HERE, _ELSEWHERE = _PANEL + "border:3px solid #D55E00", _PANEL + "border:3px solid #DDDDDD"
_PALE = ";filter:grayscale(0.7);opacity:0.5"


def show_map(*steps: str) -> None:
    """Show the six steps, those of this notebook in colour: ``show_map("co-saliency")``, ``show_map("heat map", "proposal")``.
    ``ValueError`` for a name that is not in ``STEPS``, and for none."""
    from IPython.display import HTML, display

    display(HTML(map_html(*steps)))


def map_html(*steps: str) -> str:
    """What ``show_map`` shows."""
    for step in steps or ("none",):
        if step not in STEPS:
            raise ValueError(f"steps must be of {', '.join(STEPS)}, got {step!r}")
    now = " and ".join(f"{number} ({step})" for number, step in enumerate(STEPS, start=1) if step in steps)
    said = f"The way from photos to instances, in six steps. This notebook: {now}."
    panels = "".join(_panel(number, step, step in steps) for number, step in enumerate(STEPS, start=1))
    whole = f'<div role="group" aria-label="{said}" style="{_PANELS}">{panels}</div>'
    return f'<div class="co3-map" style="{_STRIP}">{whole}<div style="margin-top:0.5em">{said}</div></div>'


def _panel(number: int, step: str, here: bool) -> str:
    name = f"{number} &nbsp;{step}"
    alt = f"Step {number} of 6: {step}{', this notebook' if here else ''}: {STEPS[step]}"
    title = f'<b style="font-size:16px">{name}</b>' if here else f'<span style="color:#555555">{name}</span>'
    image = f'<img src="data:image/jpeg;base64,{_pictures()[number - 1]}" alt="{alt}" '
    image += f'style="display:block;width:100%;margin:4px 0{"" if here else _PALE}">'
    said = f'<span style="font-size:12px;color:{"black" if here else "#555555"}">{STEPS[step]}</span>'
    return (
        f'<figure style="{_HERE if here else _ELSEWHERE}"{" aria-current=step" if here else ""}>'
        f"<figcaption>{title}</figcaption>{image}{said}</figure>"
    )


@cache
def _pictures() -> list[str]:
    with Image.open(_PICTURE) as file:
        strip = file.convert("RGB")
    (width, height), found = _SIZE, []
    for step in range(len(STEPS)):
        picture = io.BytesIO()
        strip.crop((step * width, 0, (step + 1) * width, height)).save(picture, "jpeg", quality=90)
        found.append(base64.b64encode(picture.getvalue()).decode())
    return found


def draw() -> None:
    """Fit the default on six collages with cats and write the steps of one of them to ``map.png``."""
    from co3lib.config import CoSegConfig
    from co3lib.datasets import demo_set
    from co3lib.files import aside
    from co3lib.instance import shown
    from co3lib.segmentation import CoSegmenter

    from .figures import trace_pipeline

    photos = [sample.image_path for sample in demo_set("collage")["cat"][:6]]
    segmenter = CoSegmenter(CoSegConfig(seed=0)).fit(photos)
    found = shown(segmenter.predict(photos))
    strip = strip_of(trace_pipeline(segmenter, photos[3]), found[3])
    with aside(_PICTURE) as part:
        strip.save(part, "png", optimize=True)


def strip_of(trace, instances) -> Image.Image:
    """The six pictures of a ``PipelineTrace`` side by side."""
    from matplotlib.figure import Figure

    from .figures import draw_step, png

    width, height = _SIZE
    strip = Image.new("RGB", (len(STEPS) * width, height))
    for step in range(len(STEPS)):
        figure = Figure(figsize=(width / 90, height / 90))
        axis = figure.add_axes((0, 0, 1, 1))
        draw_step(axis, trace, instances, step)
        axis.set_axis_off()
        axis.set_aspect("auto")  # the photo's proportion is the picture's
        picture = Image.open(io.BytesIO(png(figure))).convert("RGB")
        strip.paste(picture.resize(_SIZE, Image.Resampling.LANCZOS), (step * width, 0))
    return strip


if __name__ == "__main__":
    draw()
