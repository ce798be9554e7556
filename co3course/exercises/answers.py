"""Reading answers that are numbers or tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch


def numbers(answer, count: int) -> list[float] | str:
    """The ``count`` numbers of an answer; a sentence if it is something else."""
    wanted = "One number is" if count == 1 else f"{count} numbers are"
    values = answer if isinstance(answer, (tuple, list)) else answer.tolist() if hasattr(answer, "tolist") else [answer]
    values = values if isinstance(values, (tuple, list)) else [values]
    if len(values) != count:
        return f"{wanted} wanted, there are {len(values)}"
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        return f"{wanted} wanted, got {answer!r}"
    return "A number of your answer is NaN" if any(map(math.isnan, found)) else found


def numeric(judge: Callable[[float], str | None]) -> Callable[..., str | None]:
    """A judge of numbers that says in a sentence what is wrong with an answer that is none, or not a finite one."""

    def judged(answer) -> str | None:
        try:
            value = float(answer)
        except (TypeError, ValueError, RuntimeError):
            return f"The answer should be one number, it is {type(answer).__name__}."
        return judge(value) if math.isfinite(value) else f"The answer should be a finite number, it is {value}."

    return judged


def tensor(answer, shape: Sequence[int], name: str, letters: str) -> str | None:
    """A sentence if an answer is no tensor or array of finite numbers of a shape; letters: the shape as one writes it."""
    try:
        values = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        return f"{name} must be a tensor of shape {letters}, got {type(answer).__name__}"
    if tuple(values.shape) != tuple(shape):
        return f"{name} must have shape {letters}, here {tuple(shape)}, got {tuple(values.shape)}"
    bad = int((~torch.isfinite(values.double())).sum())
    return f"{name} must hold numbers; {bad} of them are NaN or infinite" if bad else None
