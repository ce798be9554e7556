"""A notebook run by the command that a user gives, or in a kernel that has run others and knows none of their names.

A third of the time that a notebook takes by itself is the start of the command and its kernel, so that only some are run so.
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

from co3course.runner import to_html

BY_COMMAND = ("00_quickstart",)  # notebooks that are run as a user runs one
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


def run_in(kernel: AsyncKernelManager, path: Path, folder: Path, ipython: Path) -> Run:
    """Run a notebook's cells in a kernel, which is started with the first one, without the names that others have left, and
    make its page. An error in a cell is raised."""
    output = folder / "out"
    started = time.perf_counter()
    book = parameterize_notebook(load_notebook_node(str(path)), {"profile": "smoke", "output": str(output)})
    book.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\nimport os\nos.chdir({str(folder)!r})\ndel os"))
    client = NotebookClient(book, km=kernel, timeout=SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | {"IPYTHONDIR": str(ipython)})
    del book.cells[0]
    nbformat.write(book, output / path.name)
    (output / path.name).with_suffix(".html").write_text(to_html(output / path.name), encoding="utf-8")
    return Run(output, time.perf_counter() - started)
