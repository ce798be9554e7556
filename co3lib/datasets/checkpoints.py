"""Tensors in safetensors files, written whole: checkpoints of training and fitted segmenters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..files import aside, part_of, path_of, remove


def save_tensors(tensors: dict[str, torch.Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file aside and put it in place at once, so that there is never a half-written file.

    Parameters
    ----------
    tensors : by name.
    path : the file.
    metadata : texts by name, kept with them.

    Raises
    ------
    OSError : naming the file, if it cannot be written.
    """
    path = path_of(path, "path")
    with aside(path) as part:
        # The library writes to a file of its own beside the one that it is given, which a kill would leave: so in our folder.
        folder = part_of(path)
        try:
            folder.mkdir()
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "tensors", metadata)
            os.replace(folder / "tensors", part)
        except SafetensorError as error:  # what it makes of a full disk, too
            raise OSError(f"{path} cannot be written: {error}") from error
        finally:
            remove(folder)


def load_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises
    ------
    ValueError : naming the file, if it is not a whole one or holds NaN or infinity.
    """
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


def save_training(
    path: Path,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    fingerprint: str,
    history: list[dict[str, float]],
) -> None:
    """Write the state of a training into a checkpoint.

    Parameters
    ----------
    path : the checkpoint.
    trained : the trained parameters by name.
    optimizer : whose state of each of them is kept.
    fingerprint : of all that decides the result, by which ``load_training`` knows what the checkpoint belongs to.
    history : for every epoch its losses by name.
    """
    tensors = {f"weight:{name}": parameter.detach() for name, parameter in trained.items()}
    for name, parameter in trained.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}:{name}"] = torch.as_tensor(value)
    save_tensors(tensors, path, {"fingerprint": fingerprint, "history": json.dumps(history)})


def load_training(
    path: Path, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, fingerprint: str
) -> list[dict[str, float]]:
    """Put the state that ``save_training`` wrote into the parameters and the optimizer, in place.

    Parameters
    ----------
    path, trained, optimizer, fingerprint : as for ``save_training``.

    Returns
    -------
    The history.

    Raises
    ------
    ValueError : naming the file, if it is of another training or not whole.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        raise ValueError(f"{path} is a checkpoint of other images, weights or settings; remove it or name another file")
    try:
        history = [dict(epoch) for epoch in json.loads(metadata["history"])]
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[f"weight:{name}"])
    except Exception as error:  # a damaged file may lack anything
        raise ValueError(f"{path} is not a whole checkpoint ({error!r}); remove it or name another file") from error
    for name, parameter in trained.items():
        keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}:{name}" in tensors]
        if keys:
            state = {key: tensors[f"{key}:{name}"] for key in keys}
            # Adam's number of steps stays on the CPU.
            moved = {key: value.to(parameter.device) for key, value in state.items() if key != "step"}
            optimizer.state[parameter] = state | moved
    return history
