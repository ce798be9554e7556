"""Files in and out: photos, sets in the authors' layout, the bundled sets, COCO files, overlays, checkpoints."""

from .bundled import DEMO_SETS, cache_folder, demo_set
from .errors import DatasetError
from .layout import Sample, list_photos, read_set, warn_of_left_out

__all__ = ["DEMO_SETS", "DatasetError", "Sample", "cache_folder", "demo_set", "list_photos", "read_set", "warn_of_left_out"]
