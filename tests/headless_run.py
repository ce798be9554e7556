"""A notebook run by the command that a user gives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300  # far above the minute that a run may take: this machine may be busy


@dataclass(frozen=True)
class Run:
    """A run of a notebook in the profile "smoke". done: exit code and what it said; output: the folder of its results."""

    done: subprocess.CompletedProcess
    output: Path
    seconds: float


def run_headless(path: Path, folder: Path, ipython: Path) -> Run:
    """Run a notebook in a folder; ipython: the kernel's ``IPYTHONDIR``."""
    output = folder / "out"
    command = [sys.executable, "-m", "co3course.runner", str(path), "--output", str(output), "-p", "profile", "smoke"]
    environment = os.environ | {"IPYTHONDIR": str(ipython)}
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    return Run(done, output, time.perf_counter() - started)
