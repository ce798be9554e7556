"""What the readers of this package raise."""

from __future__ import annotations


class DatasetError(ValueError):
    """A set that cannot be read; the message names the file or folder."""
