"""The exercises of notebook 14."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from co3lib.datasets.export import PhotoResult, to_coco
from co3lib.evaluation import average_precision
from co3lib.instance import Instance
from co3lib.overlap import tight_box

from . import Exercise
from .answers import numbers


def _plain_mean(answer) -> str | None:
    given = numbers(answer, 1)
    if isinstance(given, str):
        return given
    if abs(given[0] - 60) <= 0.05 or abs(given[0] - 0.6) <= 5e-4:
        return None
    if abs(given[0] - 88.1) <= 0.5 or abs(given[0] - 0.881) <= 0.005:
        return "That weighs the classes by their instances; mAP is the plain mean over classes"
    return f"mAP is the mean of the two classes' AP, each counted once; {given[0]:g} is not"


def _mean_and_spread(answer) -> str | None:
    for shape in ((3, 4), (12, 3), (1, 3), (4, 2)):
        draw = np.random.default_rng(sum(shape))
        values = draw.uniform(20, 60, shape)
        values[draw.integers(shape[0]), 1] = np.nan  # one run of the second seed was stopped
        whole = np.delete(values, 1, axis=1)
        by_seed = whole.mean(0)
        spread_wanted = by_seed.std(ddof=1) if len(by_seed) > 1 else np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of a mean of nothing
            got = answer(values.copy())
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            return f"It must return two numbers, the mean and the spread, got {type(got).__name__}"
        mean, spread = (float(value) for value in got)
        if np.isnan(mean):
            return "The mean is NaN: leave out the seeds of which a class is missing"
        if not np.isclose(mean, by_seed.mean()):
            if np.isclose(mean, np.nanmean(np.nanmean(values, 0))) or np.isclose(mean, np.nanmean(values)):
                return "A seed of which a class is missing must not count at all: its mean is over other classes"
            what = f"For {shape[0]} classes and {len(by_seed)} complete seeds"
            return f"{what} the mean is {by_seed.mean():.3f}, you have {mean:.3f}"
        if len(by_seed) == 1:
            if not np.isnan(spread):
                return f"One complete seed has no spread: NaN is wanted, you have {spread:.3f}"
            continue
        if np.isnan(spread):
            return f"The mean is right, the spread is NaN: there are {len(by_seed)} complete seeds"
        mistakes = {
            "you divide by S and not by S - 1": by_seed.std(),
            "that is the spread of all values; take the mean over classes of each seed first": whole.std(ddof=1),
            "that is the spread over classes; it must be over seeds": whole.mean(1).std(ddof=1) if shape[0] > 1 else np.nan,
            "that is the mean of the classes' spreads, not the spread of their mean": whole.std(1, ddof=1).mean(),
            "that is the variance; its root is wanted": by_seed.var(ddof=1),
            "that is the standard error of the mean": by_seed.std(ddof=1) / len(by_seed) ** 0.5,
        }
        if not np.isclose(spread, spread_wanted):
            why = [text for text, value in mistakes.items() if np.isclose(spread, value)]
            return f"The mean is right, the spread is not: {why[0] if why else f'it is {spread_wanted:.3f} here'}"
    return None


def _random_photos(seed: int) -> list[PhotoResult]:
    """Photos of a class with detections of any quality; one without a detection, one without a thing."""
    draw = np.random.default_rng(seed)
    photos = []
    for number in range(6):
        height, width = (int(n) for n in draw.integers(12, 20, 2))
        truth = np.zeros((0 if number == 1 else 2, height, width), bool)
        for k in range(len(truth)):
            truth[k, 1 + 5 * k : 6 + 5 * k, 2:9] = True
        instances = []
        for k in range(0 if number == 0 else 3):
            mask = np.zeros((height, width), bool)
            y, x = (int(n) for n in draw.integers(0, 5, 2))
            mask[y : y + 5, x : x + 7] = True
            if len(truth) and k < 2 and draw.random() < 0.4:
                mask = truth[k].copy()
            instances.append(Instance(mask, float(draw.random()), (y, x), tight_box(mask)))
        photos.append(PhotoResult(f"{number}.jpg", "thing", (height, width), instances, torch.from_numpy(truth)))
    return photos


def _library(photos: list[PhotoResult], iou: float) -> float:
    masks = [np.array([instance.mask for instance in photo.instances], bool).reshape(-1, *photo.size) for photo in photos]
    scores = [torch.tensor([instance.score for instance in photo.instances], dtype=torch.float64) for photo in photos]
    return average_precision(masks, scores, [photo.truth for photo in photos], iou)


def _half_photo() -> list[PhotoResult]:
    """One detection whose IoU with the one thing is exactly one half."""
    truth, mask = np.zeros((1, 8, 8), bool), np.zeros((8, 8), bool)
    truth[0, :, :4] = True
    mask[:4, :4] = True
    return [PhotoResult("half.jpg", "thing", (8, 8), [Instance(mask, 1.0, (0, 0), tight_box(mask))], torch.from_numpy(truth))]


def _from_files(answer) -> str | None:
    truth, results = to_coco(_half_photo())
    at_quarter, at_half = _value(answer, truth, results, 0.25), _value(answer, truth, results, 0.5)
    for said in (at_quarter, at_half):
        if isinstance(said, str):
            return said
    if at_quarter == 1 and at_half != 0:
        return "An IoU of exactly one half must not count at threshold 0.5: strictly above is wanted"
    if at_quarter == 100:
        return "The result must be from 0 to 1, not in percent"
    for seed in range(4):
        photos = _random_photos(seed)
        truth, results = to_coco(photos)
        np.random.default_rng(seed).shuffle(results)
        for iou in (0.25, 0.5, 0.75):
            wanted, got = _library(photos, iou), _value(answer, truth, results, iou)
            if isinstance(got, str):
                return got
            if abs(got - wanted) <= 1e-6:
                continue
            if abs(got - _library([photo for photo in photos if photo.instances], iou)) <= 1e-6:
                return "You forgot the photos in which nothing was found: what there was to find in them counts as missed"
            for other in (0.25, 0.5, 0.75):
                if other != iou and abs(got - _library(photos, other)) <= 1e-6:
                    return f"Asked for IoU {iou} it gives the AP at {other}: use the threshold that it is called with"
            each = [_library([photo], iou) for photo in photos]
            if any(abs(got - mean) <= 1e-6 for mean in (np.nanmean(each), np.nan_to_num(each).mean())):
                return _POOLED
            return f"At IoU {iou} the AP of six made-up photos is {wanted:.4f}, you have {got:.4f}"
    return None


_POOLED = "That is the mean of the photos' APs; the detections of all photos must be pooled"


def _value(answer, truth, results, iou: float) -> float | str:
    """What the answer returns, or a sentence if that is no AP."""
    returned = answer(truth, results, iou)
    try:
        got = float(returned)
    except (TypeError, ValueError):
        return f"It must return one number, got {type(returned).__name__}"
    # A photo without a thing has no AP of its own.
    return f"{_POOLED} (your AP is NaN)" if np.isnan(got) else got


def _differences(answer) -> str | None:
    ours = {"prior": "ours", "epochs": 10, "size": 448, "seeds": 3}
    theirs = {"prior": "theirs", "epochs": 40, "size": 448, "proposals": "MCG"}
    cases = [
        (ours, theirs, {"prior", "epochs", "seeds", "proposals"}),
        (theirs, ours, {"prior", "epochs", "seeds", "proposals"}),
        (ours, dict(ours), set()),
        ({"split": None}, {}, {"split"}),
        ({}, {"split": None}, {"split"}),
    ]
    for first, second, wanted in cases:
        before = (dict(first), dict(second))
        got = answer(first, second)
        if got is None or isinstance(got, (str, dict)):
            return f"It must return a list of names, got {type(got).__name__}"
        if (first, second) != before:
            return "It changes the protocols that it is given"
        missed, extra = wanted - set(got), set(got) - wanted
        if missed:
            point = sorted(missed)[0]
            both = point in first and point in second
            where = "differs" if both else "stands in one protocol only, which is a difference too"
            return f"{point!r} is missing: it {where}"
        if extra:
            return f"{sorted(extra)[0]!r} is the same in both and must not be listed"
        if len(list(got)) != len(wanted):
            return "A name is listed twice"
    return None


def _honest_sentence(answer) -> str | None:
    said = str(answer).strip().lower()
    reasons = {
        "a": "It is within the spread, but of a run with another backbone and other proposals: nothing was reproduced",
        "b": "The published number is within one spread of ours, and the two protocols differ: neither is shown to be better",
        "d": "Numbers of different protocols may stand side by side, if it is said what differs",
    }
    if said == "c":
        return None
    return reasons.get(said, f"The answer must be one of 'a', 'b', 'c' and 'd', got {answer!r}")


def _fooled_mean(answer) -> str | None:
    try:
        ours, theirs = (torch.as_tensor(values, dtype=torch.float64) for values in answer)
    except (TypeError, ValueError, RuntimeError):
        return "Two tables of three classes and three seeds are wanted, A's and B's"
    if ours.shape != (3, 3) or theirs.shape != (3, 3):
        return f"Both tables must be (3, 3), classes x seeds, got {tuple(ours.shape)} and {tuple(theirs.shape)}"
    both = torch.stack([ours, theirs])
    if not ((both >= 0) & (both <= 100)).all():
        return "An AP in percent is a number from 0 to 100"
    lead = ours.mean(0) - theirs.mean(0)
    if not (lead >= 5).all():
        return f"A's mAP must lead by 5 points or more with every seed; its leads are {[round(x, 1) for x in lead.tolist()]}"
    wins = int((theirs - ours >= 5).all(1).sum())
    if wins < 2:
        return f"B must be better by 5 points or more, with every seed, on two of the three classes; it is on {wins}"
    return None


EXERCISES = {
    "14.1": Exercise(
        _plain_mean,
        ("mAP^r asks how well a class is done, and does not ask how large the class is.", "(AP of a + AP of b) / 2."),
    ),
    "14.2": Exercise(
        _mean_and_spread,
        (
            "Which columns of values have no NaN? Only these seeds count.",
            "values.mean(0) is one mAP per seed, NaN where a class is missing; of the others mean and deviation with ddof=1.",
        ),
    ),
    "14.3": Exercise(
        _from_files,
        (
            "Go through truth['images'], not through the results: a photo may have none.",
            "For every image collect the decoded masks and the scores with its image_id, then call average_precision once.",
        ),
    ),
    "14.4": Exercise(
        _differences,
        ("What only one of the two protocols states is a difference too.", "Go through set(ours) | set(theirs)."),
    ),
    "14.5": Exercise(
        _honest_sentence,
        ("What must be the same before one may say reproduced?", "Only one sentence names both the numbers and what differs."),
    ),
    "14.6": Exercise(
        _fooled_mean,
        (
            "A mean of three can be decided by a single one of them.",
            "B is a little better on two classes, A far better on the third.",
        ),
    ),
}
