"""What runs long is killed at random moments, run again to its end, and must come to the same result as undisturbed.

    python tests/kill/kill.py --kills 50            # of each; `make kill`
    python tests/kill/kill.py --kills 5 fit         # a few, of one

Killed are ``fit`` with a checkpoint, an experiment, a sweep, the segmenting of a folder, an export, the run of one
notebook and of several, and the making of a bundled set, with SIGKILL, which nothing can answer. After every kill no file that
is at its place may be torn and no process may run on; after the last run nothing half-written may be left, and every file must
be as after a run that nothing disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
ENDED = 10  # seconds in which all that a killed command has started must have ended

_COMMON = """
import sys
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
SMALL = CoSegConfig(input_size=64, mask_size=64, epochs=6, max_proposals=40, prior_scales=(1.0,), peak_scales=(1.0,))
"""
_FIT = """
from co3lib.segmentation import CoSegmenter
photos = [sample.image_path for sample in demo_set("collage")["cat"][:4]]
CoSegmenter(SMALL).fit(photos, checkpoint=sys.argv[1] + "/training.safetensors").save(sys.argv[1] + "/fitted.safetensors")
"""
_EXPERIMENT = """
from co3lib.experiment import Experiment, run_experiment
small = SMALL.model_copy(update={"epochs": 2})
run_experiment(Experiment(set="collage", classes=("cat", "cup"), photos=2, config=small), sys.argv[1])
"""
_TABLE = """
title: One class
sets: [collage]
classes: [cup]
photos: 2
defaults:
  config:
    {input_size: 64, mask_size: 64, epochs: 2, max_proposals: 40, prior_scales: [1.0], peak_scales: [1.0]}
rows:
  default:
  DDT: {method: ddt}
"""
_SEGMENT = """
from co3cli.segment import segment_folder
from co3lib.datasets.images import fit_within
from co3lib.files import aside
from PIL import Image
from pathlib import Path
folder = Path(sys.argv[1]).with_name("photos")
for k, sample in enumerate(demo_set("coins")["coin"][:4]):
    if not (folder / f"{k}.png").exists():
        with aside(folder / f"{k}.png") as part:
            Image.fromarray(fit_within(sample.image, 120)).save(part, "png")
segment_folder(folder, sys.argv[1], SMALL.model_copy(update={"epochs": 2}), progress=False)
"""
_EXPORT = """
from pathlib import Path
import numpy as np
from PIL import Image
from co3lib.datasets.export import PhotoResult, write_coco, write_overlays
from co3lib.files import aside
from co3lib.instance import Instance
folder, paths, photos = Path(sys.argv[1]), [], []
for k in range(30):
    image = np.random.default_rng(k).integers(0, 256, (300, 400, 3), np.uint8)
    paths.append(folder.with_name(f"{k}.png"))
    with aside(paths[-1]) as part:
        Image.fromarray(image).save(part, "png")
    found = Instance(image[..., 0] > 9, 0.5, (9, 9), (0, 0, 400, 300))
    photos.append(PhotoResult(paths[-1].name, "noise", (300, 400), [found]))
write_overlays(folder / "overlays", photos, paths)
write_coco(folder, photos)
"""
_DEMO_SET = """
import os
os.environ["CO3_DATA"] = sys.argv[1]
demo_set("coins")
"""
_CELLS = """
from co3course.session import Parameters, set_up
run = set_up(Parameters(profile=profile, output=output, seed=seed))
---
import numpy as np
from co3lib.datasets.export import write_coco, write_overlay, PhotoResult
from co3course.session import write_result
from co3lib.instance import Instance
files = []
for k in range(20):
    image = np.random.default_rng(k).integers(0, 256, (300, 400, 3), np.uint8)
    mask = image[..., 0] > 9
    files.append(run.file(f"overlays/{k}.png"))
    write_overlay(files[-1], image, [Instance(mask, 0.5, (9, 9), (0, 0, 400, 300))])
