"""The whole method at real size on the bundled collages: does it find what the photos share?

The floors are well below what `make measure` finds for three seeds (results/README.md); they catch a broken stage, not a
small change. Two of each class's ten photos are enough for that, in a fifth of the time.
"""

import numpy as np
import pytest
import torch

from co3lib.beyond.baselines import connected_components
from co3lib.datasets import demo_set
from co3lib.evaluation import average_precision
from co3lib.saliency import saliency_prior
from co3lib.segmentation import CoSegConfig, CoSegmenter


def precision(found, samples, iou):
    masks = [
        torch.from_numpy(np.stack([one.mask for one in instances])) if instances else torch.zeros(0, *sample.image.shape[:2])
        for instances, sample in zip(found, samples, strict=True)
    ]
    scores = [torch.tensor([one.score for one in instances]) for instances in found]
    return average_precision(masks, scores, [sample.masks for sample in samples], iou)


@pytest.mark.parametrize("category", ["cat", "coin", "cup", "motorcycle", "person"])
def test_the_common_class_is_found(category, record_property):
    samples = demo_set("collage")[category][:2]
    photos = [sample.image_path for sample in samples]
    found = CoSegmenter(CoSegConfig()).fit(photos, progress=False).predict(photos, progress=False)
    ours = {iou: precision(found, samples, iou) for iou in (0.25, 0.5)}
    rival = precision([connected_components(saliency_prior(sample.image)) for sample in samples], samples, 0.25)
    record_property("AP", ours)
    print(f"{category}: AP25 {ours[0.25]:.3f}, AP50 {ours[0.5]:.3f}; components of the single photo's prior {rival:.3f}")
    assert ours[0.25] > 0.2
    assert ours[0.25] > rival
