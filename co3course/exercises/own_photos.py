"""The exercises of notebook 13."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from co3lib.backbones import build_both
from co3lib.beyond.priors import classifier_prior
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.datasets.images import read_image
from co3lib.inference import prepare
from co3lib.instance import Instance
from co3lib.overlap import tight_box

from . import Exercise


def _turned_size(answer) -> str | None:
    try:
        size = tuple(int(value) for value in answer)
    except (TypeError, ValueError):
        return f"The answer must be the mask's shape as two numbers, (rows, columns), got {answer!r}"
    if size == (4000, 3000):
        return None
    if size == (3000, 4000):
        return "Those are the pixels as stored; the photo is turned before anything else, and a mask fits what a viewer shows"
    return "The network's input size does not matter: masks come back in the photo's own size, the way a viewer shows it"


def _unreadable(answer) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        paths = _folder(Path(name))
        wanted = {path.name for path in paths if path.stem in ("cut", "text", "empty", "missing")}
        got = answer(list(paths))
        if got is None or isinstance(got, (str, dict)):
            return f"It must return a list of paths, got {type(got).__name__}"
        got = [Path(path).name for path in got]
        missed, extra = sorted(wanted - set(got)), sorted(set(got) - wanted)
    reasons = {
        "cut": "a file that is cut off half-way opens without an error; its pixels must be read",
        "text": "a text file called .jpg must be found",
        "empty": "an empty file must be found",
        "missing": "a file that is not there must be found",
    }
    if missed:
        return f"{missed[0]} is missing from the list: {reasons[Path(missed[0]).stem]}"
    if extra:
        return f"{extra[0]} can be read and must not be listed"
    return "A file is listed twice" if len(got) > len(wanted) else None


def _folder(folder: Path) -> list[Path]:
    """Good and bad files: a gray one, one with transparency and one with a wrong ending are good."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    names = ["good.jpg", "cut.jpg", "text.jpg", "gray.png", "empty.png", "clear.png", "wrong.jpg", "missing.jpg"]
    paths = [folder / name for name in names]
    good, cut, text, gray, empty, clear, wrong, _ = paths
    Image.fromarray(pixels).save(good)
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text.write_text("not a photo")
    Image.fromarray(pixels[..., 0]).save(gray)
    empty.write_bytes(b"")
    Image.fromarray(np.concatenate([pixels, pixels[..., :1]], 2)).save(clear)
    Image.fromarray(pixels).save(wrong, format="PNG")
    for path in (good, gray, clear, wrong):
        read_image(path)
    return paths


def _instance(score: float) -> Instance:
    return Instance(np.ones((2, 2), bool), score, (0, 0), (0, 0, 2, 2))


def _kept(answer) -> str | None:
    scores = [[0.8, 0.4, 0.21, 0.05], [0.3, 0.2, 0.19], [], [0.02]]
    found = [[_instance(score) for score in of_photo] for of_photo in scores]
    for share, most in ((0.25, 9), (0.5, 9), (0.0, 9), (0.25, 2), (0.0, 1)):
        limit = share * 0.8
        wanted = [[score for score in of_photo if score >= limit][:most] for of_photo in scores]
        got = answer([list(instances) for instances in found], share, most)
        if not isinstance(got, (list, tuple)) or len(got) != len(found) or any(isinstance(kept, Instance) for kept in got):
            return "It must return one list per photo, also for a photo of which nothing is kept"
        values = [[getattr(instance, "score", None) for instance in kept] for kept in got]
        if values == wanted:
            continue
        own = [[score for score in of_photo if score >= share * max(of_photo, default=0)][:most] for of_photo in scores]
        if values == own:
            return "You compare with each photo's own best; a photo without the thing would then always keep something"
        if values == [[score for score in of_photo if score > limit][:most] for of_photo in scores]:
            return "A score of exactly the threshold must be kept"
        if values == [[score for score in of_photo if score >= share][:most] for of_photo in scores]:
            return "The share is of the best score, scores have no fixed scale"
        if values == [[score for score in of_photo if score >= limit] for of_photo in scores]:
            return f"No photo may keep more than {most} here"
        if sum(map(len, values)) <= most < sum(map(len, wanted)):
            return "most is of each photo, not of all photos together"
        return f"For the scores {scores}, share {share} and most {most} it must keep {wanted}, it keeps {values}"
    if answer([[], []], 0.1, 3) != [[], []]:
        return "With nothing found at all it must return an empty list for every photo"
    return None


def _coco_box(answer) -> str | None:
    draw = np.random.default_rng(0)
    for _ in range(8):
        height, width = (int(n) for n in draw.integers(8, 30, 2))
        y0, x0 = int(draw.integers(0, height - 4)), int(draw.integers(0, width - 3))
        tall, wide = int(draw.integers(2, height - y0)), int(draw.integers(1, width - x0))
        mask = np.zeros((height, width), bool)
        mask[y0, x0 : x0 + wide] = mask[y0 : y0 + tall, x0] = True
        wanted, got = [x0, y0, wide, tall], [int(value) for value in answer(mask.copy())]
        mistakes = {
            "width and height are one pixel short: the last pixel belongs to the thing": [x0, y0, wide - 1, tall - 1],
            "COCO wants width and height, not the other corner": [x0, y0, x0 + wide, y0 + tall],
            "x is the column and comes first": [y0, x0, tall, wide],
        }
        if got != wanted:
            why = [text for text, value in mistakes.items() if got == value]
            return f"The box is {wanted}, you have {got}" + (f": {why[0]}" if why else "")
    return None


