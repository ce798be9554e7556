"""Figures that answer to a pointer, to a finger and to the keys, by themselves: with the data in the page and plain JavaScript,
they need no kernel and no network, so they work in JupyterLab and in an exported page alike.

``hover_correlation(...)`` and the others return a ``HoverFigure``, which a notebook shows when it is the last value of a cell.
``hover.html`` beside this file is the page of all of them.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image

from co3lib import checks
from co3lib.datasets.export import COLORS
from co3lib.datasets.images import fit_within, read_image, resize_nearest
from co3lib.evaluation import match, overlaps
from co3lib.instance import SHOWN, Instance

_LONGEST = 360  # pixels of a photo: more would not be seen
_MASKED = 200  # pixels of a photo with masks over it, each of which is in the page
_HEATED = 112  # and of a heat map
_IOU = 0.5  # of an instance that counts as right, at least
_TEMPLATE = Path(__file__).with_name("hover.html")


@dataclass(frozen=True)
class HoverFigure:
    """A page of its own with a caption. data: what is in the page; caption: says what is shown and what to see; alt: says it
    to those who do not see it."""

    data: Mapping
    caption: str
    alt: str

    @property
    def page(self) -> str:
        """The figure as a whole HTML page."""
        data = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
        text = _TEMPLATE.read_text(encoding="utf-8")
        return text.replace("__TITLE__", html.escape(self.alt), 1).replace("__DATA__", data, 1)

    def _repr_html_(self) -> str:
        title, page = html.escape(self.alt), html.escape(self.page)
        frame = f'<iframe title="{title}" style="width:100%;height:480px;border:0" srcdoc="{page}"></iframe>'
        caption = f"<p>{html.escape(self.caption)}</p>"
        return f'<div class="co3-hover" style="background:white;color:black">{frame}{caption}</div>'


def hover_correlation(
    photos: Sequence, maps: Mapping[str, torch.Tensor], see: str, alt: str, start: tuple[int, int] = (0, 0)
) -> HoverFigure:
    """Photo A, where a cell is chosen, and photo B with that cell's correlation over it and its best cell framed.

    Parameters
    ----------
    photos : two, as ``read_image`` takes them.
    maps : by name, (h, w, s, t) each, floating: ``T[i, j, s, t]``; the first is shown at first.
    see : what one will see, "You will see that ...": the caption.
    alt : what is shown, in words.
    start : the cell ``(i, j)`` that is chosen at first.
    """
    if len(photos) != 2 or not maps:
        raise ValueError(f"photos must be two and maps at least one, got {len(photos)} and {len(maps)}")
    first = next(iter(maps.values()))
    shape = tuple(checks.tensor(first, "maps", ("h", "w", "s", "t"), floating=True).shape)
    entries = []
    for name, values in maps.items():
        checks.finite(checks.tensor(values, f"maps[{name!r}]", shape, floating=True), f"maps[{name!r}]")
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) / max(high - low, 1e-12) * 255
        entries.append({"name": name, "low": low, "high": high, "values": _base64(scaled)})
    if not (0 <= start[0] < shape[0] and 0 <= start[1] < shape[1]):
        raise ValueError(f"start must be a cell of the {shape[0]} x {shape[1]} grid, got {start}")
    named = [_photo(photo, name) for photo, name in zip(photos, ("A: choose a cell", "B: what it finds"), strict=True)]
    data = {"photos": named, "grids": [shape[:2], shape[2:]], "maps": entries, "start": list(start)}
    return _figure("correlation", data, "viridis", see, alt)


def hover_copeaks(pairs: Mapping[str, tuple], see: str, alt: str, shown: int = 8) -> HoverFigure:
    """Two photos and their strongest co-peaks, each with its partner and its value; another pair can be chosen.

    Parameters
    ----------
    pairs : by name, ``(photos, cells, values, shape)`` each: two photos, the co-peaks' cells (Q, 4) ``(i, j, s, t)``, their
        values (Q,), and the shape ``(h, w, s, t)`` of the correlation.
    see, alt : as for ``hover_correlation``.
    shown : how many are drawn at first, the strongest.
    """
    if not pairs or shown < 1:
        raise ValueError(f"pairs and shown must be at least one, got {len(pairs)} and {shown}")
    entries = []
    for name, (photos, cells, values, shape) in pairs.items():
        checks.tensor(cells, f"cells of {name}", ("Q", 4))
        checks.finite(checks.tensor(values, f"values of {name}", (len(cells),)), f"values of {name}")
        order = values.argsort(descending=True, stable=True)
        copeaks = [[*map(int, cells[k]), round(float(values[k]), 6)] for k in order]
        named = [_photo(photo, letter) for photo, letter in zip(photos, "AB", strict=True)]
        entries.append({"name": name, "photos": named, "copeaks": copeaks, "grids": [list(shape[:2]), list(shape[2:])]})
    return _figure("copeaks", {"pairs": entries, "shown": shown}, "viridis", see, alt)


def hover_heat(photo, points: torch.Tensor, heats: torch.Tensor, said: Sequence[str], see: str, alt: str) -> HoverFigure:
    """A photo with its peaks; the heat map of the chosen one lies over it.

    Parameters
    ----------
    photo : as ``read_image`` takes it.
    points : (Q, 2), the peaks as ``(y, x)``, parts of the height and of the width, in [0, 1].
    heats : (Q, H, W), floating, at least 0: their heat maps, shown over each one's maximum.
    said : over peaks, what is printed of each, as "score 1.2, heat sums to .54".
    see, alt : as for ``hover_correlation``.
    """
    checks.tensor(heats, "heats", ("Q", "H", "W"), floating=True)
    checks.tensor(points, "points", (len(heats), 2))
    checks.same_length(points=points, said=said)
    if not len(heats):
        raise ValueError("heats must be of at least one peak, got none")
    scale = min(1.0, _HEATED / max(heats.shape[1:]))
    size = [max(1, round(length * scale)) for length in heats.shape[1:]]
    small = torch.nn.functional.interpolate(heats[None].float().clamp_min(0), size, mode="area")[0]
    scaled = small / small.amax((1, 2), keepdim=True).clamp_min(1e-30) * 255
    peaks = [{"y": float(y), "x": float(x), "said": text} for (y, x), text in zip(points.tolist(), said, strict=True)]
    data = {"photos": [_photo(photo, "the photo")], "heats": _base64(scaled), "size": size, "peaks": peaks}
    return _figure("heat", data, "magma", see, alt)


def hover_threshold(
    photos: Sequence,
    instances: Sequence[Sequence[Instance]],
    see: str,
    alt: str,
    true_masks: Sequence[torch.Tensor] | None = None,
    start: float = SHOWN,
) -> HoverFigure:
    """Photos with the instances whose score reaches a threshold, a part of the best score of all, which a slider sets.

    Parameters
    ----------
    photos : as ``read_image`` takes them.
    instances : over photos, the best first.
    see, alt : as for ``hover_correlation``.
    true_masks : over photos, (G, H, W) bool: how many are right, at an IoU above 0.5, and how many are missed is then counted.
    start : the threshold at first, in [0.01, 1].
    """
    checks.same_length(photos=photos, instances=instances, **({} if true_masks is None else {"true_masks": true_masks}))
    if not 0.01 <= start <= 1:
        raise ValueError(f"start must be in [0.01, 1], got {start}")
    best = max((instance.score for found in instances for instance in found), default=0) or 1
    named, entries = [], []
    for k, (photo, found) in enumerate(zip(photos, instances, strict=True)):
        image = read_image(photo)
        small = fit_within(image, _MASKED)
        named.append(_photo(small, f"photo {k + 1}"))
        right: list = [None] * len(found)
        if true_masks is not None:
            (ious,), (scores,) = overlaps([found], [true_masks[k]])
            right = match(ious, scores, _IOU).tolist()
        own = []
        for instance, is_right in zip(found, right, strict=True):
            mask = resize_nearest(torch.from_numpy(instance.mask)[None], small.shape[:2])[0].numpy()  # may vanish, but counts
            own.append({"runs": _runs(mask), "share": instance.score / best, "right": is_right})
        entries.append(own)
    there = None if true_masks is None else sum(map(len, true_masks))
    data = {"photos": named, "instances": entries, "there": there, "start": start}
    return _figure("threshold", data, "viridis", see, alt)


def _figure(kind: str, data: Mapping, colors: str, see: str, alt: str) -> HoverFigure:
    for name, text in (("see", see), ("alt", alt)):
        if not text.strip():
            raise ValueError(f"{name} must say something, got {text!r}")
    table = matplotlib.colormaps[colors](np.arange(256))[:, :3] * 255
    more = {"kind": kind, "colors": _base64(torch.from_numpy(table)), "distinct": [list(color) for color in COLORS]}
    return HoverFigure({**more, **data}, see, alt)


def _photo(photo, name: str) -> dict:
    pixels = fit_within(read_image(photo), _LONGEST)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=85)
    source = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"name": name, "width": pixels.shape[1], "height": pixels.shape[0], "source": source}


def _base64(values: torch.Tensor) -> str:
    """Numbers from 0 to 255 as bytes."""
    return base64.b64encode(values.round().clamp(0, 255).to(torch.uint8).cpu().numpy().tobytes()).decode()


def _runs(mask: np.ndarray) -> list[int]:
    """How many pixels are out, then in, then out and so on, row by row."""
    flat = np.concatenate([[False], mask.ravel()])
    turns = np.flatnonzero(np.diff(flat.astype(np.int8)))
    return np.diff(np.r_[0, turns, mask.size]).tolist()
