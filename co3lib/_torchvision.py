"""Make ``import torchvision`` work beside a torch build that its compiled operators were not linked to.

torchvision registers Python ("meta") versions of its operators at import and fails where the compiled
library that declares them could not be loaded, as happens with a CPU build of torch beside the CUDA build of
torchvision. Declaring the operators is all that the import needs; models, transforms and datasets then work,
the compiled operators themselves (``nms``, ``roi_align``) do not, and co3lib uses none of them.

Import this module before ``torchvision`` or ``timm``.
"""

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# The library object must outlive the import: its destruction would take the declarations back.
_library = None

try:
    import torchvision
except (RuntimeError, ImportError) as error:
    if "torchvision" not in str(error):
        raise
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _library.define(_operator + _SIGNATURE)
    import torchvision  # noqa: F401
