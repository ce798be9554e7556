"""co3course.lessons.reproduction: the parameters of notebook 14, the protocol, the figures at the ends of their ranges."""

import math

import matplotlib.pyplot as plt
import pytest
from pydantic import ValidationError
from quickness import LIMIT, plain_figures

from co3course.lessons.reproduction import (
    RowParameters,
    class_figure,
    experiment_of,
    folder_of,
    paper_figure,
    row_table,
)
from co3lib.config import CoSegConfig
from co3lib.datasets import DatasetError
from co3lib.experiment import Experiment, ExperimentResult, results_table

MEASURES = ("AP25", "AP50", "AP75", "CorLoc")


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


def parameters(**changes) -> RowParameters:
    return RowParameters(**({"profile": "full", "output": "somewhere"} | changes))


def made(folder, classes: int, seeds: int, value: float):
    """A folder of made outcomes: its table and the outcomes."""
    outcomes = [
        ExperimentResult(
            category=f"class number {k}", seed=s, photos=2, instances=4, found=4, seconds=1, weights_sha256="0" * 64,
            measures=dict.fromkeys(MEASURES, value),
        )
        for k in range(classes) for s in range(seeds)
    ]  # fmt: skip
    for one in outcomes:
        path = folder / one.category / f"seed_{one.seed}" / "outcome.json"
        path.parent.mkdir(parents=True)
        path.write_text(one.model_dump_json())
    return results_table(folder), outcomes


# ---------------------------------------------------------------------------------------------------- parameters


def test_smoke_is_four_photos_of_one_class_at_one_scale():
    config = CoSegConfig(peak_scales=(1.0,))
    assert experiment_of(parameters(profile="smoke")) == Experiment(set="collage", classes=("cat",), photos=4, config=config)
    one = experiment_of(parameters(profile="smoke", classes="cup, person", seed=4, seeds=2))
    assert (one.classes, one.photos, one.seeds) == (("cup",), 4, (4, 5))
    assert experiment_of(parameters(profile="smoke", set_name="coins")).classes == ("coin",)


def test_full_is_what_is_named():
    one = experiment_of(parameters(classes=" cup ,person,", configuration="released", backbone="vgg16_fc6", seeds=3))
    assert one.classes == ("cup", "person") and one.photos is None and one.seeds == (0, 1, 2)
    assert one.config == CoSegConfig.released(backbone="vgg16_fc6")
    assert experiment_of(parameters(configuration="published")).config == CoSegConfig.published()
    ready = experiment_of(parameters(root="/some/where", set_name="VOC12", ready_made=True))
    assert ready.classes is None and ready.ready_priors and ready.ready_proposals and str(ready.root) == "/some/where"


@pytest.mark.parametrize("bad", [{"seeds": 0}, {"configuration": "x"}, {"set_name": ""}, {"seeds": "1"}, {"nix": 1}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValidationError):
        parameters(**bad)
    with pytest.raises(DatasetError):
        experiment_of(parameters(profile="smoke", root="/nowhere"))


def test_every_experiment_has_a_folder_of_its_own(tmp_path):
    one, other = experiment_of(parameters()), experiment_of(parameters(seeds=2))
    assert folder_of(tmp_path, one) == folder_of(tmp_path, experiment_of(parameters())) != folder_of(tmp_path, other)
    assert folder_of(tmp_path, one).parent == tmp_path


# ------------------------------------------------------------------------------------------------------------ the row


def test_the_row_beside_the_papers(tmp_path):
    table, _ = made(tmp_path, 2, 1, 0.5)
    row = row_table(table, "VOC12")
    assert row.loc["DeepCO3, published"].tolist() == [45.6, 16.7, 39.2] and row.loc["this run"].tolist() == [50, 50, 50]
    assert row.loc["its spread over seeds"].isna().all()
    assert row_table(table, "collage").loc["DeepCO3, published"].isna().all()


# ------------------------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize(("classes", "seeds", "value"), [(1, 1, 0.0), (2, 3, 1.0), (32, 3, 0.3)])
def test_classes_as_bars(tmp_path, classes, seeds, value):
    table, outcomes = made(tmp_path, classes, seeds, value)
    for set_name, measure in (("collage", "AP25"), ("COCO_NONVOC", "AP75"), ("COCO_NONVOC", "CorLoc")):
        assert plain_figures(lambda s=set_name, m=measure: class_figure(table, outcomes, s, m)) < LIMIT
    (axis,) = class_figure(table, outcomes, "COCO_NONVOC", "CorLoc").axes
    assert len(axis.patches) == classes and {bar.get_height() for bar in axis.patches} == {100 * value}
    lines = {line.get_label(): line.get_ydata()[0] for line in axis.lines}
    assert lines["DeepCO3, published mean over classes"] == 34.3
    assert math.isclose(lines["this run, mean over classes"], 100 * value)
    (axis,) = class_figure(table, outcomes, "collage", "CorLoc").axes
    assert len(axis.lines) == 1  # no published number is drawn where there is none


@pytest.mark.parametrize("set_name", ["COCO_VOC", "COCO_NONVOC", "VOC12", "SOC"])
@pytest.mark.parametrize("measure", ["AP25", "AP50", "CorLoc"])
def test_the_papers_table_as_bars(set_name, measure):
    assert plain_figures(lambda: paper_figure(set_name, measure)) < LIMIT
    (axis,) = paper_figure(set_name, measure).axes
    methods = [label.get_text() for label in axis.get_yticklabels()]
    assert "DeepCO3" in methods and ("PRM" in methods) == (set_name in ("COCO_VOC", "VOC12"))
    assert len(axis.patches) == len(methods)
