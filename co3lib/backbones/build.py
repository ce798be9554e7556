"""Backbones: the features of an image, from a network cut into a chain of named stages.

``build_backbone(name)`` gives VGG-16 in the paper's two variants, EfficientNet-Lite0 (weights from an installed
package, no download), any timm network made of convolutions, batch norm, ReLU-like activations, pooling and
additions, or any of timm's vision transformers (``vit``). Batch norm is folded into the convolutions: peak back-propagation
has rules for all that is left of a convolutional network, and nothing behaves differently in training and in use.

Shape letters: B images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ..torch_defaults import with_gradients

# isort: off
from .. import _torchvision  # noqa: F401  (before timm and torchvision)
from .backbone import Backbone, DenseClassifier, as_convolution, cut
from .vgg16 import VGG16_VARIANTS, IMAGENET_MEAN, IMAGENET_STD, linear_layers, vgg16_network, vgg16_stages
from .timm_networks import EFFICIENTNET_LITE, timm_backbone
from .vit import is_vit, vit_backbone


DEFAULT = "efficientnet_lite0"
# The stage whose features correlate best, by measurement (benchmarks/backbones.py); other networks end at their last.
_TAPS = {name: "blocks.5" for name in EFFICIENTNET_LITE}


@with_gradients()
def build_backbone(
    name: str = DEFAULT, weights: str | Path = "imagenet", feature_stage: str | None = None, stride: int | None = None
) -> Backbone:
    """Build a backbone.

    Parameters
    ----------
    name : "efficientnet_lite0" (also 1, 2), "vgg16_pool5", "vgg16_fc6", or a timm model's name, as "vit_small_patch14_dinov2".
    weights : "imagenet" (the installed package's, torchvision's or timm's; the latter two download once; of a vision
        transformer, what timm has under its name, on whatever it was trained); a safetensors or
        ``.pth`` file in the layout of timm (for VGG-16: torchvision), which may be a checkpoint with a state_dict in it; or
        "random", seeded by 0, for tests. A file must be of a network trained on input normalised as timm's or torchvision's is;
        Caffe's VGG-16 (the authors' too) was not, which no shape shows.
    feature_stage : the stage that the backbone ends with; None: the network's own.
    stride : of the feature grid, in input pixels; None: the network's own.

    Raises
    ------
    WeightsError : if the weights cannot be had.
    ValueError : for a network that is neither a vision transformer nor made of parts that peak back-propagation has a rule for,
        a wrong feature_stage or an impossible stride.
    """
    if is_vit(name):
        return vit_backbone(name, weights, feature_stage, stride)
    _, whole = _whole(name, weights, stride)
    return cut(whole, feature_stage or _TAPS.get(name))


@with_gradients()
def build_dense_classifier(
    name: str = DEFAULT, weights: str | Path = "imagenet", feature_stage: str | None = None, stride: int | None = None
) -> DenseClassifier:
    """What follows the backbone that ``build_backbone`` gives for the same arguments.

    Raises
    ------
    WeightsError, ValueError : as ``build_backbone``; ``ValueError`` for a network without a linear classifier, too.
    """
    classifier = build_both(name, weights, feature_stage, stride)[1]
    if classifier is None:
        raise ValueError(f"{name} must end in a linear classifier of its cells for its classes to be seen, and has none")
    return classifier


@with_gradients()
def build_both(
    name: str = DEFAULT, weights: str | Path = "imagenet", feature_stage: str | None = None, stride: int | None = None
) -> tuple[Backbone, DenseClassifier | None]:
    """What ``build_backbone`` and ``build_dense_classifier`` give, from the same network, built once.

    The classifier is None where the network has none that is linear and reads the cells: a vision transformer's reads the class
    token. Raises as ``build_backbone``.
    """
    if is_vit(name):
        return vit_backbone(name, weights, feature_stage, stride), None
    network, whole = _whole(name, weights, stride)
    classifier = _classifier(network, whole)
    if classifier is None:
        return cut(whole, feature_stage or _TAPS.get(name)), None
    backbone = cut(whole, feature_stage or _TAPS.get(name))
    rest = list(whole.stages.values())[len(backbone.stages) :]
    return backbone, DenseClassifier(rest, classifier).requires_grad_(False).eval()


def _whole(name: str, weights: str | Path, stride: int | None) -> tuple[Any, Backbone]:
    """A network, and all its stages up to the classifier."""
    if name in VGG16_VARIANTS:
        if stride not in (None, 32):
            raise ValueError(f"stride of {name} is 32, got {stride}")
        network = vgg16_network(name, weights)
        stages = vgg16_stages(network, with_fc6=name == "vgg16_fc6")
        return network, Backbone(name, stages, IMAGENET_MEAN, IMAGENET_STD)
    return timm_backbone(name, weights, stride)


def _classifier(network: Any, whole: Backbone) -> nn.Module | None:
    """The classifier of a network as convolutions; None where it is not linear or does not follow the stages."""
    if whole.name in VGG16_VARIANTS:
        fc6, fc7, fc8 = linear_layers(network)
        first = [] if whole.name == "vgg16_fc6" else [as_convolution(fc6, 512, 7), nn.ReLU()]
        return nn.Sequential(*first, as_convolution(fc7, 4096), nn.ReLU(), as_convolution(fc8, 4096))
    linear, channels = network.get_classifier(), whole.channels
    hidden: list[nn.Module] = []
    if whole.name.startswith("vgg"):
        layers = network.pre_logits  # fc6 and fc7, convolutions already, the first without the padding that keeps the grid
        layers.fc1.padding = tuple(size // 2 for size in layers.fc1.kernel_size)
        hidden, channels = [layers.fc1, nn.ReLU(), layers.fc2, nn.ReLU()], layers.fc2.out_channels
    if not isinstance(linear, nn.Linear) or linear.in_features != channels:
        return None
    return nn.Sequential(*hidden, as_convolution(linear, channels))
