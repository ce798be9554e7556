"""Non-maximum suppression of masks, against the overlaps alone by pycocotools.

python benchmarks/bench_suppression.py
"""

import numpy as np
import torch
from against import in_turn, row, show
from pycocotools import mask as rle

from co3lib.ranking import mask_nms

_COUNT, _HEIGHT, _WIDTH = 300, 480, 640


def ellipses(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Masks (M, H, W) bool of the sizes that instances have."""
    draw, y, x = np.random.default_rng(seed), *np.ogrid[:height, :width]
    places = draw.random((count, 2)) * (height, width)
    radii = draw.uniform(0.03, 0.25, (count, 2)) * height
    return np.stack([((y - i) / a) ** 2 + ((x - j) / b) ** 2 < 1 for (i, j), (a, b) in zip(places, radii, strict=True)])


def main() -> None:
    masks = ellipses(_COUNT, _HEIGHT, _WIDTH)
    scores = torch.rand(_COUNT, generator=torch.Generator().manual_seed(0))
    given = torch.from_numpy(masks)

    def rival():
        runs = rle.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
        return rle.iou(runs, runs, [0] * _COUNT)

    measured = in_turn(lambda: mask_nms(given, scores), rival, rounds=5)
    show("Suppression", [row(f"{_COUNT} masks of {_HEIGHT} x {_WIDTH}", measured, "pycocotools, encode and iou", 1)])


if __name__ == "__main__":
    main()
