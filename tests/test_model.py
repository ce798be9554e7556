from __future__ import annotations

import naive
import pytest
import torch
from draws import random
from reference import close, load
from torch.nn import functional

from co3lib.model import bilinear_kernel, upsample


def test_bilinear_kernel_of_the_authors_code():
    # With f = 4: t[i] = 1 - |i - 3.5| / 4 for i = 0 .. 7, and the kernel is t[i] t[j].
    close(bilinear_kernel(8), load()["bilinear_8"])


@pytest.mark.parametrize("factor", [2, 4, 32])
def test_enlarging_is_the_loops(factor):
    score = random(2, 1, 3, 2, seed=1)
    actual = upsample(score, factor)
    assert actual.shape == (2, 1, 3 * factor, 2 * factor)
    for one, map_ in zip(actual, score, strict=True):
        close(one[0], naive.bilinear_upsample(map_[0].numpy(), factor))


def test_away_from_the_border_enlarging_is_interpolation():
    score = random(1, 1, 14, 14, seed=2)
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    interpolated = functional.interpolate(score, scale_factor=32, mode="bilinear", align_corners=False)
    close(upsample(score, 32)[inner], interpolated[inner])


def test_the_border_fades():
    # The outermost pixel has lost almost half of its value, that of a corner almost three quarters.
    flat = upsample(torch.ones(1, 1, 3, 3, dtype=torch.float64), 32)[0, 0]
    close(flat[48, 0], 0.5 + 1 / 64)
    close(flat[0, 0], (0.5 + 1 / 64) ** 2)
    close(flat[16:-16, 16:-16], torch.ones(64, 64))
