"""Exercises of notebook 10: boxes, CorLoc, and the rivals' linear algebra."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from co3lib.beyond.priors import cells_of, mean_at_border, mean_inside, principal_component
from co3lib.evaluation import corloc
from co3lib.overlap import box_iou, tight_box

from . import Exercise
from .answers import numbers, tensor

_CLOSE = 0.002  # answers worked by hand are rounded
_LONGEST = 1.5  # seconds; the task says one, but machines may be busy


def _judge_hand(answer) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return f"Two answers are wanted, the IoU and whether the box is right: (number, True or False), got {answer!r}"
    given = numbers(answer[0], 1)
    if isinstance(given, str):
        return given
    for wrong, reason in (
        (0.4, "That counts x1 and y1 as inside: they are exclusive, the first box is 6 wide"),
        (0.25, "The union counts the shared part once: areas added, minus the intersection"),
        (0.5, "That is the share of one box that is shared; divide by the union of both"),
    ):
        if abs(given[0] - wrong) <= _CLOSE:
            return reason
    if not abs(given[0] - 1 / 3) <= _CLOSE:
        return f"{given[0]:.3f} is not the IoU; the intersection is 12, and the union?"
    if not isinstance(answer[1], (bool, np.bool_)):
        return f"The IoU is right; whether the box is right must be True or False, got {answer[1]!r}"
    return "The IoU is right, and it is below 0.5" if answer[1] else None


def _judge_boxes(answer: Callable) -> str | None:
    generator = np.random.default_rng(10)
    masks = np.concatenate([np.zeros((3, 9, 14), bool), generator.random((20, 9, 14)) < 0.05])
    masks[0, 2:5, 3:10] = True
    masks[1, 8, 13] = True
    masks[2, 1, 1] = masks[2, 6, 12] = True
    masks = masks[masks.any((1, 2))]
    wanted = np.array([tight_box(mask) for mask in masks])
    given = answer(masks.copy())
    wrong = tensor(given, wanted.shape, "The boxes", "(K, 4)")
    if wrong:
        return wrong
    given = np.asarray(given)
    x0, y0, x1, y1 = wanted.T
    for slip, said in (
        ((x0, y0, x1 - 1, y1 - 1), "x1 and y1 are exclusive: one more than the last column and row"),
        ((y0, x0, y1, x1), "x first, then y: columns are x, rows are y"),
        ((x0, y0, x1 - x0, y1 - y0), "The last two numbers are the far corner, not width and height"),
    ):
        if (given == np.stack(slip, 1)).all():
            return said
    for box, right in zip(given.tolist(), wanted.tolist(), strict=True):
        if box != right:
            return f"For a mask whose box is {tuple(right)} it gives {tuple(box)}"
    with_none = np.concatenate([np.zeros((1, 9, 14), bool), masks])
    given = np.asarray(answer(with_none.copy()))
    if given.shape != (len(with_none), 4) or given[0].any() or (given[1:] != wanted).any():
        return "With an empty mask among them it differs: that one has the box (0, 0, 0, 0), the others stay as they are"
    many = generator.random((200, 200, 300)) < 0.001
    started = time.perf_counter()
    answer(many)
    seconds = time.perf_counter() - started
    slow = f"Right, but 200 masks took {seconds:.1f} seconds: let NumPy go through pixels and masks"
    return slow if seconds > _LONGEST else None


def _wrong_corloc(predicted, truth, strict: bool, skip: bool) -> float:
    """CorLoc with one of the mistakes of exercise 10.3, or both."""
    pairs = [(box, boxes) for box, boxes in zip(predicted, truth, strict=True) if box is not None or not skip]
    right = []
    for box, boxes in pairs:
        ious = [] if box is None else [float(box_iou(box[None], true[None])) for true in boxes]
        right.append(any(iou > 0.5 if strict else iou >= 0.5 for iou in ious))
    return sum(right) / max(len(right), 1)


def _judge_mistakes(answer) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return "Two calls are wanted: [(predicted, truth), (predicted, truth)]"
    shown = []
    for number, call in enumerate(answer, start=1):
        try:
            predicted, truth = call
            boxes = [None if box is None else torch.as_tensor(box, dtype=torch.float64).reshape(4) for box in predicted]
            there = [torch.as_tensor(list(map(list, of_photo)), dtype=torch.float64).reshape(-1, 4) for of_photo in truth]
        except (TypeError, ValueError, RuntimeError):
            return f"Call {number} must be a pair: boxes (x0, y0, x1, y1) or None, and for every photo a list of true boxes"
        if not boxes or len(boxes) != len(there):
            return f"Call {number} must have as many predicted boxes (or None) as lists of true boxes, and at least one"
        every = torch.cat([*(box[None] for box in boxes if box is not None), *there])
        if not torch.isfinite(every).all() or (every[:, 2:] <= every[:, :2]).any():
            return f"Call {number} has a box without an area: x1 must be above x0 and y1 above y0"
        right = corloc(boxes, there)
        if abs(_wrong_corloc(boxes, there, strict=True, skip=True) - right) <= 1e-9:
            return f"In call {number} both say {right:.2f}: it shows no mistake. Where do definition and code differ?"
        shown.append([abs(_wrong_corloc(boxes, there, *kind) - right) > 1e-9 for kind in ((True, False), (False, True))])
    (first, second), (third, fourth) = shown
    if (first and fourth) or (second and third):
        return None
    which = "an overlap of exactly 0.5" if first or third else "a photo without a box"
    return f"Both calls show the same mistake, {which}. There is another"


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
    given = answer(features.clone())
    wrong = tensor(given, (4, 6, 7), "The maps", "(N, h, w)")
    if wrong:
        return wrong
    given = torch.as_tensor(given).float()
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
    if _likeness(given, scores.abs()) > 0.999:
        return "The absolute value makes the background bright as well: keep the positive part"
    each = [features[k : k + 1] for k in range(4)]
    alone = torch.cat([one.movedim(1, -1) @ w + b for one, (w, b) in ((one, principal_component(one)) for one in each)])
    if _likeness(given, alone.clamp_min(0)) > 0.99:
        return "Each photo has got its own direction: put the cells of all photos together into one list"
    if _likeness(given, _without_movedim(features)) > 0.99:
        return "The descriptors are mixed up: channels must be last, by movedim(1, -1), before cells become rows"
    return "The maps differ from the projection on the first principal component of all photos' cells together"


def _without_movedim(features: torch.Tensor) -> torch.Tensor:
    rows = features.reshape(-1, features.shape[1])
    rows = rows - rows.mean(0)
    scores = (rows @ torch.linalg.svd(rows, full_matrices=False)[2][0]).reshape(len(features), *features.shape[2:])
    return (scores if mean_inside(scores) > mean_at_border(scores) else -scores).clamp_min(0)


def _judge_broken(answer) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return "Two tensors are wanted: features (N, C, h, w) and thing (N, h, w)"
    try:
        features, thing = (torch.as_tensor(values) for values in answer)
    except (TypeError, ValueError, RuntimeError):
        return "Two tensors are wanted: features (N, C, h, w) and thing (N, h, w)"
    if features.ndim != 4 or len(features) < 2 or thing.shape != (len(features), *features.shape[2:]):
        shapes = f"{tuple(features.shape)} and {tuple(thing.shape)}"
        return f"Shapes (N, C, h, w) and (N, h, w) with at least two photos are wanted, got {shapes}"
    features, thing = features.double(), thing.bool()
    if not torch.isfinite(features).all():
        return "The features must be numbers, and some are NaN or infinite"
    shares = thing.double().mean((1, 2))
    if shares.min() <= 0 or shares.max() > 0.5:
        return f"The thing must be in every photo and fill at most half; here it fills {shares.min():.2f} to {shares.max():.2f}"
    cells, on = features.movedim(1, -1).flatten(0, 2), thing.flatten()
    apart = (cells - cells[on][0]).abs().amax(1)
    if apart[on].max() > 1e-6:
        return "The thing's descriptor must be the same in all its cells of all photos"
    if apart[~on].min() < 1e-3:
        return "Some other cell has the thing's descriptor too"
    weight, bias = principal_component(features)
    found = (features.movedim(1, -1) @ weight + bias).clamp_min(0)
    inside, outside = found[thing].mean(), found[~thing].mean()
    if inside <= outside + 1e-9:
        return None
    return (
        f"DDT still finds it: its map is {inside:.2f} on the thing and {outside:.2f} elsewhere. "
        "What must vary more than the step from background to thing?"
    )


EXERCISES = {
    "10.1": Exercise(
        _judge_hand,
        ("x0 y0 x1 y1: the first box is 6 wide and 4 high.", "They share columns 4 to 7 and rows 3 to 5."),
    ),
    "10.2": Exercise(
        _judge_boxes,
        (
            "masks.any(1) says for every mask which columns hold something, masks.any(2) which rows.",
            "argmax gives the first True; of the reversed array it gives how many lie behind the last.",
        ),
    ),
    "10.3": Exercise(
        _judge_mistakes,
        (
            "Go through the definition word by word: *at least* 0.5, over *all* photos.",
            "One call has a box whose IoU is exactly a half, the other a right box and a photo with None.",
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
        _judge_broken,
        (
            "The first component is what varies most. Let something else vary more than the thing does.",
            "Two kinds of background, as far apart as you like in one channel; the thing differs a little, in another channel.",
        ),
    ),
}
