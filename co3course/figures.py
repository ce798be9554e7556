"""Figures as plain functions: data in, a matplotlib ``Figure`` out; ``show`` puts one into a notebook.

A figure is made without pyplot, so nothing stays open; its background is white and its text dark whatever the
user's style. Colours are those of Okabe and Ito and matplotlib's cividis and magma, which colour-blind
readers distinguish.

Shape letters: H W image size, ``h w`` feature grid, Q peaks.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from co3lib import checks
from co3lib.datasets.export import overlay
from co3lib.datasets.images import fit_within, read_image, resize_nearest
from co3lib.inference import prepare
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegmenter
from co3lib.selection import prepare_proposals, rank

from .style import dots, plain

_DPI = 90
_WIDEST = 5  # photos in a row of a grid
_SHEET = 6  # and of a contact sheet
_LONGEST = 320  # pixels of a photo in a grid: more would not be seen
_SAID = (  # under the six pictures of the way from a photo to its instances
    "A network looks at each cell.",
    "Cells that look alike in all photos are bright.",
    "Local maxima; rings: on no instance.",
    "The pixels behind one peak.",
    "One of hundreds of regions, made before.",
    "All peaks of all scales; weak masks are left out.",
)


@dataclass(frozen=True)
class PipelineTrace:
    """What is computed on the way from one photo to a mask, at the size of the masks (H, W).

    pixels: (H, W, 3) uint8; saliency: (H, W) in [0, 1]; score: (h, w); cells: (Q, 2), the peaks; best: the
    index of the peak whose proposal ranks highest; heat: (H, W), that peak's; chosen: that proposal as an
    instance.
    """

    pixels: np.ndarray
    saliency: torch.Tensor
    score: torch.Tensor
    cells: torch.Tensor
    best: int
    heat: torch.Tensor
    chosen: Instance


def trace_pipeline(segmenter: CoSegmenter, photo) -> PipelineTrace:
    """Take one photo through a fitted segmenter, at the scale of training, up to its best peak's mask, and keep what is
    computed on the way.

    photo: as for ``CoSegmenter.predict``. Raises ``ValueError`` if the photo has no peak or no proposal.
    """
    config = segmenter.config
    image = prepare(photo, config)
    first = segmenter.peaks_at(image)
    view = first.view
    ranker = prepare_proposals(image, config).ranker
    scores = rank(first.heat, view.saliency, ranker, config)
    if not torch.isfinite(scores).any():
        raise ValueError(f"{image.name} must have a peak and a usable proposal, got none")
    best = int(scores.max(1).values.argmax())
    score, index = scores[best].max(0)
    mask = ranker.masks(index[None])[0].numpy()
    chosen = Instance(mask, float(score), tuple(first.points[best].tolist()), tight_box(mask))
    return PipelineTrace(image.pixels, view.saliency, view.output.score[0, 0], first.cells, best, first.heat[best], chosen)


@plain
def overlay_grid(
    images: Sequence,
    instances: Sequence[Sequence[Instance]] | None = None,
    captions: Sequence[str] | None = None,
) -> Figure:
    """Photos, as ``read_image`` takes them and read one at a time, side by side, with the instances found in each, if given,
    and a caption above each."""
    instances = [[]] * len(images) if instances is None else instances
    captions = [""] * len(images) if captions is None else captions
    checks.same_length(images=images, instances=instances, captions=captions)
    if not len(images):
        raise ValueError("images must hold at least one photo, got none")
    rows = -(-len(images) // _WIDEST)
    columns = -(-len(images) // rows)
    figure = Figure(figsize=(2.3 * columns, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, caption, found in zip(axes, captions, _draw_overlays(axes, images, instances), strict=False):
        axis.set_title(caption, fontsize=9, parse_math=False)  # names of files may hold any character
        _mark(axis, [(x + 0.5, y + 0.5) for y, x in (instance.peak for instance in found)], size=16)
    return figure


@plain
def contact_figure(
    images: Mapping[str, Sequence], instances: Mapping[str, Sequence[Sequence[Instance]]], titles: Mapping[str, str]
) -> Figure:
    """Photos of several classes on one sheet with the instances in each, class by class under its title."""
    rows = {name: -(-len(photos) // _SHEET) for name, photos in images.items()}
    figure = Figure(figsize=(2 * _SHEET, 2.2 * sum(rows.values())), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=list(rows.values()), squeeze=False)[:, 0]
    for part, (name, photos) in zip(parts, images.items(), strict=True):
        part.suptitle(titles[name], fontsize=13, x=0.01, ha="left", parse_math=False)
        axes = part.subplots(rows[name], min(len(photos), _SHEET), squeeze=False).ravel()
        _draw_overlays(axes, photos, instances[name])
    return figure


@plain
def pipeline_figure(trace: PipelineTrace, instances: Sequence[Instance]) -> Figure:
    """The steps for one photo in six pictures with a line under each, the heat map over its maximum.

    instances: those that are shown; peaks on none of them are drawn hollow.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    titles = (
        "1  the photo",
        "2  co-saliency: what the photos share",
        f"3  score map, {len(trace.cells)} peaks",
        "4  heat map of one peak",
        "5  the proposal that fits it best",
        f"6  instances: {len(instances)}",
    )
    for step, (axis, title, said) in enumerate(zip(figure.subplots(2, 3).ravel(), titles, _SAID, strict=True)):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize=12, loc="left")
        axis.set_xlabel(said, fontsize=10, loc="left")
        drawn = draw_step(axis, trace, instances, step)
        if drawn is not None:
            figure.colorbar(drawn, ax=axis, shrink=0.75, pad=0.02)
    return figure


