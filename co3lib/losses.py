"""The three losses of co-peak search (paper, Section 3.2): Eq. 3 is ``copeak_loss``, Eqs. 4 and 5 are ``affinity_loss``, Eq. 6
is ``saliency_loss``. Their weighted sum, Eq. 1, is ``training.total_loss``.

Each has the form of the paper (``form="published"``) and of the authors' released code (``form="released"``).
Shape letters: B images or pairs, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from . import checks
from .correlation import pair_up
from .peaks import copeaks

FORMS = ("released", "published")


def saliency_weight(prior: torch.Tensor) -> torch.Tensor:
    """The weight ``rho`` that balances salient and other pixels of each image.

    Pixels above their image's mean are positive; a positive pixel weighs the share of negative ones and the other way round.

    Parameters
    ----------
    prior : (B, 1, H, W), floating.

    Returns
    -------
    (B, 1, H, W), in [0, 1].
    """
    prior = checks.tensor(prior, "prior", ("B", 1, "H", "W"), floating=True)
    positive = (prior > prior.mean((1, 2, 3), keepdim=True)).to(prior.dtype)
    # One less the share of positive pixels where a pixel is positive, that share where it is not.
    return (positive - positive.mean((1, 2, 3), keepdim=True)).abs()


def saliency_loss(saliency: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """``ls = sum_p rho(p) (S(p) - Shat(p))^2 / (H W)``, summed over the batch (paper, Eq. 6).

    Parameters
    ----------
    saliency : (B, 1, H, W), floating, the network's co-saliency at image size.
    prior : (B, 1, H, W), floating, an off-the-shelf saliency map.

    Returns
    -------
    A scalar.
    """
    saliency = checks.tensor(saliency, "saliency", ("B", 1, "H", "W"), floating=True)
    prior = checks.tensor(prior, "prior", tuple(saliency.shape))  # its type is checked with its weight
    return (saliency_weight(prior) * (saliency - prior).square()).mean((1, 2, 3)).sum()


def copeak_loss(correlation: torch.Tensor, form: str = "released") -> torch.Tensor:
    """Raise the correlation at the co-peaks; ``x`` is the mean of a pair's ``Ts`` over its co-peaks.

    The gradient flows through the co-peaks' values alone.

    Parameters
    ----------
    correlation : (B, h, w, s, t), floating, saliency-guided.
    form : "released": ``log(1 + exp(-x))``; "published": ``-log(x)`` (Eq. 3), with ``x`` kept at or above 1e-8.

    Returns
    -------
    A scalar, the mean over the pairs.
    """
    checks.choice(form, "form", FORMS)
    at = copeaks(correlation)
    mean = torch.where(at, correlation, 0).sum((1, 2, 3, 4)) / at.sum((1, 2, 3, 4))
    return (softplus(-mean) if form == "released" else -mean.clamp_min(1e-8).log()).mean()


def affinity_loss(features: torch.Tensor, saliency: torch.Tensor, alpha: float = 4.0, form: str = "released") -> torch.Tensor:
    """Cells alike in feature should be alike in co-saliency, and salient cells alike in feature (Eq. 4, corrected).

    With ``T(p, q)`` the features' product, the terms are ``S(p) S(q) (1 - T(p, q)) + alpha (S(p) - S(q))^2 T(p, q)``.

    The published sum is for comparison: of photos of 14 x 14 cells it is thousands of times the other losses and, at the
    published weight, alone decides what is learned. Where the features' mean was subtracted before they were normalised, ``T``
    may be negative, and so may the loss; the sum then has no useful lower bound.

    Parameters
    ----------
    features : (B, C, h, w), floating, normalised.
    saliency : (B, 1, h, w), floating.
    alpha : weight of the second term.
    form : "released": the terms' mean over all pairs of cells of the whole batch; "published": their sum over the cells of
        (n, m), (n, n) and (m, m), summed over the pairs (n, m) of the batch (Eq. 5; ``pair_up`` says which).

    Returns
    -------
    A scalar.
    """
    checks.choice(form, "form", FORMS)
    features = checks.tensor(features, "features", ("B", "C", "h", "w"), floating=True)
    saliency = checks.tensor(saliency, "saliency", (features.shape[0], 1, *features.shape[2:]), floating=True)
    cells = features.flatten(2).transpose(1, 2)
    weights = saliency.flatten(2).transpose(1, 2)
    if form == "released":
        cells, weights = cells.flatten(0, 1)[None], weights.flatten(0, 1)[None]
        return _affinity_sum((cells, weights), (cells, weights), alpha).mean() / cells.shape[1] ** 2
    first, second = zip(pair_up(cells), pair_up(weights), strict=True)
    pairs = ((first, second), (first, first), (second, second))
    return sum((_affinity_sum(left, right, alpha).sum() for left, right in pairs), cells.new_zeros(()))


def _affinity_sum(first, second, alpha: float) -> torch.Tensor:
    # The terms are polynomials in S and linear in T = <f_p, f_q>, so the double sum over cells splits into sums over the
    # cells of each side: linear in their number, and the correlation tensor is never built.
    (f, s), (g, r) = first, second
    fs, gr = (s * f).sum(1), (r * g).sum(1)
    alike = (fs * gr).sum(1)
    squares = ((s.square() * f).sum(1) * g.sum(1)).sum(1) + (f.sum(1) * (r.square() * g).sum(1)).sum(1)
    return s.sum((1, 2)) * r.sum((1, 2)) - alike + alpha * (squares - 2 * alike)
