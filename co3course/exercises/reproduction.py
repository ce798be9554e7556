"""The exercises of notebook 14."""

from __future__ import annotations

import numpy as np
import torch

from co3lib.datasets.export import PhotoResult, to_coco
from co3lib.evaluation import average_precision
from co3lib.instance import Instance
from co3lib.overlap import tight_box

from . import Exercise


def _plain_mean(answer) -> str | None:
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        return f"The answer must be a number, got {answer!r}"
    if abs(answer - 60) < 0.05 or abs(answer - 0.6) < 5e-4:
        return None
    if abs(answer - 88.1) < 0.5 or abs(answer - 0.881) < 0.005:
        return "That weighs the classes by their instances; mAP is the plain mean over classes"
    return f"mAP is the mean of the two classes' AP, each counted once; {answer:g} is not"


def _mean_and_spread(answer) -> str | None:
    for shape in ((3, 4), (12, 2), (1, 3)):
        values = np.random.default_rng(sum(shape)).uniform(20, 60, shape)
        by_seed = values.mean(0)
        got = answer(values.copy())
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            return f"It must return two numbers, the mean and the spread, got {type(got).__name__}"
        mean, spread = (float(value) for value in got)
        if not np.isclose(mean, values.mean()):
            return f"For {shape[0]} classes and {shape[1]} seeds the mean is {values.mean():.3f}, you have {mean:.3f}"
        mistakes = {
            "you divide by S and not by S - 1": by_seed.std(),
            "that is the spread of all values; take the mean over classes of each seed first": values.std(ddof=1),
            "that is the spread over classes; it must be over seeds": values.mean(1).std(ddof=1) if shape[0] > 1 else np.nan,
            "that is the mean of the classes' spreads, not the spread of their mean": values.std(1, ddof=1).mean(),
            "that is the variance; its root is wanted": by_seed.var(ddof=1),
            "that is the standard error of the mean": by_seed.std(ddof=1) / shape[1] ** 0.5,
        }
        if not np.isclose(spread, by_seed.std(ddof=1)):
            why = [text for text, value in mistakes.items() if np.isclose(spread, value)]
            return f"The mean is right, the spread is not: {why[0] if why else f'it is {by_seed.std(ddof=1):.3f} here'}"
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
    if float(answer(truth, results, 0.25)) == 1 and float(answer(truth, results, 0.5)) != 0:
        return "An IoU of exactly one half must not count at threshold 0.5: strictly above is wanted"
    for seed in range(4):
        photos = _random_photos(seed)
        truth, results = to_coco(photos)
        np.random.default_rng(seed).shuffle(results)
        for iou in (0.25, 0.5, 0.75):
            wanted, got = _library(photos, iou), float(answer(truth, results, iou))
            if abs(got - wanted) > 1e-6:
                if abs(got - _library([photo for photo in photos if photo.instances], iou)) < 1e-6:
                    return "You forgot the photos in which nothing was found: what there was to find in them counts as missed"
                if abs(got - np.nanmean([_library([photo], iou) for photo in photos])) < 1e-6:
                    return "That is the mean of the photos' APs; the detections of all photos must be pooled"
                return f"At IoU {iou} the AP of six made-up photos is {wanted:.4f}, you have {got:.4f}"
    return None


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


EXERCISES = {
    "14.1": Exercise(
        _plain_mean,
        ("mAP^r asks how well a class is done, and does not ask how large the class is.", "(AP of a + AP of b) / 2."),
    ),
    "14.2": Exercise(
        _mean_and_spread,
        (
            "A run with one seed gives one mAP; the spread is that of these numbers.",
            "values.mean(0) is one mAP a seed; of these take the mean, and the standard deviation with ddof=1.",
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
}
