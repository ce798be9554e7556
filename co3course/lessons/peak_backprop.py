"""Notebook 08: peak back-propagation, one rule, and a heat map on its way down through a network.

Shape letters: C channels, H W size of the masks, ``h' w'`` grid of a stage, Q peaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from co3lib.datasets.images import resize_nearest
from co3lib.inference import NetworkView, PreparedImage, ScalePeaks
from co3lib.model import CoPeakNet
from co3lib.peak_backprop import enlarge
from co3lib.peak_rule import PeakRule

from ..style import BLUE, VERMILION, mark, plain

_STEP = 2  # every second pixel is drawn: more would not be seen
_BRIGHT = 0.998  # over its maximum a map with a few extreme pixels would be black
_OF = "of the 99.8th percentile"
IMAGE = "image"
"""The name of the network's input among the stages."""


@dataclass(frozen=True)
class Descent:
    """The heat maps of one photo's peaks at every stage.

    pixels: (H, W, 3) uint8; tensor: (1, 3, size, size), the network's input; cells: (Q, 2), peaks that lie on an
    instance; points: (Q, 2), the same in pixels ``(y, x)``; truth: (Q, H, W) bool, the instance under each peak; maps:
    stage -> (Q, h', w'), from ``IMAGE`` to the last.
    """

    pixels: np.ndarray
    tensor: torch.Tensor
    cells: torch.Tensor
    points: torch.Tensor
    truth: torch.Tensor
    maps: Mapping[str, torch.Tensor]

    def heat(self, stage: str, peaks=slice(None)) -> torch.Tensor:
        """The maps of a stage, of some of the peaks, enlarged to the size of the masks: (Q, H, W)."""
        return enlarge(self.maps[stage][peaks], self.pixels.shape[:2])


# ------------------------------------------------------------------------------------------------------- the data


def descend(
    model: CoPeakNet, image: PreparedImage, view: NetworkView, cells: torch.Tensor, masks: torch.Tensor, limit: int = 4
) -> Descent:
    """The first ``limit`` of a photo's peaks (Q, 2) that lie on one of its true masks (G, H', W'), and their heat maps at every
    stage; view: what the network makes of the photo."""
    points = ScalePeaks(view, cells, torch.zeros(0)).points
    truth = resize_nearest(masks, image.pixels.shape[:2])
    under = truth[:, points[:, 0], points[:, 1]]  # (G, Q)
    chosen = torch.nonzero(under.any(0)).flatten()[:limit]
    own = truth[under.int().argmax(0)[chosen]]
    maps = stage_maps(model, image.tensor, cells[chosen])
    return Descent(image.pixels, image.tensor, cells[chosen], points[chosen], own, maps)


def stage_maps(model: CoPeakNet, image: torch.Tensor, cells: torch.Tensor, rule: bool = True) -> dict[str, torch.Tensor]:
    """Heat maps (Q, h', w') of peaks at the image and at every stage, one backward pass a peak.

    image: (1, 3, H, W); cells: (Q, 2). rule: False for the ordinary gradient, whose sign is dropped before the channels
    are summed. At the image it is the relevance of the network's input, the normalised image.
    """
    backbone = model.backbone
    at = {IMAGE: ((image - backbone.mean) / backbone.std).requires_grad_()}
    x = at[IMAGE].contiguous(memory_format=torch.channels_last)
    with torch.enable_grad(), PeakRule() if rule else torch.enable_grad():
        for name, stage in zip(backbone.stage_names, backbone.stages.values(), strict=True):
            x = at[name] = stage(x)
        score = model.head(x - model.center)
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in at}
    for i, j in cells.tolist():
        gradients = torch.autograd.grad(score[0, 0, i, j], list(at.values()), retain_graph=True)
        for name, gradient in zip(at, gradients, strict=True):
            parts[name].append((gradient if rule else gradient.abs()).sum(1))
    return {name: torch.cat(maps) if maps else torch.zeros(0, *at[name].shape[2:]) for name, maps in parts.items()}


