"""co3cli.segment and the command co3: a folder of one's own photos, from a first call to the contact sheet."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from co3cli import main, segment
from co3cli.segment import segment_folder
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.datasets.export import read_coco
from co3lib.datasets.images import fit_within
from co3lib.instance import shown
from co3lib.segmentation import CoSegmenter

SMALL = CoSegConfig(input_size=64, mask_size=64, epochs=1, max_proposals=40, peak_scales=(1.0,), prior_scales=(1.0,))
pytestmark = pytest.mark.usefixtures("networks_built_once")
NAMES = ("a dog 🐶.png", "Ünder.jpg", "same.png", "same.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photos with odd names, one that is there twice, a damaged one, and a text."""
    folder = tmp_path_factory.mktemp("Chats & chiens")
    for name, sample in zip(NAMES, demo_set("coins")["coin"], strict=False):
        Image.fromarray(fit_within(sample.image, 120)).save(folder / name)
    (folder / "twice.png").write_bytes((folder / "same.png").read_bytes())
    (folder / "zdamaged.png").write_bytes((folder / "same.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    output, said = tmp_path_factory.mktemp("results") / "out", []
    segment_folder(folder, output, SMALL, progress=False, say=said.append)
    return output, said


def files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_results_are_those_of_fit_and_predict(done, folder):
    paths = sorted(folder / name for name in NAMES)
    found = CoSegmenter(SMALL).fit(paths, progress=False).predict(paths, progress=False)
    written = {photo.name: photo for photo in read_coco(done[0])}
    assert set(written) == set(NAMES)
    for path, instances in zip(paths, found, strict=True):
        same = written[path.name].instances
        assert [one.score for one in same] == pytest.approx([one.score for one in instances])
        assert all((one.mask == other.mask).all() for one, other in zip(same, instances, strict=True))


def test_masks_and_overlays_are_of_what_is_shown(done):
    photos = read_coco(done[0])
    drawn = shown([photo.instances for photo in photos])
    total = sum(map(len, drawn))
    masks = sorted((done[0] / "masks").rglob("*.png"))
    assert total and len(masks) == total
    name = {"a dog 🐶.png": "a dog 🐶", "Ünder.jpg": "Ünder", "same.png": "same.png", "same.jpg": "same.jpg"}
    for photo, instances in zip(photos, drawn, strict=True):
        for number, instance in enumerate(instances, start=1):
            path = done[0] / "masks" / f"{name[photo.name]}_InstID{number}.png"
            assert (np.asarray(Image.open(path)) == instance.mask).all()
    assert len(list((done[0] / "overlays").rglob("*.png"))) == 4
    assert done[1][-1] == f"{total} instances shown in 4 photos: {done[0] / 'index.html'}"


def test_what_is_left_out_is_said(done):
    said = " ".join(done[1])
    assert "1 TXT" in said and "zdamaged.png cannot be read" in said and "twice.png is the same file as same.png" in said


def test_the_contact_sheet_links_to_every_overlay(done):
    from urllib.parse import unquote

    page = (done[0] / "index.html").read_text(encoding="utf-8")
    links = [unquote(link) for link in re.findall(r'src="([^"]+)"', page)]
    assert len(links) == 4 and all((done[0] / link).is_file() for link in links)
    assert "Chats &amp; chiens" in page and not (done[0] / ".work").exists()


def test_the_same_command_again_does_nothing(done, folder, monkeypatch):
    before, said = files(done[0]), []
    monkeypatch.setattr(segment, "CoSegmenter", None)
    segment_folder(folder, done[0], SMALL, progress=False, say=said.append)
    assert said[-1].startswith("Finished before") and files(done[0]) == before


@pytest.mark.parametrize("stop", ["fit", "photo", "writing"])
def test_a_stopped_command_goes_on_to_the_same_files(done, folder, tmp_path, monkeypatch, stop):
    output = tmp_path / "out"

    class Stopped(BaseException):
        pass

    def stopped(*arguments, **options):
        raise Stopped

    calls = []
    real = CoSegmenter.segment_photo

    def third(self, *arguments):
        calls.append(arguments)
        return stopped() if len(calls) == 3 else real(self, *arguments)

    with monkeypatch.context() as patch:
        if stop == "fit":
            patch.setattr(CoSegmenter, "save", stopped)
        elif stop == "photo":
            patch.setattr(CoSegmenter, "segment_photo", third)
        else:
            patch.setattr(
                segment, "write_coco", lambda *given: segment_write(*given) if "photo" in str(given[0]) else stopped()
            )
        with pytest.raises(Stopped):
            segment_folder(folder, output, SMALL, progress=False, say=lambda _: None)
    assert not (output / "index.html").exists()
    segment_folder(folder, output, SMALL, progress=False, say=lambda _: None)
    assert files(output) == files(done[0])


segment_write = segment.write_coco


def test_nothing_of_the_users_is_overwritten(done, folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"--out must be a new folder, got .*, which holds something else"):
        segment_folder(folder, tmp_path, SMALL, progress=False, say=lambda _: None)
    other = SMALL.model_copy(update={"epochs": 2})
    before = files(done[0])
    with pytest.raises(ValueError, match=r"--out must be a new folder, got .*, whose results are of other config"):
        segment_folder(folder, done[0], other, progress=False, say=lambda _: None)
    assert files(done[0]) == before and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("wrong, said", [("nowhere", "which is not there"), ("notes.txt", "which is a file")])
def test_what_is_no_folder_of_photos_is_one_sentence(folder, tmp_path, wrong, said):
    with pytest.raises(ValueError, match=f"PHOTOS must be a folder with photos, got .*, {said}"):
        segment_folder(folder / wrong, tmp_path / "out", SMALL, progress=False)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes((folder / "same.png").read_bytes())
    with pytest.raises(ValueError, match="PHOTOS must hold at least two photos that can be read, got 1"):
        segment_folder(tmp_path / "one", tmp_path / "out", SMALL, progress=False)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------------------ the command


def run(*arguments: str):
    return CliRunner().invoke(main.app, [str(argument) for argument in arguments])


def test_the_command_segments_a_folder(folder, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(segment, "segment_folder", lambda *given: seen.update(given=given))
    result = run("segment", folder, "--out", tmp_path / "out", "--epochs", "3", "--seed", "2", "--category", "dog")
    assert result.exit_code == 0 and seen["given"][:2] == (folder, tmp_path / "out")
    assert seen["given"][2] == CoSegConfig(epochs=3, seed=2) and seen["given"][3] == "dog"
    run("segment", folder, "--out", tmp_path / "out", "--preset", "released")
    assert seen["given"][2] == CoSegConfig.released()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["segment", "nowhere", "--out", "x"], "PHOTOS must be a folder with photos"),
        (
            ["segment", "nowhere", "--out", "x", "--preset", "best"],
            "--preset must be one of default, released, published, got best",
        ),
        (["segment", "nowhere", "--out", "x", "--epochs", "-1"], "epochs: should be greater than or equal to 0, got -1"),
        (["sweep", "nowhere", "--out", "x"], "TABLE must be one of"),
        (["sweep", "table2", "--out", "x"], "none of the sets COCO_VOC, COCO_NONVOC, VOC12, SOC is there: no --root was given"),
        (["tables", "nowhere"], "holds no sweep"),
    ],
)
def test_an_error_is_one_sentence_and_leaves_nothing(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    left = [path.name for path in tmp_path.iterdir()]
    assert left in ([], ["x"]) and not list(tmp_path.rglob("*.json"))


def test_run_json_says_what_was_asked_for(done):
    run_ = json.loads((done[0] / "run.json").read_text())
    assert run_["config"] == SMALL.model_dump(mode="json") and set(run_["photos"]) == set(NAMES)
