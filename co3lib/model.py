"""The co-peak network: a backbone, a 1 x 1 convolution that scores each cell, and the co-saliency of that score
(paper, Section 3.1).

Shape letters: B images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv_transpose1d, interpolate

from . import checks
from .backbones import Backbone
from .correlation import normalize_features, weight_by_saliency
from .torch_defaults import torch_defaults


@dataclass(frozen=True)
class CoPeakOutput:
    """What the network says of a batch.

    Attributes
    ----------
    features : (B, C, h, w), floating.
    score : (B, 1, h, w), before the sigmoid.
    """

    features: torch.Tensor
    score: torch.Tensor

    @property
    def saliency(self) -> torch.Tensor:
        """The co-saliency, the sigmoid of the score: (B, 1, h, w), in [0, 1]."""
        return self.score.sigmoid()

    @property
    def normalized(self) -> torch.Tensor:
        """The features, L2-normalised per cell: (B, C, h, w)."""
        return normalize_features(self.features)

    @property
    def weighted(self) -> torch.Tensor:
        """The normalised features, weighted by the co-saliency: (B, C, h, w)."""
        return weight_by_saliency(self.normalized, self.saliency)


class CoPeakNet(nn.Module):
    """Backbone, optional centring of its features, and a 1 x 1 convolution to one score per cell.

    The convolution starts at zero, as the authors' does.

    Parameters
    ----------
    backbone : gives the features.

    Attributes
    ----------
    center : (1, C, 1, 1), zero unless set; subtracted from the features. With a backbone that ends without a ReLU, the
        category's mean hides what its images have in common.
    """

    center: torch.Tensor

    @torch_defaults()
    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        # Not initialised at random first, which would move the caller's random numbers.
        self.head = nn.utils.skip_init(nn.Conv2d, backbone.channels, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("center", torch.zeros(1, backbone.channels, 1, 1))

    def forward(self, images: torch.Tensor) -> CoPeakOutput:
        """Features and scores of images (B, 3, H, W), RGB in [0, 1]."""
        return self.forward_from(images, None)

    def activations(self, images: torch.Tensor, stage: str | None) -> torch.Tensor:
        """The output of a stage of the backbone, from which ``forward_from`` goes on.

        Parameters
        ----------
        images : (B, 3, H, W), RGB in [0, 1].
        stage : the backbone's stage; None: the images themselves.

        Returns
        -------
        (B, C', h', w').
        """
        return images if self.backbone.stage(stage) is None else self.backbone(images, until=stage)

    def forward_from(self, activations: torch.Tensor, after: str | None) -> CoPeakOutput:
        """Go on from the output of a stage.

        Parameters
        ----------
        activations : (B, C', h', w'), the output of the stage.
        after : the backbone's stage; None: ``activations`` are the images.
        """
        features = self.backbone.forward_from(activations, after) - self.center
        return CoPeakOutput(features, self.head(features))

    def saliency_at_image_size(self, score: torch.Tensor, size: Sequence[int] | None = None) -> torch.Tensor:
        """The co-saliency at image size: the score map enlarged, then the sigmoid.

        Parameters
        ----------
        score : (B, 1, h, w).
        size : (H, W) of the images; None: that of the grid times the stride, which it is unless a vision transformer had to
            enlarge them.

        Returns
        -------
        (B, 1, H, W).
        """
        big = upsample(score, self.backbone.stride)
        if size is not None and big.shape[2:] != tuple(size):
            big = interpolate(big, tuple(size), mode="bilinear")
        return big.sigmoid()


@torch_defaults()
def bilinear_kernel(size: int) -> torch.Tensor:
    """The fixed kernel of a bilinear transposed convolution: (size, size), the product of two triangles."""
    triangle = _triangle(size)
    return triangle[:, None] * triangle[None]


@torch_defaults()
def upsample(score: torch.Tensor, factor: int) -> torch.Tensor:
    """Enlarge a score map with a fixed bilinear transposed convolution.

    It fades towards the border, where the kernel extends beyond the edge.

    Parameters
    ----------
    score : (B, 1, h, w), floating.
    factor : by how much, whole.

    Returns
    -------
    (B, 1, factor h, factor w).
    """
    score = checks.tensor(score, "score", ("B", 1, "h", "w"), floating=True)
    if factor == 1:
        return score
    # The kernel is a product of two triangles, so the convolution is a matrix product along each axis: far faster.
    rows, columns = (_interpolation(size, factor).to(score) for size in score.shape[2:])
    return rows @ score @ columns.T


def _triangle(size: int) -> torch.Tensor:
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    return 1 - (torch.arange(size, dtype=torch.float64) - center).abs() / factor


def _interpolation(cells: int, factor: int) -> torch.Tensor:
    """The transposed convolution along one axis as a matrix (factor * cells, cells)."""
    identity = torch.eye(cells, dtype=torch.float64)[:, None]
    triangle = _triangle(2 * factor)[None, None]
    return conv_transpose1d(identity, triangle, stride=factor, padding=factor // 2)[:, 0].T[: factor * cells]
