"""Feature correlation: how alike every cell of one image is to every cell of another (paper, Section 3.2).

Shape letters: B images or pairs, C channels, ``h w`` and ``s t`` the two feature grids.
"""

from __future__ import annotations

import torch

from . import checks


def normalize_features(features: torch.Tensor, eps: float = 1e-2) -> torch.Tensor:
    """L2-normalise every cell's feature vector: ``f / sqrt(sum_c f^2 + eps)``.

    Parameters
    ----------
    features : (B, C, h, w), floating.
    eps : keeps an all-zero cell at zero instead of NaN, and makes the length of a weak vector noticeably less than one.

    Returns
    -------
    (B, C, h, w).
    """
    features = checks.tensor(features, "features", ("B", "C", "h", "w"), floating=True)
    return features / (features.square().sum(1, keepdim=True) + eps).sqrt()


def correlate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The 4-D correlation tensor ``T[b, i, j, s, t] = <first[b, :, i, j], second[b, :, s, t]>``.

    Of normalised features that are also multiplied by their saliency (``weight_by_saliency``) this is the saliency-guided
    ``Ts(p, q) = S_n(p) S_m(q) T(p, q)``.

    Parameters
    ----------
    first : (B, C, h, w), floating.
    second : (B, C, s, t), floating.

    Returns
    -------
    (B, h, w, s, t); in [-1, 1] for normalised features.
    """
    first = checks.tensor(first, "first", ("B", "C", "h", "w"), floating=True)
    second = checks.tensor(second, "second", (*first.shape[:2], "s", "t"), floating=True)
    product = first.flatten(2).transpose(1, 2) @ second.flatten(2)
    return product.reshape(first.shape[0], *first.shape[2:], *second.shape[2:])


def weight_by_saliency(features: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """Multiply every cell's (normalised) feature by its co-saliency.

    Parameters
    ----------
    features : (B, C, h, w), floating.
    saliency : (B, 1, h, w), floating, in [0, 1].

    Returns
    -------
    (B, C, h, w).
    """
    features = checks.tensor(features, "features", ("B", "C", "h", "w"), floating=True)
    saliency = checks.tensor(saliency, "saliency", (features.shape[0], 1, *features.shape[2:]), floating=True)
    return features * saliency


def pair_up(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The training pairs of a batch: image k goes with image k + B/2.

    Parameters
    ----------
    batch : (B, ...), B even.

    Returns
    -------
    Two tensors (B/2, ...), the first images of the pairs and the second ones.

    Raises
    ------
    ValueError : if B is odd or zero.
    """
    if batch.shape[0] % 2 or not batch.shape[0]:
        raise ValueError(f"a batch to be paired must hold an even number of images, got {batch.shape[0]}")
    half = batch.shape[0] // 2
    return batch[:half], batch[half:]
