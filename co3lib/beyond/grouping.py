"""Grouping of peaks: which peaks may be parts of one thing.

A large thing has several peaks, one a part. Peaks of one hill of the co-saliency are joined in the order of the passes between
them, highest first, as in single-linkage clustering; every join is one more candidate, whose heat and whose share of the
co-saliency are its peaks' together. Whether the parts or the whole are instances is left to the ranking.

Shape letters: ``h w`` feature grid, Q peaks, G groups.
"""

from __future__ import annotations

import torch

from .. import checks
from ..torch_defaults import torch_defaults

SHALLOW = 0.3
"""The least depth of a group: a pass under this share of the lower of the two tops it joins separates two hills."""


@torch_defaults()
def group_peaks(saliency: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every peak alone, then every join of peaks.

    saliency: (h, w); cells: (Q, 2), the peaks. Water that sinks from the top lays bare the peaks, then the passes between
    them: where two parts of the land meet that hold peaks, their peaks are joined. The *depth* of a join is the height of the
    pass over the lower of the two parts' highest peaks; joins of less than ``SHALLOW`` are no groups.

    Returns members (G, Q) bool, the first Q rows the single peaks, and depth (G,) in [0, 1], 1 for a single peak.
    """
    saliency = checks.tensor(saliency, "saliency", ("h", "w"), floating=True)
    cells = checks.tensor(cells, "cells", ("Q", 2)).long()
    height, width = saliency.shape
    heights = saliency.flatten().tolist()
    part: dict[int, int] = {}  # of every cell above water: the part of the land it belongs to
    peaks: dict[int, list[int]] = {}  # of every part: its peaks, the highest first
    at: dict[int, list[int]] = {}
    for peak, (row, column) in enumerate(cells.tolist()):
        at.setdefault(row * width + column, []).append(peak)
    members, depth = [[peak] for peak in range(len(cells))], [1.0] * len(cells)

    def root(cell: int) -> int:
        while part[cell] != cell:
            part[cell] = cell = part[part[cell]]
        return cell

    def top(group: list[int]) -> float:
        return heights[int(cells[group[0], 0]) * width + int(cells[group[0], 1])]

    for cell in saliency.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(cell, width)
        part[cell], peaks[cell] = cell, at.get(cell, [])
        around = [
            (row + down) * width + column + right
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if 0 <= row + down < height and 0 <= column + right < width
        ]
        meeting = dict.fromkeys(root(other) for other in around if other in part)
        # Where more than two meet, the highest first: the order of the cells must not decide.
        first, *others = sorted(meeting, key=lambda one: (-top(peaks[one]) if peaks[one] else 0.0, peaks[one]))
        for other in others:
            lower, part[other] = peaks.pop(other), first
            joined = peaks[first] + lower
            if peaks[first] and lower and (share := heights[cell] / max(top(lower), 1e-12)) >= SHALLOW:
                members.append(joined)
                depth.append(min(share, 1.0))
            peaks[first] = joined
    table = torch.zeros(len(members), len(cells), dtype=torch.bool)
    for group, of_group in enumerate(members):
        table[group, of_group] = True
    return table, torch.tensor(depth)
