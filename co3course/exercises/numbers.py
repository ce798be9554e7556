"""Answers that are to be one number."""

from __future__ import annotations

import math
from collections.abc import Callable


def numeric(judge: Callable[[float], str | None]) -> Callable[..., str | None]:
    """A judge of numbers that says in a sentence what is wrong with an answer that is none, or not a finite one."""

    def judged(answer) -> str | None:
        try:
            value = float(answer)
        except (TypeError, ValueError, RuntimeError):
            return f"The answer should be one number, it is {type(answer).__name__}."
        return judge(value) if math.isfinite(value) else f"The answer should be a finite number, it is {value}."

    return judged
