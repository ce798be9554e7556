"""What every notebook starts and ends with: parameters, set-up, photos and results."""

import random

import numpy as np
import pytest
import torch
from example_result import NOTHING, result
from PIL import Image
from pydantic import ValidationError

from co3course import runner
from co3course.metrics import (
    ClassResult,
    Result,
    class_result,
    mean_precisions,
    photo_results,
    precision_table,
    shown_counts,
)
from co3course.runner import read_result
from co3course.session import Parameters, PhotoParameters, load_classes, own_photos, set_up, write_result
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.datasets.demo_sets import coin_masks
from co3lib.datasets.export import PhotoResult
from co3lib.instance import Instance


@pytest.mark.parametrize("wrong", [{"profile": "fast"}, {"seed": -1}, {"seed": "1"}, {"output": ""}, {"epochs": 3}])
def test_the_model_in_the_notebook_is_strict(wrong):
    with pytest.raises(ValidationError):
        Parameters(**({"output": "x"} | wrong))


def test_photos_must_be_a_folder(tmp_path):
    with pytest.raises(ValidationError, match="photos must be a folder"):
        PhotoParameters(output="x", photos=str(tmp_path / "none"))
    assert PhotoParameters(output="x", photos=str(tmp_path)).photos == str(tmp_path)


def test_set_up_makes_runs_repeatable(tmp_path):
    draws = []
    for _ in range(2):
        run = set_up(Parameters(output=str(tmp_path / "a" / "b"), seed=7))
        draws.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert draws[0] == draws[1] and run.output.is_dir()


def test_own_photos_are_one_class_without_masks_and_what_is_no_photo_is_named(tmp_path, capsys):
    folder = tmp_path / "my dogs"
    folder.mkdir()
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", "c.heic"):
        Image.new("RGB", (4, 3)).save(folder / name, format="PNG")
    (folder / "d.jpg").write_bytes(b"no photo")
    (folder / "more").mkdir()
    classes = load_classes(PhotoParameters(output="x", photos=str(folder)))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and all(line.startswith("left out: ") for line in said)
    named = ("c.heic is HEIC", "d.jpg", "more is a folder", "notes.txt is not a photo")
    assert all(name in line for line, name in zip(said, named, strict=True))
    assert str(folder) not in "".join(said)
    assert {name: [sample.name for sample in samples] for name, samples in classes.items()} == {"my dogs": ["a.png", "b.JPG"]}
    assert classes["my dogs"][0].image.shape == (3, 4, 3)
    assert classes["my dogs"][0].masks.shape == (0, 3, 4)
    (folder / "a.png").unlink()
    with pytest.raises(ValueError, match=r"at least two photos that can be read, got .*my dogs with 1"):
        load_classes(PhotoParameters(output="x", photos=str(folder)))


