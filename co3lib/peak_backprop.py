"""Peak back-propagation: which pixels a peak of the score map comes from (Zhou et al., CVPR 2018, "PRM"; paper,
Section 3.3).

A gradient of 1 at the peak is sent back through the network, with another rule in place of the convolutions'
gradient: relevance is given to the inputs in proportion to what they contributed through positive weights. Nothing is
lost on the way where a cell has any positive contribution, so a map's sum is its peak's relevance.

Shape letters: B images, C channels, H W image size, ``h w`` feature grid, Q peaks.
"""

from __future__ import annotations

import torch

from . import checks
from .datasets.images import resize_maps
from .model import CoPeakNet
from .peak_rule import PeakRule, peak_conv2d
from .relevance import channel_sums
from .torch_defaults import torch_defaults

__all__ = ["PeakRule", "check_rules", "enlarge", "peak_conv2d", "peak_response_maps", "response_maps_from"]


@torch_defaults()
def peak_response_maps(model: CoPeakNet, image: torch.Tensor, peaks: torch.Tensor, stop: str | None = None) -> torch.Tensor:
    """The heat map of each peak.

    All peaks share one forward pass and one set of normalisers, and each goes back in the windows that it reaches.

    Parameters
    ----------
    model : the network.
    image : (1, 3, H, W), floating, RGB in [0, 1].
    peaks : (Q, 2), cells ``(i, j)`` of the score map.
    stop : the backbone's stage at whose output relevance is read (enlarged bilinearly to the image); None: the image itself.

    Returns
    -------
    (Q, H, W), the channel sum of the relevance, neither clamped nor normalised.

    Raises
    ------
    ValueError : for a peak outside the score map, or a backbone with parts that there is no rule for.
    """
    check_rules(model)
    image = checks.tensor(image, "image", (1, 3, "H", "W"), floating=True)
    peaks = checks.tensor(peaks, "peaks", ("Q", 2)).long()
    height, width = image.shape[2:]
    with torch.no_grad():
        start = model.activations(image, stop)
    maps = response_maps_from(model, start, stop, peaks)
    return enlarge(maps, (height, width))


def check_rules(model: CoPeakNet) -> None:
    """``ValueError`` for a model whose backbone has parts that peak back-propagation has no rule for."""
    if not model.backbone.has_peak_rule:
        raise ValueError(
            f"the backbone must be convolutional for peak back-propagation, got {model.backbone.name}, a vision transformer, "
            "which heat maps are made of by beyond.feature_heat"
        )


def enlarge(maps: torch.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> torch.Tensor:
    """Resize maps to ``(Q, *size)``, their sums kept but for rounding at the border.

    Parameters
    ----------
    maps : (Q, h', w').
    size : (height, width), in pixels.
    interpolation : as for ``images.resize_maps``.
    """
    return resize_maps(maps, size, interpolation) * (maps.shape[1] * maps.shape[2] / (size[0] * size[1]))


@torch_defaults()
def response_maps_from(model: CoPeakNet, activations: torch.Tensor, stage: str | None, peaks: torch.Tensor) -> torch.Tensor:
    """``peak_response_maps`` from the output of ``stage`` on, at that output's own size: (Q, h', w').

    Parameters
    ----------
    activations : (1, C', h', w'), the output of ``stage``.
    stage : the backbone's stage; None: ``activations`` are the image.
    peaks : (Q, 2) long, cells ``(i, j)`` of the score map.
    """
    check_rules(model)
    with torch.inference_mode(False), torch.enable_grad(), PeakRule():
        # A copy may be differentiated wherever the original is from.
        start = activations.detach().to(model.center.device, copy=True).requires_grad_()
        score = model.forward_from(start, stage).score
    height, width = score.shape[2:]
    if len(peaks) and not ((peaks >= 0) & (peaks < torch.tensor([height, width]))).all():
        raise ValueError(f"peaks must be cells of the {height} x {width} score map, got {peaks.tolist()}")
    # Relevance belongs to the network's input, which is the image over its standard deviation.
    times = model.backbone.std if model.backbone.stage(stage) is None else None
    sums = channel_sums(score, start, [(i, j) for i, j in peaks.tolist()], times)
    if sums is not None:
        return sums.cpu()
    maps = torch.zeros(len(peaks), *activations.shape[2:], dtype=activations.dtype)
    for k, (i, j) in enumerate(peaks.tolist()):
        with torch.inference_mode(False), torch.enable_grad():
            (relevance,) = torch.autograd.grad(score[0, 0, i, j], start, retain_graph=True)
        maps[k] = (relevance if times is None else relevance * times)[0].sum(0)
    return maps
