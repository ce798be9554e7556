"""All notebooks of a folder, run one after another, with the seconds that each took.

    python -m co3course.run_all notebooks --output results/notebooks

A notebook that fails does not keep the others from being run; the exit code says at the end whether all is well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from co3lib.files import make_folder, path_of, print_anything

from .headless import spare_grammar
from .runner import NotebookError, run_notebook


@dataclass(frozen=True)
class NotebookRun:
    """A notebook that was run: its file, the seconds from start to end, and why it failed, if so."""

    path: Path
    seconds: float
    failure: str = ""


def find(folder: Path) -> list[Path]:
    """The notebooks of a folder, and the solutions after them."""
    found = [*sorted(folder.glob("*.ipynb")), *sorted((folder / "solutions").glob("*.ipynb"))]
    return [path for path in found if path.name[0] != "."]


def run_all(paths: Sequence[Path], output: Path) -> Iterator[NotebookRun]:
    """Run notebooks in the profile "smoke", each into a folder of its name in ``output``."""
    for path in paths:
        started, failure = time.perf_counter(), ""
        try:
            run_notebook(path, output / path.stem, {"profile": "smoke"})
        except (ValueError, NotebookError, OSError) as error:
            failure = str(error)
        yield NotebookRun(path, time.perf_counter() - started, failure)


def table(runs: Sequence[NotebookRun]) -> str:
    """What came of each notebook: its seconds, its name, and "failed" where it did."""
    lines = [f"{run.seconds:7.1f} s  {run.path.stem}{'  FAILED' if run.failure else ''}" for run in runs]
    return "\n".join([*lines, f"{sum(run.seconds for run in runs):7.1f} s  together"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m co3course.run_all", description="Run all notebooks of a folder.")
    parser.add_argument("notebooks")
    parser.add_argument("--output", required=True, help="folder for what the notebooks leave")
    options = parser.parse_args(arguments)
    print_anything()
    spare_grammar()
    runs = []
    try:
        paths = find(path_of(options.notebooks, "notebooks"))
        if not paths:
            raise ValueError(f"{options.notebooks} must be a folder with notebooks, got one with none")
        output = make_folder(options.output, "output")
        if any(output.samefile(path.absolute().parent) for path in paths):
            raise ValueError(f"output must be another folder than the notebooks' own, got {output}")
        for number, run in enumerate(run_all(paths, output), start=1):
            runs.append(run)
            print(f"{number}/{len(paths)} {run.path.stem}: {run.failure or f'{run.seconds:.1f} s'}", flush=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(runs))
    return int(any(run.failure for run in runs))


if __name__ == "__main__":
    sys.exit(main())
