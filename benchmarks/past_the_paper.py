"""What our default does beyond the released method, change by change, against the rivals.

    python benchmarks/past_the_paper.py [--root PATH] [--seeds 3] [--processes 2] [--output results/past-the-paper]

Every class, part (ours, the rivals, the released configuration) and seed is kept in a file of its own under ``--output``, and a
run that was stopped goes on with what is left; seeds come in turn, so that every class has its first before any has its
second. From the files the page ``--output``.md is written: the configurations, the ladder of changes, each with its gain and
its cost, the rivals, by size of the thing and by class, the half of the classes on which settings were chosen apart from the
half on which they were not; where quality is lost (see diagnosis.py; first seed); and with ``--gallery`` the photos of the
bundled sets where the default does worst. What is written by hand in the page, outside its two markers, is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import every_set
from diagnosis import diagnose, shown
from measure import SIZES, ClassRun, put_between
from PIL import Image
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.beyond.category_priors import category_priors
from co3lib.beyond.methods import rival
from co3lib.config import CoSegConfig
from co3lib.datasets.export import overlay
from co3lib.files import aside, make_folder, write_text
from co3lib.instance import Instance
from co3lib.overlap import mask_iou, tight_box
from co3lib.segmentation import CoSegmenter
from co3lib.selection import choose_masks, finish

# Of the real classes; a class of which two sets hold photos is named with its set.
CHOSEN_ON = {"bicycle", "bowl", "car", "cow", "dried_fruit", "boat", "diningtable", "mug", "pedestrian", ("LARGE", "person")}
ORDINARY = ["LARGE", "PETS_MUGS", "STREET"]
OURS, RELEASED, COMPONENTS = "default", "released", "components of the default's prior"
ONE_SCALE = {"peak_scales": (1.0,), "group_peaks": False, "level_sets": False, "refine_masks": False}
LADDER = {
    "one scale, ranked by fit and contrast": ONE_SCALE,
    "+ six scales": {"group_peaks": False, "level_sets": False, "refine_masks": False},
    "+ groups of peaks": {"level_sets": False, "refine_masks": False},
    "+ parts of the co-saliency": {"refine_masks": False},
    f"+ refined masks = {OURS}": {},
}
UNTRAINED = "default, untrained"
RIVALS = ("DDT", "DFF")
VALUES = ["AP25", "AP50", "AP75", "CorLoc", "fit", "predict"]


def measure_class(samples, seed: int, part: str) -> list[dict]:
    """The rows of one class and seed, those of one part: "ours", "released" or "rivals". Seconds are the processor's."""
    torch.set_num_threads(1)
    base = CoSegConfig.released(seed=seed) if part == "released" else CoSegConfig(seed=seed)
    started = time.process_time()
    run = ClassRun(samples, base)
    shared = time.process_time() - started
    rows, fitted, maps = [], {}, {}

    def note(name: str, measures: dict, fit: float, predict: float) -> None:
        each = {"fit": fit / len(samples), "predict": predict / len(samples)}
        found = {key: value for key, value in measures.items() if key != "s a photo"}
        rows.append({"method": name, "seed": seed, **found, **each})

    def predict(name: str, segmenter: CoSegmenter, fit_seconds: float, seen: tuple) -> None:
        photos, seconds = seen
        started = time.process_time()
        config = segmenter.config
        candidates = [choose_masks(*pair, config) for pair in zip(photos, run.proposals, strict=True)]
        instances = finish(candidates, [image.size for image in run.work], config)
        note(name, run.measures(instances, 0.0), fit_seconds, time.process_time() - started + seconds + shared)

    def timed_peaks(segmenter: CoSegmenter) -> tuple[list, float]:
        """The peaks of every photo at every scale, and the seconds they took."""
        started = time.process_time()
        photos = [segmenter.peaks_at_scales(image) for image in run.work]
        return photos, time.process_time() - started

    for name, changes in {"ours": LADDER, "released": {RELEASED: {}}, "rivals": {}}[part].items():
        config = base.model_copy(update=changes)
        # What is decided after training needs no other training, what is decided after the heat maps no others.
        trained = config.model_copy(update={"ranking": "fit_contrast", **ONE_SCALE, "peak_scales": base.peak_scales})
        if trained not in fitted:
            first, started = CoSegmenter(trained), time.process_time()
            first.fit_prepared(run.work, progress=False)
            fitted[trained] = first, time.process_time() - started
        first, seconds = fitted[trained]
        segmenter = first.with_settings(**{key: getattr(config, key) for key in ("ranking", *ONE_SCALE)})
        key = trained, config.peak_scales
        if key not in maps:
            maps[key] = timed_peaks(segmenter)
        predict(name, segmenter, seconds, maps[key])
    if part == "ours" and seed == 0:
        started = time.process_time()
        priors = category_priors(run.work, base, progress=False)
        note(COMPONENTS, run.components(priors, 0.0), time.process_time() - started, 0.0)
    if part == "rivals":
        ours, started = CoSegmenter(base.model_copy(update={"epochs": 0})), time.process_time()
        ours.fit_prepared(run.work, progress=False)
        predict(UNTRAINED, ours, time.process_time() - started, timed_peaks(ours))
        for name in RIVALS:
            started = time.process_time()
            bare = CoSegmenter(base.model_copy(update={"epochs": 0, "init_head": False}))
            bare.fit_prepared(run.work, [torch.full(image.pixels.shape[:2], 0.5) for image in run.work], progress=False)
            bare.certainty = ours.certainty  # what each scale counts is the default's
            segmenter = rival(name.lower(), bare, [image.tensor for image in run.work])
            predict(name, segmenter, time.process_time() - started, timed_peaks(segmenter))
    return rows


