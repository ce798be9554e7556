"""What the caller has set in torch, put aside while the library works, so that its results do not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """A context, and a decorator, in which new tensors are of single precision and on the CPU, and no autocast is on. A GPU
    convolves in single precision, as the CPU does, and always in the same order.

    It holds whatever ``torch.set_default_dtype``, ``torch.set_default_device`` and ``torch.autocast`` say outside. Tensors that
    are given keep their type and device.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.cuda.is_available():
            stack.enter_context(torch.autocast("cuda", enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False))
        yield


@contextmanager
def with_gradients() -> Iterator[None]:
    """``torch_defaults`` in which gradients are computed, also where the caller is within ``torch.no_grad`` or
    ``torch.inference_mode``.
    """
    with torch_defaults(), torch.inference_mode(False), torch.enable_grad():
        yield
