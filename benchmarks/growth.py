"""How do time and memory grow: with photos, their pixels, peaks, proposals, and the pairs of co-peaks?

    python benchmarks/growth.py [--only photos pixels peaks proposals copeaks]

Each row is one thing at growing sizes, in a process of its own of one thread: median seconds of the processor, which others on
the machine change little, and the peak resident memory above what the process had when its libraries were loaded. The sizes
rise, so the peak after each is that of the largest until then. An
exponent is the slope of the logarithms (``numpy.polyfit``): 1 is in proportion, 2 the square, 0 flat; "last" is that of the
last two sizes alone, where a constant part weighs least. What takes hours at the default's sizes is measured at small ones; the
tables say at which. The photos are ones of scikit-image, resized, in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_heat_maps import network_and_cells
from bench_suppression import ellipses
from measure import put_between
from memory import fit, fresh_processes, highest, make_photos, predict
from skimage import data
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.beyond.region_ranking import RegionRanker
from co3lib.config import CoSegConfig
from co3lib.datasets.images import resize_image, resize_nearest
from co3lib.inference import find_peaks, heat_maps, prepare
from co3lib.peaks import copeak_votes
from co3lib.proposals import propose_regions
from co3lib.ranking import mask_nms, rank_proposals
from co3lib.segmentation import CoSegmenter

# Sizes that rise.
PHOTOS = (10, 100, 1000)
MEGAPIXELS = (0.25, 1, 4, 12, 48)
PEAKS = (2, 4, 8, 16, 32, 64)
PROPOSALS = (125, 250, 500, 1000, 2000)
SETS = (10, 40, 160, 640)  # where co-peaks are searched for
_SMALL = {"input_size": 64, "mask_size": 64, "max_proposals": 50, "peak_scales": (1.0,)}  # about a hundredth of the cost
_MEGAPIXELS = 0.3  # of a photo where it is their number that grows
_FIRST = {"peak_scales": (1.0,)}
_SHOWN, _SIZE = 8, (240, 320)  # peaks and pixels where proposals grow
_CHANNELS, _GRID, _PARTNERS = 192, 14, 8  # features of EfficientNet-Lite0 at 448 pixels
_GRIDS = sorted(side // 32 for side in CoSegConfig().peak_sizes)
_LEAST, _MOST = 1.0, 5  # seconds after which nothing is measured again, and calls at most
_MANY = 1000  # photos of the set that is counted and not run
Setup = Callable[[Any], Callable[[], object]]


class Grown(NamedTuple):
    """Of every size: seconds, and MB above what the libraries take."""

    seconds: list[float]
    megabytes: list[float]


Measure = Callable[[Setup, Sequence[float]], Grown]


def grow(setup: Setup, sizes: Sequence[float]) -> Grown:
    """Measure ``setup(size)()`` at rising sizes in this process; what ``setup`` itself does is not timed."""
    torch.set_num_threads(1)
    before = highest()
    setup(sizes[0])()
    found = Grown([], [])
    for size in sizes:
        call = setup(size)
        spans: list[float] = []
        while not spans or (sum(spans) < _LEAST and len(spans) < _MOST):
            started = time.process_time()
            call()
            spans.append(time.process_time() - started)
        found.seconds.append(statistics.median(spans))
        found.megabytes.append(highest() - before)
    return found


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power of the sizes that the values grow with: the slope of their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def rows_of(what: str, sizes: Sequence[float], found: Grown) -> list[list]:
    """The two rows of a thing: seconds and MB at every size, the exponent, and that of the last two sizes."""
    rows = []
    # Nothing has no logarithm, and less than a MB cannot be told from nothing.
    for unit, values in (("s", found.seconds), ("MB", [max(value, 1.0) for value in found.megabytes])):
        if not values:
            continue
        cells = [f"{value:.3g}" if unit == "s" else f"{value:.0f}" for value in values]
        powers = [f"{exponent(sizes, values):.2f}", f"{exponent(sizes[-2:], values[-2:]):.2f}"]
        rows.append([f"{what}, {unit}", *cells, *powers])
    return rows


def table(sizes: Sequence[float], rows: Sequence[Sequence[str]], grows: str) -> str:
    """Rows of ``rows_of`` as a table; "-" at the sizes at which a thing was not measured, the largest."""
    full = [[*row[:-2], *["-"] * (len(sizes) + 3 - len(row)), *row[-2:]] for row in rows]
    names = [grows, *(f"{size:g}" for size in sizes), "exponent", "last"]
    return markdown(pd.DataFrame(full, columns=names).set_index(grows))


def fit_set(folder: Path, config: CoSegConfig, count: int) -> Callable[[], object]:
    return partial(fit, sorted((folder / "set").iterdir())[:count], folder, config)


def predict_set(folder: Path, config: CoSegConfig, count: int) -> Callable[[], object]:
    return partial(predict, sorted((folder / "set").iterdir())[:count], folder, config)


def read_photo(folder: Path, megapixels: float) -> Callable[[], object]:
    return partial(prepare, folder / f"{megapixels:g}" / "0000.jpg", CoSegConfig())


def predict_photo(folder: Path, fitted: str, changes: dict, megapixels: float) -> Callable[[], object]:
    segmenter = CoSegmenter.load(folder / fitted / "single.safetensors").with_settings(**changes)
    return partial(segmenter.predict, [folder / f"{megapixels:g}" / "0000.jpg"], progress=False)


def heat(stage: str | None, count: int) -> Callable[[], object]:
    model, activations, cells = network_and_cells(stage)
    return partial(heat_maps, model, activations, cells[:count], CoSegConfig(heat_map_stage=stage), (336, 448))


def made(count: int) -> Callable[[], object]:
    return partial(propose_regions, resize_image(data.coffee(), _SIZE), count)


def ranked(every_kind: bool, count: int) -> Callable[[], object]:
    """The superpixels are a photo's, which of them make a proposal is drawn: a photo may have fewer than are asked for."""
    generator = torch.Generator().manual_seed(0)
    labels = resize_nearest(propose_regions(resize_image(data.coffee(), _SIZE), 10).labels[None], _SIZE)[0]
    members = torch.rand(count, int(labels.max()) + 1, generator=generator) < 0.05
    maps, saliency = torch.rand(_SHOWN, *_SIZE, generator=generator), torch.rand(_SIZE, generator=generator)
    if every_kind:
        return partial(rank_proposals, maps, saliency, members[:, labels])
    return lambda: RegionRanker(labels, members).terms(maps, saliency).score()


