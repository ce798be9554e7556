"""What hypothesis draws for the tests: small tensors full of ties, grids of any proportion, sets of masks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def examples(count: int) -> settings:
    """The same ``count`` examples at every run, without a limit on the time of one."""
    return settings(max_examples=count, derandomize=True, deadline=None, database=None)


def whole_numbers(*sides: st.SearchStrategy[int] | int, low: int = 0, high: int = 3) -> st.SearchStrategy[np.ndarray]:
    """Arrays of whole numbers (as floats), so few of them that ties and plateaus are the rule."""
    shape = st.tuples(*[st.just(side) if isinstance(side, int) else side for side in sides])
    return hnp.arrays(np.float64, shape, elements=st.integers(low, high).map(float))


def masks(count: st.SearchStrategy[int], height: int, width: int) -> st.SearchStrategy[np.ndarray]:
    return count.flatmap(lambda k: hnp.arrays(np.bool_, (k, height, width), elements=st.booleans()))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed, double precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """Between 0 and 1, double precision."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shuffled(*shape: int, seed: int = 0) -> torch.Tensor:
    """Evenly spaced in (0, 1], in random order: no tiny step makes two values change places."""
    count = int(np.prod(shape))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return ((order + 1).double() / count).reshape(shape)
