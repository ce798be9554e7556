"""Exercises of notebook 01: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from co3lib.overlap import mask_iou


def saver(image="Image/{category}/{name}.png", mask="Mask/{category}/{name}_InstID{k}.png", change=lambda masks: masks):
    """A writer into the given paths; change(masks) is what it writes."""

    def save(root, category, name, pixels, masks):
        files = {image.format(category=category, name=name): pixels}
        for k, one in enumerate(change(masks.numpy()), 1):
            files[mask.format(category=category, name=name, k=k)] = one.astype(np.uint8) * 255
        for path, values in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / path)

    return save


RIGHT_ANSWERS = [("01.4", saver(image="Image/{category}/{name}.jpg"))]  # photos may be JPEG


def drawn(inside=(slice(2, 8), slice(2, 5)), around=(slice(1, 9), slice(1, 10))):
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    masks[0][inside] = masks[1][around] = True
    return tuple(masks)


WRONG_ANSWERS = [
    ("01.6", torch.zeros(10, 10), "two masks"),
    ("01.6", (torch.zeros(10, 10), torch.zeros(6, 6)), "around must have shape"),
    ("01.6", drawn(inside=(slice(1, 7), slice(2, 5))), "3 pixels that are not"),
    ("01.6", drawn(around=(slice(3, 9), slice(1, 10))), "leaves out 6 pixels"),
    ("01.6", drawn(inside=(slice(2, 8), slice(2, 8))), "inside has 36 pixels and an IoU of 1.000"),
    ("01.6", drawn(around=(slice(0, 10), slice(0, 10))), "an IoU of 0.360"),
    ("01.1", (3, 3, 3), "Only instance"),
    ("01.1", (1, 1, 4), "cup is not"),
    ("01.1", (1, 1, 1), "each single cat"),
    ("01.1", (2, 1, 3), "another class"),
    ("01.1", (1, 3, 3), "that is one mask"),
    ("01.1", 3, "tuple"),
    ("01.2", (0.5, True), "strictly"),
    ("01.2", (1.0, True), "count against"),
    ("01.2", (0.25, False), "both cats"),
    ("01.2", 0.5, "two values"),
    ("01.2", (float("nan"), False), "both cats"),
    ("01.1", (1, 1, float("nan")), "whole numbers"),
    ("01.1", "abc", "whole numbers"),
    ("01.3", lambda m: m.flatten(1).sum(1), "pixels"),
    ("01.3", lambda m: 100 * m.flatten(1).double().mean(1), "percent"),
    ("01.3", lambda m: m.flatten(1).sum(1) / m.sum(), "all the masks"),
    ("01.3", lambda m: m.double().mean(), "One number a mask"),
    ("01.3", lambda m: m.double().mean((1, 2)) ** 0.5, "got 0.5"),
    ("01.4", lambda *_: None, "is not there"),
    ("01.4", lambda root, category, name, image, masks: saver()(root, category, name, image[..., ::-1], masks), "exchanged"),
    ("01.4", lambda root, category, name, image, masks: saver()(root, category, name, 255 - image, masks), "not the one"),
    ("01.4", saver(image="{category}/Image/{name}.png"), "is not there"),
    ("01.4", saver(image="Image/{name}.png"), "no photo"),
    ("01.4", saver(image="Image/cat/{name}.png"), "class should be owl"),
    ("01.4", saver(image="Image/{category}/{category}_{name}.png"), "first_photo and second"),
    ("01.4", saver(mask="Mask/{category}/{name}_{k}.png"), "_InstID"),
    ("01.4", saver(mask="Mask/{category}/{name}_InstID.png"), "_InstID"),
    ("01.4", saver(mask="Mask/{category}/{name}_InstID{k}.jpg"), "_InstID"),
    ("01.4", saver(change=lambda masks: ~masks), "differ"),
    ("01.4", saver(change=lambda masks: masks[::-1]), "order"),
    ("01.4", saver(change=lambda masks: masks.any(0)[None]), "2 and 1 masks"),
    ("01.5", lambda p, t, iou: (mask_iou(p, t).max(1).values > iou).double().mean(), "share of the proposals"),
    ("01.5", lambda p, t, iou: (mask_iou(p, t).max(0).values >= iou).double().mean(), "strictly"),
    ("01.5", lambda p, t, iou: (mask_iou(p, t).max(0).values > iou).sum(), "how many there are"),
    ("01.5", lambda p, t, iou: (mask_iou(p, t) > iou).double().mean(), "best proposal"),
    ("01.5", lambda p, t, iou: mask_iou(p, t).max(0).values.mean(), "threshold is missing"),
    ("01.5", lambda p, t, iou: 0.123, "got 0.12"),
    ("01.5", lambda p, t, iou: float("nan"), "got nan"),
]
