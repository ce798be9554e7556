"""Memory that is kept for the next use."""

import subprocess
import sys

import pytest

from co3lib.memory import keep_freed_memory

FAULTS = """
import resource, sys, numpy as np
from co3lib.memory import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(2**26, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fill()
print(int(kept), fill())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing happens")
def test_what_is_freed_is_used_again():
    kept, faults = _faults("kept")
    _, usual = _faults("given back")
    assert not kept or 10 * faults < usual


def _faults(how: str) -> tuple[int, int]:
    """Whether memory is kept, and the page faults of a second allocation."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    kept, faults = map(int, done.stdout.split())
    return kept, faults


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
