"""Fitted segmenters in safetensors files, with the settings and the network's weights: nothing else is needed to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch

from .. import checks
from ..backbones import build_backbone
from ..config import CoSegConfig
from ..model import CoPeakNet
from .checkpoints import load_tensors, save_tensors


class SegmenterFile(NamedTuple):
    """What such a file holds; see ``CoSegmenter`` for what each part is."""

    config: CoSegConfig
    model: CoPeakNet
    partners: torch.Tensor
    history: list[dict[str, float]]
    certainty: dict[int, float]


def save_segmenter(
    path: str | Path,
    config: CoSegConfig,
    model: CoPeakNet,
    partners: torch.Tensor,
    history: list[dict[str, float]],
    certainty: dict[int, float],
) -> None:
    """Write the parts of a fitted segmenter into one safetensors file.

    Parameters
    ----------
    path : the file.
    config, model, partners, history, certainty : the segmenter's, partners (M, C, h, w).

    Raises
    ------
    OSError : naming the file, if it cannot be written.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()} | {"partners": partners}
    texts = {"config": config.model_dump_json(), "history": json.dumps(history), "certainty": json.dumps(certainty)}
    save_tensors(tensors, path, texts | {"backbone_sha256": model.backbone.weights_sha256})


def load_segmenter(path: str | Path) -> SegmenterFile:
    """The parts of a segmenter as ``save_segmenter`` wrote them, its model on the CPU, its parameters not to be trained.

    Raises
    ------
    ValueError : naming the file, if it is not such a file, or one of another version.
    """
    tensors, metadata = load_tensors(path)
    if "config" not in metadata or "partners" not in tensors:
        raise ValueError(f"{path} is not a file written by CoSegmenter.save: it holds no configuration")
    try:
        config = CoSegConfig.model_validate_json(metadata["config"])
        # Every weight is in the file, so the network's own need not be had.
        model = CoPeakNet(build_backbone(config.backbone, "random", config.feature_stage, config.stride))
        model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
        model.backbone.weights_sha256 = metadata["backbone_sha256"]
        shape = ("M", model.backbone.channels, "h", "w")
        partners = checks.tensor(tensors["partners"], "partners", shape, floating=True)
        history = json.loads(metadata["history"])
        certainty = {int(side): float(level) for side, level in json.loads(metadata["certainty"]).items()}
    except Exception as error:  # a damaged file may lack anything
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a file that this version of CoSegmenter can load: {said}") from error
    return SegmenterFile(config, model.requires_grad_(False), partners, history, certainty)