def test_the_slot_for_own_photos_says_what_to_do_until_there_are_two(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own_photos("mine") == []
    assert f"Put two or more into {tmp_path / 'mine'}" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    for name in ("a.png", "b.png", "c.heic"):
        Image.new("RGB", (4, 3)).save(tmp_path / "mine" / name, format="PNG")
    assert [path.name for path in own_photos("mine")] == ["a.png", "b.png"]
    said = capsys.readouterr().out
    assert "left out: c.heic" in said and "2 photos" in said


def test_photo_results_know_the_truth_where_there_are_masks(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.jpg")
    Image.new("L", (4, 3), 255).save(tmp_path / "m.png")
    known = Sample("a", "cat", tmp_path / "a.jpg", (tmp_path / "m.png",))
    unknown = Sample("a", "cat", tmp_path / "a.jpg", ())
    one = instance(np.ones((3, 4), bool), 0.5)
    photos = photo_results([known, unknown], [[one], []])
    assert [photo.size for photo in photos] == [(3, 4)] * 2 and photos[0].name == "a.jpg"
    assert photos[0].truth.all() and photos[1].truth is None
    assert class_result(photos[:1]).average_precision["0.75"] == 1
    assert class_result(photos).average_precision == NOTHING
    assert shown_counts(photos[:1]) == (1, 1, 0) and shown_counts(photos) is None
    table = precision_table({"cat": photos[1:]}, {"cat": photos[:1]})
    row = table.loc["cat", "all"]
    assert table.index.tolist() == [("cat", "shown"), ("cat", "all")]
    assert (row["AP at IoU 0.5"], row.masks, row.right, row.missed, row.true) == (1, 1, 1, 0, 1)
    assert table.loc["cat", "shown"][["right", "missed", "true", "AP at IoU 0.5"]].isna().all()


def test_the_bundled_photos_by_profile():
    smoke = load_classes(PhotoParameters(output="x"))
    full = load_classes(PhotoParameters(output="x", profile="full"))
    assert list(smoke) == ["coin", "cat"] and len(full) == 5 and full["cat"][:6] == smoke["cat"]
    assert len(full["coin"]) == 8 and all(sample in full["coin"] for sample in smoke["coin"])
    # The four windows hold each of the photo's 24 coins once.
    assert sum(len(sample.mask_paths) for sample in smoke["coin"]) == len(coin_masks()) == 24


def test_write_result_is_read_back(tmp_path):
    run = set_up(Parameters(output=str(tmp_path), seed=2))
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "a.png").write_bytes(b"")
    written = write_result(
        run, data="x", synthetic=True, config=CoSegConfig(input_size=224), weights_sha256="a" * 64,
        classes={"cat": ClassResult(photos=1, instances=0, found=0, average_precision=NOTHING)},
        files=[tmp_path / "overlays" / "a.png"],
    )  # fmt: skip
    read = read_result(tmp_path)
    assert read == written
    assert (read.seed, read.config.input_size, read.files) == (2, 224, ["overlays/a.png"])
    assert {"python", "torch", "timm", "co3lib"} <= set(read.versions)


def test_a_result_may_be_numbers_without_classes(tmp_path, capsys):
    run = set_up(Parameters(output=str(tmp_path)))
    written = write_result(run, data="x", synthetic=True, numbers={"loss": np.float32(0.25), "peaks": torch.tensor(3)})
    read = read_result(tmp_path)
    assert read == written and read.numbers == {"loss": 0.25, "peaks": 3.0}
    assert (read.config, read.weights_sha256, read.classes, read.mean_average_precision) == (None, None, {}, {})
    report = runner._report(read, tmp_path / "a.ipynb")
    assert "loss 0.25" in report and "bundled data" in report and "mAP" not in report


def test_the_report_begins_with_the_picture_and_what_is_on_it(tmp_path):
    def report(numbers, files=("overlays/a.png", "overlays/b.png", "picture.png")):
        values = result(numbers=numbers, files=files)
        return runner._report(values, tmp_path / "a.ipynb").splitlines()

    def result(**values):
        of_class = ClassResult(photos=4, instances=27, found=93, average_precision=NOTHING)
        return Result(
            profile="smoke", data="x", synthetic=True, seed=0, seconds=1, versions={}, config=CoSegConfig(),
            weights_sha256="a" * 64, classes={"coins": of_class, "cat": of_class}, **values,
        )  # fmt: skip

    first, *others = report({"shown": 27, "right": 26, "missed": 1})
    assert first == f"{tmp_path / 'picture.png'}: 27 instances of coins and cat shown in 8 photos, 26 right, 1 missed"
    assert any("2 overlays" in line for line in others)
    assert any("186 instances in all" in line for line in others)
    assert report({"shown": 1})[0].endswith("1 instance of coins and cat shown in 8 photos")
    for numbers, files in (({"shown": 3}, ["a.png"]), ({}, ["picture.png"])):
        assert report(numbers, files)[0].startswith("executed notebook")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": {}, "numbers": {}}, "at least one class or one number"),
        ({"config": None}, "with which config and weights_sha256"),
        ({"weights_sha256": None}, "with which config and weights_sha256"),
        ({"numbers": {"loss": float("nan")}}, "finite"),
        ({"numbers": {"loss": float("inf")}}, "finite"),
    ],
)
def test_a_result_that_says_nothing_or_half_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        result(**changes)


def instance(mask, score):
    return Instance(mask, score, (0, 0), (0, 0, 1, 1))


def found(*instances, truth=None):
    return PhotoResult("a.jpg", "cat", (4, 4), instances, truth)


def test_class_results_and_their_mean():
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[0, 0, :2], truth[1, 0, 2:] = True, True
    right, wrong = truth[0, 0].numpy(), ~truth[0, 0].numpy()
    half = right.copy()
    half[:, 2:] = False  # IoU 0.5, which is not above 0.5
    cat = class_result([found(instance(wrong, 0.1), instance(right, 0.9), truth=truth[0]), found(truth=truth[1])])
    assert cat == ClassResult(photos=2, instances=2, found=2, average_precision=dict.fromkeys(NOTHING, 0.5))
    dog = class_result([found(instance(half, 0.9), truth=truth[0])])
    assert dog.average_precision == {"0.25": 1, "0.5": 0, "0.75": 0}
    assert mean_precisions({"cat": cat, "dog": dog}) == {"0.25": 0.75, "0.5": 0.25, "0.75": 0.25}
    own = class_result([found(instance(half, 0.9))])
    assert own == ClassResult(photos=1, instances=0, found=1, average_precision=NOTHING)
    assert mean_precisions({"own": own}) == NOTHING
    assert mean_precisions({"cat": cat, "own": own})["0.5"] == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"files": ["../a"]}, {"files": ["/a"]}, {"weights_sha256": "0"}, {"classes": {}}, {"extra": 1},
     {"mean_average_precision": {"0.3": 0.1}}, {"mean_average_precision": {"0.5": 1.1}}],
)  # fmt: skip
def test_results_are_validated(wrong):
    with pytest.raises(ValidationError):
        result(**wrong)
