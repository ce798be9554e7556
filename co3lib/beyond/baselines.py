"""Baselines: what simpler methods make of the same photos.

* Connected components of a saliency map: no network, no peaks, no proposals.
* DDT (Wei et al., IJCAI 2017; ``priors.principal_component``) and DFF (Collins et al., ECCV 2018) put another linear
  score in the co-peak network's head, so that peaks, heat maps, proposals and ranking are the same for all. How the
  paper turned their heat maps into instances is not stated.

Shape letters: N images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu

from .. import checks
from ..instance import Instance
from ..linear import ridge
from ..overlap import tight_box
from ..torch_defaults import torch_defaults
from .priors import as_score, cells_of, mean_at_border, mean_inside

_SMALLEST = 0.001


def connected_components(saliency: torch.Tensor | np.ndarray) -> list[Instance]:
    """The 8-connected components of a saliency map above Otsu's threshold.

    Parameters
    ----------
    saliency : (H, W) in [0, 1].

    Returns
    -------
    The components, best first; those under 0.1 % of the map are left out. A component's score is the sum of its saliency over
    the number of the map's pixels, its peak its most salient pixel.
    """
    saliency = checks.tensor(saliency, "saliency", ("H", "W"), floating=True).numpy()
    if np.ptp(saliency) == 0:
        return []
    labels, count = ndimage.label(saliency > threshold_otsu(saliency), structure=np.ones((3, 3)))
    instances = []
    for label in range(1, count + 1):
        mask = labels == label
        if mask.sum() >= _SMALLEST * mask.size:
            peak = np.unravel_index(np.where(mask, saliency, -1).argmax(), mask.shape)
            score = float(saliency[mask].sum() / mask.size)
            instances.append(Instance(mask, score, (int(peak[0]), int(peak[1])), tight_box(mask)))
    return sorted(instances, key=lambda instance: -instance.score)


@torch_defaults()
def dff_head(features: torch.Tensor, factors: int = 2, iterations: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """The factor that touches the photos' borders least, as a linear score.

    Deep feature factorisation (Collins et al., ECCV 2018), with non-negative factors.

    Parameters
    ----------
    features : (N, C, h, w); negative values count as zero.
    factors : how many there are.
    iterations : how many times they are updated.

    Returns
    -------
    weight (C,) and bias (scalar), as ``priors.principal_component``.
    """
    values = cells_of(features).clamp_min(0)
    generator = torch.Generator().manual_seed(0)
    scale = values.mean().sqrt()
    left = torch.rand(len(values), factors, generator=generator) * scale
    right = torch.rand(factors, values.shape[1], generator=generator) * scale
    for _ in range(iterations):
        left *= (values @ right.T) / (left @ (right @ right.T)).clamp_min(1e-9)
        right *= (left.T @ values) / ((left.T @ left) @ right).clamp_min(1e-9)
    height, width = features.shape[2:]
    maps = left.T.reshape(factors, -1, height, width)
    inside = [mean_inside(factor) - mean_at_border(factor) for factor in maps / maps.mean((1, 2, 3), keepdim=True)]
    # How much of a factor is in a cell is not linear in its features; the least-squares direction that yields it is.
    amount = maps[int(torch.stack(inside).argmax())].flatten()
    cells = cells_of(features)
    weight, _ = ridge(cells, amount)
    return as_score(features, weight, cells.mean(0))
