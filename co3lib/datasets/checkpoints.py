"""Tensors in safetensors files, written whole: checkpoints of training and fitted segmenters.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..files import aside, path_of


def save_tensors(tensors: dict[str, torch.Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file aside and put it in place at once, so that no half-written file is ever seen."""
    path = path_of(path, "path")
    with aside(path) as part:
        try:
            save_file({key: value.contiguous() for key, value in tensors.items()}, part, metadata)
        except SafetensorError as error:  # what it makes of a full disk, too
            raise OSError(f"{path} cannot be written: {error}") from error


def load_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; ``ValueError`` naming the file if it is not a whole one."""
    path = path_of(path, "path")
    try:
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        broken = [key for key, value in tensors.items() if not torch.isfinite(value.float()).all()]
    except Exception as error:  # a damaged header may say anything
        said = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a safetensors file: {said}") from error
    if broken:
        raise ValueError(f"{path} must hold finite numbers, got NaN or infinity in {broken[0]}")
    return tensors, metadata
