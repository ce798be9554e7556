"""Saliency priors of a whole category: what recurs in all its photos; no training, no labels.

Shape letters: N images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from .. import checks
from ..linear import solve_ridge
from ..saliency import saliency_prior
from ..torch_defaults import torch_defaults

_COMMON = 0.35  # quantile over the photos: two thirds of them hold what is shared
_COMPONENTS = 5  # principal components, among which the thing may be
_EVEN = 1e-5  # deviation of evidence in [0, 1] that may be rounding alone
_AGREE = 0.02  # no map vetoes the other where it is zero
_RIDGE = 0.01  # of the mean variance
_FLOOR = 0.3  # what is left of a class's map where a single photo has no saliency at all


@torch_defaults()
def ddt_prior(features: torch.Tensor, images: Sequence[np.ndarray] | None = None) -> torch.Tensor:
    """Co-saliency of a whole category: the first principal component of its centred descriptors, positive part (DDT,
    Wei et al., IJCAI 2017), each photo's map weighted by its single-photo saliency where ``images`` are given.

    features: (N, C, h, w); images: N photos (H, W, 3) uint8. Returns (N, h, w) in [0, 1].
    """
    weight, bias = principal_component(features)
    maps = _unit_range(features.movedim(1, -1) @ weight + bias)
    if images is not None:
        checks.same_length(features=features, images=images)
        single = [interpolate(saliency_prior(image)[None, None], maps.shape[1:], mode="area")[0] for image in images]
        maps = maps * (_FLOOR + (1 - _FLOOR) * torch.cat(single))
    return maps / maps.max().clamp_min(1e-6)


@torch_defaults()
def classifier_prior(features: Sequence[torch.Tensor], logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Co-saliency of a whole category at several scales: what its descriptors share *and* its photos are recognised by.

    The first principal component alone finds what varies most, which in street scenes is the street. The network's own
    classifier, read at every cell, names things instead: the classes that most photos hold somewhere are what the photos
    have in common, whether or not the words fit. Its *evidence* is the sum of their probabilities, each as often as the root
    of what ``shared_classes`` says, since one thing goes by many words. Both ends of the first few components count by the
    square of their correlation with it. No choice in this is hard, so that one photo more or less changes little. The
    geometric mean of both maps is then replaced by the linear function of the features closest to it (ridge regression),
    which carries over from where the two agree to all that looks alike. Each map is the mean over the scales.

    features: for every scale, (N, C, h, w); logits: likewise, (N, classes, h, w), before the softmax. Returns (N, h, w) on the
    finest grid, in [0, 1].
    """
    checks.same_length(features=features, logits=logits)
    finest = max((one.shape[2:] for one in features), key=lambda size: size[0])
    cells = torch.cat([cells_of(one) for one in features])
    mean = cells.mean(0)
    centred = cells - mean
    covariance = centred.T @ centred / len(cells)
    likely = [one.softmax(1) for one in logits]
    evidence = _unit_range(_mean_of(class_evidence(likely, shared_classes(likely).sqrt()), finest))
    component = _agreeing_components(features, mean, covariance, evidence)
    both = (component.clamp_min(_AGREE) * evidence.clamp_min(_AGREE)).sqrt()
    target = torch.cat([interpolate(both[:, None], one.shape[2:], mode="area").flatten() for one in features])
    # The covariance is at hand, so the products are not made again.
    weight = solve_ridge(covariance, centred.T @ (target - target.mean()) / len(cells), _RIDGE)
    # Half the mean is added back: in between "all that is above the mean" and "all that is above zero".
    offset = target.mean() / 2
    return _mean_over_scales([(one.movedim(1, -1) - mean) @ weight + offset for one in features], finest)


