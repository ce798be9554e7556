"""Co-peaks of a pair's 4-D correlation, against the maximum over each neighbourhood alone by scipy.

python benchmarks/bench_copeaks.py
"""

import torch
from against import in_turn, row, show
from scipy import ndimage

from co3lib.correlation import correlate
from co3lib.peaks import copeaks

_SIDE = 28


def main() -> None:
    features = torch.randn(2, 64, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(features, 3, 1, 1)
    correlation = correlate(smooth[:1], smooth[1:])
    values = correlation[0].numpy()
    measured = in_turn(lambda: copeaks(correlation), lambda: ndimage.maximum_filter(values, 3))
    show("Co-peaks", [row(f"{_SIDE}^4", measured, "scipy.ndimage.maximum_filter alone", 1.5)])


if __name__ == "__main__":
    main()
