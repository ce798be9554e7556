"""The way back of peaks through a network, each in the window of the maps that it reaches.

``channel_sums`` follows the graph that torch keeps of a forward pass within ``peak_rule.PeakRule``. What every peak is
multiplied by between two convolutions is multiplied together once. The peaks then go back one after another, for the windows
of one stay in the processor's cache.

Shape letters: C channels, H W size of a map, Q peaks, ``k l`` size of a peak's window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.functional import conv_transpose2d, pad

# Backward passes that multiply every element by a number of its own.
_ELEMENTWISE = frozenset(f"{name}Backward0" for name in ("Add", "Sub", "Mul", "Div", "Relu", "Hardtanh", "LeakyRelu"))


class Window(NamedTuple):
    """A part of a map; it may reach beyond the map.

    values : (k, l, C); origin : its first row and column.
    """

    values: torch.Tensor
    origin: tuple[int, int]


class _Flow(NamedTuple):
    """Relevance on its way: what a step gives, from another origin, times a map (H, W, C); None: times one."""

    step: int
    factor: torch.Tensor | None = None
    moved: tuple[int, int] = (0, 0)

    def times(self, factor: torch.Tensor) -> _Flow:
        return self._replace(factor=factor if self.factor is None else self.factor * factor)


class _Step(NamedTuple):
    """What is done with the sum of some flows within a map of (H, W, C)."""

    flows: list[_Flow]
    shape: tuple[int, int, int]
    operation: Callable[[Window], Window]


@dataclass(frozen=True)
class _Convolution:
    """The way back through a convolution, from the shares of its outputs to what multiplies its inputs.

    ``weight`` is (C', C / groups, k, l), its positive part; the rest is as for ``torch.nn.functional.conv2d``.
    """

    weight: torch.Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def matrix(self) -> torch.Tensor | None:
        """The weights (C', C) of a convolution that is no more than a matrix product at every cell."""
        return self.weight[:, :, 0, 0] if is_pointwise(self.weight, self.stride, self.padding, self.groups) else None

    def __call__(self, part: Window) -> Window:
        if self.matrix is not None:
            return Window(part.values @ self.matrix, part.origin)
        values = part.values[None].permute(0, 3, 1, 2)
        spread = conv_transpose2d(values, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        i, j = (start * step - zeros for start, step, zeros in zip(part.origin, self.stride, self.padding, strict=True))
        return Window(_rows(spread), (i, j))


def is_pointwise(weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int], groups: int) -> bool:
    """Whether a convolution is no more than a matrix product over the channels at every cell."""
    return tuple(weight.shape[2:]) == stride == (1, 1) and padding == (0, 0) and groups == 1


def channel_sums(
    score: torch.Tensor, start: torch.Tensor, cells: Sequence[tuple[int, int]], times: torch.Tensor | None = None
) -> torch.Tensor | None:
    """The relevance of peaks at ``start``, summed over its channels.

    Parameters
    ----------
    score : (1, 1, h, w), computed from ``start`` within ``PeakRule``.
    start : (1, C, H, W), a leaf that requires a gradient.
    cells : the peaks' cells ``(i, j)`` of the score.
    times : what the relevance is multiplied by before it is summed, of a shape that goes with that of ``start``; None: nothing.

    Returns
    -------
    (Q, H, W); None for a network with a part of several outputs, through which the peaks must go one by one.
    """
    with torch.inference_mode(False), torch.no_grad():
        plan = _plan(score, start, times)
        if plan is None:
            return None
        maps = start.new_zeros(len(cells), *start.shape[2:])
        largest = [prod(step.shape) for step in plan.steps] + [factor.numel() for _, factor in plan.arriving]
        scratch = score.new_empty(max(largest))  # for memory that was asked for anew costs more time than what is done with it
        for cell, target in zip(cells, maps, strict=True):
            plan.run(cell, target, scratch)
    return maps


@dataclass(frozen=True)
class _Plan:
    """Steps from the score to the start, numbered from 1, and what flows into the start; step 0 is the peaks themselves."""

    steps: list[_Step]
    arriving: list[tuple[_Flow, torch.Tensor]]  # with their factors

    @cached_property
    def uses(self) -> Counter[int]:
        """How often what each step gives is taken by another that is used, or arrives."""
        uses = Counter(flow.step for flow, _ in self.arriving)
        for number in range(len(self.steps), 0, -1):
            uses.update(flow.step for flow in self.steps[number - 1].flows if uses[number])
        return uses

    def run(self, cell: tuple[int, int], target: torch.Tensor, scratch: torch.Tensor) -> None:
        """Add to a map (H, W) the relevance of a peak, summed over channels."""
        made = {0: Window(scratch.new_ones(1, 1, 1), cell)}
        uses = Counter(self.uses)
        for number, (flows, shape, operation) in enumerate(self.steps, start=1):
            if not uses[number]:
                continue
            made[number] = operation(_gathered(made, flows, shape, scratch))
            uses.subtract(flow.step for flow in flows)
            for done in [key for key in made if not uses[key]]:
                del made[done]  # so that its memory is used again
        for flow, factor in self.arriving:
            part, (i, j) = _gathered(made, [flow], tuple(factor.shape), scratch)
            target[i : i + part.shape[0], j : j + part.shape[1]] += part.sum(2)


def _plan(score: torch.Tensor, start: torch.Tensor, times: torch.Tensor | None = None) -> _Plan | None:
    end = get_gradient_edge(start).node
    nodes = _between(score.grad_fn, end)
    incoming: dict[Node, list[_Flow]] = {node: [] for node in nodes}
    shapes: dict[Node, tuple[int, ...]] = {nodes[0]: tuple(score.shape)}
    incoming[nodes[0]].append(_Flow(0))
    steps: list[_Step] = []
    products: dict[int, tuple[list[_Flow], torch.Tensor]] = {}  # steps that are matrix products: what they take, the matrix

    def add(flows: list[_Flow], shape, operation: Callable[[Window], Window]) -> _Flow:
        steps.append(_Step(flows, (shape[2], shape[3], shape[1]), operation))
        return _Flow(len(steps))

    def hand_on(target: Node, flow: _Flow, shape) -> None:
        incoming[target].append(flow)
        shapes[target] = tuple(shape)

    node: Any
    for node in nodes[:-1]:
        flows, shape = incoming[node], shapes[node]
        after = {k: target for k, (target, _) in enumerate(node.next_functions) if target in incoming}
        if any(node.next_functions[k][1] for k in after):
            return None
        rule = getattr(node, "rule", None)
        if rule == "convolution":
            shifted, share, positive = node.saved_tensors
            convolution = _Convolution(positive, *node.geometry)
            flows = [flow.times(_rows(share)) for flow in flows]
            done = add(flows, shape, convolution)
            if convolution.matrix is not None:
                products[done.step] = flows, convolution.matrix
            hand_on(after[0], done.times(_rows(shifted)), shifted.shape)
            continue
        flow = flows[0] if len(flows) == 1 else add(flows, shape, lambda part: Window(part.values.clone(), part.origin))
        if rule == "addition":
            (share,) = node.saved_tensors
            for k, target in after.items():
                hand_on(target, flow.times(_rows(1 - share if k else share)), shape)
        elif node.name() in _ELEMENTWISE and len(after) == 1:
            ((k, target),) = after.items()
            factor = score.new_ones(shape) if flow.factor is None else flow.factor.permute(2, 0, 1)[None]
            hand_on(target, flow._replace(factor=_rows(_results(node, factor)[k])), shape)
        elif node.name() == "ConstantPadNdBackward0" and flow.factor is not None and _pads(node._saved_pad):
            left, right, top, bottom = node._saved_pad
            before = (*shape[:2], shape[2] - top - bottom, shape[3] - left - right)
            factor = pad(flow.factor.permute(2, 0, 1), (-left, -right, -top, -bottom))[None]
            moved = (flow.moved[0] - top, flow.moved[1] - left)
            hand_on(after[0], _Flow(flow.step, _rows(factor), moved), before)
        else:
            for k, target in after.items():
                before = _results(node, score.new_zeros(shape))[k].shape
                hand_on(target, add([flow], shape, partial(_any_other, node, k, shape)), before)
    # Of a matrix product only the sum over its outputs is wanted here, which needs no product for each peak.
    arriving = []
    scale = score.new_ones(start.shape) if times is None else times.to(score.dtype).expand_as(start)
    for flow in incoming[end]:
        factor = _rows(scale) if flow.factor is None else flow.factor * _rows(scale)
        if flow.step in products and flow.moved == (0, 0):
            taken, matrix = products[flow.step]
            factor = factor @ matrix.T
        else:
            taken = [flow._replace(factor=None)]
        for one in taken:
            own = factor if one.factor is None else one.factor * factor
            arriving.append((one._replace(factor=own), own))
    return _Plan(steps, arriving)


def _between(first: Node | None, last: Node) -> list[Node]:
    """The nodes on the ways from one to another, each after all those that lead to it."""
    leads: dict[Node, bool] = {last: True}
    order: list[Node] = [last]
    stack: list[tuple[Any, bool]] = [(first, False)]
    while stack:
        node, followed = stack.pop()
        if followed:
            leads[node] = any(leads.get(target, False) for target, _ in node.next_functions)
            order += [node] if leads[node] else []
        elif node is not None and node not in leads:
            leads[node] = False
            stack.append((node, True))
            stack += [(target, False) for target, _ in node.next_functions]
    return order[::-1]


def _gathered(made: dict[int, Window], flows: list[_Flow], shape: tuple[int, ...], scratch: torch.Tensor) -> Window:
    """The sum of flows within a map of (H, W, C), in the memory of ``scratch``."""
    parts = []
    for flow in flows:
        values, (y, x) = made[flow.step]
        y, x = y + flow.moved[0], x + flow.moved[1]
        top, bottom, left, right = max(0, y), min(shape[0], y + values.shape[0]), max(0, x), min(shape[1], x + values.shape[1])
        if top < bottom and left < right:
            own = values[top - y : bottom - y, left - x : right - x]
            parts.append((own, flow.factor, top, bottom, left, right))
    if not parts:  # all of it lies beyond the map
        return Window(scratch[: shape[2]].zero_().view(1, 1, -1), (0, 0))
    i, n = min(part[2] for part in parts), max(part[3] for part in parts)
    j, m = min(part[4] for part in parts), max(part[5] for part in parts)
    result = scratch[: (n - i) * (m - j) * shape[2]].view(n - i, m - j, shape[2])
    alone = len(parts) == 1
    if not alone:
        result.zero_()
    for own, factor, top, bottom, left, right in parts:
        target = result[top - i : bottom - i, left - j : right - j]
        if factor is None:
            target.copy_(own) if alone else target.add_(own)
        elif alone:
            torch.mul(own, factor[top:bottom, left:right], out=target)
        else:
            target.addcmul_(own, factor[top:bottom, left:right])
    return Window(result, (i, j))


def _pads(widths: tuple[int, ...]) -> bool:
    """Whether rows and columns are added at the four sides; torch keeps negative widths, which crop, as huge ones."""
    return len(widths) == 4 and max(widths) < 2**31


def _any_other(node: Any, k: int, shape: tuple[int, ...], part: Window) -> Window:
    """The way back through any other part of a network, over the whole map: its ``k``-th result."""
    whole, (i, j) = part.values.new_zeros(shape), part.origin
    whole[0, :, i : i + part.values.shape[0], j : j + part.values.shape[1]] = part.values.permute(2, 0, 1)
    result = _rows(_results(node, whole)[k])
    reached = (result != 0).any(2)
    (i, n), (j, m) = (
        (int(lines[0]), int(lines[-1]) + 1) if len(lines) else (0, 1)
        for lines in (torch.nonzero(reached.any(1 - axis)).flatten() for axis in (0, 1))
    )
    return Window(result[i:n, j:m], (i, j))


def _results(node: Any, relevance: torch.Tensor) -> tuple:
    results = node(relevance)
    return results if isinstance(results, tuple) else (results,)


def _rows(values: torch.Tensor) -> torch.Tensor:
    """A map (1, C, H, W) as (H, W, C), contiguous."""
    return values[0].permute(1, 2, 0).contiguous()
