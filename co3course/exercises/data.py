"""Exercises of notebook 01: the task and its data."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from co3lib.datasets import DatasetError, read_set
from co3lib.overlap import mask_iou

from . import Exercise
from .answers import tensor


def _judge_counts(answer) -> str | None:
    try:
        answer = tuple(int(value) for value in answer)
    except (TypeError, ValueError):
        return "Give three whole numbers in a tuple."
    if len(answer) != 3:
        return f"Give three numbers, not {len(answer)}."
    if answer == (1, 1, 3):
        return None
    if answer == (3, 3, 3):
        return "Only instance co-segmentation separates one cat from the next."
    if answer[2] == 4:
        return "The cup is not of the class that the photos share."
    if answer[2] != 3:
        return "Instance co-segmentation gives a mask for each single cat."
    if answer[0] == 2:
        return "The question is about masks of the class cat; that of the cup is another class's."
    return "Semantic segmentation and co-segmentation say of each pixel whether it is cat: that is one mask."


def _judge_union(answer) -> str | None:
    try:
        iou, right = answer
        iou = float(iou)
    except (TypeError, ValueError):
        return "Give two values in a tuple: the IoU, and True or False."
    if abs(iou - 1) < 1e-3:
        return "The union of the two masks is larger than the one cat: the other cat's pixels count against it."
    if not abs(iou - 0.5) <= 1e-3:
        return "The intersection is one cat, the union is both cats, which are equally large and do not overlap."
    return "The IoU must be strictly above the threshold, and here it equals it." if bool(right) else None


def _judge_shares(shares) -> str | None:
    masks = torch.zeros(3, 4, 10, dtype=torch.bool)
    masks[0, :2, :5], masks[1, 3, 7] = True, True
    ours = torch.as_tensor(shares(masks.clone())).double()
    if tuple(ours.shape) != (3,):
        return f"One number a mask was wanted, shape (3,), got {tuple(ours.shape)}."
    truth = torch.tensor([10 / 40, 1 / 40, 0.0], dtype=torch.float64)
    if torch.allclose(ours, truth, atol=1e-6):
        return None
    if torch.allclose(ours, truth * 40, atol=1e-4):
        return "These are pixels; divide by H W, so that photos of different sizes can be compared."
    if torch.allclose(ours, truth * 100, atol=1e-4):
        return "These are percent; a share lies between 0 and 1."
    if torch.allclose(ours, truth / truth.sum(), atol=1e-6):
        return "These are shares of all the masks together; shares of the photo were wanted."
    return f"A mask of 10 pixels in a photo of 4 x 10 covers 0.25 of it; got {float(ours[0]):g}."


def _judge_writer(save) -> str | None:
    image = np.zeros((12, 20, 3), np.uint8)  # smooth, so that JPEG keeps it, and of a colour that shows exchanged channels
    image[:] = np.linspace((160, 20, 5), (250, 220, 60), 20).astype(np.uint8)
    masks = np.zeros((2, 12, 20), bool)
    masks[0, 2:7, 3:9], masks[1, 5:11, 12:18] = True, True
    with tempfile.TemporaryDirectory() as folder:
        for name, truth in (("first_photo", masks), ("second", masks[:1])):
            save(Path(folder) / "MYSET", "owl", name, image, torch.from_numpy(truth.copy()))
        try:
            classes = read_set(folder, "MYSET")
        except DatasetError as error:
            return f"read_set says: {str(error).replace(folder, '...')}"
        if sorted(classes) != ["owl"]:
            return f"The class should be owl, read back: {', '.join(sorted(classes))}."
        samples = classes["owl"]
        if [sample.name for sample in samples] != ["first_photo", "second"]:
            return f"The photos should be first_photo and second, read back: {', '.join(sample.name for sample in samples)}."
        counts = [len(sample.mask_paths) for sample in samples]
        if counts != [2, 1]:
            found = f"The photos have 2 and 1 masks, read back: {counts[0]} and {counts[1]}"
            return f"{found}; see Mask/<class>/<name>_InstID<k>.png."
        odd = [path.name for sample in samples for path in sample.mask_paths if path.suffix != ".png"]
        if odd:
            return f"Masks should be PNG, which keeps every pixel, got {odd[0]}; the name wanted is <name>_InstID<k>.png."
        if samples[0].image.shape != image.shape:
            return f"The photo's size should be (12, 20, 3), read back: {samples[0].image.shape}."
        read = samples[0].image.astype(int)
        if np.abs(read[..., ::-1] - image).mean() < 40:
            return "The photo's colours are exchanged: image is red, green, blue, as PIL writes it."
        if np.abs(read - image).mean() > 40:
            return "The photo read back is not the one that was handed in."
        for sample, truth in zip(samples, (masks, masks[:1]), strict=True):
            if not np.array_equal(sample.masks.numpy(), truth):
                return "The masks read back differ from those handed in, in their pixels or in their order."
    return None


def _judge_recall(recall) -> str | None:
    rng = np.random.default_rng(12)
    truth = torch.from_numpy(rng.random((4, 6, 8)) < 0.5)
    flipped = torch.from_numpy(rng.random((5, 6, 8)) < np.linspace(0.05, 0.4, 5)[:, None, None])
    proposals = torch.cat([truth[[0, 1, 1, 2, 2]] ^ flipped, torch.from_numpy(rng.random((6, 6, 8)) < 0.5)])
    exact = torch.zeros(1, 6, 8, dtype=torch.bool)
    exact[0, :2] = True
    half = exact.clone()
    half[0, 1] = False
    cases = [(proposals, truth, 0.3), (proposals, truth, 0.5), (proposals, truth, 0.7), (half, exact, 0.5), (exact, exact, 0.5)]
    for given, wanted, iou in cases:
        ours, ious = float(recall(given.clone(), wanted.clone(), iou)), mask_iou(given, wanted)
        expected = float((ious.max(0).values > iou).double().mean())
        if abs(ours - expected) < 1e-6:
            continue
        if abs(ours - float((ious.max(1).values > iou).double().mean())) < 1e-6:
            return "That is the share of the proposals that are good; asked is what share of the instances has a good one."
        if abs(ours - float((ious.max(0).values >= iou).double().mean())) < 1e-6:
            return "The IoU must be strictly above the threshold."
        if abs(ours - float((ious.max(0).values > iou).sum())) < 1e-6:
            return "That is a number of instances; divide by how many there are."
        if abs(ours - float((ious > iou).double().mean())) < 1e-6:
            return "An instance is found if its best proposal is good enough; the others do not matter."
        if abs(ours - float(ious.max(0).values.mean())) < 1e-6:
            return "That is the mean of the best IoU; the threshold is missing."
        return f"Of {len(wanted)} instances {expected:.2f} have a proposal with an IoU above {iou:g}; got {ours:.2f}."
    return None


def _judge_drawn(answer) -> str | None:
    truth = torch.zeros(10, 10, dtype=torch.bool)
    truth[2:8, 2:8] = True
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return "Give two masks in a tuple: (inside, around)."
    for name, mask in zip(("inside", "around"), answer, strict=True):
        if said := tensor(mask, (10, 10), name, "(10, 10)"):
            return f"{said}."
    inside, around = (torch.as_tensor(mask).bool() for mask in answer)
    if (inside & ~truth).any():
        return f"The mask inside has {int((inside & ~truth).sum())} pixels that are not of the thing."
    if (truth & ~around).any():
        return f"The mask around leaves out {int((truth & ~around).sum())} pixels of the thing."
    for name, mask in (("inside", inside), ("around", around)):
        iou = float(mask_iou(mask[None], truth[None]))
        if abs(iou - 0.5) > 1e-6:
            return f"The mask {name} has {int(mask.sum())} pixels and an IoU of {iou:.3f}; 0.5 is wanted."
    return None


EXERCISES = {
    "01.1": Exercise(
        _judge_counts,
        ("Which of the three separates one cat from another?", "Two of the answers are one."),
    ),
    "01.2": Exercise(
        _judge_union,
        ("Let a cat have 100 pixels and draw both regions.", "100 / 200; and 'strictly above' leaves no doubt."),
    ),
    "01.3": Exercise(
        _judge_shares,
        ("The mean of a mask is its share.", "masks.flatten(1).double().mean(1)"),
    ),
    "01.4": Exercise(
        _judge_writer,
        (
            "root is the set's folder: Image and Mask lie right in it, each with a folder for the class; mkdir(parents=True).",
            "Save masks as PNG, mask.numpy().astype('uint8') * 255; JPEG would smear their edges.",
        ),
    ),
    "01.5": Exercise(
        _judge_recall,
        (
            "Ask of each column of the matrix of IoU whether its maximum is large enough.",
            "mask_iou(proposals, truth).max(0).values > iou",
        ),
    ),
    "01.6": Exercise(
        _judge_drawn,
        (
            "Of the mask inside the intersection is the mask itself; of the mask around the union is.",
            "The thing has 36 pixels: 18 of them, and 72 that hold them all.",
        ),
    ),
}
