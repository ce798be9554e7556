"""The map at the head of every notebook: the six steps on one photo, the notebook's own ones in colour.

``python -m co3course.map`` draws the photo's six pictures anew, with the library's default, into ``map.png`` beside this file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from co3lib.files import aside

from .figures import show
from .style import plain

STEPS = ("photo", "co-saliency", "peaks", "heat map", "proposal", "instances")
_SAID = (
    "the photos share something",
    "where it may be",
    "one point on each instance",
    "the pixels behind a peak",
    "the region that fits it",
    "all that is found",
)
_SIDE = 180  # pixels of a picture
_PICTURE = Path(__file__).with_name("map.png")


def show_map(*steps: str) -> None:
    """Show the six steps; ``steps`` are those of this notebook, of ``STEPS``. ``ValueError`` for any other or none."""
    for step in steps or ("none",):
        if step not in STEPS:
            raise ValueError(f"steps must be of {', '.join(STEPS)}, got {step!r}")
    here = " and ".join(f"{STEPS.index(step) + 1} ({step})" for step in steps)
    show(map_figure(steps), f"The way from photos to instances. This notebook: step {here}.", _alt(steps))


@plain
def map_figure(steps: tuple[str, ...]) -> Figure:
    """The strip of six pictures, those of other steps pale."""
    figure = Figure(figsize=(11, 2.25), layout="constrained")
    pairs = zip(figure.subplots(1, len(STEPS)), STEPS, _SAID, _pictures(), strict=True)
    for number, (axis, step, said, picture) in enumerate(pairs, start=1):
        here = step in steps
        axis.imshow(picture, alpha=1 if here else 0.3)
        axis.set_title(f"{number}  {step}", fontsize=11, weight="bold" if here else "normal", color="black" if here else "0.45")
        axis.set_xlabel(said, fontsize=9, color="black" if here else "0.45")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set(color="#D55E00" if here else "0.8", linewidth=3 if here else 1)
    return figure


def _alt(steps: tuple[str, ...]) -> str:
    said = [f"{step} ({what}{', this notebook' if step in steps else ''})" for step, what in zip(STEPS, _SAID, strict=True)]
    return f"Six pictures of one photo: {', '.join(said)}."


@cache
def _pictures() -> list[np.ndarray]:
    with Image.open(_PICTURE) as image:
        pixels = np.asarray(image.convert("RGB"))
    return np.split(pixels, len(STEPS), axis=1)


def draw() -> None:
    """Fit the default on six collages with cats and write the way of one of them to ``map.png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from co3lib.config import CoSegConfig
    from co3lib.datasets import demo_set
    from co3lib.segmentation import CoSegmenter

    from .figures import at_size, draw_step, trace_pipeline

    photos = [sample.image_path for sample in demo_set("collage")["cat"][:6]]
    segmenter = CoSegmenter(CoSegConfig(seed=0)).fit(photos)
    (found,) = segmenter.predict(photos[3:4])
    trace = trace_pipeline(segmenter, photos[3])
    found = at_size([instance for instance in found if instance.score >= found[0].score / 20], trace.pixels.shape[:2])
    pictures = []
    for step in range(len(STEPS)):
        figure = Figure(figsize=(_SIDE / 100, _SIDE / 100), dpi=100)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        draw_step(axis, trace, found, step)
        axis.set_aspect("auto")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3])
    with aside(_PICTURE) as part:
        Image.fromarray(np.concatenate(pictures, 1)).quantize(128).save(part, "png")


if __name__ == "__main__":
    draw()
