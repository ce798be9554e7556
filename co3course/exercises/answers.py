"""Reading answers that are numbers."""

from __future__ import annotations

import math
from collections.abc import Callable


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