def _bird(answer) -> str | None:
    try:
        size, part = (float(value) for value in answer)
    except (TypeError, ValueError):
        return f"Give two numbers in a tuple, an input size and a part of the width, got {answer!r}"
    if size != 1344:
        if size not in (224, 320, 448, 672, 896):
            return "The first number must be one of the six input sizes in the table of scales"
        return f"At {size:g} a cell is 1/{size / 32:g} of the width, and the bird is narrower than that"
    if abs(part - 7 / 30) <= 2e-3:
        return None
    if abs(part - 14 / 30) <= 2e-3:
        return "In that part the bird is one cell wide; two were asked for"
    if abs(part - 1 / 7) <= 2e-3:
        return "That is how wide the bird must be in the part; how wide is then the part, in the photo?"
    return "At 448 a part has 14 cells along its side, so the bird must be 2/14 of the part wide, and it is 1/30 of the photo"


_GROUND, _COIN = 320, 110  # pixels a side
_PLACES = ((10, 10), (180, 20), (20, 170), (190, 180))  # of the coin on the four grounds, (y, x)


def _fooled(answer) -> str | None:
    wanted = f"Four grounds are wanted, each ({_GROUND}, {_GROUND}, 3) of uint8"
    try:
        grounds = [np.asarray(ground) for ground in answer]
    except TypeError:
        return f"{wanted}, got {type(answer).__name__}"
    if len(grounds) != 4:
        return f"{wanted}; there are {len(grounds)}"
    for ground in grounds:
        if ground.shape != (_GROUND, _GROUND, 3) or ground.dtype != np.uint8:
            return f"{wanted}; one has shape {ground.shape} and type {ground.dtype}"
    prior, coin = _prior_of(*zip(*map(_with_coin, grounds, _PLACES), strict=True))
    on, off = float(prior[coin > 0.5].mean()), prior[coin < 0.1]
    if on < float(off.mean()):
        return None
    said = f"The prior's mean is {on:.2f} on the coins and {off.mean():.2f} elsewhere"
    if float(off.quantile(0.9)) < 0.3:
        return f"{said}: nothing on your grounds is as much in all four of them as the coin is"
    return f"{said}: something else is bright too, but it does not win. Would the network's classifier know it by name?"


def _with_coin(ground: np.ndarray, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A ground with the coin pasted onto it, and the coin's mask."""
    sample = demo_set("coins")["coin"][0]
    mask = sample.masks[int(sample.masks.sum((1, 2)).argmax())]
    x0, y0, x1, y1 = tight_box(mask)
    size = round(_COIN * (x1 - x0) / (y1 - y0)), _COIN
    coin = np.asarray(Image.fromarray(sample.image[y0:y1, x0:x1]).resize(size, Image.Resampling.BILINEAR))
    shape = np.asarray(Image.fromarray(mask[y0:y1, x0:x1].numpy()).resize(size, Image.Resampling.NEAREST))
    part = slice(place[0], place[0] + _COIN), slice(place[1], place[1] + size[0])
    photo, whole = ground.copy(), np.zeros(ground.shape[:2], bool)
    photo[part][shape], whole[part] = coin[shape], shape
    return photo, whole


def _prior_of(photos, masks) -> tuple[torch.Tensor, torch.Tensor]:
    """The default's prior of photos, at one scale, and each mask's share of every cell: (N, h, w) both."""
    config = CoSegConfig()
    backbone, classifier = build_both(config.backbone)
    with torch.no_grad():
        features = torch.cat([backbone(prepare(photo, config, sides=[config.input_size]).tensor) for photo in photos])
        prior = classifier_prior([features], [classifier(features).softmax(1)])
    shares = torch.nn.functional.interpolate(torch.from_numpy(np.stack(masks))[None].float(), prior.shape[1:], mode="area")
    return prior, shares[0]


EXERCISES = {
    "13.1": Exercise(
        _turned_size,
        ("Which way up do you see the photo in a viewer?", "A shape is (rows, columns): the height comes first."),
    ),
    "13.2": Exercise(
        _unreadable,
        ("co3lib.datasets.images.read_image reads the pixels.", "In a loop: try read_image(path), except ImageError: append."),
    ),
    "13.3": Exercise(
        _kept,
        (
            "There is one best score for all photos, not one for each.",
            "max(..., default=0); keep score >= share * best; instances come best first, so [:most] ends each list.",
        ),
    ),
    "13.4": Exercise(
        _coco_box,
        ("COCO's box is x, y, width, height.", "Columns with a pixel: np.flatnonzero(mask.any(0)); width = last - first + 1."),
    ),
    "13.5": Exercise(
        _bird,
        (
            "A cell is 32 input pixels: at an input of 448 it is 32/448 of the photo's width.",
            "1/30 of the width is a cell or more if 32/size <= 1/30. In a part of width p the bird is (1/30)/p wide.",
        ),
    ),
    "13.6": Exercise(
        _fooled,
        (
            "What all photos share is what will be found. What could stand on all four grounds, beside the coin?",
            "The face of skimage.data.chelsea(), rows 40 to 280, columns 90 to 330, made 130 pixels wide, on unlike grounds.",
        ),
    ),
}
