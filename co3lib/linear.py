"""Ridge regression: the linear function of features that comes closest to a target.

Shape letters: P cells, C channels.
"""

from __future__ import annotations

import torch

from .torch_defaults import torch_defaults

_SMALLEST = 1e-9  # variance; features that are all alike must not make the equations singular


@torch_defaults()
def ridge(cells: torch.Tensor, target: torch.Tensor, strength: float = 1e-2) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias with the least ``sum((weight . f + bias - target)^2) + strength v |weight|^2``.

    ``v`` is the sum of squares of a channel about its mean, mean over the channels; the bias is not penalised.

    Parameters
    ----------
    cells : (P, C), floating, the features ``f``.
    target : (P,), of the same type.
    strength : of the penalty on the weight.

    Returns
    -------
    weight : (C,).
    bias : a scalar.
    """
    mean = cells.mean(0)
    centred = cells - mean
    weight = solve_ridge(centred.T @ centred, centred.T @ (target - target.mean()), strength)
    return weight, target.mean() - mean @ weight


@torch_defaults()
def solve_ridge(gram: torch.Tensor, moment: torch.Tensor, strength: float = 1e-2) -> torch.Tensor:
    """The weight of ``ridge`` where the products are known already, both summed, or averaged, over the same cells.

    Parameters
    ----------
    gram : (C, C), the products of the centred features with one another.
    moment : (C,), the products of the centred features with the target.
    strength : as for ``ridge``.

    Returns
    -------
    (C,).
    """
    penalty = strength * gram.diagonal().mean().clamp_min(_SMALLEST) * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + penalty, moment)
