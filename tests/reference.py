"""Inputs and outputs of the DeepCO3 authors' own functions, run on random inputs (tests/authors_code.npz)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

AUTHORS_CODE = Path(__file__).with_name("authors_code.npz")


def load() -> dict[str, torch.Tensor]:
    """Every array of the file; numbers in double precision, masks as bool."""
    with np.load(AUTHORS_CODE) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return {name: value if value.dtype == torch.bool else value.double() for name, value in tensors.items()}


def close(actual, expected) -> None:
    """Equal up to 1e-5, absolute for numbers up to 1 and relative above."""
    actual, expected = (
        torch.as_tensor(actual, dtype=torch.float64),
        torch.as_tensor(expected, dtype=torch.float64),
    )
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
