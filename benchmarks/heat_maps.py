"""Where should peak back-propagation stop? Down to the image, or at a stage on the way.

    python benchmarks/heat_maps.py [--root PATH] [--sets NAME ...]

For every stage of the backbone: the share of a heat map's positive mass inside the instance that the peak is on, mean over
such peaks; the same for a Gaussian round the peak (a heat map that knows nothing of the photo); milliseconds a peak. The
head is fitted to the category's saliency prior and not trained further. Masks are used here to measure, never by the
method.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch
from common import every_set
from diagnosis import cells_at
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.config import CoSegConfig
from co3lib.datasets.images import resize_nearest
from co3lib.inference import find_peaks, prepare, run_network
from co3lib.peak_backprop import peak_response_maps
from co3lib.segmentation import CoSegmenter

_GAUSSIAN = "Gaussian round the peak"


def gaussians(cells: torch.Tensor, grid, size: int) -> torch.Tensor:
    """(Q, size, size): deviation an eighth of the image, as wide as a middling instance."""
    axis = torch.arange(size)
    centre = (cells + 0.5) * torch.tensor([size / grid[0], size / grid[1]])
    rows, columns = ((axis - centre[:, k, None]).square() / (2 * (size / 8) ** 2) for k in range(2))
    return torch.exp(-rows[:, :, None] - columns[:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--photos", type=int, default=4, help="how many photos a class at most")
    arguments = parser.parse_args()
    config = CoSegConfig(epochs=0)
    rows = []
    for set_name, _, samples in tqdm(every_set(arguments.root), desc="classes", unit="class"):
        if arguments.sets and set_name not in arguments.sets:
            continue
        work = [prepare(sample.image_path, config, k) for k, sample in enumerate(samples)]
        segmenter = CoSegmenter(config)
        segmenter.fit_prepared(work, progress=False)
        for image, sample in list(zip(work, samples, strict=True))[: arguments.photos]:
            output = run_network(segmenter.model, image, segmenter.config).output
            cells = find_peaks(output, segmenter.config, segmenter.partners)
            masks = resize_nearest(sample.masks, (config.input_size, config.input_size))
            grid = tuple(output.score.shape[2:])
            at = cells_at(masks, cells, grid)
            cells, owner = cells[at.any(0)], at.int().argmax(0)[at.any(0)]
            if not len(cells):
                continue
            for stop in [None, *segmenter.model.backbone.stage_names, _GAUSSIAN]:
                started = time.perf_counter()
                if stop == _GAUSSIAN:
                    maps = gaussians(cells, grid, config.input_size)
                else:
                    maps = peak_response_maps(segmenter.model, image.tensor, cells, stop)
                milliseconds = 1000 * (time.perf_counter() - started) / len(cells)
                maps = maps.clamp_min(0)
                inside = (maps * masks[owner]).sum((1, 2)) / maps.sum((1, 2)).clamp_min(1e-12)
                rows += [(set_name, stop or "the image", float(share), milliseconds) for share in inside]
    table = pd.DataFrame(rows, columns=["set", "stopped at", "inside", "ms a peak"])
    shares = table.pivot_table(index="stopped at", columns="set", values="inside", sort=False).round(3)
    shares["ms a peak"] = table.groupby("stopped at", sort=False)["ms a peak"].median().round(1)
    print(f"{len(table) // table['stopped at'].nunique()} peaks\n\n{markdown(shares)}")


if __name__ == "__main__":
    main()
