"""Where is quality lost, stage by stage?

    python benchmarks/diagnosis.py [--root PATH] [--sets NAME ...] [--config default|released] [--prior single|ddt|classifier]

For every class: recall of the proposals at IoU 0.5; share of the instances hit by a peak and of the peaks that are on an
instance; then AP^r at 0.25 / 0.5 of the method, and of the method with one stage replaced by a perfect one: one peak in
every instance; the perfect choice among the same proposals at our own peaks; the true union of instances as co-saliency.
Masks are used here to measure, never by the method.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import pandas as pd
import torch
from common import every_set
from measure import ClassRun
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.config import CoSegConfig
from co3lib.datasets.images import resize_nearest
from co3lib.inference import ScalePeaks, heat_maps
from co3lib.model import CoPeakNet
from co3lib.overlap import mask_iou
from co3lib.ranking import mask_nms
from co3lib.segmentation import CoSegmenter
from co3lib.selection import Candidates, choose_masks, finish


def cells_at(masks: torch.Tensor, cells: torch.Tensor, grid) -> torch.Tensor:
    """Which peaks are on which instances: masks (G, H, W), cells (Q, 2) of a grid -> (G, Q) bool."""
    rows, columns = (((cells[:, k] + 0.5) * masks.shape[1 + k] / grid[k]).long() for k in range(2))
    return masks[:, rows, columns]


def perfect_cells(masks: torch.Tensor, grid) -> torch.Tensor:
    """One cell in every instance: the one that lies deepest in it, (G, 2)."""
    share = torch.nn.functional.interpolate(masks[:, None].float(), grid, mode="area")[:, 0]
    best = share.flatten(1).argmax(1)
    return torch.stack([best // grid[1], best % grid[1]], 1)


def perfect_peaks(model: CoPeakNet, found: ScalePeaks, masks: torch.Tensor, config: CoSegConfig) -> ScalePeaks:
    """The same scale with one peak in every instance."""
    cells = perfect_cells(masks, found.grid)
    heat = heat_maps(model, found.view.activations, cells, config, tuple(found.view.saliency.shape))
    return replace(found, cells=cells, heat=heat)


def perfect_choice(ranker, masks: torch.Tensor, at: torch.Tensor, size) -> Candidates:
    """Every peak on an instance takes the proposal that fits the instance best; its IoU is its score."""
    everything = ranker.masks(torch.arange(len(ranker.members)))
    ious = mask_iou(everything, resize_nearest(masks, size))
    chosen, scores = [], []
    for peak in range(at.shape[1]):
        for instance in torch.nonzero(at[:, peak]).flatten().tolist():
            chosen.append(ious[:, instance].argmax())
            scores.append(ious[:, instance].max())
    if not chosen:
        return Candidates(everything[:0], torch.zeros(0), torch.zeros(0, 2, dtype=torch.long))
    picked, scores = everything[torch.stack(chosen)], torch.stack(scores)
    kept = mask_nms(picked, scores)
    return Candidates(picked[kept], scores[kept], torch.zeros(len(kept), 2, dtype=torch.long))


def diagnose(samples, config: CoSegConfig) -> dict[str, float | list[float]]:
    """One row of the table: shares, and for every way of segmenting its AP25 and AP50."""
    run = ClassRun(samples, config)
    segmenter = CoSegmenter(config)
    segmenter.fit_prepared(run.work, progress=False)
    config = segmenter.config
    ways: dict[str, list[Candidates]] = {key: [] for key in ("ours", "perfect peaks", "perfect choice", "perfect co-saliency")}
    recall, hit, on, peaks, instances = [], 0, 0, 0, 0
    for image, proposals, masks in zip(run.work, run.proposals, run.masks, strict=True):
        size, model, ranker = image.pixels.shape[:2], segmenter.model, proposals.ranker
        seen = segmenter.peaks_at_scales(image)
        at = torch.cat([cells_at(masks, scale.cells, scale.grid) for scale in seen], 1)
        hit, on = hit + int(at.any(1).sum()), on + int(at.any(0).sum())
        peaks, instances = peaks + at.shape[1], instances + len(masks)
        best = mask_iou(ranker.masks(torch.arange(len(ranker.members))), resize_nearest(masks, size)).amax(0)
        recall.append(best > 0.5)
        true_saliency = resize_nearest(masks.any(0)[None], size)[0].float()
        informed = [replace(scale, view=replace(scale.view, saliency=true_saliency)) for scale in seen]
        ways["ours"].append(choose_masks(seen, proposals, config))
        placed = [perfect_peaks(model, scale, masks, config) for scale in seen]
        ways["perfect peaks"].append(choose_masks(placed, proposals, config))
        ways["perfect choice"].append(perfect_choice(ranker, masks, at, size))
        ways["perfect co-saliency"].append(choose_masks(informed, proposals, config))
    row: dict[str, float | list[float]] = {
        "proposal recall": float(torch.cat(recall).float().mean()),
        "instances hit": hit / max(instances, 1),
        "peaks on one": on / max(peaks, 1),
    }
    sizes = [image.size for image in run.work]
    for name, candidates in ways.items():
        # The noise filter drops the worst fifth; a perfect choice has nothing to drop.
        settings = config if name != "perfect choice" else config.model_copy(update={"noise_percentile": 0.0})
        measures = run.measures(finish(candidates, sizes, settings), 0.0)
        row[name] = [measures["AP25"], measures["AP50"]]
    return row


def shown(value: float | list[float]) -> str:
    """A cell of the table: a share as it is, AP25 / AP50 in percent."""
    return f"{value:.2f}" if isinstance(value, float) else " / ".join(f"{100 * part:.0f}" for part in value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--config", choices=["default", "released"], default="default")
    parser.add_argument("--prior", choices=["single", "ddt", "classifier"])
    arguments = parser.parse_args()
    config = CoSegConfig() if arguments.config == "default" else CoSegConfig.released()
    if arguments.prior:
        config = config.model_copy(update={"prior": arguments.prior})
    rows = {}
    for set_name, category, samples in tqdm(every_set(arguments.root), desc="classes", unit="class"):
        if not arguments.sets or set_name in arguments.sets:
            rows[set_name, category] = diagnose(samples, config)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["set", "class"])
    print(markdown(table.map(shown)))


if __name__ == "__main__":
    main()
