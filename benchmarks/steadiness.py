"""Does one photo more or less decide what the default's prior finds?

    python benchmarks/steadiness.py [--root PATH] [--subsets 20] [--classes NAME ...]

Of every class with more than six photos, random subsets of 6 to 16 photos are drawn; the prior is made of each subset alone,
and its pixel AP measured there: the average precision of its values as a score for "this pixel is on an instance", over the
pixels of the subset's photos, each photo on a grid of 56 x 56 whose cells count by the share that is on an instance. Printed:
the pixel AP of the prior of all photos, the mean over the subsets and their deviation. Masks are used to measure only.
"""

from __future__ import annotations

import argparse
import random

import pandas as pd
import torch
from common import every_set
from torch.nn.functional import interpolate
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.beyond.category_priors import classify
from co3lib.beyond.priors import classifier_prior
from co3lib.config import CoSegConfig
from co3lib.inference import prepare

GRID = 56


def pixel_ap(maps: torch.Tensor, truth: torch.Tensor) -> float:
    """Average precision of maps (N, h, w) as scores of cells, of which truth (N, GRID, GRID), in [0, 1], is on an instance."""
    score = interpolate(maps[:, None], truth.shape[1:], mode="bilinear").flatten()
    positive = truth.flatten()[score.argsort(descending=True)].double()
    precision = positive.cumsum(0) / torch.arange(1, len(positive) + 1)
    return float((precision * positive).sum() / positive.sum())


def steadiness(samples, subsets: int) -> dict[str, float]:
    """Pixel AP of the prior of all photos; mean and deviation of that of random subsets."""
    config = CoSegConfig()
    work = [prepare(sample.image_path, config, k, config.classifier_sizes) for k, sample in enumerate(samples)]
    seen = classify(work, config, progress=False)
    unions = (sample.masks.any(0)[None, None].float() for sample in samples)
    truth = torch.stack([interpolate(union, (GRID, GRID), mode="area")[0, 0] for union in unions])

    def of(photos: list[int]) -> float:
        prior = classifier_prior(
            *([maps[side][photos] for side in config.prior_sizes] for maps in (seen.features, seen.likely))
        )
        return pixel_ap(prior, truth[photos])

    draw = random.Random(0)
    count = len(samples)
    drawn = [sorted(draw.sample(range(count), draw.randint(6, min(16, count - 1)))) for _ in range(subsets)]
    values = torch.tensor([of(photos) for photos in drawn])
    return {"all photos": of(list(range(count))), "subsets": float(values.mean()), "deviation": float(values.std())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--subsets", type=int, default=20)
    parser.add_argument("--classes", nargs="*", help="only these classes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # several threads that share busy cores wait for one another
    rows = {
        (set_name, category): {"photos": len(samples), **steadiness(samples, arguments.subsets)}
        for set_name, category, samples in tqdm(every_set(arguments.root), desc="classes", unit="class")
        if len(samples) > 6 and (not arguments.classes or category in arguments.classes)
    }
    print(markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis(["set", "class"]).round(3)))


if __name__ == "__main__":
    main()
