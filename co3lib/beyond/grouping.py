"""Grouping of peaks: which peaks may be parts of one thing.

A large thing has several peaks, one a part. Peaks between which the co-saliency stays high are joined in the order of the
saddles between them, highest first, as in single-linkage clustering. Every join is one more candidate, whose heat and whose
share of the co-saliency (``region_ranking`` says what that is) are its peaks' together. Whether the parts or the whole are
instances is left to the ranking.

Shape letters: ``h w`` feature grid, Q peaks, G groups.
"""

from __future__ import annotations

import torch

from .. import checks
from ..torch_defaults import torch_defaults

SHALLOW = 0.3
"""The least depth of a group: a saddle under this fraction of the lower peak is taken for the gap between two things."""


@torch_defaults()
def group_peaks(saliency: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every peak alone, then every join of peaks.

    As a threshold falls from the highest co-saliency on, the 8-connected regions above it appear at the maxima and meet at the
    saddles. Where two regions meet that hold peaks, their peaks are joined. The *depth* of a join is the co-saliency at the
    saddle over that at the lower of the two regions' highest peaks; joins of less than ``SHALLOW`` are no groups.

    Parameters
    ----------
    saliency : (h, w), the co-saliency.
    cells : (Q, 2), the peaks' cells ``(i, j)``.

    Returns
    -------
    members (G, Q) bool, the first Q rows the single peaks, and depth (G,) in [0, 1], 1 for a single peak.
    """
    saliency = checks.tensor(saliency, "saliency", ("h", "w"), floating=True)
    cells = checks.tensor(cells, "cells", ("Q", 2)).long()
    height, width = saliency.shape
    heights = saliency.flatten().tolist()
    parent: dict[int, int] = {}  # of every cell above the threshold: another of its region, or itself, the region's root
    peaks: dict[int, list[int]] = {}  # of every region, by its root: its peaks, the highest first
    at: dict[int, list[int]] = {}
    for peak, (row, column) in enumerate(cells.tolist()):
        at.setdefault(row * width + column, []).append(peak)
    members, depth = [[peak] for peak in range(len(cells))], [1.0] * len(cells)

    def root(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = cell = parent[parent[cell]]
        return cell

    def top(group: list[int]) -> float:
        return heights[int(cells[group[0], 0]) * width + int(cells[group[0], 1])]

    for cell in saliency.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(cell, width)
        parent[cell], peaks[cell] = cell, at.get(cell, [])
        rows, columns = range(max(row - 1, 0), min(row + 2, height)), range(max(column - 1, 0), min(column + 2, width))
        meeting = dict.fromkeys(root(i * width + j) for i in rows for j in columns if i * width + j in parent)
        # Where more than two meet, the highest first: the order of the cells must not decide.
        first, *others = sorted(meeting, key=lambda region: (-top(peaks[region]) if peaks[region] else 0.0, peaks[region]))
        for other in others:
            lower, parent[other] = peaks.pop(other), first
            joined = peaks[first] + lower
            if peaks[first] and lower and (ratio := heights[cell] / max(top(lower), 1e-12)) >= SHALLOW:
                members.append(joined)
                depth.append(ratio)
            peaks[first] = joined
    table = torch.zeros(len(members), len(cells), dtype=torch.bool)
    for group, of_group in enumerate(members):
        table[group, of_group] = True
    return table, torch.tensor(depth)
