"""How long does the first ``make demo`` take, once everything is installed, and where does the time go?

    python benchmarks/first_demo.py [--rounds 3]

The command that ``make demo`` runs, in a copy of the checkout, three times a round:

* *first*: as the installation leaves it. The packages are compiled, for pip does that; the copy is not, the bundled sets are
  not made, and matplotlib and IPython have no folders of their own yet.
* *again*: the same once more.
* *nothing compiled*: first again, in another copy, and Python finds no compiled file of any package either (an empty
  ``PYTHONPYCACHEPREFIX``), as where pip was told not to compile.

papermill writes into the executed notebook when it and every cell began and how long each took; what lies between are the
starts of the processes. What is measured is the environment whose Python runs this. A processor's seconds say how much of the
time others had the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
from measure import put_between
from tqdm import tqdm

from co3cli.markdown import markdown

_ROOT = Path(__file__).parents[1]
_PARTS = ("co3lib", "co3course", "co3cli", "notebooks", "data")
_NOTEBOOK = Path("notebooks", "00_quickstart.ipynb")
_SLOWEST = 5
REACH = 25.0
"""Seconds that the first time may take."""
_Spans = dict[str, float]


def copy_checkout(folder: Path) -> None:
    """What the demo needs of the checkout, without anything that an earlier run has left."""
    for part in _PARTS:
        shutil.copytree(_ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "cache"))


def run(copy: Path, scratch: Path, compiled: bool) -> _Spans:
    """Run the demo in a copy; what it leaves outside goes into ``scratch``. Seconds by part, as ``parts`` says."""
    own = {"MPLCONFIGDIR": "matplotlib", "IPYTHONDIR": "ipython", "CO3_DATA": "sets"}
    environment = {**os.environ, **{name: str(scratch / folder) for name, folder in own.items()}, "PYTHONPATH": str(copy)}
    environment.pop("PYTHONPYCACHEPREFIX", None)
    if not compiled:
        environment["PYTHONPYCACHEPREFIX"] = str(scratch / "compiled")
    output = scratch / "output"
    command = [sys.executable, "-m", "co3course.runner", str(_NOTEBOOK), "-p", "profile", "smoke", "--output", str(output)]
    began, before = time.time(), _processor()
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    ended, after = time.time(), _processor()
    if done.returncode:
        raise SystemExit(f"the demo ended with {done.returncode}: {done.stderr.strip()}")
    spans = parts(json.loads((output / _NOTEBOOK.name).read_text(encoding="utf-8")), began, ended)
    return {"all": spans.pop("all"), "of a processor": after - before, **spans}


def _processor() -> float:
    """The processors' seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts(book: dict, began: float, ended: float) -> _Spans:
    """Where the seconds between ``began`` and ``ended`` went, of an executed notebook; they add up to the first of them."""
    whole = book["metadata"]["papermill"]
    cells = [cell["metadata"]["papermill"] | {"source": "".join(cell["source"])} for cell in book["cells"]]
    timed = [cell for cell in cells if cell.get("start_time")]
    first, start, end = _moment(timed[0]["start_time"]), _moment(whole["start_time"]), _moment(whole["end_time"])
    spans = {
        "all": ended - began,
        "until papermill begins: the runner, the process of papermill, their imports": start - began,
        "the kernel starts": first - start,
    }
    slowest = sorted(timed, key=lambda cell: -cell["duration"])[:_SLOWEST]
    for cell in timed:
        if cell in slowest:
            spans[f"cell `{_title(cell['source'])}`"] = cell["duration"]
    spans["all other cells"] = end - first - sum(cell["duration"] for cell in slowest)
    spans["after the last cell: the kernel ends, the page is made"] = ended - end
    return spans


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _title(source: str) -> str:
    """A cell's first line that is no comment."""
    lines = [line.strip() for line in source.splitlines()]
    return next((line for line in lines if line and not line.startswith(("#", "%"))), "empty")[:60]


def table(rounds: dict[str, list[_Spans]]) -> pd.DataFrame:
    """Medians over the rounds, a column for each kind of run and a row for each part."""
    columns = {}
    for kind, runs in rounds.items():
        names = dict.fromkeys(name for spans in runs for name in spans)
        columns[kind] = {name: statistics.median(spans.get(name, 0.0) for spans in runs) for name in names}
    found = pd.DataFrame(columns).rename_axis("seconds")
    # A cell may be among the slowest of one run only.
    last = [name for name in found.index if name.startswith(("all other", "after"))]
    return found.loc[[name for name in found.index if name not in last] + last].map("{:.1f}".format).replace("nan", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default="results/first-demo.md")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        raise SystemExit(f"--rounds must be at least 1, got {arguments.rounds}")
    rounds: dict[str, list[_Spans]] = {"first": [], "again": [], "nothing compiled": []}
    for _ in tqdm(range(arguments.rounds), desc="rounds"):
        with tempfile.TemporaryDirectory() as folder:
            one, other = Path(folder, "one"), Path(folder, "other")
            for kind, copy, compiled in (("first", one, True), ("again", one, True), ("nothing compiled", other, False)):
                if not copy.exists():
                    copy_checkout(copy / "checkout")
                rounds[kind].append(run(copy / "checkout", copy, compiled))
                tqdm.write(f"{kind}: {rounds[kind][-1]['all']:.1f} s")
    spread = {kind: ", ".join(f"{spans['all']:.1f}" for spans in runs) for kind, runs in rounds.items()}
    every = "; ".join(f"{kind} {values}" for kind, values in spread.items())
    text = f"{markdown(table(rounds))}\n\nSeconds of every round: {every}. Reach: first, {REACH:g} s.\n"
    put_between(arguments.output, text)
    print(text)


if __name__ == "__main__":
    main()
