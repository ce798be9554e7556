"""Notebook 14: a row of the paper's table, ours beside it, and what differs between the two runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.experiment import Experiment, ExperimentResult, paper_results, published, read_classes

from ..session import Parameters
from ..style import BLUE, ORANGE, plain

GRAY = "#555555"
_SMOKE_PHOTOS = 4  # the last is the photo of all notebooks


class RowParameters(Parameters):
    """Those of notebook 14. root: folder of sets in the authors' layout, empty for the bundled ones; set_name: the set;
    classes: names with commas between them, empty for all; configuration: ``CoSegConfig.released()``,
    ``CoSegConfig.published()`` or ``CoSegConfig()``; backbone: of ``CoSegConfig``; seeds: how many, from ``seed`` on;
    ready_made: whether the set's own priors and proposals are used."""

    root: str = ""
    set_name: Annotated[str, Field(min_length=1)] = "collage"
    classes: str = ""
    configuration: Literal["released", "published", "default"] = "default"
    backbone: str = "efficientnet_lite0"
    seeds: Annotated[int, Field(ge=1)] = 1
    ready_made: bool = False


def experiment_of(parameters: RowParameters) -> Experiment:
    """The experiment that the parameters ask for. The profile "smoke" takes four photos of the first class, at one scale."""
    root = Path(parameters.root).expanduser() if parameters.root else None
    names = tuple(name.strip() for name in parameters.classes.split(",") if name.strip())
    smoke = parameters.profile == "smoke"
    if smoke:
        names = (names or tuple(read_classes(Experiment(root=root, set=parameters.set_name))))[:1]
    make = CoSegConfig if parameters.configuration == "default" else getattr(CoSegConfig, parameters.configuration)
    return Experiment(
        root=root,
        set=parameters.set_name,
        classes=names or None,
        photos=_SMOKE_PHOTOS if smoke else None,
        config=make(backbone=parameters.backbone, **({"peak_scales": (1.0,)} if smoke else {})),
        seeds=tuple(range(parameters.seed, parameters.seed + parameters.seeds)),
        ready_priors=parameters.ready_made,
        ready_proposals=parameters.ready_made,
    )


_PRIORS = {
    "single": "each photo",
    "ddt": "all photos of a class",
    "classifier": "all photos of a class and what the network's classifier recognises in them",
}


def folder_of(output: Path, experiment: Experiment) -> Path:
    """A folder of its own for every experiment, so that another choice of parameters does not meet the last one's."""
    digest = hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()[:8]
    return output / f"{experiment.set}-{digest}"


def protocol(experiment: Experiment, classes: Mapping[str, list[Sample]]) -> pd.DataFrame:
    """The protocol, point by point: what the authors' released code does, what this experiment does, and whether that is
    the same. classes: as ``read_classes`` gives them."""
    counts = {
        "images": sum(len(samples) for samples in classes.values()),
        "classes": len(classes),
        "instances": sum(len(sample.mask_paths) for samples in classes.values() for sample in samples),
    }
    config = experiment.config
    prior = f"made here without training, from {_PRIORS[config.prior]}"
    rows = [
        ("set", "the authors' four: COCO_VOC, COCO_NONVOC, VOC12, SOC", experiment.set),
        *((what, _printed_count(experiment.set, what), str(count)) for what, count in counts.items()),
        ("split", *[_SPLIT] * 2),
        ("network", "vgg16_fc6, weights of their MATLAB framework, mean subtracted", _network(config)),
        ("saliency prior", _READY_PRIORS, _READY_PRIORS if experiment.ready_priors else prior),
        ("proposals", _READY_PROPOSALS, _proposals(experiment)),
        *((point, _settings(theirs), _settings(_ours(config, theirs))) for point, theirs in AUTHORS.items()),
        ("runs", *("; ".join(words) for words in zip(_runs(experiment), *DETAILS, strict=True))),
        ("AP", *[_AP] * 2),
    ]
    table = pd.DataFrame(rows, columns=["point", "released code", "this run"]).set_index("point")
    same = table["released code"] == table["this run"]
    same["set"] = bool(published(experiment.set))
    table["same"] = np.where(same, "yes", "NO")
    return table


AUTHORS = {
    "input": {"input_size": 448, "prior_scales": (1.0,), "center_features": False, "interpolation": "bicubic"},
    "training": {
        "epochs": 40, "batch_size": 6, "learning_rate": 1e-6, "optimizer": "released", "frozen_until": None, "init_head": False,
    },
    "losses": {"saliency_weight": 1.0, "copeak_weight": 0.5, "affinity_weight": 0.1, "alpha": 4.0, "loss_form": "released"},
    "peaks": {"peak_source": "score", "peak_scales": (1.0,)},
    "heat maps": {"heat_map_stage": None},
    "ranking": {
        "ranking": "released", "group_peaks": False, "level_sets": False, "refine_masks": False, "rank_with_saliency": True,
        "mask_size": None, "beta": 0.8, "gamma": 1e-5, "nms_iou": 0.4, "noise_percentile": 20.0,
    },
}  # fmt: skip
"""What the authors' code does, in the words of ``CoSegConfig``: read from its source (RunDeepInstCoseg.m, DeepInstCoseg.m,
RunPeakBackPrapagation.m, RunInstMaskGen.m, cnn_train_dag.m) and written down here, not taken from our configurations."""

DETAILS = [
    ("MATLAB's random order of the photos", "PyTorch's random order"),
    ("a resized photo is rounded after each axis, a resized prior to 8 bits", "a resized photo is rounded once, a prior not"),
    ("EXIF orientation is not read", "photos are turned as EXIF says"),
    ("a class of one photo is not trained on", "it is, paired with itself"),
]
"""What no configuration makes the same: theirs and ours."""

