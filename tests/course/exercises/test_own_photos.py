"""Exercises of notebook 13: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage import data

from co3lib.datasets.images import ImageError, read_image
from co3lib.overlap import tight_box


def unreadable(paths):
    bad = []
    for path in paths:
        try:
            read_image(path)
        except ImageError:
            bad.append(path)
    return bad


def cannot_open(paths):
    bad = []
    for path in paths:
        try:
            Image.open(path).close()
        except OSError:
            bad.append(path)
    return bad


def keep_sure(found, share, most):
    best = max((one.score for ones in found for one in ones), default=0.0)
    return [[one for one in ones if one.score >= share * best][:most] for ones in found]


def keep_by_photo(found, share, most):
    return [[one for one in ones if one.score >= share * ones[0].score][:most] for ones in found]


def keep_above(found, share, most):
    best = max((one.score for ones in found for one in ones), default=0.0)
    return [[one for one in ones if one.score > share * best][:most] for ones in found]


def keep_all_in_one(found, share, most):
    return [one for ones in keep_sure(found, share, most) for one in ones]


def keep_without_default(found, share, most):
    best = max(one.score for ones in found for one in ones)
    return [[one for one in ones if one.score >= share * best][:most] for ones in found]


def keep_most_of_all(found, share, most):
    left, kept = most, []
    for ones in keep_sure(found, share, most):
        kept.append(ones[:left])
        left -= len(kept[-1])
    return kept


def coco_box(mask):
    x0, y0, x1, y1 = tight_box(mask)
    return [x0, y0, x1 - x0, y1 - y0]


def short_box(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), np.ptp(columns), np.ptp(rows)]


def rows_first(mask):
    x0, y0, x1, y1 = tight_box(mask)
    return [y0, x0, y1 - y0, x1 - x0]


def grounds(companion=None):
    """Four unlike grounds; companion: a picture that is on each of them, away from the coin's place."""
    made = []
    for ground, place in zip((data.brick(), data.grass(), data.gravel(), data.coffee()), PLACES, strict=True):
        made.append(np.array(Image.fromarray(ground).convert("RGB").resize((320, 320))))
        if companion is not None:
            y, x = place
            made[-1][y : y + 130, x : x + 130] = np.asarray(Image.fromarray(companion).resize((130, 130)))
    return made


PLACES = ((180, 10), (10, 10), (180, 150), (10, 150))
CAT, FACE = data.chelsea()[40:280, 90:330], data.astronaut()[:220, 120:340]


RIGHT_ANSWERS = [
    ("13.1", (4000, 3000)),
    ("13.2", unreadable),
    ("13.3", keep_sure),
    ("13.4", coco_box),
    ("13.5", (1344, 7 / 30)),
    ("13.6", grounds(CAT)),
]
WRONG_ANSWERS = [
    ("13.1", (3000, 4000), "as stored"),
    ("13.1", (448, 448), "network's input"),
    ("13.1", "big", "two numbers"),
    ("13.2", cannot_open, "cut.jpg is missing"),
    ("13.2", lambda paths: [path for path in paths if not path.exists()], "is missing"),
    ("13.2", lambda paths: [*unreadable(paths), paths[3]], "gray.png can be read"),
    ("13.2", lambda paths: unreadable(paths) * 2, "twice"),
    ("13.2", lambda paths: [read_image(path) for path in paths], "stops with ImageError"),
    ("13.2", lambda paths: print(end=""), "must return a list"),
    ("13.3", keep_by_photo, "each photo's own best"),
    ("13.3", keep_above, "exactly the threshold"),
    ("13.3", keep_all_in_one, "one list per photo"),
    ("13.3", keep_without_default, "stops with ValueError"),
    ("13.3", lambda found, share, most: [[o for o in ones if o.score >= share][:most] for ones in found], "no fixed scale"),
    ("13.3", lambda found, share, most: [ones for ones in keep_sure(found, share, most) if ones], "one list per photo"),
    ("13.3", lambda found, share, most: found, "it must keep"),
    ("13.3", lambda found, share, most: keep_sure(found, share, None), "more than 2"),
    ("13.3", keep_most_of_all, "not of all photos"),
    ("13.4", short_box, "one pixel short"),
    ("13.4", lambda mask: list(tight_box(mask)), "not the other corner"),
    ("13.4", rows_first, "x is the column"),
    ("13.4", lambda mask: [0, 0, *mask.shape], "you have"),
    ("13.5", (448, 7 / 30), "narrower"),
    ("13.5", (1000, 7 / 30), "six input sizes"),
    ("13.5", (1344, 14 / 30), "one cell wide"),
    ("13.5", (1344, 1 / 7), "how wide is then the part"),
    ("13.5", (1344, float("nan")), "14 cells"),
    ("13.5", (float("nan"), 7 / 30), "six input sizes"),
    ("13.5", "b", "two numbers"),
    ("13.5", 3, "two numbers"),
    ("13.1", (float("nan"), 4000), "two numbers"),
    ("13.6", grounds(), "nothing on your grounds"),
    ("13.6", grounds(FACE), "something else is bright"),
    ("13.6", grounds()[:3], "there are 3"),
    ("13.6", [ground / 255 for ground in grounds()], "float64"),
    ("13.6", 3, "got int"),
]
