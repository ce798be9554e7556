"""Figures as plain functions: data in, a matplotlib ``Figure`` out; ``show`` puts one into a notebook.

A figure is made without pyplot, so nothing stays open; its background is white and its text dark whatever the user's
style. Colours are those of Okabe and Ito and matplotlib's cividis and magma, which colour-blind readers tell apart.

Shape letters: H W image size, ``h w`` feature grid, Q peaks.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from . import checks
from .ranking import Instance, rank_proposals
from .segmentation import CoSegmenter, heat_maps, prepare, prepare_proposals, seed_cells

_DPI = 90
_plain = matplotlib.style.context("default")


@dataclass(frozen=True)
class Story:
    """What happens to one photo, at work size (H, W).

    pixels: (H, W, 3) uint8; saliency: (H, W) in [0, 1]; score: (h, w); cells: (Q, 2), the peaks; best: the index of
    the peak whose proposal ranks highest; heat: (H, W), that peak's; mask: (H, W) bool, its proposal.
    """

    pixels: np.ndarray
    saliency: torch.Tensor
    score: torch.Tensor
    cells: torch.Tensor
    best: int
    heat: torch.Tensor
    mask: torch.Tensor


def tell(segmenter: CoSegmenter, photo) -> Story:
    """Go the way of one photo through a fitted segmenter, up to the best peak's mask, and keep what is met there.

    photo: as for ``CoSegmenter.predict``. Raises ``ValueError`` if the photo has no peak or no proposal.
    """
    config, model = segmenter.config, segmenter.model
    image = prepare(photo, config)
    size = image.pixels.shape[:2]
    with torch.no_grad():
        output = model(image.tensor)
        activations = image.tensor if config.heat_stop is None else model.backbone(image.tensor, config.heat_stop)
        saliency = interpolate(model.saliency_at_image_size(output.score), size, mode="bilinear")[0, 0]
    cells = seed_cells(output, config, segmenter.bank)
    heat = heat_maps(model, activations, cells, config, size)
    masks = prepare_proposals(image, config).masks
    if not len(cells) or not len(masks):
        raise ValueError(f"{image.name} has {len(cells)} peaks and {len(masks)} proposals; a story needs one of each")
    guide = saliency if config.ranking_saliency else torch.ones_like(saliency)
    scores = rank_proposals(heat, guide, masks, config.beta, config.gamma)
    best = int(scores.max(1).values.argmax())
    return Story(image.pixels, saliency, output.score[0, 0], cells, best, heat[best], masks[scores[best].argmax()])


@_plain
def overlay_grid(
    images: Sequence, instances: Sequence[Sequence[Instance]] | None = None, captions: Sequence[str] | None = None,
    columns: int = 5,
) -> Figure:
    """Photos (H, W, 3) uint8 side by side, with the instances found in each, if given, and a caption above each."""
    instances = [[]] * len(images) if instances is None else instances
    captions = [""] * len(images) if captions is None else captions
    checks.same_length(images=images, instances=instances, captions=captions)
    if not len(images):
        raise ValueError("images must hold at least one photo, got none")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.3 * columns, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set_axis_off()
    for axis, image, found, caption in zip(axes, images, instances, captions, strict=False):
        axis.imshow(overlay(np.asarray(image), found))
        axis.set_title(caption, fontsize=9)
        _mark(axis, [(instance.peak[1], instance.peak[0]) for instance in found], size=14)
    return figure


@_plain
def story_figure(story: Story, instances: Sequence[Instance]) -> Figure:
    """The way of one photo in six pictures; ``instances``: what ``predict`` finally made of it."""
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    axes = figure.subplots(2, 3).flat
    height, width = story.pixels.shape[:2]
    scale = np.array([width / story.score.shape[1], height / story.score.shape[0]])
    points = (story.cells.numpy()[:, ::-1] + 0.5) * scale
    extent = (0, width, height, 0)
    titles = ("1  the photo", "2  co-saliency: what the photos share", f"3  score map and its {len(points)} peaks",
              "4  heat map of one peak", "5  the proposal that fits it best", f"6  all instances: {len(instances)}")  # fmt: skip
    for axis, title in zip(axes, titles, strict=True):
        axis.set_axis_off()
        axis.set_title(title, fontsize=11, loc="left")
    axes[0].imshow(story.pixels, extent=extent)
    _bar(figure, axes[1], axes[1].imshow(story.saliency, extent=extent, cmap="cividis", vmin=0, vmax=1))
    _bar(figure, axes[2], axes[2].imshow(story.score, extent=extent, cmap="cividis"))
    _mark(axes[2], points)
    _bar(figure, axes[3], axes[3].imshow(story.heat, extent=extent, cmap="magma", vmin=0))
    _mark(axes[3], points[[story.best]])
    axes[4].imshow(shade(story.pixels, [story.mask.numpy()]), extent=extent)
    _mark(axes[4], points[[story.best]])
    pixels = overlay_at(story.pixels, instances)
    axes[5].imshow(pixels, extent=extent)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG file's bytes, on white."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, facecolor="white")
    return file.getvalue()


def figure_html(figure: Figure, caption: str, alt: str) -> str:
    """A figure as HTML: the picture, its text for those who do not see it, and a visible caption."""
    for name, text in (("caption", caption), ("alt", alt)):
        if not text.strip():
            raise ValueError(f"{name} must say something, got {text!r}")
    data = base64.b64encode(png(figure)).decode()
    return (
        '<figure style="margin:0;background:white;color:black">'
        f'<img style="max-width:100%" src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def show(figure: Figure, caption: str, alt: str) -> None:
    """Show a figure in the notebook, with caption and alternative text."""
    from IPython.display import HTML, display

    display(HTML(figure_html(figure, caption, alt)))


def _bar(figure: Figure, axis, mappable) -> None:
    figure.colorbar(mappable, ax=axis, shrink=0.75, pad=0.02)


def _mark(axis, points, size: float = 45) -> None:
    # White inside black is seen on any photo and any colour map.
    for point in points:
        axis.scatter(*point, s=size, color="white", edgecolors="black", linewidths=1.2)
