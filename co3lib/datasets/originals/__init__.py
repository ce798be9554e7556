"""Public data sets as they are published, read photo by photo: VOC 2012, COCO, SOC, Penn-Fudan, VIA.

Each module yields ``Photo``s, which ``write`` puts into the authors' layout. ``rules`` says which are taken.
"""

from .photos import LeftOut, Photo
from .rules import Rules
from .write import Built, write_set

__all__ = ["Built", "LeftOut", "Photo", "Rules", "write_set"]
