"""How well does a saliency prior, thresholded, cover the instances?

    python benchmarks/saliency.py --root PATH [--backbone efficientnet_lite0] [--size 448]

IoU of the prior above Otsu's threshold with the union of all instances' masks: per class, and the mean over the classes
of a set; the median of the processor seconds that a photo takes, the backbone's not counted. Masks are used here to
measure, never by the method.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from common import every_set
from skimage.filters import threshold_otsu
from torch.nn.functional import interpolate
from tqdm import tqdm

from co3lib.backbones import build_backbone
from co3lib.beyond.priors import ddt_prior
from co3lib.datasets.images import to_tensor
from co3lib.saliency import METHODS, saliency_prior


def overlap(prior: torch.Tensor, union: torch.Tensor) -> float:
    """IoU of a prior (h, w) above Otsu's threshold with a mask (H, W); an even prior finds nothing."""
    prior = interpolate(prior[None, None].float(), union.shape, mode="bilinear")[0, 0].numpy()
    found = prior > threshold_otsu(prior) if np.ptp(prior) > 0 else np.zeros(prior.shape, bool)
    return float((found & union.numpy()).sum() / max((found | union.numpy()).sum(), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=448)
    arguments = parser.parse_args()
    backbone = build_backbone(arguments.backbone)
    rows = []
    for set_name, category, samples in tqdm(every_set(arguments.root), unit="class"):
        images = [sample.image for sample in samples]
        with torch.no_grad():
            features = torch.cat([backbone(to_tensor(image, arguments.size)) for image in images])
        makers = {
            **{
                f"single, {method}": lambda images=images, method=method: [saliency_prior(image, method) for image in images]
                for method in METHODS
            },
            "DDT, features only": lambda features=features: ddt_prior(features),
            "DDT": lambda features=features, images=images: ddt_prior(features, images),
        }
        for name, make in makers.items():
            started = time.process_time()
            priors = make()
            seconds = (time.process_time() - started) / len(images)
            for sample, prior in zip(samples, priors, strict=True):
                if sample.mask_paths:
                    rows.append((set_name, category, name, overlap(prior, sample.masks.any(0)), seconds))
    table = pd.DataFrame(rows, columns=["set", "class", "prior", "IoU", "CPU s a photo"])
    by_class = table.pivot_table(index=["set", "class"], columns="prior", values="IoU", sort=False)
    means = by_class.groupby("set", sort=False).mean()
    means.index = pd.MultiIndex.from_tuples([(name, "mean of classes") for name in means.index])
    seconds = table.groupby("prior", sort=False)["CPU s a photo"].median().to_frame(("", "CPU s a photo")).T
    print(pd.concat([by_class, means, seconds]).round(3).to_string())


if __name__ == "__main__":
    main()