def read_rows(folder: Path) -> pd.DataFrame:
    """All the files of a folder as one table, a row for every method, seed and class."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return pd.DataFrame([{**row, "set": file["set"], "class": file["class"]} for file in contents for row in file["rows"]])


def groups(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The classes put together: bundled sets, each set, and the two halves of the real classes."""
    real = ~rows["set"].isin(["collage", "coins"])
    pairs = zip(rows["set"], rows["class"], strict=True)
    chosen = real & np.array([category in CHOSEN_ON or (name, category) in CHOSEN_ON for name, category in pairs], bool)
    ordinary = rows["set"].isin(ORDINARY)
    named = {name: rows[rows["set"] == name] for name in dict.fromkeys(rows["set"]) if name not in ORDINARY}
    halves = {"settings chosen on": chosen, "kept apart": real & ~chosen, "all": real}
    parts = {f"ordinary photos, {name}": rows[ordinary & half] for name, half in halves.items()}
    parts |= named | {f"small things, {name}": rows[real & ~ordinary & half] for name, half in halves.items()}
    return {name: part for name, part in parts.items() if len(part)}


def summary(rows: pd.DataFrame, values=VALUES[:2]) -> pd.DataFrame:
    """Method by group: mean over classes of the mean over seeds, +- the deviation over seeds of the mean over classes."""
    columns = {f"{name} ({_classes(part)})": _means(part, values) for name, part in groups(rows).items()}
    return pd.DataFrame(columns).rename_axis("method").reindex(_order(rows)).fillna("")


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Method by size of the thing, of ordinary photos and of those of small things: AP25 / AP50, means over the classes that
    hold things of that size."""
    columns = {}
    for name, part in groups(rows).items():
        if not name.endswith(", all"):
            continue
        for size in SIZES:
            values = [f"{key}, {size}" for key in VALUES[:2]]
            holding = part.dropna(subset=values)
            if len(holding):
                columns[f"{name.removesuffix(', all')}: {size} of the photo ({_classes(holding)})"] = _means(holding, values)
    return pd.DataFrame(columns).rename_axis("method").reindex(_order(rows)).fillna("")


def _means(part: pd.DataFrame, values: list[str]) -> dict[str, str]:
    """A text for every method: the means of the values over classes, with what is missing."""
    part = part.assign(of=[f"{name}/{category}" for name, category in part[["set", "class"]].values])
    by_seed = part.groupby(["method", "seed"], sort=False)[values].mean()
    mean = part.groupby(["method", "of"], sort=False)[values].mean().groupby("method", sort=False).mean()
    complete = part.groupby(["method", "seed"], sort=False)["of"].nunique()
    spread = by_seed[complete == part["of"].nunique()].groupby("method", sort=False).std()
    counts, everything = part.groupby("method")["of"].nunique(), part["of"].nunique()
    return {
        method: " / ".join(f"{100 * row[key]:.1f}" + _deviation(spread, method, key) for key in values)
        + (f" ({counts[method]} of them)" if counts[method] < everything else "")
        for method, row in mean.iterrows()
    }


def _classes(rows: pd.DataFrame) -> str:
    count = len(rows[["set", "class"]].drop_duplicates())
    return f"{count} class{'es' * (count > 1)}"


def _deviation(spread: pd.DataFrame, method: str, key: str) -> str:
    value = spread[key].get(method, np.nan)
    return "" if np.isnan(value) else f" +- {100 * value:.1f}"


def _order(rows: pd.DataFrame) -> list[str]:
    known = [RELEASED, COMPONENTS, *RIVALS, *LADDER, UNTRAINED]
    return [name for name in known if name in set(rows["method"])]


def by_class(rows: pd.DataFrame) -> pd.DataFrame:
    """AP25 / AP50 / AP75 / CorLoc of every class for both configurations and the components, mean over seeds, and the number
    of seeds."""
    ours = list(LADDER)[-1]
    kept = rows[rows["method"].isin([RELEASED, ours, COMPONENTS, *RIVALS])]
    mean = kept.groupby(["set", "class", "method"], sort=False)[VALUES[:4]].mean() * 100
    table = mean.apply(lambda row: " / ".join(f"{row[key]:.0f}" for key in VALUES[:4]), axis=1).unstack()
    table = table[[name for name in _order(kept)]].fillna("")
    table["seeds of ours"] = rows[rows["method"] == ours].groupby(["set", "class"])["seed"].nunique()
    return table


def diagnosis(folder: Path) -> pd.DataFrame:
    """Where quality is lost before and after the changes: group and time by stage, means over classes."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows = pd.DataFrame(
        [
            {"set": file["set"], "class": file["class"], "when": when, **row}
            for file in contents
            for when, row in file["rows"].items()
        ]
    )
    table = {}
    for name, part in groups(rows).items():
        for when, same in part.groupby("when", sort=False):
            table[f"{name} ({_classes(part)})", when] = {
                key: shown(np.stack(same[key]).mean(0).tolist()) for key in rows.columns[3:]
            }
    return pd.DataFrame(table).T.rename_axis(["classes", "when"])


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Processor seconds a photo, median over classes and seeds."""
    return rows.groupby("method")[VALUES[4:]].median().reindex(_order(rows)).round(2)


def gallery(folder: Path) -> list[str]:
    """The photo of each bundled class in which the default misses most, truth beside what was found; lines for the page."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for set_name, category, samples in every_set(None):
        photos = [sample.image for sample in samples]
        found = CoSegmenter(CoSegConfig()).fit(photos, progress=False).predict(photos, progress=False)
        share = []
        for sample, instances in zip(samples, found, strict=True):
            best = instances[: len(sample.masks)]
            masks = torch.stack([torch.from_numpy(instance.mask) for instance in best]) if best else sample.masks[:0]
            share.append(float((mask_iou(masks, sample.masks) > 0.5).any(0).float().mean()) if best else 0.0)
        worst = int(np.argmin(share))
        sample, best = samples[worst], found[worst][: len(samples[worst].masks)]
        truth = [Instance(mask.numpy(), 1.0, (0, 0), tight_box(mask.numpy())) for mask in sample.masks]
        path = folder / f"{set_name}-{category}.png"
        sides = [overlay(photos[worst], instances) for instances in (truth, best)]
        with aside(path) as part:
            Image.fromarray(np.concatenate(sides, 1)).save(part, format="png")
        text = f"{category}, {sample.name}: {100 * share[worst]:.0f} % of {len(truth)} instances at IoU 0.5"
        lines.append(
            f"![True masks and the {len(best)} best detections of {sample.name}](past-the-paper/{path.name})\n\n*{text}; "
            f"left the truth, right as many of the best detections.*\n"
        )
    return lines


