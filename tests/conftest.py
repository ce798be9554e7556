"""What tests in several rooms need: each notebook's run, made once, and networks that are built once. At the end, a table:
how long each notebook took."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from jupyter_client import AsyncKernelManager

from co3course.headless import spare_grammar

spare_grammar()  # seconds for each process; before nbformat is imported, as by headless_run

if TYPE_CHECKING:
    from headless_run import Run

SHARED = "shared"  # in pytest's own folder: what all its processes use
STARTUP = """
import sys
sys.path.append({tests!r})
import computed_once
computed_once.install({results!r})
sys.path.remove({tests!r})
del sys, computed_once
"""

# What takes long, in the order in which it is begun: what a notebook's run has computed is used when JupyterLab runs it.
LONG = (
    "test_kill.py",
    "test_notebooks.py",
    "test_every_topic.py",
    "test_true_prose.py",
    "test_widgets_in_jupyterlab.py",
    "test_collage.py",
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder for all processes of these tests, removed at their end."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder) / SHARED
    folder.mkdir(exist_ok=True)
    return folder


def pytest_sessionfinish(session):
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory and not os.environ.get("PYTEST_XDIST_WORKER"):
        shutil.rmtree(factory.getbasetemp() / SHARED, ignore_errors=True)


@pytest.fixture(scope="session")
def ipython(shared) -> Path:
    """The ``IPYTHONDIR`` of every kernel that runs a notebook, in which ``computed_once`` is at work."""
    folder = shared / "ipython"
    startup = folder / "profile_default" / "startup" / "use_results.py"
    with FileLock(shared / "ipython.lock"):
        startup.parent.mkdir(parents=True, exist_ok=True)
        startup.write_text(STARTUP.format(tests=str(Path(__file__).parent), results=str(shared / "results")))
    return folder


@pytest.fixture(scope="session")
def kernel(ipython) -> Iterator[AsyncKernelManager]:
    """The kernel in which this process runs notebooks, one after the other."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        asyncio.run(manager.shutdown_kernel(now=True))


@pytest.fixture(scope="session")
def run_of(shared, ipython, kernel) -> Callable[[Path], Run]:
    """The run of a notebook, made when a test of any process first asks for it."""
    from headless_run import BY_COMMAND, run_headless, run_in

    def run_once(path: Path) -> Run:
        folder = shared / "runs" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "run.pickle"
        with FileLock(folder / "run.lock"):
            if not kept.is_file():
                run = run_headless(path, folder, ipython) if path.stem in BY_COMMAND else run_in(kernel, path, folder, ipython)
                kept.write_bytes(pickle.dumps(run))
        return pickle.loads(kept.read_bytes())

    return run_once


@pytest.fixture(scope="session")
def built_networks() -> dict:
    """What builds each kind of network for ``co3lib.segmentation``, from the second time on by copying. Building takes longer
    than all else in a fit of small photos."""
    from co3lib import segmentation  # not before: the mutation run changes modules before they are imported

    def copied(build):
        once = cache(build)
        return lambda *arguments: deepcopy(once(*arguments))

    return {name: copied(getattr(segmentation, name)) for name in ("build_backbone", "build_both")}


@pytest.fixture(scope="module")
def networks_built_once(built_networks):
    from co3lib import segmentation

    with pytest.MonkeyPatch.context() as patch:
        for name, build in built_networks.items():
            patch.setattr(segmentation, name, build)
        yield


def pytest_collection_modifyitems(config, items):
    """Where tests are shared out to several processes, those that take long come first, so that none of them is left alone at
    the end with one process at work. A single process keeps to the order in which one reads the files."""
    if hasattr(config, "workerinput"):
        rank = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    seconds = dict(value for report in reports for name, value in getattr(report, "user_properties", []) if name == "notebook")
    if seconds:
        terminalreporter.section("seconds a notebook, with its start, on this machine as busy as it was")
    for name, value in sorted(seconds.items()):
        terminalreporter.write_line(f"{value:7.1f}  {name}")
    if seconds:
        terminalreporter.write_line(f"{sum(seconds.values()):7.1f}  together")
