"""Peaks: the regional maxima that mark instances, of one score map (2-D) or of a pair's correlation (4-D).

Shape letters: B images or pairs, C channels, ``h w`` and ``s t`` feature grids, M other images, Q peaks.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from . import checks
from .correlation import correlate
from .torch_defaults import torch_defaults


def regional_maxima(values: torch.Tensor) -> torch.Tensor:
    """Regional maxima of every item of a batch, all neighbours (3 x ... x 3) counted, plateaus included.

    A connected plateau of equal values is a maximum, as a whole, if no neighbour of any of its elements is higher.

    Parameters
    ----------
    values : (B, ...), with any number of axes after the first.

    Returns
    -------
    Bool of the same shape.
    """
    lowest = torch.full_like(values, -torch.inf)
    maxima = values == _neighbourhood_maximum(values)
    while True:
        # Beside an equal value that has a higher neighbour, a value belongs to a plateau that is no maximum.
        beside_no_maximum = values == _neighbourhood_maximum(torch.where(maxima, lowest, values))
        remaining = maxima & ~beside_no_maximum
        if torch.equal(remaining, maxima):
            return maxima
        maxima = remaining


def score_peaks(score: torch.Tensor) -> torch.Tensor:
    """Peaks of each image's score map: 8-connected regional maxima that are at least the map's median.

    Parameters
    ----------
    score : (B, 1, h, w), floating, before the sigmoid (which saturates into plateaus).

    Returns
    -------
    (B, 1, h, w) bool.
    """
    score = checks.tensor(score, "score", ("B", 1, "h", "w"), floating=True)
    return _high_maxima(score[:, 0]).unsqueeze(1)


def copeaks(correlation: torch.Tensor) -> torch.Tensor:
    """Co-peaks of each pair: regional maxima of the 4-D correlation that are at least its median (paper, Section 3.2).

    The neighbourhood is 3 x 3 x 3 x 3.

    Parameters
    ----------
    correlation : (B, h, w, s, t), floating, saliency-guided.

    Returns
    -------
    (B, h, w, s, t) bool.
    """
    correlation = checks.tensor(correlation, "correlation", ("B", "h", "w", "s", "t"), floating=True)
    return _high_maxima(correlation)


@torch_defaults()
def peak_cells(mask: torch.Tensor, height: torch.Tensor, every: bool = False) -> torch.Tensor:
    """One grid cell per peak, highest first.

    Parameters
    ----------
    mask : (h, w) bool, the peaks of one image.
    height : (h, w), the map that the mask's peaks are the maxima of.
    every : whether a plateau gives all its cells, as in the authors' released code, and not the one nearest to its centre.

    Returns
    -------
    (Q, 2) long, cells ``(i, j)``.
    """
    mask = checks.masks(mask, "mask", ("h", "w"))
    height = checks.tensor(height, "height", tuple(mask.shape))
    cells = torch.nonzero(mask.cpu())
    if not every and len(cells):
        labels, count = ndimage.label(mask.cpu().numpy(), structure=torch.ones(3, 3).numpy())
        plateaus = [torch.nonzero(torch.from_numpy(labels == label)) for label in range(1, count + 1)]
        offsets = [(plateau - plateau.double().mean(0)).square().sum(1) for plateau in plateaus]
        cells = torch.stack([plateau[offset.argmin()] for plateau, offset in zip(plateaus, offsets, strict=True)])
    heights = height.detach().cpu()[cells[:, 0], cells[:, 1]]
    return cells[heights.argsort(descending=True, stable=True)]


@torch_defaults()
def copeak_votes(features: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """How often each cell of one image is the end of a co-peak, over the image's pairs.

    Parameters
    ----------
    features : (1, C, h, w), floating, normalised and weighted by saliency.
    partners : (M, C, s, t), likewise, the other images.

    Returns
    -------
    (h, w) float, the number of partners with which the cell has at least one co-peak.
    """
    features = checks.tensor(features, "features", (1, "C", "h", "w"), floating=True)
    partners = checks.tensor(partners, "partners", ("M", features.shape[1], "s", "t"), floating=True)
    votes = torch.zeros(features.shape[2:], device=features.device)
    for partner in partners:
        votes += copeaks(correlate(features, partner[None]))[0].flatten(2).any(2)
    return votes


def _high_maxima(values: torch.Tensor) -> torch.Tensor:
    # MATLAB's median averages the two middle values of an even number; torch.median takes the lower of them.
    flat = values.detach().flatten(1)
    middle = [(flat.shape[1] - 1) // 2, flat.shape[1] // 2]
    # NumPy finds both at once, in a fraction of the time of two calls of torch's kthvalue.
    known = flat if flat.dtype != torch.bfloat16 else flat.float()
    ordered = torch.from_numpy(np.partition(known.cpu().numpy(), middle, axis=1)[:, middle]).to(flat)
    median = (ordered[:, 0] + ordered[:, 1]) / 2
    return regional_maxima(values.detach()) & (values >= median.reshape(-1, *[1] * (values.ndim - 1)))


def _neighbourhood_maximum(values: torch.Tensor) -> torch.Tensor:
    # The maximum over a box is separable: three values along one axis at a time.
    for axis in range(1, values.ndim):
        size = values.shape[axis]
        result = values.clone()
        # Each value with its neighbour before it, and then with that after it.
        for own, other in ((1, 0), (0, 1)):
            part = result.narrow(axis, own, size - 1)
            torch.maximum(part, values.narrow(axis, other, size - 1), out=part)
        values = result
    return values
