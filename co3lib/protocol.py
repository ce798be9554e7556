"""The protocol of an experiment beside that of the authors' released code, point by point: why numbers may differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .config import CoSegConfig
from .datasets import Sample
from .experiment import Experiment
from .paper import paper_results, published

_PRIORS = {
    "single": "each photo",
    "ddt": "all photos of a class",
    "classifier": "all photos of a class and what the network's classifier recognises in them",
}


def protocol(experiment: Experiment, classes: Mapping[str, list[Sample]]) -> pd.DataFrame:
    """The protocol, point by point.

    Parameters
    ----------
    experiment : whose protocol it is.
    classes : its photos, as ``read_classes`` gives them.

    Returns
    -------
    A row a point: what the authors' released code does, what this experiment does, and "yes" or "NO", whether that is the same.
    """
    counts = {
        "images": sum(len(samples) for samples in classes.values()),
        "classes": len(classes),
        "instances": sum(len(sample.mask_paths) for samples in classes.values() for sample in samples),
    }
    config = experiment.config
    prior = f"made here without training, from {_PRIORS[config.prior]}"
    rows = [
        ("set", "the authors' four: COCO_VOC, COCO_NONVOC, VOC12, SOC", experiment.set),
        ("method", "deepco3", experiment.method),
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


AUTHORS: dict[str, dict[str, object]] = {
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
