"""Paths that a user names: what cannot be one is refused in a sentence, wherever it comes in."""

from __future__ import annotations

import pytest

from co3course.session import PhotoParameters
from co3lib.backbones import build_backbone
from co3lib.datasets import demo_set, read_set
from co3lib.datasets.export import read_coco
from co3lib.datasets.images import read_image
from co3lib.experiment import Experiment, read_outcomes, run_experiment
from co3lib.files import make_folder, path_of
from co3lib.segmentation import CoSegmenter

LONG = "a" * 300  # file systems end at 255
CALLS = {
    "root": lambda folder: read_set(LONG, "SET"),
    "name": lambda folder: read_set(folder, LONG),
    "weights": lambda folder: build_backbone(weights=LONG),
    "path": lambda folder: CoSegmenter.load(LONG),
    "photos": lambda folder: PhotoParameters(profile="smoke", photos=LONG, output=str(folder), seed=0),
    "folder": lambda folder: read_coco(LONG),
    "output": lambda folder: make_folder(folder / LONG, "output"),
    "outcomes": lambda folder: read_outcomes(LONG),
    "experiment": lambda folder: run_experiment(Experiment(set="coins"), LONG),
    "image": lambda folder: read_image(LONG),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_name_that_is_too_long_is_refused_in_a_sentence(call, tmp_path):
    with pytest.raises(ValueError, match="too long"):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_whose_name_is_too_long_is_named(monkeypatch):
    monkeypatch.setenv("CO3_DATA", LONG)
    with pytest.raises(ValueError, match=r"CO3_DATA must be a path that can be used, got .*a name in it is too long"):
        demo_set("coins")


def test_a_path_need_not_be_there(tmp_path):
    assert path_of(tmp_path / "absent" / "file", "output") == tmp_path / "absent" / "file"
    (tmp_path / "file").touch()
    assert path_of(tmp_path / "file" / "below", "output") == tmp_path / "file" / "below"
