"""What each part of the method brings, on the bundled sets and on any others.

    python benchmarks/measure.py [--root PATH] [--seeds 3] [--sets NAME ...] [--output results/measure]

Rows: connected components of the prior (no peaks, no proposals); the untrained network (prior, peaks, ranking); each
combination of losses; peaks from co-peaks; ranking without co-saliency; all of it with the prior of a single photo and with
the DDT prior. Masks are chosen by the paper's ranking, at one scale, in every row; what the default does beyond the paper
is measured by past_the_paper.py. Columns: AP^r at 0.25 and 0.5, CorLoc, seconds a photo (fit and predict), mean over classes
of the mean over seeds, +- the standard deviation over seeds of that mean. Every class is kept in a file of its own under
``--output`` when done, and a run that was stopped goes on with the classes that are left. The tables are printed and put
into the README.md beside that folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
import torch
from common import every_set
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.beyond.baselines import connected_components
from co3lib.beyond.category_priors import category_priors
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.evaluation import area_under, best_box, mask_boxes, match, overlaps, precision_recall
from co3lib.evaluation import measures as measures_of
from co3lib.files import make_folder, write_text
from co3lib.inference import prepare
from co3lib.instance import masks_of
from co3lib.segmentation import CoSegmenter
from co3lib.selection import finish, prepare_proposals

LOSSES = {"ls": (0, 0), "ls + lt": (1, 0), "ls + la": (0, 1), "ls + lt + la": (1, 1)}
PRIORS = ("single", "ddt")
BEGIN, END = "<!-- printed by the command -->", "<!-- end of what was printed -->"
COMPONENTS, UNTRAINED, ALL = "components of the prior", "untrained", "ls + lt + la"
SIZES = {"under 1 %": (0.0, 0.01), "1 to 10 %": (0.01, 0.1), "over 10 %": (0.1, 1.0)}
"""Shares of its photo that an instance covers."""
READINGS = {
    "": {"peak_source": "score"},
    ", peaks from co-peaks": {"peak_source": "copeak"},
    ", ranked without co-saliency": {"peak_source": "score", "rank_with_saliency": False},
}


def average_precision_of_size(ious, scores, areas, limits: tuple[float, float], iou: float) -> float:
    """AP of the instances whose share of their photo is within ``limits`` (above the first, at most the second), by COCO's
    rule: a detection that covers an instance of another size, or covers none and is of another size itself, does not count.

    ious, scores: lists over images of (M, G) and (M,); areas: of pairs (M,), (G,), the shares of detections and truth.
    """
    low, high = limits
    rights, counted, instances = [], [], 0
    for matrix, values, (found, truth) in zip(ious, scores, areas, strict=True):
        of_size = (truth > low) & (truth <= high)
        right = match(matrix[:, of_size], values, iou)
        elsewhere = (matrix[:, ~of_size] > iou).any(1) | (found <= low) | (found > high)
        kept = right | ~elsewhere
        rights.append(right[kept])
        counted.append(values[kept].double())
        instances += int(of_size.sum())
    return area_under(*precision_recall(torch.cat(rights), torch.cat(counted), instances)) if instances else float("nan")


class ClassRun:
    """One class: what is the same for every row is computed once."""

    def __init__(self, samples: list[Sample], config: CoSegConfig):
        self.config = config
        self.samples = samples
        self.masks = [sample.masks for sample in samples]
        self.boxes = [mask_boxes(masks) for masks in self.masks]
        started = time.perf_counter()
        self.work = [prepare(sample.image_path, config, k) for k, sample in enumerate(samples)]
        self.proposals = [
            prepare_proposals(image, config, sample.proposals) for image, sample in zip(self.work, samples, strict=True)
        ]
        self.shared_seconds = time.perf_counter() - started

    def measures(self, instances, seconds: float) -> dict[str, float]:
        ious, scores = overlaps(instances, self.masks)
        areas = [
            [each.flatten(1).float().mean(1) for each in (masks_of(found, tuple(truth.shape[1:])), truth)]
            for found, truth in zip(instances, self.masks, strict=True)
        ]
        measures = {
            **measures_of(ious, scores, [best_box(found) for found in instances], self.boxes),
            "s a photo": seconds / len(self.samples),
        }
        for size, limits in SIZES.items():
            for name, iou in (("AP25", 0.25), ("AP50", 0.5)):
                measures[f"{name}, {size}"] = average_precision_of_size(ious, scores, areas, limits, iou)
        return measures

    def components(self, priors: torch.Tensor, seconds: float) -> dict[str, float]:
        started = time.perf_counter()
        found = [
            connected_components(torch.nn.functional.interpolate(prior[None], image.size, mode="bilinear")[0, 0])
            for prior, image in zip(priors, self.work, strict=True)
        ]
        return self.measures(found, seconds + time.perf_counter() - started)

    def segment(self, fitted: CoSegmenter, seconds: float, **changes) -> dict[str, float]:
        segmenter = fitted.with_settings(**changes)
        started = time.perf_counter()
        candidates = [segmenter.candidates(*pair) for pair in zip(self.work, self.proposals, strict=True)]
        instances = finish(candidates, [image.size for image in self.work], segmenter.config)
        return self.measures(instances, seconds + time.perf_counter() - started)


def measure_class(samples: list[Sample], seeds: int) -> list[dict]:
    """All rows of one class: a list of records with method, prior, seed and the measures."""
    torch.set_num_threads(1)
    base = CoSegConfig(ranking="released", peak_scales=(1.0,), group_peaks=False, refine_masks=False)
    run = ClassRun(samples, base)
    rows = []

    def note(method: str, prior: str, seed: int, measures: dict[str, float]) -> None:
        rows.append({"method": method, "prior": prior, "seed": seed, **measures})

    for prior in PRIORS:
        started = time.perf_counter()
        targets = category_priors(run.work, base.model_copy(update={"prior": prior}), progress=False)
        prior_seconds = time.perf_counter() - started
        note(COMPONENTS, prior, 0, run.components(targets, prior_seconds))
        for seed in range(seeds):
            for method, (copeak, affinity) in {UNTRAINED: (0, 0), **LOSSES}.items():
                if method == UNTRAINED and seed:
                    continue  # nothing in it is random
                config = base.model_copy(
                    update={
                        "prior": prior,
                        "seed": seed,
                        "epochs": 0 if method == UNTRAINED else base.epochs,
                        "copeak_weight": base.copeak_weight * copeak,
                        "affinity_weight": base.affinity_weight * affinity,
                    }
                )
                fitted = CoSegmenter(config)
                started = time.perf_counter()
                fitted.fit_prepared(run.work, list(targets[:, 0]), progress=False)
                seconds = time.perf_counter() - started + run.shared_seconds + prior_seconds
                for reading, changes in (READINGS if method in (UNTRAINED, ALL) else {"": READINGS[""]}).items():
                    note(method + reading, prior, seed, run.segment(fitted, seconds, **changes))
    return rows


def _job(set_name: str, category: str, samples: list[Sample], seeds: int, path: Path) -> None:
    rows = measure_class(samples, seeds)
    text = json.dumps({"set": set_name, "class": category, "photos": len(samples), "seeds": seeds, "rows": rows}, indent=1)
    write_text(path, text)


def read_rows(folder: Path) -> pd.DataFrame:
    """All the class files of a folder as one table, a row for every method, prior, seed and class."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        head = {key: content[key] for key in ("set", "class", "photos")}
        rows += [{**head, **row} for row in content["rows"]]
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over classes, a row for every set, method and prior: ``mean +- spread over seeds`` in percent."""
    values = ["AP25", "AP50", "CorLoc", "s a photo"]
    order = [[*dict.fromkeys(rows[key])] for key in ("set", "prior", "method")]
    by_seed = rows.groupby(["set", "prior", "method", "seed"], sort=False)[values].mean()
    grouped = by_seed.groupby(["set", "prior", "method"], sort=False)
    mean, spread = grouped.mean(), grouped.std().fillna(0)
    table = pd.DataFrame(index=mean.index)
    for key in values[:3]:
        table[key] = [f"{100 * m:.1f} +- {100 * s:.1f}" for m, s in zip(mean[key], spread[key], strict=True)]
    table["s a photo"] = mean["s a photo"].map("{:.2f}".format)
    return table.reindex(pd.MultiIndex.from_product(order, names=table.index.names)).dropna()


def by_class(rows: pd.DataFrame) -> pd.DataFrame:
    """AP25 / AP50 / CorLoc in percent, mean over seeds, of every class and method."""
    mean = rows.groupby(["set", "class", "prior", "method"], sort=False)[["AP25", "AP50", "CorLoc"]].mean() * 100
    joined = mean.apply(lambda row: f"{row.AP25:.0f} / {row.AP50:.0f} / {row.CorLoc:.0f}", axis=1)
    return joined.unstack(["set", "class"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout, measured beside the bundled ones")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", default="results/measure")
    arguments = parser.parse_args()
    arguments.output = make_folder(arguments.output, "--output")
    jobs = [
        (set_name, category, samples, arguments.seeds, arguments.output / f"{set_name}-{category}.json")
        for set_name, category, samples in every_set(arguments.root, bundled=True)
        if not arguments.sets or set_name in arguments.sets
    ]
    left = [job for job in jobs if not job[-1].exists()]
    with ProcessPoolExecutor(arguments.processes) as pool:
        running = [pool.submit(_job, *job) for job in left]
        for done in tqdm(as_completed(running), total=len(running), desc="classes", unit="class"):
            done.result()
    rows = read_rows(arguments.output)
    text = f"{markdown(summary(rows))}\n\nAP25 / AP50 / CorLoc by class:\n\n{markdown(by_class(rows).T)}\n"
    put_between(arguments.output.parent / "README.md", text)
    print(text)


def put_between(page: Path, text: str) -> None:
    """Replace what stands between the two markers of a page; a page without them gets both at its end."""
    before, begun, rest = page.read_text(encoding="utf-8").partition(BEGIN) if page.exists() else ("", "", "")
    _, ended, after = rest.partition(END)
    if begun and not ended:
        raise SystemExit(f"{page} must have {END!r} after {BEGIN!r}, or neither; it was left as it is")
    write_text(page, f"{before}{BEGIN}\n{text}{END}{after}")


if __name__ == "__main__":
    main()
