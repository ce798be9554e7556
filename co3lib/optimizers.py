"""The optimizers of training: the authors' Adam, and AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

_WEIGHT_DECAY = 5e-4


def build_optimizer(trained: Mapping[str, nn.Parameter], kind: str, learning_rate: float) -> torch.optim.Optimizer:
    """The optimizer of training.

    Parameters
    ----------
    trained : the trained parameters, by name.
    kind : "released" or "adamw", as ``CoSegConfig.optimizer``.
    learning_rate : of weights, and for "adamw" of biases too.
    """
    if kind == "adamw":
        return torch.optim.AdamW(trained.values(), lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    return released_optimizer(trained, learning_rate)


def released_optimizer(trained: Mapping[str, nn.Parameter], learning_rate: float = 1e-6) -> torch.optim.Adam:
    """The authors' Adam: biases at twice the rate, weight decay in the gradient.

    Its epsilon is theirs after ``as_the_authors_adam``.

    Parameters
    ----------
    trained : the trained parameters, by name.
    learning_rate : of all but the biases.
    """
    biases = [parameter for name, parameter in trained.items() if name.endswith("bias")]
    weights = [parameter for name, parameter in trained.items() if not name.endswith("bias")]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "lr": 2 * learning_rate}]
    # Adam's weight_decay is added to the gradient, as the authors do; AdamW's is not.
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=_WEIGHT_DECAY)


def as_the_authors_adam(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Set epsilon for the next step to what it is in the authors' Adam.

    They add it to the root before its bias is corrected, PyTorch after that.

    Parameters
    ----------
    optimizer : as ``released_optimizer`` gives it; changed in place.
    step : the number of the next step in its epoch, from 1.
    """
    for group in optimizer.param_groups:
        group["eps"] = 1e-8 / math.sqrt(1 - group["betas"][1] ** step)
