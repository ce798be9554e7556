"""Reading an answer that is a few numbers."""

from __future__ import annotations

import math


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