def where_relevance_ends(model: CoPeakNet, image: torch.Tensor, cell: torch.Tensor) -> dict[str, float]:
    """The relevance of one peak that is dropped on the way down to the image, by the kind of layer that drops it. A
    layer's loss is what arrives at its output less what it hands to its input."""
    arrived: list[tuple[str, dict[str, float]]] = []

    def follow(module, inputs, output):
        sums: dict[str, float] = {}
        inputs[0].register_hook(lambda relevance: sums.update(passed=float(relevance.sum())))
        output.register_hook(lambda relevance: sums.update(got=float(relevance.sum())))
        depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        arrived.append(("depthwise convolutions" if depthwise else "clipped ReLU6", sums))

    followed = [m for m in model.modules() if isinstance(m, nn.ReLU6) or (isinstance(m, nn.Conv2d) and m.groups > 1)]
    handles = [module.register_forward_hook(follow) for module in followed]
    try:
        start = image.detach().requires_grad_()
        with torch.enable_grad(), PeakRule():
            score = model(start).score
        i, j = cell.tolist()
        (relevance,) = torch.autograd.grad(score[0, 0, i, j], start)
    finally:
        for handle in handles:
            handle.remove()
    lost = {"depthwise convolutions": 0.0, "clipped ReLU6": 0.0}
    for kind, sums in arrived:
        lost[kind] += sums["got"] - sums["passed"]
    return lost | {"arrives at the image": float((relevance * model.backbone.std).sum())}


