"""Ranking of proposals for the peaks of a photo, against loops over both in numpy, and against moving its bytes.

    python benchmarks/bench_ranking.py

The loops are those of the released code: for every peak and every proposal, sums over whole maps. They are measured for a few
pairs, and counted for all of them. The limit is a copy of as many bytes as there are heat maps, which have to be read at least.
"""

import numpy as np
import torch
from against import Measured, in_turn, row, show
from skimage import data

from co3lib.beyond.region_ranking import RegionRanker
from co3lib.datasets.images import resize_image, resize_nearest
from co3lib.proposals import propose_regions
from co3lib.ranking import contours, rank_proposals

_PEAKS, _PROPOSALS, _SIZE, _PAIRS = 32, 1000, (480, 640), 20


def main() -> None:
    regions = propose_regions(resize_image(data.coffee(), _SIZE), _PROPOSALS)
    labels = resize_nearest(regions.labels[None], _SIZE)[0]
    masks = regions.members[:, labels]
    ranker, outlines = RegionRanker(labels, regions.members), contours(masks)
    generator = torch.Generator().manual_seed(0)
    heat, saliency = torch.rand(_PEAKS, *_SIZE, generator=generator), torch.rand(_SIZE, generator=generator)

    def loops():
        for one, outline in zip(masks[:_PAIRS].numpy(), outlines[:_PAIRS].numpy(), strict=True):
            response = heat[0].numpy() * saliency.numpy()
            background = ((1 - saliency.numpy()) * one).sum()
            assert np.isfinite(0.8 * (response * one).sum() + (response * outline).sum() - 1e-5 * background)

    pairs = _PEAKS * len(masks)
    rows = []
    ways = {
        "proposals of superpixels": (lambda: ranker.scores(heat, saliency), heat),
        "any proposals": (
            lambda: rank_proposals(heat, saliency, masks, proposal_contours=outlines),
            torch.stack([masks, outlines]),
        ),
    }
    for what, (call, moved) in ways.items():
        measured = in_turn(call, loops, 3)
        whole = Measured(measured.own, [span * pairs / _PAIRS for span in measured.rival])
        name = f"{what}, {_PEAKS} peaks, {len(masks)} proposals"
        rows.append(row(name, whole, f"loops in numpy, counted from {_PAIRS} pairs", 0.02))
        target = torch.empty_like(moved)
        rows.append(row(name, in_turn(call, lambda t=target, m=moved: t.copy_(m), 3), "a copy of what it reads", 3))
    show("Ranking", rows)


if __name__ == "__main__":
    main()
