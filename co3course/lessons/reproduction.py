"""Notebook 14: a row of the paper's table, ours beside it, and what differs between the two runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from co3lib.config import CoSegConfig
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
    return Experiment(
        root=root,
        set=parameters.set_name,
        classes=names or None,
        photos=_SMOKE_PHOTOS if smoke else None,
        config=CoSegConfig.preset(
            parameters.configuration, backbone=parameters.backbone, **({"peak_scales": (1.0,)} if smoke else {})
        ),
        seeds=tuple(range(parameters.seed, parameters.seed + parameters.seeds)),
        ready_priors=parameters.ready_made,
        ready_proposals=parameters.ready_made,
    )


def folder_of(output: Path, experiment: Experiment) -> Path:
    """A folder of its own for every experiment, so that another choice of parameters does not meet the last one's."""
    digest = hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()[:8]
    return output / f"{experiment.set}-{digest}"


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
    figure = Figure(figsize=(7, 4.1))
    axis = figure.subplots()
    for note, color in _NOTES.items():
        places = np.flatnonzero(rows.note == note)
        if len(places):
            bars = axis.barh(places, rows.value.iloc[places], color=color, label=note or "no extra annotations")
            axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    axis.set_yticks(range(len(rows)), rows.method)
    axis.set(xlim=(0, 65), xlabel=f"{measure} in percent", title=f"Published, {set_name}")
    figure.legend(fontsize=9, loc="lower center", ncols=2, frameon=False)  # below, where no bar can be
    figure.subplots_adjust(left=0.27, right=0.97, bottom=0.24, top=0.92)
    return figure


_NOTES = {"": BLUE, "trained with extra annotations": ORANGE, "as its author reports; not in the paper": GRAY}
