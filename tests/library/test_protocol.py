"""co3lib.protocol: what of an experiment is as in the authors' released code, and what is not."""

from typing import get_args

import pytest

from co3lib import protocol as module
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.experiment import Experiment, read_classes
from co3lib.protocol import protocol

SMALL = Experiment(set="collage", classes=("cat",), photos=4, config=CoSegConfig(peak_scales=(1.0,)))


def test_the_protocol_of_a_small_run_says_what_differs():
    table = protocol(SMALL, read_classes(SMALL))
    assert set(table.same) == {"yes", "NO"}
    assert set(table.index[table.same == "yes"]) == {"method", "split", "losses", "peaks", "AP"}
    assert table.loc["images", "this run"] == "4" and table.loc["network", "same"] == "NO"
    instances = sum(len(sample.mask_paths) for sample in demo_set("collage")["cat"][:4])
    assert table.loc["instances", "this run"] == str(instances)


def test_no_choice_of_the_configuration_is_missing_from_the_protocol():
    changes = {
        "backbone": "resnet50", "weights": "some.pth", "feature_stage": "blocks.4", "stride": 16, "input_size": 512,
        "prior_scales": (1.0,), "center_features": False, "interpolation": "bicubic", "prior": "single", "epochs": 3,
        "batch_size": 8, "learning_rate": 0.5, "optimizer": "released", "frozen_until": None, "init_head": False,
        "saliency_weight": 0.1, "copeak_weight": 0.1, "affinity_weight": 0.2, "alpha": 1.0, "loss_form": "published",
        "peak_scales": (1.0, 0.5), "peak_source": "copeak", "max_partners": 3, "heat_map_stage": None, "mask_size": 300,
        "max_proposals": 10, "ranking": "released", "group_peaks": False, "level_sets": False, "refine_masks": False,
        "rank_with_saliency": False, "beta": 0.1, "gamma": 0.1, "nms_iou": 0.1, "noise_percentile": 1.0,
    }  # fmt: skip
    assert set(changes) == set(CoSegConfig.model_fields) - {"seed"}  # an experiment's seeds are its own
    for name, value in changes.items():
        kind = {"peak_source": "copeak"} if name == "max_partners" else {}  # only these have partners
        experiment = SMALL.model_copy(update={"config": SMALL.config.model_copy(update=kind)})
        before = protocol(experiment, {})["this run"]
        changed = experiment.model_copy(update={"config": experiment.config.model_copy(update={name: value})})
        assert (protocol(changed, {})["this run"] != before).sum() == 1, name


def test_the_released_column_is_the_authors_and_not_ours(monkeypatch):
    """Written down from their source: a released configuration that drifts away says NO, and theirs stays."""
    experiment = Experiment(root="/x", set="SOC", config=CoSegConfig.released(), ready_priors=True, ready_proposals=True)
    before = protocol(experiment, {})
    theirs = before["released code"]
    named = {"ranking": "mask_size None", "input": "bicubic", "training": "epochs 40", "losses": "alpha 4.0"}
    for point, value in named.items():
        assert value in theirs[point] and before.same[point] == "yes"
    drifted = classmethod(lambda cls, **changes: cls(mask_size=448, interpolation="bilinear", **changes))
    monkeypatch.setattr(CoSegConfig, "released", drifted)
    after = protocol(experiment.model_copy(update={"config": CoSegConfig.released()}), {})
    assert after["released code"].equals(theirs)
    assert {"input", "ranking"} <= set(after.index[after.same == "NO"])
    # What no configuration can make the same is said, too.
    for told in ("MATLAB's random order", "EXIF", "8 bits", "one photo"):
        assert told in theirs["runs"]
    assert before.same["runs"] == "NO"


@pytest.mark.parametrize("limit", [None, 1000])
def test_proposals_that_are_cut_are_not_the_authors(limit):
    config = CoSegConfig.released(max_proposals=limit)
    experiment = Experiment(root="/x", set="SOC", config=config, ready_proposals=True)
    assert protocol(experiment, {}).loc["proposals", "same"] == ("yes" if limit is None else "NO")


def test_the_nearest_run_differs_in_what_cannot_be_had():
    """The released configuration with VGG-16 on an authors' set, of the right size, with ready-made inputs."""
    config = CoSegConfig.released(backbone="vgg16_fc6")
    experiment = Experiment(root="/x", set="SOC", config=config, ready_priors=True, ready_proposals=True)
    sample = demo_set("collage")["cat"][0]
    counts = protocol(experiment, {"a": [sample] * 2}).loc[["images", "classes", "instances"]]
    assert counts["released code"].tolist() == ["522", "5", "835"] and set(counts.same) == {"NO"}
    table = protocol(experiment, {name: [sample] for name in "abcde"})
    differing = set(table.index[table.same == "NO"])
    assert differing == {"images", "instances", "network", "runs"}
    with_ours = protocol(experiment.model_copy(update={"ready_proposals": False}), {"a": [sample]})
    assert with_ours.loc["proposals", "same"] == "NO" and with_ours.loc["saliency prior", "same"] == "yes"


def test_another_method_is_another_protocol():
    assert protocol(SMALL.model_copy(update={"method": "dff"}), {}).loc["method"].tolist() == ["deepco3", "dff", "NO"]


def test_every_prior_has_words():
    assert set(module._PRIORS) == set(get_args(CoSegConfig.model_fields["prior"].annotation))
