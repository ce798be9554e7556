"""A network as a chain of named stages, from an image to its features, and what follows the features.

Shape letters: B images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from .. import checks

# isort: off
from .. import _torchvision  # noqa: F401  (before timm and torchvision)


class Backbone(nn.Module):
    """A convolutional network as a chain of stages, from RGB images to features.

    It computes, and gives its features, on the device of its weights, wherever the images are.

    Parameters
    ----------
    name : the network's name.
    stages : name -> module, in the order in which an image passes them.
    mean, std : three numbers each, by which RGB in [0, 1] is normalised.

    Attributes
    ----------
    stages : the modules by name, each "." of a name being a "/" here.
    channels : C of the features.
    stride : of the features' grid, in input pixels.
    middle_stage : the last stage before the end whose grid has a stride of 16 or less; None: the image.
    weights_sha256 : the digest of the weights as built.
    has_peak_rule : whether peak back-propagation has a rule for each of its parts.

    Raises
    ------
    ValueError : if the grid of the features does not keep the proportions of the image.
    """

    has_peak_rule = True
    mean: torch.Tensor
    std: torch.Tensor
    channels: int
    stride: int
    middle_stage: str | None

    def __init__(self, name: str, stages: dict[str, nn.Module], mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.name = name
        self.stages = nn.ModuleDict({key.replace(".", "/"): stage for key, stage in stages.items()})
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.weights_sha256 = digest(self)
        # Twice as fast on a CPU, forwards and backwards, for depthwise convolutions above all.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own types leave it out
        self._find_out()

    @torch.inference_mode(False)  # in which nothing would tell that a tensor was overwritten
    @torch.no_grad()
    def _find_out(self) -> None:
        """Set ``channels``, ``stride`` and ``middle_stage``, and let no stage overwrite what it is given."""
        part: Any
        x = torch.zeros(1, 3, 128, 192)
        self.middle_stage = None
        for name_before, stage in zip([None, *self.stage_names], self.stages.values(), strict=False):
            if x.shape[2] >= 128 // 16:
                self.middle_stage = name_before
            given, version = x, x._version
            x = stage(given)
            if given._version != version:  # the stage begins with an activation in place
                for part in stage.modules():
                    if hasattr(part, "inplace"):
                        part.inplace = False
        _, self.channels, height, width = x.shape
        self.stride = 128 // height
        if (height * self.stride, width * self.stride) != (128, 192):
            raise ValueError(
                f"{self.name} makes a grid of {height} x {width} from 128 x 192 pixels; a backbone must keep the proportions"
            )

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in the order in which an image passes them."""
        return [key.replace("/", ".") for key in self.stages]

    def stage(self, name: str | None, argument: str = "stage") -> str | None:
        """The stage that a name stands for.

        Parameters
        ----------
        name : a stage's own name, "middle" for ``middle_stage``, or None for the image.
        argument : what the name is called in the error.

        Returns
        -------
        The stage's own name, or None for the image.

        Raises
        ------
        ValueError : naming ``argument``, for any other name.
        """
        return self.middle_stage if name == "middle" else checks.choice(name, argument, [None, *self.stage_names])

    def forward(self, images: torch.Tensor, until: str | None = None) -> torch.Tensor:
        """Features of images.

        Parameters
        ----------
        images : (B, 3, H, W), RGB in [0, 1].
        until : the stage whose output is wanted, as for ``stage``; None: the last.

        Returns
        -------
        (B, C, h, w).
        """
        images = checks.tensor(images, "images", ("B", 3, "H", "W"), floating=True).to(self.mean.device)
        return self._run((images - self.mean) / self.std, 0, self._after(until))

    def forward_from(self, features: torch.Tensor, after: str | None) -> torch.Tensor:
        """Go on to the last stage.

        Parameters
        ----------
        features : the output of stage ``after``, or the images where that is None.
        after : as for ``stage``.

        Returns
        -------
        (B, C, h, w), as ``forward`` gives them.
        """
        start = self._after(after)
        return self(features) if start is None else self._run(features, start, None)

    def parameters_after(self, stage: str | None) -> Iterator[nn.Parameter]:
        """The parameters of all the stages after ``stage``; None: of every stage."""
        for module in list(self.stages.values())[self._after(stage) or 0 :]:
            yield from module.parameters()

    def _run(self, x: torch.Tensor, start: int | None, stop: int | None) -> torch.Tensor:
        x = x.to(self.mean.device).contiguous(memory_format=torch.channels_last)
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def _after(self, stage: str | None) -> int | None:
        stage = self.stage(stage)
        return None if stage is None else self.stage_names.index(stage) + 1


class DenseClassifier(nn.Module):
    """What follows a network's features up to its classifier: (B, C, h, w) -> logits (B, 1000, h, w).

    The remaining stages, then the classifier at every cell instead of on the mean of all cells. It gives every cell scores for
    ImageNet's classes, from the same weights as the features.

    Parameters
    ----------
    rest : the stages after the backbone's last.
    classifier : the classifier as convolutions.
    """

    def __init__(self, rest: Sequence[nn.Module], classifier: nn.Module):
        super().__init__()
        self.rest = nn.Sequential(*rest)
        self.classifier = classifier

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features: (B, C, h, w), as the backbone gives them."""
        return self.classifier(self.rest(features))


def as_convolution(linear: nn.Linear, channels: int, size: int = 1) -> nn.Conv2d:
    """A linear layer as a convolution, for every cell of a larger map.

    Parameters
    ----------
    linear : of ``channels`` x ``size`` x ``size`` inputs.
    channels : number of maps that it takes.
    size : side of the square of cells that it takes, odd, so that the grid is kept.
    """
    convolution = nn.utils.skip_init(nn.Conv2d, channels, linear.out_features, size, padding=size // 2)
    weight = linear.weight.detach().view(linear.out_features, channels, size, size)
    convolution.load_state_dict({"weight": weight, "bias": linear.bias.detach()})
    return convolution


def digest(module: nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, names and values, in hexadecimal."""
    sha = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        sha.update(key.encode())
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def cut(backbone: Backbone, feature_stage: str | None) -> Backbone:
    """The backbone up to a stage; None: all of it.

    Raises
    ------
    ValueError : if ``feature_stage`` is no stage of the backbone.
    """
    if feature_stage is None or feature_stage == backbone.stage_names[-1]:
        return backbone
    checks.choice(feature_stage, "feature_stage", backbone.stage_names)
    names = backbone.stage_names[: backbone.stage_names.index(feature_stage) + 1]
    stages = dict(zip(names, backbone.stages.values(), strict=False))
    return Backbone(backbone.name, stages, backbone.mean.flatten().tolist(), backbone.std.flatten().tolist())