def share_inside(heat: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Share of each map's positive heat inside its mask: (Q, H, W), (Q, H, W) bool -> (Q,)."""
    heat = heat.clamp_min(0)
    return (heat * masks).sum((1, 2)) / heat.sum((1, 2)).clamp_min(1e-12)


def share_covered(heat: torch.Tensor, masks: torch.Tensor, part: float = 0.8) -> torch.Tensor:
    """Share of each mask that lies in the smallest region holding ``part`` of the map's heat: (Q,)."""
    flat = heat.clamp_min(0).flatten(1)
    ordered, order = flat.sort(1, descending=True)
    needed = ordered.cumsum(1) - ordered < part * ordered.sum(1, keepdim=True)
    region = torch.zeros_like(needed).scatter_(1, order, needed)
    inside = masks.flatten(1)
    return (region & inside).sum(1) / inside.sum(1).clamp_min(1)


def measure(descents: Sequence[Descent], stage: str) -> tuple[float, float, float]:
    """Means over all peaks of the photos: share of the heat inside, share of the instance covered, sum of the map."""
    heats = [(descent.heat(stage), descent.truth) for descent in descents]
    inside = torch.cat([share_inside(*pair) for pair in heats])
    covered = torch.cat([share_covered(*pair) for pair in heats])
    total = torch.cat([descent.maps[stage].sum((1, 2)) for descent in descents])
    return float(inside.mean()), float(covered.mean()), float(total.mean())


# ---------------------------------------------------------------------------------------------------- the figures


@plain
def compare_figure(descent: Descent, peak: int, gradient: torch.Tensor) -> Figure:
    """The photo, the ordinary gradient's size (H, W), and the heat map at the image, each over its 99.8th percentile."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(descent.pixels[::_STEP, ::_STEP])
    axes[0].set_title("photo, peak and its instance", fontsize=10)
    _outline(axes[0], descent, peak)
    for axis, values, title in zip(
        axes[1:], (gradient, descent.heat(IMAGE, [peak])[0]), ("size of the gradient", "heat map (peak rule)"), strict=True
    ):
        drawn = axis.imshow(_scaled(values), cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        _outline(axis, descent, peak)
    figure.colorbar(drawn, ax=axes[1:], shrink=0.8, extend="max", label=_OF)
    return figure


@plain
def way_down_figure(descent: Descent, peak: int, stages: Sequence[str]) -> Figure:
    """One peak's heat at several stages, from the score down, each over its 99.8th percentile, its sum above it."""
    columns = -(-len(stages) // 2)
    figure = Figure(figsize=(2.2 * columns, 5.4), layout="constrained")
    axes = figure.subplots(2, columns).ravel()
    for axis, stage in zip(axes, stages, strict=False):
        heat = descent.heat(stage, [peak])[0]
        drawn = axis.imshow(_scaled(heat), cmap="magma", vmin=0, vmax=1)
        height, width = descent.maps[stage].shape[1:]
        axis.set_title(f"{stage}: {height} x {width}\nsum {descent.maps[stage][peak].sum():.2f}", fontsize=9)
        _outline(axis, descent, peak)
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes, shrink=0.7, extend="max", label=_OF)
    return figure


@plain
def stage_figure(descent: Descent, peak: int, stage: str) -> Figure:
    """One peak at one stage: the photo beside the heat map, with the outline of the peak's instance."""
    figure = Figure(figsize=(6.6, 3.6))
    axes = figure.subplots(1, 2)
    axes[0].imshow(descent.pixels[::_STEP, ::_STEP])
    axes[0].set_title(f"peak {peak}", fontsize=10)
    heat = descent.heat(stage, [peak])[0]
    drawn = axes[1].imshow(_scaled(heat), cmap="magma", vmin=0, vmax=1)
    axes[1].set_title(f"heat at {stage}", fontsize=10)
    for axis in axes:
        _outline(axis, descent, peak)
    figure.subplots_adjust(left=0.02, right=0.88, bottom=0.03, top=0.92, wspace=0.05)
    figure.colorbar(drawn, cax=figure.add_axes((0.9, 0.15, 0.02, 0.66)), extend="max", label=_OF)
    return figure


def say_stage(descent: Descent, peak: int, stage: str) -> str:
    """What ``stage_figure`` shows, in a sentence with its numbers."""
    heat, mask = descent.heat(stage, [peak]), descent.truth[peak][None]
    inside, covered = float(share_inside(heat, mask)), float(share_covered(heat, mask))
    return (
        f"Peak {peak} at {stage}: {inside:.0%} of the heat lies inside the peak's instance (white outline); the spot that "
        f"holds 80 % of the heat covers {covered:.0%} of the instance."
    )


@plain
def peaks_figure(descent: Descent, stage: str) -> Figure:
    """The photo with its peaks, and beside it each peak's heat map at a stage."""
    count = len(descent.cells)
    figure = Figure(figsize=(1.9 * (count + 1), 2.9), layout="constrained")
    axes = figure.subplots(1, count + 1)
    axes[0].imshow(descent.pixels[::_STEP, ::_STEP])
    y, x = (descent.points / _STEP).T.tolist()
    mark(axes[0], x, y)
    axes[0].set_axis_off()
    axes[0].set_title(f"{count} peaks", fontsize=10)
    for peak, axis in enumerate(axes[1:]):
        axis.imshow(_scaled(descent.heat(stage, [peak])[0]), cmap="magma", vmin=0, vmax=1)
        axis.set_title(f"peak {peak}", fontsize=10)
        _outline(axis, descent, peak)
    return figure


@plain
def measure_figure(stages: Sequence[str], inside: Sequence[float], covered: Sequence[float]) -> Figure:
    """Where to stop: the share of heat inside the instance and the share of the instance covered, stage by stage."""
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(inside, color=BLUE, marker="o", label="share of the heat inside the instance")
    axis.plot(covered, color=VERMILION, marker="s", linestyle="--", label="share of the instance covered by 80 % of the heat")
    axis.set_xticks(range(len(stages)), stages, rotation=20)
    axis.set(xlabel="heat read at", ylabel="share", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9, loc="lower right")
    return figure


def _scaled(values: torch.Tensor) -> np.ndarray:
    values = values[::_STEP, ::_STEP]
    return (values / values.flatten().quantile(_BRIGHT).clamp_min(1e-30)).numpy()


def _outline(axis, descent: Descent, peak: int) -> None:
    axis.contour(descent.truth[peak, ::_STEP, ::_STEP].numpy(), levels=[0.5], colors="white", linewidths=1)
    y, x = (descent.points[peak] / _STEP).tolist()
    mark(axis, x, y)
    axis.set_axis_off()