def draw_step(axis, trace: PipelineTrace, instances: Sequence[Instance], step: int):
    """Draw one of the six steps of ``pipeline_figure``, 0 to 5; returns what a colour bar can be made of, or None."""
    height, width = trace.pixels.shape[:2]
    rows, columns = trace.score.shape
    points = (trace.cells.numpy()[:, ::-1] + 0.5) * np.array([width / columns, height / rows])
    extent = (0, width, height, 0)
    drawn = None
    if step == 1:
        drawn = axis.imshow(trace.saliency.numpy(), extent=extent, cmap="cividis", vmin=0, vmax=1)
    elif step == 2:
        drawn = axis.imshow(trace.score.numpy(), extent=extent, cmap="cividis")
        masks = [instance.mask for instance in at_size(instances, (height, width))]
        for x, y in points:
            dots(axis, x, y, area=45, hollow=not any(mask[int(y), int(x)] for mask in masks))
    elif step == 3:
        heat = trace.heat / trace.heat.max().clamp_min(1e-30)
        drawn = axis.imshow(heat.numpy(), extent=extent, cmap="magma", vmin=0, vmax=1)
    else:
        shown = {4: [trace.chosen], 5: instances}.get(step, [])
        axis.imshow(overlay(trace.pixels, at_size(shown, (height, width))), extent=extent)
    if step in (3, 4):
        dots(axis, *points[trace.best], area=45)
    return drawn


def png(figure: Figure) -> bytes:
    """A figure as a PNG file's bytes, on white."""
    file = io.BytesIO()
    # A third less time for a tenth more bytes: a slider's figure must follow at once.
    figure.savefig(file, format="png", dpi=_DPI, facecolor="white", pil_kwargs={"compress_level": 1})
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


def at_size(instances: Sequence[Instance], size: tuple[int, int]) -> list[Instance]:
    """The instances on a copy of their photo of another ``size`` (H, W); an instance that vanishes there is left out."""
    resized = []
    for instance in instances:
        mask = resize_nearest(torch.from_numpy(instance.mask)[None], size)[0].numpy()
        if mask.any():
            y, x = (int(value * new / old) for value, new, old in zip(instance.peak, size, instance.mask.shape, strict=True))
            resized.append(Instance(mask, instance.score, (y, x), tight_box(mask)))
    return resized


def _draw_overlays(axes, images: Sequence, instances: Sequence[Sequence[Instance]]) -> list[list[Instance]]:
    """Photos with the instances in each, one photo on each of the first axes; the axes that are left stay empty. Returns the
    instances at the size that is drawn."""
    drawn = []
    for axis in axes:
        axis.set_axis_off()
    for axis, image, found in zip(axes, images, instances, strict=False):
        small = fit_within(read_image(image), _LONGEST)
        drawn.append(at_size(found, small.shape[:2]))
        axis.imshow(overlay(small, drawn[-1]))
    return drawn


def _mark(axis, points, size: float) -> None:
    for point in points:
        dots(axis, *point, area=size)
