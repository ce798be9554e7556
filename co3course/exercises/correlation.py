"""Exercises of notebook 03: features and the 4-D correlation."""

from __future__ import annotations

import torch

from co3lib.correlation import correlate, normalize_features, weight_by_saliency

from ..lessons.correlation import best_cells
from . import Exercise
from .answers import numeric, tensor

_SHAPE = (3, 14, 14, 10, 12)


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _alike(given, wanted) -> bool:
    return given.shape == wanted.shape and torch.allclose(given.to(wanted.dtype), wanted, rtol=1e-4, atol=1e-5)


def _not_a_tensor(answer, shape) -> str | None:
    if not isinstance(answer, torch.Tensor):
        return f"It should return a tensor, but returns {type(answer).__name__}."
    if tuple(answer.shape) != tuple(shape):
        return f"The result should have shape {tuple(shape)}, but has {tuple(answer.shape)}."
    return None


@numeric
def _judge_weak_cell(value: float) -> str | None:
    if abs(value - 0.5) < 0.005:
        return None
    if abs(value - 1) < 0.005:
        return "That would be so without the 0.01: here the squared length is 0.01 as well, and both are under the root."
    if abs(value - 0.5**0.5) < 0.01:
        return "That is the length of the normalised vector; its correlation with itself is the square of that."
    return "Work it out: the normalised vector is (0.1, 0) / sqrt(0.1^2 + 0.01); multiply it with itself."


def _judge_shape(answer) -> str | None:
    try:
        answer = tuple(int(size) for size in answer)
    except TypeError:
        return "A shape is several numbers, in a tuple."
    if answer == _SHAPE:
        return None
    if len(answer) != len(_SHAPE):
        return f"T has an axis for the pair and two for a cell of each image, so 5 of them, not {len(answer)}."
    if 192 in answer:
        return "The channels are summed over; no axis is left of them."
    if answer == (3, 10, 12, 14, 14):
        return "The cells of the first image come first."
    return "The sizes are those of the pair, of the first grid and of the second, in this order."


def _judge_normalize(normalize) -> str | None:
    features = 2 * _random(2, 5, 3, 4, seed=21)
    features[0, :, 1, 2] = 0
    features[1, :, 0, 0] *= 0.02
    kept = features.clone()
    ours = normalize(features)
    if not torch.equal(features, kept):
        return "The features that were handed in have changed; return new ones."
    if said := _not_a_tensor(ours, features.shape):
        return said
    if _alike(ours, normalize_features(features)):
        return None
    if torch.isnan(ours).any():
        return "A cell whose features are all zero becomes NaN; with the 0.01 under the root it stays zero."
    squared = features.square()
    if _alike(ours, features / squared.sum(1, keepdim=True).sqrt().clamp_min(1e-12)):
        return "You forgot the 0.01: it is added to the squared length."
    if _alike(ours, features / (squared.sum(1, keepdim=True).sqrt() + 0.01)):
        return "The 0.01 belongs under the root, not beside it."
    if _alike(ours, features / (squared.sum(1, keepdim=True) + 0.01)):
        return "The root is missing: this divides by the squared length."
    if any(_alike(ours, features / (squared.sum(axes, keepdim=True) + 0.01).sqrt()) for axes in (3, 2, (2, 3), (1, 2, 3), 0)):
        return "The sum goes over the channels, axis 1, and over nothing else: each cell has a length of its own."
    return "The values differ from f / sqrt(sum over channels of f^2 + 0.01)."


