"""co3lib.experiment: small real runs, stopped and resumed; tables from made outcomes; the paper's numbers."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from co3course.lessons.reproduction import class_figure, row_table
from co3lib import experiment as module
from co3lib import training
from co3lib.beyond import methods
from co3lib.config import CoSegConfig
from co3lib.datasets import DatasetError, demo_set
from co3lib.datasets.export import PhotoResult
from co3lib.experiment import (
    Experiment,
    ExperimentResult,
    measure,
    paper_results,
    published,
    read_classes,
    read_outcomes,
    recompute,
    results_table,
    run_experiment,
)
from co3lib.instance import Instance
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegmenter

SMALL = CoSegConfig(input_size=64, mask_size=64, epochs=2, max_proposals=50)


# In one process: the run that most tests compare with takes long.
pytestmark = pytest.mark.usefixtures("networks_built_once")


def small(**changes) -> Experiment:
    values = {"set": "collage", "classes": ("cat", "cup"), "photos": 2, "config": SMALL, "seeds": (0, 1)}
    return Experiment(**(values | changes))


def contents(folder) -> dict[str, str]:
    """What lies in a folder, but for the seconds."""
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.json")}
    for name in files:
        if name.endswith("outcome.json"):
            files[name] = {key: value for key, value in json.loads(files[name]).items() if key != "seconds"}
    return files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the table of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole")
    return output, run_experiment(small(), output, progress=False)


# ------------------------------------------------------------------------------------------------ a run and its files


def test_a_run_leaves_coco_files_and_numbers_for_every_class_and_seed(whole):
    output, table = whole
    folders = {path.parent.relative_to(output).as_posix() for path in output.rglob("outcome.json")}
    assert folders == {"cat/seed_0", "cat/seed_1", "cup/seed_0", "cup/seed_1"}
    for folder in folders:
        files = {"outcome.json", "ground_truth.json", "results.json", "instances.json"}
        assert {path.name for path in (output / folder).iterdir()} == files
    assert list(table.index) == ["cat", "cup", "mean"]
    for one in read_outcomes(output):
        samples = demo_set("collage")[one.category][:2]
        assert one.photos == 2 and one.instances == sum(len(sample.mask_paths) for sample in samples)
        assert len(one.weights_sha256) == 64
    assert not list(output.rglob("*.safetensors")) and not list(output.rglob("*part*"))


def test_the_numbers_come_again_from_the_files_alone(whole, monkeypatch):
    output, _ = whole
    monkeypatch.setattr(module, "segment", None)
    monkeypatch.setattr(module, "demo_set", None)
    again = recompute(output)
    for one in read_outcomes(output):
        assert again[one.category, one.seed] == pytest.approx(one.measures)


def test_what_is_finished_is_not_run_again(whole, monkeypatch):
    output, table = whole
    before = contents(output)
    monkeypatch.setattr(module, "segment", None)
    again = run_experiment(small(), output, progress=False)
    assert again.equals(table) and contents(output) == before


def test_the_seed_reaches_the_segmenter_and_the_photos_are_the_first(tmp_path, monkeypatch):
    seen = []

    class Noted(CoSegmenter):
        def fit(self, images, *arguments):
            seen.append((self.config.seed, [path.stem for path in images]))
            return super().fit(images, *arguments)

    monkeypatch.setattr(methods, "CoSegmenter", Noted)
    run_experiment(small(classes=("cup",), seeds=(3, 1)), tmp_path, progress=False)
    assert seen == [(3, ["cup_01", "cup_02"]), (1, ["cup_01", "cup_02"])]


# ------------------------------------------------------------------------------------------- stopped, resumed, refused


class Stopped(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("where", ["training", "segmenting"])
def test_a_stopped_run_goes_on_to_the_same_files(whole, tmp_path, monkeypatch, where):
    output = tmp_path / "run"
    calls, epochs = [], []
    epoch, predict = training._epoch, CoSegmenter.predict

    def noted_epoch(*arguments):
        if where == "training" and len(epochs) == 5:  # the third run's second epoch
            epochs.append("stop")
            raise Stopped
        epochs.append(arguments[-1])
        return epoch(*arguments)

    def noted_predict(self, *arguments):
        calls.append(self.config.seed)
        if where == "segmenting" and len(calls) == 3:
            raise Stopped
        return predict(self, *arguments)

    monkeypatch.setattr(training, "_epoch", noted_epoch)
    monkeypatch.setattr(CoSegmenter, "predict", noted_predict)
    with pytest.raises(Stopped):
        run_experiment(small(), output, progress=False)
    assert len(read_outcomes(output)) == 2
    assert len(list((output / ".checkpoints").iterdir())) == 1
    before = len(epochs)
    run_experiment(small(), output, progress=False)
    assert epochs[before:] == ([2, 1, 2] if where == "training" else [1, 2])  # and nothing else is trained again
    assert contents(output) == contents(whole[0])
    assert not list((output / ".checkpoints").iterdir())


def test_a_half_written_class_is_run_again(whole, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(whole[0], output)
    shutil.rmtree(output / "cup" / "seed_1")
    (output / "cup" / ".part-killed").mkdir()
    (output / "cup" / ".part-killed" / "outcome.json").write_text("{")
    run_experiment(small(), output, progress=False)
    (output / "cup" / ".part-killed" / "outcome.json").unlink()
    assert contents(output) == contents(whole[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": (0,)}, "(it differs in seeds)"),
        ({"photos": 3, "classes": None}, "(it differs in classes, photos)"),
        ({"config": SMALL.model_copy(update={"epochs": 3, "alpha": 2.0})}, "(it differs in config.epochs, config.alpha)"),
    ],
)
def test_a_different_experiments_folder_is_refused(whole, changes, said):
    before = contents(whole[0])
    with pytest.raises(ValueError, match="holds a different experiment") as error:
        run_experiment(small(**changes), whole[0], progress=False)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert contents(whole[0]) == before


def test_folders_that_are_something_else_are_refused(whole, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is not a folder that an experiment can be written to"):
        run_experiment(small(), tmp_path / "file", progress=False)
    (tmp_path / "experiment.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=r"experiment\.json is not the description of an experiment"):
        run_experiment(small(), tmp_path, progress=False)
    assert (tmp_path / "experiment.json").read_text() == '{"mine": 1}'
    nameless = tmp_path / "nameless"
    shutil.copytree(whole[0], nameless)
    (nameless / "experiment.json").unlink()
    with pytest.raises(ValueError, match="nameless is not a folder that"):
        run_experiment(small(), nameless, progress=False)


def test_a_damaged_outcome_is_named(whole, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(whole[0], output)
    (output / "cat" / "seed_0" / "outcome.json").write_text("{")
    with pytest.raises(ValueError, match=r"cat/seed_0/outcome\.json is not the outcome of a class and seed"):
        results_table(output)
    with pytest.raises(ValueError, match="holds no finished class and seed"):
        results_table(tmp_path / "nothing")


COPIES = ["cat/seed_0 copy", "cat/seed_0 (1)", "cat/seed_00", "cat/seed_x", "cat copy/seed_0", "cat/seed_7"]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copied_folder_is_left_out_and_named(whole, tmp_path, copy):
    output = tmp_path / "run"
    shutil.copytree(whole[0], output)
    (output / copy).parent.mkdir(exist_ok=True)
    shutil.copytree(output / "cat" / "seed_0", output / copy)
    with pytest.warns(UserWarning, match=re.escape(f"not where a run puts them: {copy} in")):
        table = results_table(output)
    assert table.equals(whole[1])
    with pytest.warns(UserWarning, match="left out"):
        assert run_experiment(small(), output, progress=False).equals(whole[1])
    with pytest.warns(UserWarning, match="left out"):
        assert set(recompute(output)) == {("cat", 0), ("cat", 1), ("cup", 0), ("cup", 1)}


def test_what_lies_in_the_way_is_named_before_anything_is_computed(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "segment", None)
    output = tmp_path / "run"
    shutil.copytree(whole[0], output)
    shutil.rmtree(output / "cup" / "seed_1")
    shutil.copytree(output / "cup" / "seed_0", output / "cup" / "seed_1")
    with pytest.raises(ValueError, match=r"cup/seed_1 holds the outcome of cup, seed 0"):
        run_experiment(small(), output, progress=False)
    (output / "cup" / "seed_1" / "outcome.json").unlink()
    before = contents(output)
    with pytest.raises(ValueError, match=r"cup/seed_1 is in the way"):
        run_experiment(small(), output, progress=False)
    assert contents(output) == before
    for wrong in ("", " "):
        with pytest.raises(ValueError, match="output must be a path"):
            run_experiment(small(), wrong, progress=False)


def test_a_tilde_is_the_home(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole[0], tmp_path / "run")
    monkeypatch.setattr(module, "segment", None)
    assert run_experiment(small(), "~/run", progress=False).equals(whole[1])
    assert results_table("~/run").equals(whole[1]) and len(recompute("~/run")) == 4
    assert not (tmp_path / "~").exists()


# ------------------------------------------------------------------------------------------------ the description


@pytest.mark.parametrize(
    "bad",
    [
        {"nix": 1},
        {"set": ""},
        {"classes": ()},
        {"classes": ("cat", "cat")},
        {"photos": 1},
        {"seeds": ()},
        {"seeds": (-1,)},
        {"seeds": (1, 1)},
        {"config": CoSegConfig(seed=2)},
        {"config": {"nix": 1}},
    ],
)
def test_impossible_experiments_are_refused(bad):
    with pytest.raises(ValidationError):
        small(**bad)


def test_an_experiment_cannot_be_changed_and_survives_json():
    one = small(root="/some/where", classes=None)
    with pytest.raises(ValidationError):
        one.photos = 3
    assert Experiment.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"set": "nix"}, "name must be one of 'coins', 'collage', got 'nix'"),
        ({"classes": ("dog",)}, "a class of collage must be one of 'cat'"),
        ({"ready_priors": True}, "ready_priors were asked for, but cat/cat_01 has no prior"),
        ({"ready_proposals": True}, "ready_proposals were asked for, but cat/cat_01 has no proposals"),
    ],
)
def test_what_the_set_lacks_is_one_sentence_before_anything_is_written(changes, said, tmp_path):
    with pytest.raises(ValueError, match=r"must|but") as error:
        run_experiment(small(**changes), tmp_path / "out", progress=False)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------ a set in the authors' layout


@pytest.fixture
def root(tmp_path):
    """Two collages of a cat as a set ONE, with a prior and proposals of their own, both from the true masks."""
    for sample in demo_set("collage")["cat"][:2]:
        masks = sample.masks.numpy()
        for folder in ("Image", "Mask", "SalRes_ZhangICCV17", "MCG_fast"):
            (tmp_path / "ONE" / folder / "cat").mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.image_path, tmp_path / "ONE/Image/cat")
        for k, mask in enumerate(masks):
            Image.fromarray(mask).save(tmp_path / f"ONE/Mask/cat/{sample.name}_InstID{k}.png")
        name = f"cat/{sample.name}.npz"
        np.savez(tmp_path / "ONE/SalRes_ZhangICCV17" / name, SalMap=masks.any(0).astype(float))
        np.savez(tmp_path / "ONE/MCG_fast" / name, masks=np.moveaxis(masks, 0, 2), scores=np.arange(len(masks)))
    return tmp_path


def test_ready_made_priors_and_proposals_are_used(root, tmp_path, monkeypatch):
    with_them = Experiment(root=root, set="ONE", config=SMALL, ready_priors=True, ready_proposals=True)
    priors = []
    fit = CoSegmenter.fit

    def noted(self, images, given, *arguments):
        priors.append(given)
        return fit(self, images, given, *arguments)

    monkeypatch.setattr(CoSegmenter, "fit", noted)
    run_experiment(with_them, tmp_path / "with", progress=False)
    samples = read_classes(with_them)["cat"]
    assert all(torch.equal(given, sample.prior) for given, sample in zip(priors[0], samples, strict=True))
    assert isinstance(priors[0], module._Later)  # one at a time, as proposals
    (outcome,) = read_outcomes(tmp_path / "with")
    # Nothing but the true masks was proposed, so every instance is one, but for the resizing to mask size and back.
    assert outcome.found and outcome.measures["AP50"] == pytest.approx(outcome.found / outcome.instances)
    run_experiment(with_them.model_copy(update={"ready_priors": False}), tmp_path / "without", progress=False)
    assert priors[1] is None


def test_proposals_are_read_one_photo_at_a_time():
    made = []
    later = module._Later("abc", lambda sample: made.append(sample) or sample)
    assert len(later) == 3 and not made
    assert later[1] == "b" and made == ["b"]


def test_sets_that_cannot_be_measured_are_refused(root, tmp_path):
    with pytest.raises(DatasetError, match="is not there"):
        read_classes(Experiment(root=root, set="TWO"))
    empty = next((root / "ONE/Mask/cat").iterdir())
    Image.fromarray(np.zeros_like(np.asarray(Image.open(empty)))).save(empty)
    with pytest.raises(ValueError, match="must have at least one pixel of its instance"):
        run_experiment(Experiment(root=root, set="ONE", config=SMALL), tmp_path / "out", progress=False)
    shutil.rmtree(root / "ONE/Mask")
    with pytest.raises(ValueError, match="class cat of ONE has no mask to measure against"):
        read_classes(Experiment(root=root, set="ONE"))
    next((root / "ONE/Image/cat").iterdir()).unlink()
    with pytest.raises(ValueError, match="must have at least two photos, got 1"):
        read_classes(Experiment(root=root, set="ONE"))


# ------------------------------------------------------------------------------------------------------------ numbers


def photo(name: str, truth: list[slice], found: list[tuple[slice, float]]) -> PhotoResult:
    def mask(columns: slice) -> np.ndarray:
        empty = np.zeros((4, 20), bool)
        empty[:, columns] = True
        return empty

    instances = [Instance(mask(columns), score, (0, columns.start), tight_box(mask(columns))) for columns, score in found]
    masks = torch.from_numpy(np.array([mask(columns) for columns in truth]).reshape(-1, 4, 20))
    return PhotoResult(name, "bar", (4, 20), instances, masks)


def test_measures_of_a_case_worked_by_hand():
    """Photo a: a hit (IoU 1) and a near miss (IoU 4/8); photo b: nothing found; photo c: a false find, nothing to find."""
    photos = [
        photo("a", [slice(0, 4), slice(10, 16)], [(slice(0, 4), 0.9), (slice(12, 18), 0.5)]),
        photo("b", [slice(0, 4)], []),
        photo("c", [], [(slice(0, 4), 0.7)]),
    ]
    values = measure(photos)
    # By score: right, wrong (c), right at IoU 0.25 only. Precision 1, 1/2, 2/3; recall 1/3, 1/3, 2/3.
    assert values["AP25"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert values["AP50"] == values["AP75"] == pytest.approx(1 / 3)  # 0.5 is not above 0.5
    assert values["CorLoc"] == pytest.approx(1 / 3)


def outcome(category: str, seed: int, value: float) -> ExperimentResult:
    measures = dict.fromkeys(("AP25", "AP50", "AP75", "CorLoc"), value)
    return ExperimentResult(
        category=category,
        seed=seed,
        photos=4,
        instances=8,
        found=6 + 2 * seed,
        measures=measures,
        seconds=2.0,
        weights_sha256="0" * 64,
    )


def test_the_table_is_mean_and_spread(tmp_path):
    values = {("a", 0): 0.2, ("a", 1): 0.4, ("b", 0): 0.7, ("b", 1): 0.5}
    for (category, seed), value in values.items():
        folder = tmp_path / category / f"seed_{seed}"
        folder.mkdir(parents=True)
        (folder / "outcome.json").write_text(outcome(category, seed, value).model_dump_json())
    table = results_table(tmp_path)
    assert table["AP25"].tolist() == pytest.approx([30, 60, 45])
    spread = 20 / math.sqrt(2)
    # The classes go opposite ways, so that their mean does not move at all.
    assert table["AP25 spread"].tolist() == pytest.approx([spread, spread, 0])
    assert table["found"].tolist() == [7, 7, 14] and table["photos"].tolist() == [4, 4, 8]
    assert table["s a photo"].tolist() == [0.5, 0.5, 0.5]
    shutil.rmtree(tmp_path / "a" / "seed_1")
    shutil.rmtree(tmp_path / "b" / "seed_1")
    assert results_table(tmp_path)["AP50 spread"].isna().all()  # one seed says nothing of a spread


def test_a_class_may_be_called_mean(tmp_path):
    for (category, seed), value in {("mean", 0): 0.2, ("mean", 1): 0.4, ("zebra", 0): 0.7, ("zebra", 1): 0.5}.items():
        folder = tmp_path / category / f"seed_{seed}"
        folder.mkdir(parents=True)
        (folder / "outcome.json").write_text(outcome(category, seed, value).model_dump_json())
    table = results_table(tmp_path)
    assert list(table.index) == ["mean", "zebra", "mean"]
    assert table["AP25"].tolist() == pytest.approx([30, 60, 45])
    assert table["AP25 spread"].tolist() == pytest.approx([20 / math.sqrt(2), 20 / math.sqrt(2), 0])
    assert table["found"].tolist() == [7, 7, 14] and table["photos"].tolist() == [4, 4, 8]
    row = row_table(table, "VOC12")
    assert row.loc["this run"].tolist() == [45, 45, 45] and row.loc["its spread over seeds"].tolist() == [0, 0, 0]
    (axis,) = class_figure(table, read_outcomes(tmp_path), "collage", "AP25").axes
    assert [bar.get_height() for bar in axis.patches] == pytest.approx([30, 60])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["mean", "zebra"]


# ----------------------------------------------------------------------------------------------------- the paper's


def test_the_papers_numbers():
    assert published("COCO_VOC") == {"AP25": 52.6, "AP50": 21.1, "CorLoc": 49.6}
    assert published("COCO_NONVOC") == {"AP25": 35.3, "AP50": 12.3, "CorLoc": 34.3}
    assert published("VOC12") == {"AP25": 45.6, "AP50": 16.7, "CorLoc": 39.2}
    assert published("SOC") == {"AP25": 54.2, "AP50": 26.0, "CorLoc": 43.1}
    assert published("VOC12", "PRM") == {"AP25": 45.3, "AP50": 14.8, "CorLoc": 23.3}
    assert published("SOC", "PRM") == {} == published("collage")
    with pytest.raises(ValueError, match="method must be one of"):
        published("SOC", "nix")


def test_every_table_is_there():
    rows = paper_results()
    assert rows.value.between(0, 100).where(rows.table != "Table 1", True).all()
    counts = rows.groupby("table").size().to_dict()
    # PRM has no row for two sets; Table 2 also holds the port's row.
    assert counts == {"Table 1": 12, "Table 2": 76, "Table 3": 8, "Table 4": 34, "Figure 4": 6}
    assert not rows.duplicated(["table", "method", "set", "measure"]).any()
    extra = set(rows[rows.note == "trained with extra annotations"].method)
    assert extra == {"NLDF", "C2S-Net", "PRM"}
    losses = rows[(rows.table == "Figure 4") & (rows.set == "COCO_VOC")]
    assert dict(zip(losses.method, losses.value, strict=True)) == {"ls": 49.5, "ls + lt": 51.7, "ls + lt + la": 52.6}