def _job(set_name: str, category: str, samples, seed: int, part: str, path: Path) -> None:
    rows = measure_class(samples, seed, part)
    _write(path, {"set": set_name, "class": category, "photos": len(samples), "rows": rows})


def _diagnosis_job(set_name: str, category: str, samples, path: Path) -> None:
    """Before: one scale; after: the default."""
    torch.set_num_threads(1)
    rows = {"before": diagnose(samples, CoSegConfig(**ONE_SCALE)), "after": diagnose(samples, CoSegConfig())}
    _write(path, {"set": set_name, "class": category, "rows": rows})


def _write(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout, measured beside the bundled ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--released-seeds", type=int, help="seeds of the released configuration, which takes longest")
    parser.add_argument("--parts", nargs="*", choices=["ours", "released", "rivals"], default=["ours", "rivals", "released"])
    parser.add_argument("--classes", nargs="*", help="only these classes, the page still being of all that was measured")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", default="results/past-the-paper")
    parser.add_argument("--page-only", action="store_true", help="measure nothing; write the page of what there is")
    parser.add_argument("--gallery", action="store_true", help="make the failure gallery too, which takes minutes")
    parser.add_argument("--measure-only", action="store_true", help="no diagnosis, no page")
    arguments = parser.parse_args()
    arguments.output = make_folder(arguments.output, "--output")
    stages = arguments.output / "diagnosis"
    stages.mkdir(parents=True, exist_ok=True)
    last = arguments.seeds if arguments.released_seeds is None else arguments.released_seeds
    found = every_set(arguments.root, bundled=True)
    classes = [entry for entry in found if not arguments.classes or entry[1] in arguments.classes]
    classes.sort(key=lambda entry: -len(entry[2]))  # the longest first, so that none is waited for at the end
    seeds = {"ours": arguments.seeds, "released": last, "rivals": 1}
    jobs = [
        (_job, name, category, samples, seed, part, arguments.output / f"{name}-{category}-{part}-{seed}.json")
        for seed in range(max(seeds.values()))
        for part in arguments.parts
        for name, category, samples in classes
        if seed < seeds[part]
    ]
    if not arguments.measure_only:
        jobs += [
            (_diagnosis_job, name, category, samples, stages / f"{name}-{category}.json") for name, category, samples in classes
        ]
    left = [] if arguments.page_only else [job for job in jobs if not job[-1].exists()]
    with ProcessPoolExecutor(arguments.processes) as pool:
        running = [pool.submit(*job) for job in left]
        for done in tqdm(as_completed(running), total=len(running), desc="classes and seeds"):
            done.result()
    if arguments.measure_only:
        return
    rows = read_rows(arguments.output)
    parts = {
        "AP25 / AP50 in percent, mean over classes": markdown(summary(rows)),
        "CorLoc in percent": markdown(summary(rows, ["CorLoc"])),
        "AP25 / AP50 in percent by size of the thing, means over the classes that hold such": markdown(by_size(rows)),
        "AP25 / AP50 / AP75 / CorLoc by class": markdown(by_class(rows)),
        "Processor seconds a photo": markdown(costs(rows)),
    }
    if any(stages.glob("*.json")):
        parts["Where quality is lost, stage by stage: shares, then AP25 / AP50 in percent"] = markdown(diagnosis(stages))
    if arguments.gallery:
        parts["Failure gallery (synthetic sets)"] = "\n".join(gallery(arguments.output))
    text = "\n\n".join(f"### {title}\n\n{body}" for title, body in parts.items()) + "\n"
    put_between(arguments.output.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
