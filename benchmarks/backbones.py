"""Which stage of the backbone correlates best across the photos of a category?

    python benchmarks/backbones.py --root PATH [--backbone efficientnet_lite0] [--size 448]

For every stage whose grid has at most 28 x 28 cells, with and without the category's mean taken out: AUC of the correlation
of pairs of foreground cells against that of pairs of a foreground and a background cell, over pairs of photos;
how often the cell of another photo that correlates best with a foreground cell is foreground too; the same mean over
classes. Masks are used here to measure, never by the method.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch
from common import every_set
from scipy.stats import rankdata
from torch.nn.functional import interpolate
from tqdm import tqdm

from co3lib.backbones import build_backbone
from co3lib.correlation import normalize_features
from co3lib.datasets.images import to_tensor


def quality(features: torch.Tensor, foreground: torch.Tensor) -> tuple[float, float]:
    """features (N, C, h, w), foreground (N, h, w) bool -> AUC, share of foreground nearest neighbours."""
    cells = normalize_features(features).flatten(2).transpose(1, 2)
    inside = foreground.flatten(1)
    positive, negative, nearest = [], [], []
    for n in range(len(cells)):
        for m in range(len(cells)):
            if n != m and inside[n].any() and inside[m].any():
                product = cells[n][inside[n]] @ cells[m].T
                positive.append(product[:, inside[m]].flatten()[::7])
                negative.append(product[:, ~inside[m]].flatten()[::7])
                nearest.append(inside[m][product.argmax(1)].float())
    positive, negative = torch.cat(positive), torch.cat(negative)
    ranks = rankdata(torch.cat([positive, negative]).numpy())[: len(positive)]
    area = (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    return float(area), float(torch.cat(nearest).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--stride", type=int, default=None)
    arguments = parser.parse_args()
    feature_stage = {"efficientnet_lite0": "bn2"}.get(arguments.backbone)
    backbone = build_backbone(arguments.backbone, arguments.weights, feature_stage, arguments.stride)
    rows = []
    for set_name, category, samples in tqdm(every_set(arguments.root), desc="classes", unit="class"):
        images = [to_tensor(sample.image, arguments.size) for sample in samples]
        unions = torch.stack(
            [
                interpolate(sample.masks.any(0)[None, None].float(), (arguments.size,) * 2, mode="nearest")[0, 0]
                for sample in samples
            ]
        )
        images = [(image - backbone.mean) / backbone.std for image in images]
        seconds = 0.0
        for stage, module in zip(backbone.stage_names, backbone.stages.values(), strict=True):
            started = time.perf_counter()
            with torch.no_grad():
                images = [module(image) for image in images]
            seconds += (time.perf_counter() - started) / len(images)
            features = torch.cat(images) if images[0].shape[2] <= 28 else None
            if features is None:
                continue
            foreground = interpolate(unions[:, None], features.shape[2:], mode="area")[:, 0] > 0.5
            if foreground.flatten(1).any(1).sum() < 2:
                continue
            for centred in (False, True):
                shift = features.mean((0, 2, 3), keepdim=True) if centred else 0
                area, nearest = quality(features - shift, foreground)
                grid = "x".join(map(str, features.shape[2:]))
                rows.append((stage, features.shape[1], grid, centred, f"{set_name}/{category}", area, nearest, seconds))
    columns = ["stage", "channels", "cells", "mean removed", "class", "AUC", "nearest is foreground", "s a photo"]
    table = pd.DataFrame(rows, columns=columns)
    keys = ["stage", "channels", "cells", "mean removed"]
    print(table.groupby(keys, sort=False)[["AUC", "nearest is foreground", "s a photo"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
