"""Does anything pile up in a process that goes on for long?

    python benchmarks/soak.py [--minutes 10] [--limit 30]

Rounds of fit, predict and a small sweep with one worker, each in a folder of its own that is removed, until time is up.
After every round: resident memory and open files of this process, its threads and its children. The first round loads what is
loaded once and does not count; after that the memory may grow by ``--limit`` MB, and the number of open files not at all. Ends
with 1 where either has grown. Open files are file descriptors, so this runs on Linux and macOS.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import torch
from measure import put_between
from tqdm import tqdm

from co3cli.markdown import markdown
from co3cli.sweep import sweep
from co3cli.table import Table
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.segmentation import CoSegmenter

_SMALL = {"input_size": 128, "mask_size": 128, "epochs": 1, "max_proposals": 100}
_PHOTOS = 4


class Round(NamedTuple):
    """After a round: minutes since the start, and what this process has."""

    minutes: float
    megabytes: float
    files: int
    threads: int
    children: int


def one_round(folder: Path) -> None:
    """Fit, predict and a sweep of one row over one class, all of them small."""
    ((_, samples),) = demo_set("coins").items()
    photos = [sample.image_path for sample in samples[:_PHOTOS]]
    CoSegmenter(CoSegConfig(**_SMALL)).fit(photos, progress=False).save(folder / "fitted.safetensors")
    CoSegmenter.load(folder / "fitted.safetensors").predict(photos, progress=False)
    table = Table(title="Soak", sets=("coins",), photos=2, rows={"default": {"config": _SMALL}})
    record = sweep("soak", table, folder / "sweep", workers=1, progress=False, say=lambda sentence: None)
    if record.failed:
        raise SystemExit(f"the sweep failed: {'; '.join(record.failed.values())}")


def note(started: float) -> Round:
    """What this process has now."""
    gc.collect()
    process = psutil.Process()
    minutes = (time.monotonic() - started) / 60
    children = len(process.children(recursive=True))
    return Round(minutes, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads(), children)


def slope(rounds: Sequence[Round]) -> float:
    """MB a round, of the straight line through all but the first."""
    counted = [one.megabytes for one in rounds[1:]]
    return float(np.polyfit(range(len(counted)), counted, 1)[0]) if len(counted) > 1 else 0.0


def grown(rounds: Sequence[Round], limit: float) -> list[str]:
    """What has grown from the second round to the last, a sentence each; memory by more than ``limit`` MB."""
    first, last = rounds[1], rounds[-1]
    found = []
    if last.megabytes - first.megabytes > limit:
        found.append(f"memory must grow by at most {limit:g} MB, got {first.megabytes:.0f} MB and then {last.megabytes:.0f}")
    for name, before, after in (("open files", first.files, last.files), ("children", first.children, last.children)):
        if after > before:
            found.append(f"the number of {name} must not grow, got {before} and then {after}")
    return found


def table(rounds: Sequence[Round]) -> str:
    """The first round, the second, the middle one and the last."""
    shown = dict.fromkeys([0, 1, (1 + len(rounds)) // 2, len(rounds) - 1])
    rows = [[k + 1, f"{rounds[k].minutes:.1f}", f"{rounds[k].megabytes:.0f}", *rounds[k][2:]] for k in shown]
    return markdown(
        pd.DataFrame(rows, columns=["round", "minutes", "MB", "open files", "threads", "children"]).set_index("round")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--limit", type=float, default=30, help="MB by which memory may grow after the first round")
    parser.add_argument("--output", type=Path, default="results/soak.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, rounds = time.monotonic(), []
    with tqdm(
        total=arguments.minutes, desc="soaking", unit="min", bar_format="{desc}: {n:.1f} of {total:g} min{postfix}"
    ) as bar:
        # Fewer than two that count say nothing.
        while len(rounds) < 3 or rounds[-1].minutes < arguments.minutes:
            with tempfile.TemporaryDirectory() as folder:
                one_round(Path(folder))
            rounds.append(note(started))
            bar.set_postfix_str(f"round {len(rounds)}, {rounds[-1].megabytes:.0f} MB, {rounds[-1].files} files")
            bar.update(rounds[-1].minutes - bar.n)
    wrong = grown(rounds, arguments.limit)
    said = "Nothing grew beyond its limit." if not wrong else f"Grown: {'; '.join(wrong)}."
    text = f"{table(rounds)}\n\n{len(rounds)} rounds; {slope(rounds):+.2f} MB a round without the first. {said}\n"
    put_between(arguments.output, text)
    print(text)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
