"""What notebook 03 shows: saliency priors, the weights of the saliency loss, the co-saliency as it is learnt.

Shape letters: N images, C channels, H W image size, S side of the network's square input, ``h w`` feature grid, G instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
import torch

from ..backbones import build_backbone
from ..config import CoSegConfig
from ..datasets import Sample
from ..images import resize_nearest
from ..model import CoPeakNet, CoPeakOutput
from ..segmentation import CoSegmenter, prepare
from ..training import start_head

_plain = matplotlib.style.context("default")
POSITIVE, NEGATIVE = "#E69F00", "#0072B2"  # orange and blue of Okabe and Ito


@dataclass(frozen=True)
class Category:
    """The photos of one category and what the network sees in them before any training.

    photos: N of (H, W, 3) uint8; masks: N of (G, H, W) bool, the true instances; output: features (N, C, h, w), less the
    category's mean, and score (N, 1, h, w), the linear fit of the prior that training starts from; prior: (N, 1, S, S) in
    [0, 1], the class's.
    """

    photos: tuple[np.ndarray, ...]
    masks: tuple[torch.Tensor, ...]
    output: CoPeakOutput
    prior: torch.Tensor


def read_category(samples: Sequence[Sample], config: CoSegConfig | None = None) -> Category:
    """Photos, features, the class's prior and the score that training would start from."""
    config = config or CoSegConfig()
    work = [prepare(sample.image, config, k) for k, sample in enumerate(samples)]
    masks = [resize_nearest(sample.masks, image.pixels.shape[:2]) for sample, image in zip(samples, work, strict=True)]
    model = CoPeakNet(build_backbone(config.backbone, config.weights, config.tap, config.stride))
    with torch.no_grad():
        features = torch.cat([model.backbone(image.tensor) for image in work])
        prior = CoSegmenter(config).priors_of(work, features, progress=False)
        features = features - features.mean((0, 2, 3), keepdim=True)
        start_head(model, features, prior)
        output = CoPeakOutput(features, model.head(features))
    return Category(tuple(image.pixels for image in work), tuple(masks), output, prior)
