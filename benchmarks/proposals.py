"""How many instances have a good mask among the proposals?

    python benchmarks/proposals.py --root PATH [--set NAME] [--limit 200 500 1000]

For every class, and for all instances together: the share of instances that some proposal covers with an IoU of at
least 0.5 and 0.7, among the first 200, 500 and 1000 proposals; the same at 0.5 for instances over 1 % of their photo;
the mean best IoU and the median of the processor seconds that a photo takes. Masks are used here to measure, never by
the method.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from common import every_set
from tqdm import tqdm

from co3lib.datasets import Sample
from co3lib.datasets.images import resize_nearest
from co3lib.proposals import Regions, propose_regions
from co3lib.superpixels import region_iou

_LARGE = 0.01


def best_overlaps(regions: Regions, masks: torch.Tensor, limits: list[int]) -> np.ndarray:
    """The best IoU of every mask (G, H, W) with the first proposals, at the masks' own size: (G, len(limits))."""
    labels = resize_nearest(regions.labels[None], masks.shape[1:]).flatten()
    count = regions.members.shape[1]
    pixels = torch.stack([torch.bincount(labels[mask.flatten()], minlength=count) for mask in masks])
    iou = region_iou(regions.members, torch.bincount(labels, minlength=count), pixels)
    return torch.stack([iou[:limit].amax(0) for limit in limits], 1).numpy()


def measure(samples: list[Sample], limits: list[int]) -> pd.DataFrame:
    """A row per instance: its share of the photo, its best IoU at every limit, the seconds its photo took."""
    rows = []
    for sample in samples:
        image, masks = sample.image, sample.masks
        started = time.process_time()
        regions = propose_regions(image, max(limits))
        seconds = time.process_time() - started
        if len(masks):
            share = masks.flatten(1).float().mean(1).tolist()
            for part, best in zip(share, best_overlaps(regions, masks, limits), strict=True):
                rows.append((sample.name, seconds, part, *best))
    return pd.DataFrame(rows, columns=["photo", "seconds", "share", *limits])


def summary(instances: pd.DataFrame, limits: list[int]) -> dict[str, float]:
    best, large = instances[limits], instances.loc[instances["share"] > _LARGE, limits]
    row = {"instances": len(best), "large": len(large)}
    row |= {f"R50@{k}": (best[k] >= 0.5).mean() for k in limits}
    row |= {f"R70@{k}": (best[k] >= 0.7).mean() for k in limits}
    row |= {f"large R50@{k}": (large[k] >= 0.5).mean() for k in limits}
    row |= {"mean IoU": best[limits[-1]].mean()}
    return row | {"CPU s a photo": instances.groupby("photo")["seconds"].first().median()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--set", help="only this set; every one found if not given")
    parser.add_argument("--limit", type=int, nargs="+", default=[200, 500, 1000], help="how many proposals count")
    arguments = parser.parse_args()
    limits = sorted(arguments.limit)
    classes = [entry for entry in every_set(arguments.root) if arguments.set in (None, entry[0])]
    if not classes:
        raise SystemExit(f"--set must name one of the sets found, got {arguments.set!r}")
    tables = {f"{name}/{category}": measure(samples, limits) for name, category, samples in tqdm(classes, unit="class")}
    rows = {name: summary(table, limits) for name, table in tables.items()}
    for name in dict.fromkeys(name for name, _, _ in classes):
        rows[f"{name}, all"] = summary(pd.concat([tables[k] for k in tables if k.startswith(f"{name}/")]), limits)
    print(pd.DataFrame(rows).T.astype({"instances": int, "large": int}).round(3).to_string())


if __name__ == "__main__":
    main()
