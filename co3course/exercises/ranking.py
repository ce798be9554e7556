"""Exercises of notebook 09: contour, Eq. 7, suppression, noise filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from co3lib.ranking import contours, noise_filter, rank_proposals

from . import Exercise
from .answers import numbers


def _judge_contours(answer) -> str | None:
    values = numbers(answer, 2)
    if isinstance(values, str):
        return f"{values}: the pixels in the middle and in the corner."
    middle, corner = values
    if (corner, middle) == (160, 80):
        return "The numbers are right, but the first is the middle and the second the corner."
    if middle != 160:
        if middle == 96:
            return "96 is the dilation's gain alone; the erosion takes away a band inside as well."
        return "In the middle: what is the dilation's side length, what the erosion's? The contour is where they differ."
    if corner == 160:
        return "In the corner two sides of the square lie at the image's border, and the border makes no contour."
    return None if corner == 80 else "The middle is right. In the corner the square grows and shrinks on two sides only."


def _judge_gamma(answer) -> str | None:
    given = numbers(answer, 2)
    if isinstance(given, str):
        return f"{given}: gamma for values kept, and gamma for sums kept."
    values, sums = given
    if abs(values - 1e-5) > 1e-8:
        if abs(values - 4e-5) < 1e-8 and abs(sums - 1e-5) < 1e-8:
            return "The numbers are right, but the first is for values kept, the second for sums kept."
        return "Values kept: a quarter of the pixels, each as hot as before. What becomes of the two sums, heat and background?"
    if abs(sums - 2e-5) < 1e-8:
        return "The background is an area: half the side is a quarter of the pixels."
    if abs(sums - 4e-5) > 1e-8:
        return "Sums kept: a quarter of the pixels gives a quarter of the background sum: gamma must make up for that."
    return None


def _data(seed: int):
    generator = torch.Generator().manual_seed(seed)
    heat = torch.rand(3, 14, 11, generator=generator) * 0.1
    saliency = torch.rand(14, 11, generator=generator)
    masks = torch.zeros(5, 14, 11, dtype=torch.bool)
    for k in range(5):
        masks[k, k : k + 6, 1 : 4 + k] = True
    return heat, saliency, masks, contours(masks)


def _eq7(heat, saliency, masks, edges, beta, gamma) -> torch.Tensor:
    return rank_proposals(heat, saliency, masks, beta, gamma, edges)


# What a plausible slip computes, and how to name it.
_SLIPS: tuple[tuple[str, Callable], ...] = (
    ("R is the heat times the co-saliency, you took the heat alone.",
     lambda o, s, p, e, b, g: _eq7(o, torch.ones_like(s), p, e, b, 0) - g * ((1 - s) * p).sum((1, 2))),
    ("The background is subtracted, you added it.", lambda o, s, p, e, b, g: _eq7(o, s, p, e, b, -g)),
    ("The contour term is missing.", lambda o, s, p, e, b, g: _eq7(o, s, p, e & False, b, g)),
    ("The background term is missing.", lambda o, s, p, e, b, g: _eq7(o, s, p, e, b, 0)),
    ("beta belongs to the inside, not to the contour.",
     lambda o, s, p, e, b, g: _eq7(o, s, p, e, 1, g) + (b - 1) * _eq7(o, s, p, e, 0, 0)),
    ("beta weighs the inside only, the contour's weight is one.",
     lambda o, s, p, e, b, g: _eq7(o, s, p, e, b, g) + (b - 1) * _eq7(o, s, p, e, 0, 0)),
    ("The last sum is over 1 - S, you summed S.", lambda o, s, p, e, b, g: _eq7(o, s, p, e, b, 0) - g * (s * p).sum((1, 2))),
)  # fmt: skip


def _judge_score(score: Callable) -> str | None:
    for seed, (beta, gamma) in enumerate([(0.8, 0.01), (0.3, 0.2), (2.0, 0.05)]):
        data = _data(seed)
        actual = torch.as_tensor(score(*data, beta, gamma))
        expected = _eq7(*data, beta, gamma)
        if actual.shape != expected.shape:
            return f"The scores must have shape (Q, K), here {tuple(expected.shape)}, got {tuple(actual.shape)}."
        if torch.allclose(actual.double(), expected.double(), atol=1e-5):
            continue
        for said, wrong in _SLIPS:
            if torch.allclose(actual.double(), wrong(*data, beta, gamma).double(), atol=1e-5):
                return said
        return f"With beta {beta} and gamma {gamma} the scores are off by up to {(actual - expected).abs().max():.3g}."
    return None


def _strips(*spans: tuple[int, int]) -> torch.Tensor:
    masks = torch.zeros(len(spans), 2, 40, dtype=torch.bool)
    for k, (start, stop) in enumerate(spans):
        masks[k, :, start:stop] = True
    return masks


# masks, scores, share, kept, and what is wrong if something else is kept
_SUPPRESSIONS = (
    (_strips((0, 20), (30, 40)), (1.0, 2.0), 0.5, [1, 0],
     "Masks that do not touch must both be kept, the better one first."),
    (_strips((0, 20), (5, 9)), (2.0, 1.0), 0.6, [0],
     "A small mask inside a better, large one must go: divide the common pixels by the area of the smaller."),
    (_strips((0, 20), (5, 9)), (1.0, 2.0), 0.6, [1],
     "A large mask that holds a better, small one must go too: it is the smaller one's area that counts, whichever is better."),
    (_strips((0, 10), (5, 15), (10, 20)), (3.0, 2.0, 1.0), 0.4, [0, 2],
     "A mask that was dropped must not drop others: compare with the kept ones only."),
    (_strips((0, 10), (5, 15)), (2.0, 1.0), 0.5, [0, 1], "Exactly the share is not more than the share: such a mask stays."),
    (_strips((0, 10), (4, 14)), (2.0, 1.0), 0.5, [0], "Six of ten pixels in common are more than a share of 0.5: it must go."),
)  # fmt: skip


def _judge_parts(suppress: Callable) -> str | None:
    for masks, scores, share, kept, said in _SUPPRESSIONS:
        actual = torch.as_tensor(suppress(masks.clone(), torch.tensor(scores), share)).flatten().tolist()
        if actual != kept:
            return f"{said} Kept {actual}, wanted {kept}."
    return None


def _buggy(scores, percentile: float) -> list[torch.Tensor]:
    """The filter that the notebook prints, with its bug."""
    pooled = torch.cat(scores).numpy()
    midpoints = 100 * (np.arange(len(pooled)) + 0.5) / len(pooled)
    threshold = np.interp(percentile, midpoints, np.sort(pooled))
    kept = [of_photo >= threshold for of_photo in scores]
    for keep in kept:
        if len(keep) and not keep.any():
            keep[0] = True
    return kept


def _judge_caught(answer) -> str | None:
    wanted = "A list of photos is wanted, each a list of the scores of its masks"
    try:
        scores = [torch.as_tensor(of_photo, dtype=torch.float64).flatten() for of_photo in answer]
    except (TypeError, ValueError, RuntimeError):
        return f"{wanted}, got {answer!r}."
    if not any(map(len, scores)):
        return f"{wanted}; there is no score in yours."
    if not all(of_photo.isfinite().all() for of_photo in scores):
        return "Scores must be finite numbers."
    right, buggy = noise_filter(scores, 20), _buggy(scores, 20)
    if any(not torch.equal(one, other) for one, other in zip(right, buggy, strict=True)):
        return None
    said = f"Both filters keep {[keep.tolist() for keep in right]}"
    threshold = float(np.percentile(torch.cat(scores).numpy(), 20, method="hazen"))
    rescued = [of_photo for of_photo in scores if len(of_photo) and not (of_photo >= threshold).any()]
    if not rescued:
        return f"{said}. No photo of yours is left with nothing, so that line of the code never runs."
    if all(len(of_photo) == 1 for of_photo in rescued):
        return f"{said}. The photo that is left with nothing has a single mask: there is nothing to choose."
    return f"{said}. In the photo that is left with nothing the best mask comes first."


def _judge_fooled(answer) -> str | None:
    try:
        heat, saliency, thing, other = (torch.as_tensor(part) for part in answer)
    except (TypeError, ValueError, RuntimeError):
        return "Four maps of one size are wanted: heat, co-saliency, the right thing's mask, its neighbour's mask."
    heat, saliency, thing, other = heat.float(), saliency.float(), thing.bool(), other.bool()
    if heat.ndim != 2 or not heat.shape == saliency.shape == thing.shape == other.shape:
        return f"All four must have one shape (H, W), got {[tuple(part.shape) for part in (heat, saliency, thing, other)]}."
    if not (heat.isfinite().all() and heat.min() >= 0 and ((saliency >= 0) & (saliency <= 1)).all()):
        return "Heat must be finite and at least 0, the co-saliency from 0 to 1."
    if not thing.any() or (thing & other).any() or other.sum() < thing.sum():
        return "Neither mask may be empty, they may not overlap, and the neighbour must be at least as large as the thing."
    if not (torch.nn.functional.max_pool2d(thing[None].float(), 3, 1, 1)[0].bool() & other).any():
        return "The two things must touch."
    response = heat * saliency
    share = float(response[thing].sum() / response.sum().clamp_min(1e-30))
    if share < 0.9 - 1e-6:
        return f"At least nine tenths of R must lie on the right thing, here {share:.0%} do."
    masks = torch.stack([thing, thing | other])
    alone, both = rank_proposals(heat[None], saliency, masks)[0].tolist()
    if both > alone:
        return None
    if not np.isfinite([alone, both]).all():
        return "A mask under 0.002 % or over 85 % of the image never wins: make the image larger."
    if share > 0.9999:
        return "No heat lies on the neighbour, so the mask of both gains nothing by it."
    edge, both_edge = ((response * edge).sum() for edge in contours(masks))
    where = "Where should the heat lie, so that the contour earns nothing?" if edge > both_edge else "Is the neighbour salient?"
    return f"The right mask still wins, {alone:.4g} against {both:.4g}; its contour earns {edge:.4g} of that. {where}"


EXERCISES = {
    "09.1": Exercise(
        _judge_contours,
        (
            "The dilation grows a square by two pixels on each side, the erosion shrinks it by two.",
            "In the middle: 14 x 14 less 6 x 6. In the corner it grows and shrinks on two sides only.",
        ),
    ),
    "09.2": Exercise(
        _judge_gamma,
        (
            "How many pixels has the same background at half the side length? And what becomes of the heat's sum?",
            "A quarter of the pixels. With values kept the heat's sum is a quarter, too; with sums kept it is not.",
        ),
    ),
    "09.3": Exercise(
        _judge_score,
        (
            "Flatten the pixels: a sum over them is a matrix product of (Q, H W) with (H W, K).",
            "beta * (R @ P.T) + R @ E.T - gamma * ((1 - S) @ P.T), with P and E turned into floats.",
        ),
    ),
    "09.4": Exercise(
        _judge_parts,
        (
            "It is the greedy loop from above with another measure of overlap.",
            "common / min(area of one, area of the other) > share, against the kept ones only.",
        ),
    ),
    "09.5": Exercise(
        _judge_caught,
        (
            "Which line of the code does something that the text does not say?",
            "A photo that is left with nothing keeps its single best; is that the mask with index 0?",
        ),
    ),
    "09.6": Exercise(
        _judge_fooled,
        (
            "Which term of Eq. 7 lets a tight mask win? For which heat is that term zero?",
            "Heat three pixels or more inside the outline of the right thing, and a little in the middle of the other.",
        ),
    ),
}
