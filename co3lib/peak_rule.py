"""The rule of peak back-propagation: what goes backwards through a convolution and an addition in place of the gradient
(Zhou et al., CVPR 2018, "PRM"; paper, Section 3.3).

Shape letters: B images, C channels, H W size of a map.
"""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, conv_transpose2d, linear, threshold
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from . import checks
from .relevance import is_pointwise

_EPS = 1e-10


def peak_conv2d(input, weight, stride=1, padding=0, dilation=1, groups=1) -> torch.Tensor:
    """A convolution without bias whose backward pass follows the rule of peak back-propagation.

    Forward: the ordinary convolution. Backward, with ``X' = X - min(X)`` over each image's whole tensor and ``W+ = relu(W)``:
    ``Z = conv(X', W+)``, ``G = dY / (|Z| + 1e-10)``, zero where ``Z < 1e-10``; ``dX = X' * conv_transpose(G, W+)``.

    Parameters
    ----------
    input : ``X``, (B, C, H, W), floating.
    weight : ``W``, (C', C / groups, k, l), floating; it gets no gradient.
    stride, padding, dilation, groups : as for ``torch.nn.functional.conv2d``, padding in numbers.
    """
    input = checks.tensor(input, "input", ("B", "C", "H", "W"), floating=True)
    weight = checks.tensor(weight, "weight", ("C'", input.shape[1] // groups, "k", "l"), floating=True)
    return _PeakConv2d.apply(input, weight, None, _pair(stride), _pair(padding), _pair(dilation), groups)


class _PeakConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, stride, padding, dilation, groups):
        positive, lowest = weight.clamp_min(0), input.amin((1, 2, 3), keepdim=True)
        shifted = input - lowest if lowest.any() else input
        normalizer = _convolved(shifted, positive, None, stride, padding, dilation, groups)
        # One over infinity is zero.
        share = threshold(normalizer, _just_below(_EPS, normalizer.dtype), torch.inf, inplace=True).add_(_EPS).reciprocal_()
        # Computed once, here: it is the same for every peak, and there are dozens of them.
        ctx.save_for_backward(shifted, share, positive)
        ctx.geometry = stride, padding, dilation, groups
        ctx.rule = "convolution"
        return _convolved(input, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, grad_output):
        shifted, share, positive = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        result = torch.zeros_like(shifted)
        # One peak's relevance fills a small window of a large map: only there is there anything to compute.
        reached = (grad_output.amax((0, 1)) != 0) | (grad_output.amin((0, 1)) != 0)
        if not reached.any():
            return result, *[None] * 6
        window: list[slice] = []
        sources: list[slice] = []
        targets: list[slice] = []
        for k in range(2):
            lines = torch.nonzero(reached.any(1 - k)).flatten()
            first, last = int(lines[0]), int(lines[-1])
            start = first * stride[k] - padding[k]
            stop = last * stride[k] - padding[k] + dilation[k] * (positive.shape[2 + k] - 1) + 1
            window.append(slice(first, last + 1))
            targets.append(slice(max(start, 0), min(stop, shifted.shape[2 + k])))
            sources.append(slice(targets[k].start - start, targets[k].stop - start))
        part = grad_output[:, :, *window] * share[:, :, *window]
        spread = conv_transpose2d(part, positive, None, stride, 0, 0, groups, dilation)
        result[:, :, *targets] = shifted[:, :, *targets] * spread[:, :, *sources]
        return result, *[None] * 6


class _SharedAddition(torch.autograd.Function):
    """``a + b`` whose backward pass shares the relevance in proportion to the summands, each above its minimum."""

    @staticmethod
    def forward(ctx, first, second):
        above, other = (part - part.amin((1, 2, 3), keepdim=True) for part in (first, second))
        ctx.save_for_backward((above / (above + other + _EPS)).nan_to_num())
        ctx.rule = "addition"
        return first + second

    @staticmethod
    def backward(ctx, grad_output):
        (share,) = ctx.saved_tensors
        return grad_output * share, grad_output * (1 - share)


class PeakRule(TorchFunctionMode):
    """A context within which 2-D convolutions and additions go backwards by the rules of this module.

    It takes every 2-D convolution and every addition of two equal-shaped 4-D tensors. ReLU and pooling keep their ordinary
    backward pass; batch norm is folded into the convolutions by ``backbones``.

    Raises
    ------
    ValueError : for a convolution whose padding is not given in numbers.
    """

    _ADDITIONS = frozenset({torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.add_, torch.Tensor.__iadd__})

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.conv2d:  # which torch.nn.functional.conv2d is too
            return _rule_conv2d(*args, **kwargs)
        if func in self._ADDITIONS and not kwargs and _two_activations(*args):
            return _SharedAddition.apply(*args)
        # An activation in place would overwrite what the rule needs.
        return func(*args, **(kwargs | {"inplace": False} if kwargs.get("inplace") else kwargs))


def _rule_conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        raise ValueError(f"peak back-propagation needs a convolution's padding in numbers, got {padding!r}")
    return _PeakConv2d.apply(input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)


def _just_below(value: float, dtype: torch.dtype) -> float:
    return float(torch.nextafter(torch.tensor(value, dtype=dtype, device="cpu"), torch.tensor(0, dtype=dtype, device="cpu")))


def _convolved(input, weight, bias, stride, padding, dilation, groups):
    if not is_pointwise(weight, stride, padding, groups):
        return conv2d(input, weight, bias, stride, padding, dilation, groups)
    # A matrix product over the channels, for which torch's convolution moves every value twice.
    return linear(input.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)


def _two_activations(first, second) -> bool:
    tensors = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
    return tensors and first.ndim == 4 and first.shape == second.shape
