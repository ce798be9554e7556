"""Exercises of notebook 10: boxes, CorLoc, and the rivals' linear algebra."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from co3lib.beyond.priors import cells_of, principal_component
from co3lib.evaluation import corloc
from co3lib.overlap import tight_box

from . import Exercise

_CLOSE = 0.002  # answers worked by hand are rounded


def _judge_hand(answer) -> str | None:
    value = float(answer)
    for wrong, reason in (
        (0.4, "That counts x1 and y1 as inside: they are exclusive, the first box is 6 wide"),
        (0.25, "The union counts the shared part once: areas added, minus the intersection"),
        (0.5, "That is the share of one box that is shared; divide by the union of both"),
    ):
        if abs(value - wrong) <= _CLOSE:
            return reason
    return None if abs(value - 1 / 3) <= _CLOSE else f"{value:.3f} is not it; intersection 12, and the union?"


def _judge_box(answer: Callable) -> str | None:
    generator = np.random.default_rng(10)
    masks = [np.zeros((9, 14), bool) for _ in range(3)]
    masks[0][2:5, 3:10] = True
    masks[1][8, 13] = True
    masks[2][1, 1] = masks[2][6, 12] = True
    masks += [generator.random((7, 11)) < 0.05 for _ in range(20)]
    for mask in masks:
        if not mask.any():
            continue
        given = tuple(int(value) for value in answer(mask.copy()))
        wanted = tight_box(mask)
        if given == wanted:
            continue
        if len(given) != 4:
            return f"Four numbers are wanted, x0 y0 x1 y1, there are {len(given)}"
        x0, y0, x1, y1 = wanted
        if given == (x0, y0, x1 - 1, y1 - 1):
            return "x1 and y1 are exclusive: one more than the last column and row"
        if given == (y0, x0, y1, x1):
            return "x first, then y: columns are x, rows are y"
        if given == (x0, y0, x1 - x0, y1 - y0):
            return "The last two numbers are the far corner, not width and height"
        return f"For a mask whose box is {wanted} it gives {given}"
    return None


def _share(answer: Callable, predicted, truth) -> float:
    boxes = [None if box is None else torch.tensor(box, dtype=torch.float64) for box in predicted]
    return float(answer(boxes, [torch.tensor(of_photo, dtype=torch.float64).reshape(-1, 4) for of_photo in truth]))


def _judge_corloc(answer: Callable) -> str | None:
    square, half, far = [0, 0, 4, 4], [0, 0, 4, 8], [20, 20, 24, 24]
    cases = {
        "Two photos, one right box and one wrong: the share is a half": ([square, far], [[square], [square]], 0.5),
        "An IoU of exactly 0.5 is right here: at least, not above": ([square], [[half]], 1.0),
        "One of a photo's true boxes is enough, whichever it is": ([square], [[far, square]], 1.0),
        "A photo has one box, so it can be right once, however many true boxes that fits": ([square], [[square, square]], 1.0),
        "A photo without a box (None) counts as wrong, it is not left out": ([square, None], [[square], [square]], 0.5),
        "A photo without a true box cannot be right": ([square], [[]], 0.0),
    }
    for reason, (predicted, truth, wanted) in cases.items():
        if abs(_share(answer, predicted, truth) - wanted) > 1e-6:
            return reason
    generator = torch.Generator().manual_seed(10)

    def boxes(count: int) -> torch.Tensor:
        low = torch.randint(0, 6, (count, 2), generator=generator)
        return torch.cat([low, low + torch.randint(1, 8, (count, 2), generator=generator)], 1)

    for _ in range(20):
        predicted, truth = list(boxes(6)), [boxes(3) for _ in range(6)]
        given = _share(answer, [box.tolist() for box in predicted], [of_photo.tolist() for of_photo in truth])
        if abs(given - corloc(predicted, truth)) > 1e-6:
            return "On random boxes the share differs from the library's corloc"
    return None


def _things_among_stuff() -> torch.Tensor:
    """Features (4, 8, 6, 7) with a thing inside each photo, in a direction of its own, and a large mean."""
    generator = torch.Generator().manual_seed(10)
    features = 0.5 * torch.randn(4, 8, 6, 7, generator=generator) + 3 * torch.rand(8, generator=generator)[:, None, None]
    thing = torch.randn(8, generator=generator)
    for k in range(4):
        features[k, :, 1 + k % 2 : 4, 2:5] += 2 * thing[:, None, None]
    return features


def _likeness(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0))


def _judge_ddt(answer: Callable) -> str | None:
    features = _things_among_stuff()
    given = torch.as_tensor(answer(features.clone())).float()
    if given.shape != (4, 6, 7):
        return f"Maps of shape (N, h, w) = (4, 6, 7) are wanted, got {tuple(given.shape)}"
    weight, bias = principal_component(features)
    scores = features.movedim(1, -1) @ weight + bias
    wanted = scores.clamp_min(0)
    if _likeness(given, wanted) > 0.999 and (given >= 0).all():
        return None
    if abs(_likeness(given, scores)) > 0.999:
        return "The negative side is still there: a map is the positive part of the projection"
    if _likeness(given, (-scores).clamp_min(0)) > 0.99:
        return "That is the background: of the two signs take the one whose border is lower than its inside"
    cells = cells_of(features)
    first = torch.linalg.svd(cells, full_matrices=False)[2][0]
    plain = features.movedim(1, -1) @ first
    if not given.any():
        return "The maps are zero everywhere: are the descriptors centred, by their mean over all cells of all photos?"
    if any(_likeness(given, slip) > 0.999 for slip in (plain, -plain, plain.clamp_min(0), (-plain).clamp_min(0))):
        return "The descriptors are not centred: subtract their mean over all cells of all photos first"
    return "The maps differ from the projection on the first principal component of all photos' cells together"


def _judge_step(answer: Callable) -> str | None:
    generator = torch.Generator().manual_seed(10)
    values, left, right = (0.1 + torch.rand(*shape, generator=generator).double() for shape in ((12, 5), (12, 2), (2, 5)))
    given = answer(values.clone(), left.clone(), right.clone())
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return "Two tensors are wanted: the new left and the new right factor"
    new_left, new_right = (torch.as_tensor(factor).double() for factor in given)
    if new_left.shape != left.shape or new_right.shape != right.shape:
        return f"Shapes must stay (12, 2) and (2, 5), got {tuple(new_left.shape)} and {tuple(new_right.shape)}"
    wanted_left = left * (values @ right.T) / (left @ right @ right.T)
    if not torch.allclose(new_left, wanted_left):
        if torch.allclose(new_left * wanted_left, left**2):
            return "The ratio is upside down: what is wanted (V H^T) over what is there (W H H^T)"
        return "W differs from W * (V H^T) / (W H H^T)"
    if torch.allclose(new_right, right * (left.T @ values) / (left.T @ left @ right)):
        return "H must be moved with the new W, not with the old one"
    if not torch.allclose(new_right, right * (new_left.T @ values) / (new_left.T @ new_left @ right)):
        return "H differs from H * (W^T V) / (W^T W H), with the new W"
    return None


EXERCISES = {
    "10.1": Exercise(
        _judge_hand,
        ("x0 y0 x1 y1: the first box is 6 wide and 4 high.", "They share columns 4 to 7 and rows 3 to 5."),
    ),
    "10.2": Exercise(
        _judge_box,
        (
            "mask.any(0) says which columns hold something, mask.any(1) which rows.",
            "np.flatnonzero gives their numbers; the first, and the last plus one.",
        ),
    ),
    "10.3": Exercise(
        _judge_corloc,
        (
            "For each photo one question, yes or no; then the mean of the answers.",
            "co3lib.overlap.box_iou(box[None], truth) has shape (1, G); G may be 0, and box may be None.",
        ),
    ),
    "10.4": Exercise(
        _judge_ddt,
        (
            "features.movedim(1, -1).flatten(0, 2) has one row a cell; centre it, then torch.linalg.svd.",
            "The first row of V^T is the direction. Compare the projection's mean on the border cells with that of the others.",
        ),
    ),
    "10.5": Exercise(
        _judge_step,
        (
            "Both are elementwise: a factor times a ratio of two matrices of its own shape.",
            "First W * (V H^T) / (W H H^T), then H * (W^T V) / (W^T W H) with the W just made.",
        ),
    ),
}
