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
_AGREE = 0.02  # least value of a map in the product with the other: a zero must not decide alone
_RIDGE = 0.01  # of the mean variance
_FLOOR = 0.3  # what is left of a category's map where a single photo has no saliency at all


@torch_defaults()
def ddt_prior(features: torch.Tensor, images: Sequence[np.ndarray] | None = None) -> torch.Tensor:
    """Co-saliency of a whole category: the first principal component of its centred descriptors, positive part (DDT).

    Wei et al., IJCAI 2017. Each photo's map is weighted by its single-photo saliency where ``images`` are given.

    Parameters
    ----------
    features : (N, C, h, w).
    images : N photos (H, W, 3) uint8, or None.

    Returns
    -------
    (N, h, w) in [0, 1].
    """
    weight, bias = principal_component(features)
    maps = _unit_range(features.movedim(1, -1) @ weight + bias)
    if images is not None:
        checks.same_length(features=features, images=images)
        single = [interpolate(saliency_prior(image)[None, None], maps.shape[1:], mode="area")[0] for image in images]
        maps = maps * (_FLOOR + (1 - _FLOOR) * torch.cat(single))
    return maps / maps.max().clamp_min(1e-6)


@torch_defaults()
def classifier_prior(features: Sequence[torch.Tensor], likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """Co-saliency of a whole category at several scales: what its descriptors share *and* its photos are recognised by.

    The first principal component alone finds what varies most, which in street scenes is the street. The network's own
    classifier, applied at every cell, recognises things instead: the classes that most photos hold somewhere are what the
    photos have in common, whether or not the classes' names fit. The *evidence* is the sum of their probabilities, each
    weighted by the root of what ``shared_classes`` gives, since the same thing is recognised as many classes. The first few
    components, with either sign, are weighted by the square of their correlation with it. These are weights and not selections,
    so that one photo more or less changes little. The geometric mean of both maps is then replaced by the linear function of
    the features closest to it (ridge regression), which carries over from where the two agree to all cells with like features.
    Each map is the mean over the scales.

    Parameters
    ----------
    features : for every scale, (N, C, h, w).
    likely : for every scale, the probabilities (N, classes, h, w).

    Returns
    -------
    (N, h, w) on the finest grid, in [0, 1].
    """
    checks.same_length(features=features, likely=likely)
    finest = max((grid.shape[2:] for grid in features), key=lambda size: size[0])
    centred = torch.cat([cells_of(grid) for grid in features])
    mean = centred.mean(0)
    centred -= mean  # in place, as it is the largest of all
    covariance = centred.T @ centred / len(centred)
    evidence = _unit_range(_mean_of(class_evidence(likely, shared_classes(likely).sqrt()), finest))
    component = _agreeing_components(features, mean, covariance, evidence)
    both = (component.clamp_min(_AGREE) * evidence.clamp_min(_AGREE)).sqrt()
    target = torch.cat([interpolate(both[:, None], grid.shape[2:], mode="area").flatten() for grid in features])
    # The covariance is at hand, so the products are not made again.
    weight = solve_ridge(covariance, centred.T @ (target - target.mean()) / len(centred), _RIDGE)
    # Half the mean is added back: in between "all that is above the mean" and "all that is above zero".
    offset = target.mean() / 2
    return _mean_over_scales([(grid.movedim(1, -1) - mean) @ weight + offset for grid in features], finest)


@torch_defaults()
def shared_classes(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How much the photos have each of the classifier's classes in common.

    A photo holds a class with the highest probability among its cells, mean over the scales. What about two thirds of the
    photos reach counts, so that neither a class of one photo counts nor a photo without it excludes it.

    Parameters
    ----------
    likely : for every scale, the probabilities (N, classes, h, w).

    Returns
    -------
    (classes,) in [0, 1], the largest being 1.
    """
    held = torch.stack([grid.flatten(2).amax(2) for grid in likely]).mean(0)
    shared = held.quantile(_COMMON, dim=0)
    return shared / shared.max().clamp_min(1e-9)


@torch_defaults()
def class_evidence(likely: Sequence[torch.Tensor], shared: torch.Tensor) -> list[torch.Tensor]:
    """The sum of the classes' probabilities at every cell, each weighted by how much the photos share it.

    Parameters
    ----------
    likely : for every scale, the probabilities (N, classes, h, w).
    shared : (classes,), the weights.

    Returns
    -------
    For every scale, (N, h, w).
    """
    return [torch.einsum("nchw,c->nhw", grid, shared) for grid in likely]


@torch_defaults()
def certainty_by_scale(likely: Sequence[torch.Tensor]) -> torch.Tensor:
    """How well the category is recognised at every scale.

    That is the highest evidence for the shared classes in a photo, mean over the photos.

    A classifier gives its highest probabilities to things that are as large in pixels as those it was trained on: where a thing
    fills the photo, at a scale at which the photo is small, and where the thing is small, at a larger scale.

    Parameters
    ----------
    likely : for every scale, the probabilities (N, classes, h, w).

    Returns
    -------
    (scales,) in [0, 1], the largest being 1.
    """
    evidence = class_evidence(likely, shared_classes(likely))
    highest = torch.stack([grid.flatten(1).amax(1).mean() for grid in evidence])
    return highest / highest.max().clamp_min(1e-9)


def _agreeing_components(features, mean, covariance, evidence) -> torch.Tensor:
    """The mean map of the first principal components, with either sign, each weighted by the square of its correlation with the
    evidence (N, h, w); where nothing correlates, the first with the sign of ``as_score``. Components are of the cells of all
    scales.
    """
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -_COMPONENTS:].flip(1).T  # of the largest eigenvalues, largest first
    scores = [as_score(features[0], axis, mean) for axis in axes]
    maps = torch.stack(
        [
            _mean_over_scales([sign * (grid.movedim(1, -1) @ weight + bias) for grid in features], evidence.shape[1:])
            for sign in (1, -1)
            for weight, bias in scores
        ]
    )
    agreement = torch.corrcoef(torch.cat([evidence[None], maps]).flatten(1))[0, 1:].nan_to_num(0).clamp_min(0) ** 2
    if not agreement.any() or evidence.std(correction=0) < _EVEN:
        agreement = torch.eye(len(maps))[0]
    return _unit_range(torch.tensordot(agreement / agreement.sum(), maps, 1))


def _mean_over_scales(maps: Sequence[torch.Tensor], size: tuple[int, ...]) -> torch.Tensor:
    return _mean_of([_unit_range(grid) for grid in maps], size)


def _mean_of(maps: Sequence[torch.Tensor], size: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([interpolate(grid[:, None], size, mode="bilinear") for grid in maps], 1).mean(1)


def _unit_range(maps: torch.Tensor) -> torch.Tensor:
    """The positive part over its 98th percentile: a few extreme cells must not lower all others."""
    maps = maps.clamp_min(0)
    return (maps / torch.from_numpy(np.quantile(maps.numpy(), 0.98, keepdims=True)).clamp_min(1e-6)).clamp_max(1)


def principal_component(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first principal component of a category's descriptors as a linear score (DDT, Wei et al., 2017).

    Parameters
    ----------
    features : (N, C, h, w).

    Returns
    -------
    weight (C,) and bias (scalar) such that ``weight . f + bias`` is the projection of the centred descriptor, in units of its
    standard deviation; positive is the side that touches the photos' borders less.
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
    """A direction in feature space as a linear score of mean 0 and deviation 1, lower at the photos' borders than inside.

    Parameters
    ----------
    features : (N, C, h, w), whose scores decide the length and the sign of the weight.
    direction : (C,).
    mean : (C,), the mean descriptor.

    Returns
    -------
    weight (C,) and bias (scalar).
    """
    scores = (features.movedim(1, -1) - mean) @ direction
    outside = mean_at_border(scores) > mean_inside(scores)
    return standardized(features, -direction if outside else direction, mean)


def standardized(features, direction, mean) -> tuple[torch.Tensor, torch.Tensor]:
    """A direction in feature space as a linear score of mean 0 and deviation 1; arguments and result as of ``as_score``, the
    sign being that of ``direction``."""
    scores = (features.movedim(1, -1) - mean) @ direction
    direction = direction / scores.std(correction=0).clamp_min(1e-9)
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