def _judge_weighted(weighted) -> str | None:
    features, others = _random(2, 6, 3, 4, seed=22), _random(2, 6, 2, 5, seed=23)
    first, second = _random(2, 1, 3, 4, seed=24).sigmoid(), _random(2, 1, 2, 5, seed=25).sigmoid()
    ours = weighted(features, others, first, second)
    if said := _not_a_tensor(ours, (2, 3, 4, 2, 5)):
        return said
    a, b = normalize_features(features), normalize_features(others)
    if _alike(ours, correlate(weight_by_saliency(a, first), weight_by_saliency(b, second))):
        return None
    if _alike(ours, correlate(a, b)):
        return "That is T itself; the saliency of both ends is missing."
    if _alike(ours, correlate(a * first, b)) or _alike(ours, correlate(a, b * second)):
        return "Only one end is weighted: S of the first cell and S of the second must both be factors."
    if _alike(ours, correlate(features * first, others * second)):
        return "The features must be normalised first."
    if _alike(ours, correlate(normalize_features(features * first), normalize_features(others * second))):
        return "Normalising after weighting takes most of the weight away again; normalise first."
    if _alike(ours, correlate(a * first**2, b * second**2)):
        return "The saliency is in it twice: weight the features or the product, not both."
    return "The values differ from S_n(p) S_m(q) T(p, q)."


def _judge_best(best) -> str | None:
    correlation = _random(2, 3, 4, 5, 2, seed=26)
    ours = best(correlation)
    if said := _not_a_tensor(ours, (2, 3, 4, 2)):
        return said
    truth = torch.stack([best_cells(of_pair) for of_pair in correlation])
    if _alike(ours, truth):
        return None
    if _alike(ours, truth.flip(-1)):
        return "Rows come first: each answer is (s, t), not (t, s)."
    if _alike(ours, torch.stack([best_cells(-of_pair) for of_pair in correlation])):
        return "That is the cell that correlates least."
    flat = correlation.flatten(3).argmax(3)
    if _alike(ours, torch.stack([flat // 5, flat % 5], -1)):
        return "The flat index counts t fastest: divide by the number of columns of the second grid, not by its rows."
    return "For each (i, j) take the maximum over s and t together, and turn its flat index into a row and a column."


def _judge_stranger(answer) -> str | None:
    if said := tensor(answer, (2, 2), "The answer", "(2, 2), two cells with two channels each"):
        return f"{said}."
    cells = torch.as_tensor(answer, dtype=torch.float64)
    if not cells[0].any():
        return "Cell 0 is all zero: it is like nothing, itself and cell 1 alike. Give it some length."
    normalized = normalize_features(cells.T.reshape(1, 2, 1, 2))
    own, other = correlate(normalized, normalized)[0, 0, 0, 0].tolist()
    if other > own:
        return None
    if own > 0.9:
        return f"Cell 0 finds itself, with {own:.3f}, and cell 1 only with {other:.3f}. When is a cell hardly like itself?"
    return f"Cell 0 finds itself, with {own:.3f}; cell 1 has {other:.3f}: should it be longer, or nearer in direction?"


EXERCISES = {
    "03.1": Exercise(
        _judge_weak_cell,
        ("How long is the vector after normalisation?", "Its squared length is 0.01; the root is of 0.01 + 0.01."),
    ),
    "03.2": Exercise(
        _judge_shape,
        ("Which letters are left on the right of the arrow in the einsum?", "bcij, bcst -> bijst."),
    ),
    "03.3": Exercise(
        _judge_normalize,
        (
            "Sum the squares over axis 1 and keep that axis, so that the division broadcasts.",
            "features.square().sum(1, keepdim=True) is the squared length of every cell's vector.",
        ),
    ),
    "03.4": Exercise(
        _judge_weighted,
        (
            "Normalise, weight, correlate: in this order.",
            "A saliency (B, 1, h, w) multiplies features (B, C, h, w) by broadcasting.",
        ),
    ),
    "03.5": Exercise(
        _judge_best,
        (
            "Flatten the last two axes, then take the argmax.",
            "With t columns, the flat index k is row k // t and column k % t.",
        ),
    ),
    "03.6": Exercise(
        _judge_stranger,
        (
            "With itself a cell of length r has r^2 / (r^2 + 0.01): look at exercise 03.1.",
            "A short cell 0, such as (0.1, 0), beside a long cell 1 of nearly the same direction.",
        ),
    ),
}
