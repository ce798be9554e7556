"""What tests in several rooms need: each notebook's run, made once. At the end, a table: how long each notebook took."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from computed_once import ipython_folder

SHARED = "shared"  # in pytest's own folder: what all its processes use
SECONDS = 300  # far above the minute that a run may take: this machine may be busy

LONG = ("test_collage.py", "test_kill.py")  # besides the notebooks' runs and what is done in JupyterLab


@dataclass(frozen=True)
class Run:
    """A run of a notebook by the command that a user gives, in the profile "smoke". done: exit code and what it said;
    output: the folder of its results."""

    done: subprocess.CompletedProcess
    output: Path
    seconds: float


@pytest.fixture(scope="session")
def ipython(tmp_path_factory) -> Path:
    """The ``IPYTHONDIR`` of every kernel that runs a notebook: what is long in it is computed once in all processes."""
    folder = tmp_path_factory.getbasetemp()
    return ipython_folder((folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder) / SHARED)


def pytest_sessionfinish(session):
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory and not os.environ.get("PYTEST_XDIST_WORKER"):
        shutil.rmtree(factory.getbasetemp() / SHARED, ignore_errors=True)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory, ipython) -> Callable[[Path], Run]:
    """The run of a notebook, made when a test first asks for it. Tests that ask for the same one are in one ``xdist_group``,
    named after the notebook, so that it is not made again in another process."""

    @cache
    def run(path: Path) -> Run:
        folder = tmp_path_factory.mktemp(path.stem)
        output = folder / "out"
        command = [sys.executable, "-m", "co3course.runner", str(path), "--output", str(output), "-p", "profile", "smoke"]
        started = time.perf_counter()
        environment = os.environ | {"IPYTHONDIR": str(ipython)}
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
        )
        return Run(done, output, time.perf_counter() - started)

    return run


def pytest_collection_modifyitems(config, items):
    """Where tests are shared out to several processes, those that take long come first, so that none of them is left alone at
    the end with one process at work. A single process keeps to the order in which one reads the files."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not {"run_of", "lab"} & set(item.fixturenames) and item.path.name not in LONG)


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    seconds = dict(value for report in reports for name, value in getattr(report, "user_properties", []) if name == "notebook")
    if seconds:
        terminalreporter.section("seconds a notebook, with its start, on this machine as busy as it was")
    for name, value in sorted(seconds.items()):
        terminalreporter.write_line(f"{value:7.1f}  {name}")
    if seconds:
        terminalreporter.write_line(f"{sum(seconds.values()):7.1f}  together")