_SPLIT = "none: all photos of a class are fitted and segmented; no mask or label is seen"
_AP = "AP^r: detections of a class pooled, all points, IoU above the threshold; mean over classes"
_READY_PRIORS = "ready-made, the set's SalRes_ZhangICCV17"
_READY_PROPOSALS = "ready-made, the set's MCG_fast"


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _ours(config: CoSegConfig, keys) -> dict[str, object]:
    more = ("max_partners",) if "peak_source" in keys and config.peak_source == "copeak" else ()
    return {key: getattr(config, key) for key in (*keys, *more)}


def _runs(experiment: Experiment) -> tuple[str, str]:
    return "one; the random seed of an epoch is its number", f"{len(experiment.seeds)}, one a seed"


def _proposals(experiment: Experiment) -> str:
    limit = experiment.config.max_proposals
    if experiment.ready_proposals:
        return _READY_PROPOSALS if limit is None else f"{_READY_PROPOSALS}, the best {limit} a photo"
    return f"made here, at most {limit or 1000} a photo"


def _printed_count(set_name: str, what: str) -> str:
    rows = paper_results().query("table == 'Table 1' and set == @set_name and measure == @what")
    return str(int(rows.value.iloc[0])) if len(rows) else "not one of the paper's sets"


def _network(config: CoSegConfig) -> str:
    source = "torchvision's" if config.backbone.startswith("vgg16") else "its package's"
    weights = f"{source} ImageNet weights" if config.weights == "imagenet" else f"weights {config.weights}"
    other = "".join(
        f", {key} {getattr(config, key)}" for key in ("feature_stage", "stride") if getattr(config, key) is not None
    )
    return f"{config.backbone}{other}, {weights}, mean subtracted, divided by the deviation"


def row_table(table: pd.DataFrame, set_name: str) -> pd.DataFrame:
    """The last row of ``results_table`` beside the paper's row for the set, in percent; NaN where there is none."""
    theirs = published(set_name)
    names = ("AP25", "AP50", "CorLoc")
    ours = {name: table[name].iloc[-1] for name in names}
    spread = {name: table[f"{name} spread"].iloc[-1] for name in names}
    rows = {
        "this run": ours,
        "its spread over seeds": spread,
        "DeepCO3, published": {name: theirs.get(name, np.nan) for name in names},
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names)).round(1)


@plain
def class_figure(table: pd.DataFrame, outcomes: list[ExperimentResult], set_name: str, measure: str) -> Figure:
    """A measure of every class: a bar at the mean over seeds, a ring at every seed; dashed, our mean over classes; dotted,
    the paper's mean, if it has the set. (The paper prints no value of a single class.)

    table: of ``results_table``; outcomes: of ``read_outcomes``; measure: "AP25", "AP50", "AP75" or "CorLoc".
    """
    *names, _ = table.index
    figure = Figure(figsize=(min(11, 3.6 + 0.8 * len(names)), 3.4))
    axis = figure.subplots()
    axis.bar(range(len(names)), table[measure].iloc[:-1], width=0.6, color=BLUE, label="this run, mean over seeds")
    places = [names.index(outcome.category) for outcome in outcomes]
    values = [100 * outcome.measures[measure] for outcome in outcomes]
    axis.scatter(places, values, s=36, facecolors="white", edgecolors="black", zorder=3, label="this run, one seed")
    axis.axhline(table[measure].iloc[-1], color=BLUE, linestyle="--", label="this run, mean over classes")
    theirs = published(set_name).get(measure)
    if theirs is not None:
        axis.axhline(theirs, color=ORANGE, linestyle=":", linewidth=2.5, label="DeepCO3, published mean over classes")
    turned = {"rotation": 45, "ha": "right"} if len(names) > 6 else {}
    axis.set_xticks(range(len(names)), names, parse_math=False, **turned)
    axis.set_title(f"{set_name}, {measure}", parse_math=False)
    axis.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 105), ylabel=f"{measure} in percent")
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.subplots_adjust(left=0.65 / figure.get_figwidth(), right=1 - 2.7 / figure.get_figwidth(), bottom=0.22, top=0.9)
    return figure


@plain
def paper_figure(set_name: str, measure: str) -> Figure:
    """The paper's table as bars: every method on a set by a measure ("AP25", "AP50" or "CorLoc"), in percent, the lowest
    at the bottom; orange what was trained with extra annotations, gray what is not in the paper."""
    rows = paper_results().query("table in ('Table 2', 'Table 4') and set == @set_name and measure == @measure")
    rows = rows.sort_values("value", kind="stable")
    figure = Figure(figsize=(7, 3.9))
    axis = figure.subplots()
    for note, color in _NOTES.items():
        places = np.flatnonzero(rows.note == note)
        if len(places):
            bars = axis.barh(places, rows.value.iloc[places], color=color, label=note or "no extra annotations")
            axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    axis.set_yticks(range(len(rows)), rows.method)
    axis.set(xlim=(0, 65), xlabel=f"{measure} in percent", title=f"Published, {set_name}")
    figure.legend(fontsize=9, loc="lower center", ncols=3, frameon=False)  # below, where no bar can be
    figure.subplots_adjust(left=0.27, right=0.97, bottom=0.2, top=0.92)
    return figure


_NOTES = {"": BLUE, "trained with extra annotations": ORANGE, "as its author reports; not in the paper": GRAY}
