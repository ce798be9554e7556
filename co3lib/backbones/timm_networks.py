"""Any timm network that peak back-propagation has rules for, as a chain of stages without batch norm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

# isort: off
from .. import _torchvision  # noqa: F401  (before timm and torchvision)
import timm
from .backbone import Backbone
from .vgg16 import VGG16_VARIANTS
from .weights import WeightsError, load_weights, load_in_order, read_weights, seeded


EFFICIENTNET_LITE = {f"efficientnet_lite{k}": f"tf_efficientnet_lite{k}" for k in range(3)}
_HARMLESS = (
    nn.Conv2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, nn.Dropout, nn.ZeroPad2d,
)  # fmt: skip
_NORMS = (nn.BatchNorm2d,)
_INSTEAD = "take a VGG, ResNet, ResNeXt, RegNetX, MobileNetV2, EfficientNet-Lite or vision transformer instead"


def timm_network(name: str, weights: str | Path, options: dict[str, Any], described: str) -> Any:
    """A network as timm builds it, with its weights.

    Parameters
    ----------
    name, weights : as for ``build.build_backbone``.
    options : for ``timm.create_model``.
    described : what the options ask for, for messages.

    Returns
    -------
    timm's network, an ``nn.Module`` with methods that torch's types do not know.

    Raises
    ------
    WeightsError : as ``build.build_backbone``.
    ValueError : for a name that timm does not know, or options that the network cannot have.
    """
    model_name = EFFICIENTNET_LITE.get(name, name)
    if not timm.is_model(model_name):
        raise ValueError(f"name must be 'efficientnet_lite0', {', '.join(VGG16_VARIANTS)} or a timm model, got {name!r}")
    download = name not in EFFICIENTNET_LITE and str(weights) == "imagenet"
    with seeded():
        try:
            network: Any = timm.create_model(model_name, pretrained=download, **options)
        except (OSError, RuntimeError, TypeError, AssertionError) as error:
            if download and isinstance(error, (OSError, RuntimeError)):
                raise WeightsError(f"the ImageNet weights of {name} could not be downloaded: {error}") from error
            raise ValueError(f"{name} cannot be built {described}: {error}") from error
    if name in EFFICIENTNET_LITE and str(weights) == "imagenet":
        load_in_order(network, name)
    elif str(weights) not in ("imagenet", "random"):
        load_weights(network, read_weights(weights), weights)
    return network.eval()


def timm_backbone(name: str, weights: str | Path, stride: int | None) -> tuple[Any, Backbone]:
    """Build a timm network.

    Parameters
    ----------
    name, weights, stride : as for ``build.build_backbone``.

    Returns
    -------
    timm's network, an ``nn.Module`` with methods that torch's types do not know, and its features as a backbone.

    Raises
    ------
    WeightsError, ValueError : as ``build.build_backbone``.
    """
    network = timm_network(name, weights, {} if stride is None else {"output_stride": stride}, f"with stride {stride}")
    _refuse_unknown_parts(network, name)
    sample = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.forward_features(sample)
    stages = _chain(network)
    chain = nn.Sequential(*stages.values())
    _fold_batch_norms(chain, sample, name)
    length = 0
    for position, x in enumerate(_outputs(chain, sample), start=1):
        if x.shape == expected.shape and (x - expected).abs().max() <= 1e-3 * expected.abs().max():
            length = position
    if not length:
        raise ValueError(f"{name} is not a chain of stages, so its features cannot be taken stage by stage: {_INSTEAD}")
    kept = dict(list(zip(stages, chain, strict=True))[:length])
    with _RefuseProducts(name), torch.no_grad():
        chain[:length](sample)
    backbone = Backbone(name, kept, network.default_cfg["mean"], network.default_cfg["std"])
    if stride not in (None, backbone.stride):
        raise ValueError(f"{name} cannot be built with stride {stride}: it comes out as {backbone.stride}")
    return network, backbone


def _refuse_unknown_parts(network: nn.Module, name: str) -> None:
    head = {id(module) for key in ("classifier", "fc", "head", "global_pool") for module in _modules(network, key)}
    for module in network.modules():
        leaf = next(module.children(), None) is None
        known = isinstance(module, (*_HARMLESS, *_NORMS)) or type(module).__name__.startswith("BatchNormAct")
        if leaf and not known and id(module) not in head:
            raise ValueError(
                f"{name} holds a {type(module).__name__}; a backbone must be made of convolutions, batch norm, ReLU-like "
                f"activations, pooling and additions: {_INSTEAD}"
            )


class _RefuseProducts(TorchFunctionMode):
    """While active, an attention that multiplies features is an error: a plain function, it is not among the modules."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def __torch_function__(self, function, types, args=(), kwargs=None):
        called = getattr(function, "__name__", "")
        if called in ("mul", "mul_", "__mul__", "softmax", "sigmoid", "hardsigmoid", "matmul", "bmm"):
            raise ValueError(
                f"{self.name} multiplies features ({called}), for which peak back-propagation has no rule: {_INSTEAD}"
            )
        return function(*args, **(kwargs or {}))


def _modules(network: nn.Module, key: str):
    part = getattr(network, key, None)
    return part.modules() if isinstance(part, nn.Module) else ()


def _chain(network: nn.Module) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    for key, child in network.named_children():
        if isinstance(child, nn.Sequential):
            stages.update({f"{key}.{part}": module for part, module in child.named_children()})
        else:
            stages[key] = child
    return stages


@torch.no_grad()
def _outputs(chain: nn.Sequential, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The outputs of the stages up to the first that cannot take its input, such as a classifier that wants another shape."""
    for stage in chain:
        try:
            x = stage(x)
        except (RuntimeError, TypeError):
            return
        yield x


def _fold_batch_norms(chain: nn.Sequential, sample: torch.Tensor, name: str) -> None:
    """Fold every batch norm into the convolution whose output it takes, found by running the chain once."""
    made_by: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.BatchNorm2d, nn.Conv2d | None]] = []
    alive: list[torch.Tensor] = []  # outputs are kept until the run ends, so that no two share an id

    def note_convolution(module, _, output):
        made_by[id(output)] = module
        alive.append(output)

    def note_norm(module, inputs):
        pairs.append((module, made_by.get(id(inputs[0]))))

    handles = [m.register_forward_hook(note_convolution) for m in chain.modules() if isinstance(m, nn.Conv2d)]
    handles += [m.register_forward_pre_hook(note_norm) for m in chain.modules() if isinstance(m, _NORMS)]
    try:
        list(_outputs(chain, sample))
    finally:
        for handle in handles:
            handle.remove()
    replaced = {}
    for norm, convolution in pairs:
        if convolution is None:
            raise ValueError(
                f"{name} has a batch norm that does not follow a convolution, so that it cannot be folded into one: {_INSTEAD}"
            )
        assert norm.running_mean is not None and norm.running_var is not None  # timm's networks all keep them
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        convolution.bias.requires_grad_()  # a convolution that had no bias would keep its new one out of training
        replaced[id(norm)] = getattr(norm, "act", nn.Identity())
    for parent in chain.modules():
        for key, child in list(parent.named_children()):
            if id(child) in replaced:
                setattr(parent, key, replaced[id(child)])
