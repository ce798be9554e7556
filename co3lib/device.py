"""Where networks compute: on a GPU where torch has one, else on the CPU.

The network, its training and the way back of peaks are what takes long, and compute there. What goes in and what comes out, and
all that follows the heat maps, is on the CPU.
"""

from __future__ import annotations

import torch


def device_of(name: str | torch.device | None) -> torch.device:
    """The device of a name.

    Parameters
    ----------
    name : "cpu", "cuda" or "cuda:1" and the like; None: "cuda" where torch has a GPU, else "cpu".

    Raises
    ------
    ValueError : for any other name, and for a GPU that is not there.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        known = device.type in ("cpu", "cuda")
    except (RuntimeError, TypeError):
        known = False
    if not known:
        raise ValueError(f'device must be "cpu", "cuda" or "cuda:N", got {name!r}')
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device must be one that this machine has, got {name!r}; torch sees {count} GPUs")
    return device
