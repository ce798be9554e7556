"""What a group of settings is: fields that are checked, cannot be changed and say in their own words what they mean."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)]
PathText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value)]


class Settings(BaseModel):
    """A group of settings, each field with its own docstring."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def described(settings: type[Settings], groups: Sequence[type[Settings]]) -> str:
    """The docstring of ``settings`` followed by the fields of each of its groups, as ``CoSegConfig?`` shows them."""
    lines = [inspect.cleandoc(settings.__doc__ or "")]
    for group in groups:
        lines += ["", " ".join((group.__doc__ or "").split()), ""]
        for name, field in group.model_fields.items():
            lines.append(f"{name} = {field.default!r}")
            lines += [f"    {' '.join(field.description.split())}"] if field.description else []
    return "\n".join(lines)