@torch_defaults()
def shared_classes(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How much the photos have each of the classifier's classes in common: (classes,), the largest being 1.

    A photo holds a class with the highest probability among its cells, mean over the scales. What about two thirds of the
    photos reach counts, so that neither a class of one photo counts nor a photo without it forbids it.

    likely: for every scale, the probabilities (N, classes, h, w).
    """
    held = torch.stack([one.flatten(2).amax(2) for one in likely]).mean(0)
    shared = held.quantile(_COMMON, dim=0)
    return shared / shared.max().clamp_min(1e-9)


@torch_defaults()
def class_evidence(likely: Sequence[torch.Tensor], shared: torch.Tensor) -> list[torch.Tensor]:
    """The sum of the classes' probabilities at every cell, each as often as ``shared`` (classes,) says, for every scale:
    (N, classes, h, w) -> (N, h, w)."""
    return [torch.einsum("nchw,c->nhw", one, shared) for one in likely]


@torch_defaults()
def certainty_by_scale(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How well the category is recognised at every scale: the highest evidence for the shared classes in a photo, mean over the
    photos; (scales,), the largest being 1.

    A classifier is surest of a thing that is as large as those it was trained on: of a thing that fills the photo when it
    sees the whole photo small, of a small thing when it comes closer.
    """
    evidence = class_evidence(likely, shared_classes(likely))
    highest = torch.stack([one.flatten(1).amax(1).mean() for one in evidence])
    return highest / highest.max().clamp_min(1e-9)


def _agreeing_components(features, mean, covariance, evidence) -> torch.Tensor:
    """The mean map of both ends of the first principal components of the cells of all scales together, each as often as the
    square of its correlation with the evidence (N, h, w); the first one's inner end where nothing correlates."""
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -_COMPONENTS:].flip(1).T  # of the largest eigenvalues, largest first
    inner = [as_score(features[0], axis, mean) for axis in axes]
    maps = torch.stack(
        [
            _mean_over_scales([end * (one.movedim(1, -1) @ weight + bias) for one in features], evidence.shape[1:])
            for end in (1, -1)
            for weight, bias in inner
        ]
    )
    agreement = torch.corrcoef(torch.cat([evidence[None], maps]).flatten(1))[0, 1:].nan_to_num(0).clamp_min(0) ** 2
    if not agreement.any() or evidence.std(correction=0) < _EVEN:
        agreement = torch.eye(len(maps))[0]
    return _unit_range(torch.tensordot(agreement / agreement.sum(), maps, 1))


def _mean_over_scales(maps: Sequence[torch.Tensor], size: tuple[int, ...]) -> torch.Tensor:
    return _mean_of([_unit_range(one) for one in maps], size)


def _mean_of(maps: Sequence[torch.Tensor], size: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([interpolate(one[:, None], size, mode="bilinear") for one in maps], 1).mean(1)


def _unit_range(maps: torch.Tensor) -> torch.Tensor:
    """The positive part over its 98th percentile: a few extreme cells must not dim all others."""
    maps = maps.clamp_min(0)
    return (maps / torch.from_numpy(np.quantile(maps.numpy(), 0.98, keepdims=True)).clamp_min(1e-6)).clamp_max(1)


def principal_component(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first principal component of a category's descriptors as a linear score (DDT, Wei et al., 2017).

    features: (N, C, h, w). Returns weight (C,) and bias (scalar) such that ``weight . f + bias`` is the projection of
    the centred descriptor, in units of its standard deviation; its positive side is the one that touches the photos'
    borders less.
    """
    cells = cells_of(features)
    mean = cells.mean(0)
    _, _, rows = torch.linalg.svd(cells - mean, full_matrices=False)
    return as_score(features, rows[0], mean)


def cells_of(features: torch.Tensor) -> torch.Tensor:
    """The descriptors of all cells of all images: (N, C, h, w) -> (N h w, C)."""
    features = checks.tensor(features, "features", ("N", "C", "h", "w"), floating=True)
    return features.movedim(1, -1).flatten(0, 2)


def as_score(features, direction, mean) -> tuple[torch.Tensor, torch.Tensor]:
    """A direction in feature space (C,) as weight and bias of a score with mean 0 and deviation 1, signed so that the
    photos' borders score less than what is inside."""
    scores = (features.movedim(1, -1) - mean) @ direction
    direction = direction / scores.std(correction=0).clamp_min(1e-9)
    if mean_at_border(scores) > mean_inside(scores):
        direction = -direction
    return direction, -(mean @ direction)


@torch_defaults()
def mean_at_border(maps: torch.Tensor) -> torch.Tensor:
    """Mean over the outermost cells of all maps (N, h, w)."""
    border = torch.ones(maps.shape[1:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return maps[:, border].mean()


def mean_inside(maps: torch.Tensor) -> torch.Tensor:
    """Mean over the cells that are not outermost, of all maps (N, h, w); over all where there are no others."""
    return maps.mean() if min(maps.shape[1:]) < 3 else maps[:, 1:-1, 1:-1].mean()
