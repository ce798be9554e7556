"""How much memory do many camera-sized photos take?

    python benchmarks/memory.py [--counts 10 100] [--megapixels 12]

Peak resident memory at two numbers of photos, and what each further photo adds, of all that takes one photo after another: the
check of the files before anything is computed, fit (without an epoch: one takes the same for any number of photos), predict,
and the export of five made-up instances a photo as overlays and COCO files. The released configuration, which ranks at the
photo's own size, predicts a tenth of the photos, of a sixth of the pixels. Every
peak is that of a process of its own; the first row, where nothing is done, is what the libraries take. The photos are ones of
scikit-image, enlarged, in a temporary folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import put_between
from PIL import Image
from skimage import data
from tqdm import tqdm

from co3cli.markdown import markdown
from co3course.lessons.own_photos import check_photos
from co3lib.config import CoSegConfig
from co3lib.datasets.export import PhotoResult, write_coco, write_overlays
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegmenter

_PICTURES = (data.chelsea, data.coffee, data.rocket, data.astronaut)
_INSTANCES = 5
_SMALLER = 6  # times fewer pixels for what ranks at the photo's own size


def make_photos(folder: Path, count: int, megapixels: float) -> None:
    """Photos of 4 : 3 as a camera would store them. Only a few have to be encoded: what follows the end of a JPEG is no part of
    its picture, and makes another file of it."""
    folder.mkdir()
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    for k, picture in enumerate(_PICTURES[:count]):
        photo = Image.fromarray(picture()).resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
        photo.save(folder / f"{k:04}.jpg", quality=90)
    for k in range(len(_PICTURES), count):
        (folder / f"{k:04}.jpg").write_bytes((folder / f"{k % len(_PICTURES):04}.jpg").read_bytes() + str(k).encode())


def nothing(paths: list[Path], folder: Path) -> None:
    pass


def check(paths: list[Path], folder: Path) -> None:
    check_photos(paths)


def fit(paths: list[Path], folder: Path, config: CoSegConfig) -> None:
    CoSegmenter(config).fit(paths, progress=False).save(folder / f"{config.prior}.safetensors")


def predict(paths: list[Path], folder: Path, config: CoSegConfig) -> None:
    CoSegmenter.load(folder / f"{config.prior}.safetensors").predict(paths, progress=False)


def export(paths: list[Path], folder: Path) -> None:
    y, x = np.ogrid[:336, :448]
    masks = [(y - 160) ** 2 + (x - 80 * k) ** 2 < 30**2 for k in range(1, 1 + _INSTANCES)]
    photos = []
    for path in paths:
        with Image.open(path) as image:
            size = image.size[::-1]
        found = [Instance(mask, 1.0, (160, 80), tight_box(mask), size) for mask in masks]
        photos.append(PhotoResult(path.name, "thing", size, found))
    write_overlays(folder / "overlays", photos, paths)
    write_coco(folder, photos)


def highest() -> float:
    """The peak resident memory of this process until now, in MB."""
    # In kilobytes, on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def peak(what, *arguments) -> float:
    """The peak resident memory of this process, in MB, after that was done in it."""
    torch.set_num_threads(1)
    what(*arguments)
    return highest()


def fresh_processes() -> ProcessPoolExecutor:
    """One process at a time, a new one for each thing, so that none has the memory of another; they begin with the memory that
    this process has, which therefore does nothing large itself."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def measure(counts: list[int], megapixels: float, folder: Path) -> pd.DataFrame:
    """A row for each thing that is done: its two numbers of photos, both peaks in MB, and MB a further photo."""
    ours, released = CoSegConfig(epochs=0), CoSegConfig.released(epochs=0)
    large, small = folder / "large", folder / "small"
    stages = [
        ("nothing", 1, large, nothing, ()),
        ("check_photos", 1, large, check, ()),
        ("fit", 1, large, fit, (ours,)),
        ("predict", 1, large, predict, (ours,)),
        ("fit, released", 1, large, fit, (released,)),
        (f"predict, released, {megapixels / _SMALLER:g} megapixels", 10, small, predict, (released,)),
        ("overlays and COCO files", 1, large, export, ()),
    ]
    rows = {}
    with fresh_processes() as pool:
        pool.submit(make_photos, large, max(counts), megapixels).result()
        pool.submit(make_photos, small, max(max(counts) // 10, 2), megapixels / _SMALLER).result()
        for name, fewer, photos, what, arguments in tqdm(stages, desc="measuring", unit="row"):
            few, many = (max(count // fewer, least) for count, least in zip(counts, (1, 2), strict=True))
            paths = sorted(photos.iterdir())
            first, last = (pool.submit(peak, what, paths[:count], folder, *arguments).result() for count in (few, many))
            rows[name] = [few, round(first), many, round(last), round((last - first) / (many - few), 1)]
            tqdm.write(f"{name}: {rows[name]}")
    columns = ["photos", "MB", "more photos", "MB then", "MB a further photo"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("what is done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[10, 100], help="how many photos, and how many more")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--output", type=Path, default="results/memory.md")
    arguments = parser.parse_args()
    if not 0 < arguments.counts[0] < arguments.counts[1]:
        raise SystemExit(f"--counts must be a number of photos and a larger one, got {arguments.counts}")
    with tempfile.TemporaryDirectory() as folder:
        table = measure(arguments.counts, arguments.megapixels, Path(folder))
    text = f"Photos of {arguments.megapixels:g} megapixels:\n\n{markdown(table)}\n"
    put_between(arguments.output, text)
    print(text)


if __name__ == "__main__":
    main()
