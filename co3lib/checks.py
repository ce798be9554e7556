"""Checks of arguments, each with an error of one sentence that says what came and what was wanted."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .torch_defaults import torch_defaults


def tensor(value, name: str, shape: Sequence[str | int], *, floating: bool = False) -> torch.Tensor:
    """A value as a tensor whose shape fits.

    Parameters
    ----------
    value : a tensor, an array or nested lists.
    name : of the argument, for the error.
    shape : a letter or a number for each axis: a number must match exactly, the same letter twice must stand for the same size.
    floating : whether it must be of a floating-point type.

    Raises
    ------
    ValueError : naming the argument, if it is no such tensor.
    """
    if isinstance(value, np.ndarray) and (not value.flags.writeable or any(stride < 0 for stride in value.strides)):
        value = value.copy()  # torch does not take a flipped view, and warns of a read-only array
    try:
        if not isinstance(value, torch.Tensor):
            with torch_defaults():
                value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a tensor of shape ({_spell(shape)}), got {type(value).__name__}") from error
    sizes: dict[str, int] = {}
    fits = value.ndim == len(shape) and all(
        size == want if isinstance(want, int) else sizes.setdefault(want, size) == size
        for size, want in zip(value.shape, shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name} must have shape ({_spell(shape)}), got {tuple(value.shape)}")
    if floating and not value.is_floating_point():
        raise ValueError(f"{name} must be of a floating-point type, got {value.dtype}")
    return value


def masks(value, name: str, shape: Sequence[str | int] = ("K", "H", "W")) -> torch.Tensor:
    """A value as a bool tensor.

    Parameters
    ----------
    value : as for ``tensor``; numbers 0 and 1 are taken for False and True.
    name, shape : as for ``tensor``.

    Raises
    ------
    ValueError : naming the argument, for another shape or other values.
    """
    value = tensor(value, name, shape)
    if value.dtype != torch.bool:
        if ((value != 0) & (value != 1)).any():
            raise ValueError(f"{name} must be boolean, got {value.dtype} with values other than 0 and 1")
        value = value.bool()
    return value


def finite(value: torch.Tensor, name: str) -> torch.Tensor:
    """``value`` if all of it is finite; ``ValueError`` naming the argument otherwise."""
    known = torch.isfinite(value)
    if not known.all():
        raise ValueError(f"{name} must be finite, got {value[~known][0].item()}")
    return value


_OVERSHOOT = 0.25  # beyond [0, 1], as smooth resizing leaves it


def saliency_map(value, name: str) -> torch.Tensor:
    """A saliency map of any type as (H, W) float32 in [0, 1].

    Parameters
    ----------
    value : (H, W). Its type says what it means: uint8 and uint16 fill their range, everything else is the saliency itself, of
        which up to a quarter beyond [0, 1] is clamped.
    name : of the argument, for the error.

    Raises
    ------
    ValueError : for another shape, NaN and infinity, other ranges, and for uint8 and uint16 whose highest value is 1: a
        mask, or nearly black.
    """
    value = tensor(value, name, ("H", "W"))
    if not value.numel() or value.is_complex():
        raise ValueError(f"{name} must be a map of numbers, got {value.dtype} of shape {tuple(value.shape)}")
    kind, value = value.dtype, value.double()
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} must hold finite saliency, got NaN or infinity")
    low, high = float(value.min()), float(value.max())
    if kind in (torch.uint8, torch.uint16):
        if high == 1:
            raise ValueError(f"{name} must be of type bool or float to hold 0 and 1, got {kind}: a mask, or nearly black")
        return (value / torch.iinfo(kind).max).float()
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(f"{name} must hold saliency in [0, 1], or be uint8 or uint16, got {kind} in [{low:g}, {high:g}]")
    return value.clamp(0, 1).float()


def same_length(**named: Sized | None) -> None:
    """Raise ``ValueError`` unless all the named sequences are equally long; None stands for none."""
    lengths = {name: len(value) for name, value in named.items() if value is not None}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{' and '.join(lengths)} must be equally long: {said}")


def photos(images, empty: bool = True) -> Sequence:
    """``images`` as a sequence of photos; ``ValueError`` for a single photo, and for none unless it may be ``empty``."""
    # One photo alone would be taken for a list: a path of its letters, an array of its rows.
    if isinstance(images, (str, Path, Image.Image)) or getattr(images, "ndim", 4) in (2, 3):
        raise ValueError(f"images must be a list of photos, got a single {type(images).__name__}")
    # A sequence may read its photos as they are asked for; a list of it would hold all of them.
    images = images if isinstance(images, Sequence) else list(images)
    if not (images or empty):
        raise ValueError("images must be a list of at least one photo, got an empty one")
    return images


def choice(value, name: str, options: Sequence[str | None]):
    """``value`` if it is one of ``options``; ``ValueError`` naming them otherwise."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
    return value


def between(value: float, name: str, low: float, high: float) -> float:
    """``value`` if ``low <= value <= high``; ``ValueError`` otherwise (NaN included)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")
    return value


def _spell(shape: Sequence[str | int]) -> str:
    return ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
