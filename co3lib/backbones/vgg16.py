"""VGG-16 from torchvision, in the paper's two variants: up to pool5, and with fc6 as a convolution."""

from __future__ import annotations

from pathlib import Path

from torch import nn

# isort: off
from .. import _torchvision  # noqa: F401  (before timm and torchvision)
import torchvision
from .weights import WeightsError, load_weights, read_weights, seeded
from .backbone import as_convolution


VGG16_VARIANTS = ("vgg16_pool5", "vgg16_fc6")


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def vgg16_network(name: str, weights: str | Path) -> torchvision.models.VGG:
    """torchvision's VGG-16.

    Parameters
    ----------
    name : its name, for messages.
    weights : as for ``build.build_backbone``.

    Raises
    ------
    WeightsError : if the weights cannot be had.
    """
    with seeded():
        network = torchvision.models.vgg16(weights=None, init_weights=str(weights) == "random")
    if str(weights) == "imagenet":
        try:
            state = torchvision.models.VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
        except (OSError, RuntimeError) as error:  # no network, or a damaged download
            raise WeightsError(
                f"the ImageNet weights of {name} could not be downloaded ({error}); name a file with them as weights"
            ) from error
        network.load_state_dict(state)
    elif str(weights) != "random":
        load_weights(network, read_weights(weights), weights)
    return network


def linear_layers(network: torchvision.models.VGG) -> list[nn.Linear]:
    """fc6, fc7 and fc8."""
    return [layer for layer in network.classifier if isinstance(layer, nn.Linear)]


def vgg16_stages(network: torchvision.models.VGG, with_fc6: bool) -> dict[str, nn.Module]:
    """The stages of VGG-16 by name.

    Parameters
    ----------
    network : torchvision's.
    with_fc6 : whether "fc6", as a convolution, follows "pool1" to "pool5", each of which ends with its pooling.
    """
    stages: dict[str, nn.Module] = {}
    part: list[nn.Module] = []
    for layer in network.features.children():
        if isinstance(layer, nn.MaxPool2d):
            # The authors pad each pooling at the bottom and right by one; ceil_mode is the same without the padding.
            layer = nn.MaxPool2d(2, 2, ceil_mode=True)
        part.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages[f"pool{len(stages) + 1}"] = nn.Sequential(*part)
            part = []
    if with_fc6:
        stages["fc6"] = nn.Sequential(as_convolution(linear_layers(network)[0], 512, 7), nn.ReLU())
    return stages