---
write_result(run, data="noise", synthetic=True, numbers={"files": len(files)}, files=files)
"""


def _python(code: str) -> Callable[[Path], list[str]]:
    return lambda folder: [sys.executable, "-c", _COMMON + code, str(folder)]


def _notebooks(folder: Path, count: int) -> Path:
    """A folder with small notebooks, beside the work folder."""
    books = folder.parent / f"notebooks-{count}"
    for k in range(count if not books.is_dir() else 0):
        parameters = 'profile: str = "smoke"\noutput: str = "."\nseed: int = 0'
        cells = [nbformat.v4.new_markdown_cell(f"# Notebook {k}\n\nIt draws."), nbformat.v4.new_code_cell(parameters)]
        cells[1].metadata.tags = ["parameters"]
        cells += [nbformat.v4.new_code_cell(cell.strip()) for cell in _CELLS.split("---")]
        book = nbformat.v4.new_notebook(cells=cells)
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        books.mkdir(exist_ok=True)
        nbformat.write(book, books / f"{k}.ipynb")
    return books


def _notebook(folder: Path) -> list[str]:
    return [sys.executable, "-m", "co3course.runner", str(_notebooks(folder, 1) / "0.ipynb"), "--output", str(folder)]


def _sweep(folder: Path) -> list[str]:
    table = folder.parent / "two.yaml"
    table.write_text(_TABLE)
    return [sys.executable, "-m", "co3cli.main", "sweep", str(table), "--out", str(folder), "--workers", "1"]


def _notebooks_run(folder: Path) -> list[str]:
    return [sys.executable, "-m", "co3course.run_all", str(_notebooks(folder, 2)), "--output", str(folder)]


def contents(path: Path) -> object:
    """What a whole file holds, without what no two runs have in common. An error if the file is torn."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.size, hashlib.sha256(image.tobytes()).hexdigest()
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            values = {key: file.get_tensor(key).numpy().tobytes() for key in sorted(file.keys())}
            return hashlib.sha256(repr((values, sorted((file.metadata() or {}).items()))).encode()).hexdigest()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return [cell["source"] for cell in json.loads(text)["cells"] if "injected" not in str(cell["metadata"])]
    if path.suffix == ".html":
        assert text.rstrip().endswith("</html>"), f"{path} is torn"
        return path.name
    value = json.loads(text)
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if key != "seconds"}
    return value


TARGETS = {
    "fit": _python(_FIT),
    "experiment": _python(_EXPERIMENT),
    "sweep": _sweep,
    "segment": _python(_SEGMENT),
    "export": _python(_EXPORT),
    "notebook": _notebook,
    "notebooks": _notebooks_run,
    "demo_set": _python(_DEMO_SET),
}
"""What is killed: its command for a folder to work in."""


def snapshot(folder: Path, parts: bool) -> dict[str, object]:
    """Every file of a folder and what it holds; ``parts``: whether half-written ones may lie aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if re.search(r"(^|/)\.co3-[^/]*\.part(/|$)", name):
            assert parts, f"{path} is left over"
        elif path.is_file():
            found[name] = contents(path)
    return found


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_killed(command: list[str], seconds: float) -> float | None:
    """Run a command and kill it after so many seconds: None, or how long it took if it had ended by itself before."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    known: dict[int, psutil.Process] = {}
    until = started + seconds
    try:
        while process.poll() is None:
            known |= {one.pid: one for one in family(psutil.Process(process.pid))}
            if time.monotonic() >= until:
                break
            time.sleep(min(0.02, max(0.0, until - time.monotonic())))
    finally:
        process.kill()
    took = None if process.wait() == -signal.SIGKILL else time.monotonic() - started
    until = time.monotonic() + ENDED
    while time.monotonic() < until and any(map(runs, known.values())):
        time.sleep(0.02)
    left = [one for one in known.values() if runs(one)]
    assert not left, f"still running {ENDED} s after the kill: {left}"
    return took


def run_whole(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command to its end: the seconds until the first file was in the folder, and until the end."""
    started, first = time.monotonic(), None
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                if first is None and any(path.is_file() for path in folder.rglob("*")):
                    first = time.monotonic() - started
                time.sleep(0.02)
        finally:
            process.kill()
        said.seek(0)
        assert process.returncode == 0, f"{command} failed:\n{said.read()[-2000:]}"
    seconds = time.monotonic() - started
    return first or seconds, seconds


def survive(name: str, kills: int, work: Path, rng: random.Random, chain: int = 3) -> tuple[int, int]:
    """Kill a target ``kills`` times, up to ``chain`` times on the way to one result. Returns how many kills there were, and
    how many results were compared."""
    command = TARGETS[name]
    whole = work / name / "whole"
    whole.mkdir(parents=True)
    first, seconds = run_whole(command(whole), whole)
    expected = snapshot(whole, parts=False)
    assert expected, f"{name} leaves no file"
    done = results = 0
    while done < kills:
        folder = work / name / f"run-{results}"
        folder.mkdir()
        for k in range(rng.randint(1, min(chain, kills - done))):
            # Half of the moments lie where something is written: much of the time goes by before.
            moment = rng.uniform(*rng.choice([(0.05 * seconds, 1.1 * seconds), (0.8 * first, 1.1 * seconds)]))
            took = run_killed(command(folder), moment)
            if took is None:
                done += 1
            elif not k:  # the machine was busier when it was measured
                first, seconds = first * took / seconds, took
            snapshot(folder, parts=True)
        run_whole(command(folder), folder)
        found = snapshot(folder, parts=False)
        for file in sorted({*expected, *found}):
            assert _located(expected.get(file), whole) == _located(found.get(file), folder), f"{folder / file} differs"
        results += 1
        shutil.rmtree(folder)
        print(f"{name}: {done} of {kills} kills, {results} equal results", flush=True)
    return done, results


def _located(value: object, folder: Path) -> str:
    return repr(value).replace(str(folder), "<folder>")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill what runs long at random moments.")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--kills", type=int, default=50, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs and the work folder go, too
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    for name in options.targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="co3-kill-") as work:
            kills, results = survive(name, options.kills, Path(work), random.Random(f"{options.seed} {name}"))
        print(f"{name}: survived {kills} kills; {results} results equal to the undisturbed one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