def suppressed(count: int) -> Callable[[], object]:
    masks = torch.from_numpy(ellipses(count, *_SIZE))
    return partial(mask_nms, masks, torch.rand(count, generator=torch.Generator().manual_seed(0)))


def votes(grid: int) -> Callable[[], object]:
    """Of one photo at one scale with ``_PARTNERS`` others at the first."""
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(1, _CHANNELS, grid, grid, generator=generator)
    return partial(copeak_votes, own, torch.rand(_PARTNERS, _CHANNELS, _GRID, _GRID, generator=generator))


def with_partners(folder: Path, most: int | None, whole: bool, count: int) -> Callable[[], object]:
    """``predict`` of one photo of a set of ``count``, or its search for peaks alone. The network is that of a small set, and so
    are the partners, again and again, each with a little noise: the cost is the same, and none is the photo itself."""
    segmenter = CoSegmenter.load(folder / "first" / "single.safetensors").with_settings(peak_source="copeak")
    kept = min(count, most or count)
    partners = segmenter.partners.repeat(-(-kept // len(segmenter.partners)), 1, 1, 1)[:kept]
    segmenter.partners = partners + 0.01 * torch.rand(partners.shape, generator=torch.Generator().manual_seed(0))
    photo = sorted((folder / "set").iterdir())[0]
    if whole:
        return partial(segmenter.predict, [photo], progress=False)
    output = segmenter.peaks_at(prepare(photo, segmenter.config)).view.output
    return partial(find_peaks, output, segmenter.config, segmenter.partners)


def photos(folder: Path, measure: Measure) -> str:
    make = fit_set, predict_set
    found = [measure(partial(setup, folder, CoSegConfig(**_SMALL, epochs=1)), PHOTOS) for setup in make]
    rows = [row for what, grown in zip(("fit", "predict"), found, strict=True) for row in rows_of(what, PHOTOS, grown)]
    return f"Photos of a set, of {_MEGAPIXELS} megapixels, `{_said(_SMALL)}, epochs=1`:\n\n{table(PHOTOS, rows, 'photos')}\n"


def pixels(folder: Path, measure: Measure) -> str:
    own_size = MEGAPIXELS[:-1]
    measured = {
        "read, and resize for the default": (MEGAPIXELS, partial(read_photo, folder)),
        "predict, small settings": (MEGAPIXELS, partial(predict_photo, folder, "small", {})),
        "predict, default": (MEGAPIXELS, partial(predict_photo, folder, "default", {})),
        "predict, small settings, `mask_size=None`": (own_size, partial(predict_photo, folder, "small", {"mask_size": None})),
    }
    rows = [row for what, (sizes, setup) in measured.items() for row in rows_of(what, sizes, measure(setup, sizes))]
    return f"Pixels of one photo; small settings: `{_said(_SMALL)}`:\n\n{table(MEGAPIXELS, rows, 'megapixels')}\n"


def peaks(folder: Path, measure: Measure) -> str:
    stages = {"heat maps, stopped at the middle stage": "middle", "heat maps, down to the image": None}
    rows = [row for what, stage in stages.items() for row in rows_of(what, PEAKS, measure(partial(heat, stage), PEAKS))]
    return f"Peaks of one photo, 448 x 448, enlarged to 336 x 448:\n\n{table(PEAKS, rows, 'peaks')}\n"


def proposals(folder: Path, measure: Measure) -> str:
    measured: dict[str, Setup] = {
        "making them": made,
        f"default ranking, {_SHOWN} peaks": partial(ranked, False),
        f"ranking of any masks (Eq. 7), {_SHOWN} peaks": partial(ranked, True),
        "suppression of as many masks": suppressed,
    }
    rows = [row for what, setup in measured.items() for row in rows_of(what, PROPOSALS, measure(setup, PROPOSALS))]
    height, width = _SIZE
    return f"Proposals of one photo of {height} x {width}:\n\n{table(PROPOSALS, rows, 'proposals')}\n"


def copeaks(folder: Path, measure: Measure) -> str:
    cells = [grid**2 for grid in _GRIDS]
    of_pairs = measure(votes, _GRIDS)
    pair = Grown([one / _PARTNERS for one in of_pairs.seconds], of_pairs.megabytes)
    text = (
        f"One pair, the other photo's grid of {_GRID} x {_GRID}:\n\n{table(cells, rows_of('a pair', cells, pair), 'cells')}\n\n"
    )
    most = CoSegConfig().max_partners
    rows = []
    for partners, name in ((None, "all photos kept"), (most, f"`max_partners={most}`")):
        search, whole = (measure(partial(with_partners, folder, partners, full), SETS) for full in (False, True))
        of_set = [count * one for count, one in zip(SETS, search.seconds, strict=True)]
        rows.append(rows_of(f"{name}: search for the peaks of a photo", SETS, search)[0])
        rows += rows_of(f"{name}: predict a photo", SETS, whole)
        rows += rows_of(f"{name}: search, all photos of the set", SETS, Grown(of_set, []))
    text += f"One scale, 448 pixels, prior of single photos:\n\n{table(SETS, rows, 'photos of the set')}\n\n"
    return (
        text
        + f"{_MANY} photos at 448 pixels, by arithmetic from the seconds a pair above:\n\n{markdown(counted(pair.seconds))}\n"
    )


def counted(seconds_a_pair: Sequence[float]) -> pd.DataFrame:
    """What a set of ``_MANY`` costs: each photo is compared with every partner that is kept, at every scale.

    seconds_a_pair : at each of ``_GRIDS``.
    """
    sides = [32 * grid for grid in _GRIDS]
    rows = {}
    for scales, name in ((1, "448 alone"), (len(sides), "the default's, " + ", ".join(map(str, sides)))):
        of_pair = sum(seconds_a_pair[sides.index(side)] for side in (CoSegConfig().peak_sizes[:1] if scales == 1 else sides))
        for kept in (_MANY, CoSegConfig().max_partners or _MANY):
            pairs = _MANY * kept - kept  # a photo is no partner of its own
            megabytes = kept * _CHANNELS * _GRID**2 * 4 / 1e6
            hours = pairs * of_pair / 3600
            rows[name, kept] = [
                f"{pairs:,}",
                f"{1000 * of_pair:.3g}",
                f"{kept * of_pair:.3g}",
                f"{hours:.2g}",
                f"{megabytes:.0f}",
            ]
    names = ["pairs", "ms a pair, all scales", "s a photo", "hours the set", "MB of kept partners"]
    found = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    found.index = pd.MultiIndex.from_tuples(rows, names=["scales", "partners kept"])
    return found


def _said(settings: dict) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def make_all(folder: Path, only: Sequence[str]) -> None:
    """The photos and the fitted networks that the parts in ``only`` need, in ``folder``."""
    if "pixels" in only:
        for megapixels in MEGAPIXELS:
            make_photos(folder / f"{megapixels:g}", 1, megapixels)
    if {"photos", "pixels", "copeaks"} & set(only):
        make_photos(folder / "set", max(PHOTOS) if "photos" in only else 4, _MEGAPIXELS)
    some = sorted((folder / "set").iterdir())[:4] if (folder / "set").is_dir() else []
    first = {"epochs": 0, "prior": "single"}
    for name, part, changes in (("small", "pixels", _SMALL), ("default", "pixels", {}), ("first", "copeaks", _FIRST)):
        if part in only:
            (folder / name).mkdir()
            fit(some, folder / name, CoSegConfig(**{**first, **changes}))


SECTIONS = {"photos": photos, "pixels": pixels, "peaks": peaks, "proposals": proposals, "copeaks": copeaks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="some of the tables")
    parser.add_argument("--output", type=Path, default="results/growth.md")
    arguments = parser.parse_args()
    texts = []
    with tempfile.TemporaryDirectory() as name, fresh_processes() as pool:
        folder = Path(name)
        pool.submit(make_all, folder, arguments.only).result()
        for section in tqdm(arguments.only, desc="measuring", unit="table"):
            texts.append(SECTIONS[section](folder, lambda *given: pool.submit(grow, *given).result()))
            tqdm.write(texts[-1])
    put_between(arguments.output, "\n".join(texts))


if __name__ == "__main__":
    main()
