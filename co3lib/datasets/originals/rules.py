"""Which photos and instances of a public data set are taken.

The paper says how many classes, photos and instances its sets have (Table 1), and not by which rule they were collected, from
which split, or which classes they are. So the defaults are ours: everything that is annotated, one instance a photo or more, of
any size, in classes with at least two photos, because the method looks for what photos have in common.

Shape letters: H W image size, G instances.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...checks import choice


class Rules(BaseModel):
    """Unknown names and impossible values are errors before anything is read.

    Attributes
    ----------
    classes : some of the original's classes, by its own names; None: all that the kind of set stands for.
    split : which part of the original; None: the one that its module names.
    minimum_instances : of its class that a photo shows at least. Photos with fewer are left out.
    minimum_area : share of the photo that an instance covers at least. A smaller one gets no mask and is not counted.
    minimum_photos : that a class has at least. Classes with fewer are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    split: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    minimum_instances: Annotated[int, Field(ge=1)] = 1
    minimum_area: Annotated[float, Field(ge=0, lt=1)] = 0.0
    minimum_photos: Annotated[int, Field(ge=2)] = 2

    @field_validator("classes")
    @classmethod
    def _are_different(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError(f"each must be named once, got {', '.join(classes)}")
        return classes

    def wanted(self, names: Collection[str]) -> set[str]:
        """Which of an original's classes are taken.

        Raises
        ------
        ValueError : for a class that is not among ``names``.
        """
        return {choice(name, "a class", sorted(names)) for name in self.classes or names}

    def kept(self, masks: np.ndarray) -> np.ndarray | None:
        """Those of the masks (G, H, W) of one class in one photo that are large enough; None if they are too few."""
        area = masks.mean((1, 2)) if masks.size else np.zeros(len(masks))
        masks = masks[(area > 0) & (area >= self.minimum_area)]
        return masks if len(masks) >= self.minimum_instances else None
