"""Vision transformers of timm as chains of stages: DINO, DINOv2 with and without registers, DeiT, and their like.

Shape letters: B images, C channels, H W image size, ``h w`` feature grid, P prefix tokens (the class's, and registers).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from .. import checks
from .backbone import Backbone
from .timm_networks import timm, timm_network

_MODULES = ("vision_transformer", "deit")  # timm's, whose networks have the parts that are named below


class ViTBackbone(Backbone):
    """A vision transformer from RGB images to the features of one of its blocks.

    The stages are "patch_embed" and the blocks, "blocks.0", "blocks.1" and so on. The features of a block are its output after
    the network's last norm, without the prefix tokens, every other token in the cell of its patch: what DINOv2's
    ``get_intermediate_layers(norm=True, reshape=True)`` gives. An image whose sides are no multiples of the patch is enlarged
    bilinearly to the next ones, so that ``h = ceil(H / patch)`` and ``w = ceil(W / patch)``. Between two stages the prefix
    tokens go along, in rows above the grid: (B, C, ceil(P / w) + h, w), filled up with zeros.

    Attributes
    ----------
    stride : the side of a patch, in pixels.
    middle_stage : the last block, so that by default nothing but the score is trained: the default learning rate, which is
        for convolutional networks, takes from a vision transformer what it had learnt.
    """

    has_peak_rule = False

    def _find_out(self) -> None:
        first: Any = self.stages["patch_embed"]
        self.channels, self.stride = first.network.embed_dim, first.network.patch_embed.patch_size[0]
        self.middle_stage = self.stage_names[-1]


class _Patches(nn.Module):
    """Images -> tokens, by a network without its blocks."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = (-(-side // patch) for side, patch in zip(images.shape[2:], self._patch, strict=True))
        size = (height * self._patch[0], width * self._patch[1])
        if images.shape[2:] != size:
            images = interpolate(images, size, mode="bilinear")
        return _in_rows(self.network.forward_features(images), self.network.num_prefix_tokens, width)

    @property
    def _patch(self) -> tuple[int, int]:
        return self.network.patch_embed.patch_size


class _Block(nn.Module):
    """Tokens -> tokens."""

    def __init__(self, block: nn.Module, prefix: int):
        super().__init__()
        self.block, self.prefix = block, prefix

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return _in_rows(self.block(_tokens(rows, self.prefix)), self.prefix, rows.shape[3])


class _LastBlock(_Block):
    """Tokens -> features."""

    def __init__(self, block: nn.Module, norm: nn.Module, prefix: int):
        super().__init__(block, prefix)
        self.norm = norm

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.block(_tokens(rows, self.prefix)))
        return _in_rows(tokens[:, self.prefix :], 0, rows.shape[3])


def _in_rows(tokens: torch.Tensor, prefix: int, width: int) -> torch.Tensor:
    """Tokens (B, P + h w, C) -> (B, C, ceil(P / w) + h, w)."""
    gap = tokens.new_zeros(len(tokens), -prefix % width, tokens.shape[2])
    return torch.cat([tokens[:, :prefix], gap, tokens[:, prefix:]], 1).transpose(1, 2).unflatten(2, (-1, width))


def _tokens(rows: torch.Tensor, prefix: int) -> torch.Tensor:
    """What ``_in_rows`` was given."""
    tokens = rows.flatten(2).transpose(1, 2)
    return torch.cat([tokens[:, :prefix], tokens[:, prefix + -prefix % rows.shape[3] :]], 1)


def is_vit(name: str) -> bool:
    """Whether a name is that of a vision transformer that ``vit_backbone`` can build."""
    return timm.is_model(name) and timm.models.is_model_in_modules(name, _MODULES)


def vit_backbone(name: str, weights: str | Path, feature_stage: str | None, stride: int | None) -> ViTBackbone:
    """Build a vision transformer up to a block.

    Parameters
    ----------
    name, weights, feature_stage, stride : as for ``build.build_backbone``; the stride can only be the side of a patch.

    Raises
    ------
    WeightsError, ValueError : as ``build.build_backbone``.
    """
    network = timm_network(name, weights, {"dynamic_img_size": True}, "for images of any size")
    patch = network.patch_embed.patch_size
    if patch[0] != patch[1]:
        raise ValueError(f"{name} has patches of {patch[0]} x {patch[1]} pixels; a backbone must have square ones")
    if stride not in (None, patch[0]):
        raise ValueError(f"stride of {name} is {patch[0]}, the side of its patches, got {stride}")
    names = [f"blocks.{k}" for k in range(len(network.blocks))]
    last = names.index(checks.choice(feature_stage or names[-1], "feature_stage", names))
    blocks, norm, prefix = list(network.blocks)[: last + 1], network.norm, network.num_prefix_tokens
    network.blocks, network.norm = nn.Sequential(), nn.Identity()
    for head in ("attn_pool", "fc_norm", "head", "head_dist"):
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    stages: dict[str, nn.Module] = {"patch_embed": _Patches(network)}
    stages |= {names[k]: _Block(block, prefix) for k, block in enumerate(blocks[:-1])}
    stages[names[last]] = _LastBlock(blocks[-1], norm, prefix)
    return ViTBackbone(name, stages, network.default_cfg["mean"], network.default_cfg["std"])
