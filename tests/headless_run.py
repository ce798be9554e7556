"""A notebook run by the command that a user gives; a notebook with solutions run in a kernel that has run others.

What the command does is tested on every notebook that a reader begins with. Of solutions only the answers are of interest, and
most of the time that they would take by themselves is a kernel's start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

SECONDS = 300  # far above the minute that a run may take: this machine may be busy


@dataclass(frozen=True)
class Run:
    """A run of a notebook in the profile "smoke". output: the folder of its results; done: exit code and what it said, if
    it was a command."""

    output: Path
    seconds: float
    done: subprocess.CompletedProcess | None = None


def run_headless(path: Path, folder: Path, ipython: Path) -> Run:
    """Run a notebook in a folder; ipython: the kernel's ``IPYTHONDIR``."""
    output = folder / "out"
    command = [sys.executable, "-m", "co3course.runner", str(path), "--output", str(output), "-p", "profile", "smoke"]
    environment = os.environ | {"IPYTHONDIR": str(ipython)}
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    return Run(output, time.perf_counter() - started, done)


def run_in(kernel: AsyncKernelManager, path: Path, folder: Path) -> Run:
    """Run a notebook's cells in a kernel, which goes on with what it has in memory; it is started with the first one. An error
    in a cell is raised."""
    output = folder / "out"
    started = time.perf_counter()
    book = parameterize_notebook(load_notebook_node(str(path)), {"profile": "smoke", "output": str(output)})
    NotebookClient(book, km=kernel, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(book, output / path.name)
    return Run(output, time.perf_counter() - started)
