"""Sets in the authors' layout from tiny originals that are made here in their publishers' layouts."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as runs
from typer.testing import CliRunner

from co3lib.datasets import DatasetError, read_set
from co3lib.datasets.command import app
from co3lib.datasets.export import decode_runs
from co3lib.datasets.originals import LeftOut, Photo, Rules, write, write_set
from co3lib.datasets.originals.coco import VOC_CLASSES
from co3lib.datasets.originals.write import safe_name
from co3lib.paper import paper_results

SIZE = (20, 30)


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def save_photo(path: Path, seed: int = 0, size: tuple[int, int] = SIZE, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path, **how)
    return path


def save_labels(path: Path, labels: np.ndarray) -> None:
    """As VOC and Penn-Fudan have them, with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768, dtype=np.uint8).tolist())
    image.save(path)


def build(*arguments) -> tuple[int, str, str]:
    """Exit code, and what the command says on both streams."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def refused(*arguments) -> str:
    """The one sentence with which the command refuses."""
    code, out, said = build(*arguments)
    assert code == 2 and not out and said.count("\n") == 1, (code, out, said)
    return said


def masks_of(out: Path, name: str) -> dict[str, dict[str, np.ndarray]]:
    """Class -> photo -> masks, as ``read_set`` reads them; without a warning, so nothing in the set is unknown to it."""
    return {
        category: {sample.name: sample.masks.numpy() for sample in samples} for category, samples in read_set(out, name).items()
    }


pytestmark = pytest.mark.filterwarnings("error:left out")


# --------------------------------------------------------------------------------------------------------- VOC

CAT, DOG, VOID = 8, 12, 255
FIRST, SECOND, THIRD = box(2, 2, 6, 8), box(2, 15, 6, 8), box(12, 5, 5, 5)


@pytest.fixture
def voc(tmp_path) -> Path:
    """Photos a (two cats and a dog), b (a cat), c (a dog). Each object is in a frame of void, which hides part of it."""
    source = tmp_path / "VOC2012"
    shows = {"a": [(FIRST, CAT), (SECOND, CAT), (THIRD, DOG)], "b": [(SECOND, CAT)], "c": [(THIRD, DOG)]}
    for name, things in shows.items():
        save_photo(source / f"JPEGImages/{name}.jpg")
        objects, classes = np.zeros(SIZE), np.zeros(SIZE)
        for k, (mask, label) in enumerate(things, 1):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            frame = box(rows[0] - 1, columns[0] - 1, len(rows) + 2, len(columns) + 2)
            objects[frame], classes[frame] = VOID, VOID
            objects[mask], classes[mask] = k, label
        save_labels(source / f"SegmentationObject/{name}.png", objects)
        save_labels(source / f"SegmentationClass/{name}.png", classes)
    lists = source / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    (lists / "train.txt").write_text("a\nb\n")
    return source


def test_voc_objects_become_masks_without_void(voc, tmp_path):
    code, said, _ = build("voc12", "--source", voc, "--out", tmp_path)
    assert code == 0
    found = masks_of(tmp_path, "VOC12")
    assert {category: list(photos) for category, photos in found.items()} == {"cat": ["a", "b"], "dog": ["a", "c"]}
    assert np.array_equal(found["cat"]["a"], [FIRST, SECOND]) and np.array_equal(found["cat"]["b"], [SECOND])
    assert np.array_equal(found["dog"]["a"], [THIRD]) and np.array_equal(found["dog"]["c"], [THIRD])
    photo = tmp_path / "VOC12/Image/cat/a.jpg"
    assert photo.read_bytes() == (voc / "JPEGImages/a.jpg").read_bytes()
    assert [line.split() for line in said.splitlines() if line.strip().startswith(("cat", "dog"))] == [
        ["cat", "2", "3"],
        ["dog", "2", "2"],
    ]


def test_the_sums_stand_beside_the_papers(voc, tmp_path):
    said = build("voc12", "--source", voc, "--out", tmp_path)[1]
    paper = paper_results().query("table == 'Table 1' and set == 'VOC12'").value.astype(int).tolist()
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.startswith(("classes", "photos", "inst"))}
    assert rows == {
        what: [str(ours), str(theirs)]
        for (what, ours), theirs in zip({"classes": 2, "photos": 4, "instances": 5}.items(), paper, strict=True)
    }
    assert "The paper does not say which classes these are" in said and "split trainval" in said


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (["--split", "train"], {"cat": {"a": 2, "b": 1}}),
        (["--classes", "dog"], {"dog": {"a": 1, "c": 1}}),
        (["--classes", "dog, cat", "--minimum-area", "0.05"], {"cat": {"a": 2, "b": 1}}),  # a dog covers 25 of 600 pixels
        (["--minimum-area", str(25 / 600)], {"cat": {"a": 2, "b": 1}, "dog": {"a": 1, "c": 1}}),
    ],
)
def test_rules_say_what_is_taken(voc, tmp_path, rules, kept):
    assert build("voc12", "--source", voc, "--out", tmp_path, *rules)[0] == 0
    found = masks_of(tmp_path, "VOC12")
    assert {category: {name: len(masks) for name, masks in photos.items()} for category, photos in found.items()} == kept


def test_a_class_with_too_few_photos_is_left_out_and_named(voc, tmp_path):
    code, _, said = build("voc12", "--source", voc, "--out", tmp_path, "--split", "train")
    assert code == 0 and said == "left out, classes with fewer than 2 photos: 1 (dog)\n"
    assert not (tmp_path / "VOC12/Mask/dog").exists()


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (["--classes", "cat,lion"], "a class must be one of 'aeroplane', .*got 'lion'"),
        (["--classes", "cat,cat"], "classes: each must be named once, got cat, cat"),
        (["--split", "test"], r"ImageSets/Segmentation/test\.txt is not there"),
        (["--split", "../x"], "split: .*got '../x'"),
        (["--minimum-instances", "0"], "minimum_instances: .*greater than or equal to 1, got 0"),
        (["--minimum-area", "1"], "minimum_area: .*less than 1, got 1.0"),
        (["--minimum-instances", "3"], "no class has enough photos by these rules, so no set was made"),
        (["--set", "../VOC"], "set must be a name that a folder can have everywhere, got '../VOC'"),
        (["--download", "there"], "one of --source, the folder of the original, and --download must be given, got both"),
    ],
)
def test_rules_that_cannot_be_are_refused_in_a_sentence(voc, tmp_path, rules, sentence):
    out = tmp_path / "out"
    assert re.search(sentence, refused("voc12", "--source", voc, "--out", out, *rules))
    assert not out.exists() or not any(out.iterdir())


def test_a_set_is_never_written_over(voc, tmp_path):
    build("voc12", "--source", voc, "--out", tmp_path)
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "VOC12").rglob("*"))
    said = refused("voc12", "--source", voc, "--out", tmp_path, "--classes", "dog")
    assert said == f"{tmp_path / 'VOC12'} is already there; remove it, or name another set or folder\n"
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "VOC12").rglob("*")) == before
    assert build("voc12", "--source", voc, "--out", tmp_path, "--set", "dogs", "--classes", "dog")[0] == 0


def test_a_photo_that_is_missing_is_named(voc, tmp_path):
    (voc / "JPEGImages/c.jpg").unlink()
    said = build("voc12", "--source", voc, "--out", tmp_path, "--classes", "cat")[2]
    assert said == "left out, photos that are not there: 1 (c.jpg)\n"


def test_labels_that_are_none_are_refused_with_their_file(voc, tmp_path):
    objects = voc / "SegmentationObject/b.png"
    save_photo(objects)
    assert "b.png must be an image of labels" in refused("voc12", "--source", voc, "--out", tmp_path)
    objects.write_bytes(b"no")
    assert "b.png cannot be read" in refused("voc12", "--source", voc, "--out", tmp_path)
    save_labels(objects, box(0, 0, 1, 1))  # where SegmentationClass has ground
    assert "b.png must have a class of 1 to 20" in refused("voc12", "--source", voc, "--out", tmp_path)
    assert not (tmp_path / "VOC12").exists()


# --------------------------------------------------------------------------------------------------------- COCO


def polygon(mask: np.ndarray) -> list[float]:
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]] + [0, 1] for axis in (1, 0))
    return [float(value) for corner in ((left, top), (right, top), (right, bottom), (left, bottom)) for value in corner]


def run_lengths(mask: np.ndarray, as_text: bool) -> dict:
    encoded = runs.encode(np.asfortranarray(mask.astype(np.uint8)))
    if as_text:
        return {"size": list(SIZE), "counts": encoded["counts"].decode()}
    column = mask.ravel("F")
    edges = np.flatnonzero(np.diff(column)) + 1
    counts = np.diff([0, *edges, column.size]).tolist()
    return {"size": list(SIZE), "counts": ([0] if column[0] else []) + counts}


def coco_json(path: Path, shows: dict[str, list[tuple[str, object, int]]], classes: list[str]) -> Path:
    """File name -> (class, segmentation, whether it is a crowd) of each annotation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": k, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for k, name in enumerate(shows, 7)],
        "categories": [{"id": 10 * k, "name": name} for k, name in enumerate(classes, 1)],
        "annotations": [
            {"id": 1, "image_id": k, "category_id": 10 * classes.index(name) + 10, "segmentation": shape, "iscrowd": crowd}
            for k, things in enumerate(shows.values(), 7)
            for name, shape, crowd in things
        ],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_void_and_ground_have_no_say_in_an_objects_class(voc, tmp_path):
    classes = np.where(SECOND, VOID, 0)
    classes[2:8, 15:17] = CAT  # 12 of its 48 pixels
    classes[2:8, 17:19] = 0
    classes[2, 15] = DOG
    save_labels(voc / "SegmentationClass/b.png", classes)
    assert build("voc12", "--source", voc, "--out", tmp_path)[0] == 0
    assert np.array_equal(masks_of(tmp_path, "VOC12")["cat"]["b"], [SECOND])


@pytest.fixture
def coco(tmp_path) -> Path:
    source = tmp_path / "coco"
    crowd = run_lengths(box(0, 0, 20, 30), as_text=False)
    shows = {
        "1.jpg": [
            ("airplane", [polygon(FIRST), polygon(THIRD)], 0),
            ("airplane", run_lengths(SECOND, True), 0),
            ("zebra", [polygon(THIRD)], 0),
        ],
        "2.jpg": [("airplane", run_lengths(FIRST, False), 0), ("airplane", crowd, 1), ("zebra", [polygon(THIRD)], 0)],
        "3.jpg": [("airplane", crowd, 1)],
        "gone.jpg": [("airplane", [polygon(FIRST)], 0)],
    }
    coco_json(source / "annotations/instances_val2017.json", shows, ["airplane", "zebra"])
    for k in (1, 2, 3):
        save_photo(source / f"val2017/{k}.jpg", k)
    return source


def test_coco_polygons_and_run_lengths_become_masks_and_crowds_do_not(coco, tmp_path):
    code, out, said = build("coco-voc", "--source", coco, "--out", tmp_path)
    assert code == 0 and said == "left out, photos that are not there: 1 (gone.jpg)\n"
    found = masks_of(tmp_path, "COCO_VOC")
    assert list(found) == ["airplane"] and list(found["airplane"]) == ["1", "2"]
    assert np.array_equal(found["airplane"]["1"], [FIRST | THIRD, SECOND])
    assert np.array_equal(found["airplane"]["2"], [FIRST])
    assert "1281" in out and "3151" in out


def test_coco_nonvoc_has_the_other_classes(coco, tmp_path):
    assert "8303" in build("coco-nonvoc", "--source", coco, "--out", tmp_path)[1]
    found = masks_of(tmp_path, "COCO_NONVOC")
    assert {name: list(photos) for name, photos in found.items()} == {"zebra": ["1", "2"]}
    assert np.array_equal(found["zebra"]["2"], [THIRD])
    assert "a class must be one of 'zebra', got 'airplane'" in refused(
        "coco-nonvoc", "--source", coco, "--out", tmp_path, "--set", "other", "--classes", "airplane"
    )


def test_only_splits_that_can_be_downloaded_are(tmp_path):
    arguments = ("coco-voc", "--out", tmp_path, "--download", tmp_path, "--split")
    assert refused(*arguments, "val2014") == "split must be one of 'val2017', 'train2017', got 'val2014'\n"


def test_coco_is_built_from_what_is_downloaded(coco, tmp_path, monkeypatch):
    """The annotations and the photos come in archives of their own."""
    fetched = {"coco-annotations": tmp_path / "annotations", "coco-val2017": tmp_path / "photos"}
    for path in fetched.values():
        path.mkdir()
    (coco / "annotations").rename(fetched["coco-annotations"] / "annotations")
    (coco / "val2017").rename(fetched["coco-val2017"] / "val2017")
    monkeypatch.setattr("co3lib.datasets.command.fetch", lambda name, folder: fetched[name])
    assert build("coco-voc", "--out", tmp_path, "--download", tmp_path)[0] == 0
    assert list(masks_of(tmp_path, "COCO_VOC")["airplane"]) == ["1", "2"]


def test_vocs_classes_by_cocos_names():
    from co3lib.datasets.originals.voc import CLASSES

    renamed = {"aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle"}
    renamed |= {"pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv"}
    assert sorted(VOC_CLASSES) == sorted(renamed.get(name, name) for name in CLASSES)


def test_names_of_classes_and_photos_may_be_any(tmp_path):
    """Accents and emoji are kept; what no folder can be called is not; two photos of one name stay apart."""
    classes = ["café 🐈", "a/b", "..", "CON:"]
    shows = {f"{folder}/1.jpg": [(name, [polygon(FIRST)], 0) for name in classes] for folder in ("x", "y")}
    shows["x/cafe\u0301 \U0001f408.jpg"] = [("café 🐈", [polygon(SECOND)], 0)]
    path = coco_json(tmp_path / "any.json", shows, classes)
    for k, name in enumerate(shows):
        save_photo(tmp_path / "photos" / name, k)
    build("coco-json", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path / "out", "--set", "ANY")
    found = masks_of(tmp_path / "out", "ANY")
    assert sorted(found) == sorted(["café 🐈", "a_b", "_", "CON_"])
    assert sorted(found["a_b"]) == ["1", "1_2"]
    assert np.array_equal(found["café 🐈"]["café 🐈"], [SECOND])
    photos = [sample.image for sample in read_set(tmp_path / "out", "ANY")["a_b"]]
    assert not np.array_equal(*photos)
    assert {path.parent for path in (tmp_path / "out").rglob("*.jpg")} == {tmp_path / "out/ANY/Image" / name for name in found}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a b", "a b"),
        (".a", "_a"),
        ("..", "_"),
        ("", "_"),
        ("a/../b", "a_.._b"),
        ("a. ", "a"),
        ("\ud800x", "_x"),
        ("é" * 200, "é" * 90),
    ],
)
def test_a_safe_name_is_a_name_of_a_file_that_is_seen(name, safe):
    assert safe_name(name) == safe == safe_name(safe)


def test_photos_are_found_below_the_folder_and_nowhere_else(tmp_path):
    save_photo(tmp_path / "photos/deep/1.jpg")
    save_photo(tmp_path / "photos/2.jpg")
    secret = save_photo(tmp_path / "secret.jpg")
    shows = {name: [("cat", [polygon(FIRST)], 0)] for name in ("1.jpg", "elsewhere/2.jpg", "../secret.jpg", str(secret))}
    path = coco_json(tmp_path / "any.json", shows, ["cat"])
    said = build("coco-json", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path, "--set", "ANY")[2]
    assert said == f"left out, photos that are not there: 2 (../secret.jpg, {secret})\n"
    assert list(masks_of(tmp_path, "ANY")["cat"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"size": list(SIZE), "counts": [600, 1]}, "must be of 600 pixels, they are of 601"),
        ({"size": [5, 5], "counts": [25]}, r"of size \[5, 5\], its photo of \[20, 30\]"),
        ([[1, 2, 3, 4, 5, 1e9]], "a polygon leaves its photo by far"),
        ([[1, 2, 3, 4, 5, float("nan")]], "a polygon leaves its photo by far"),
        ("text", "annotation 1"),
    ],
)
def test_a_segmentation_that_is_none_is_refused_with_its_annotation(coco, tmp_path, shape, sentence):
    path = coco_json(tmp_path / "any.json", {"1.jpg": [("cat", shape, 0)], "2.jpg": [("cat", shape, 0)]}, ["cat"])
    said = refused("coco-json", "--json", path, "--photos", coco, "--out", tmp_path, "--set", "ANY")
    assert "any.json must hold polygons or run lengths in annotation 1" in said
    assert re.search(sentence, said)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"images": [], "categories": [], "annotations": [{"segmentation": [1]}]}']
)
def test_a_file_that_is_not_of_cocos_form_is_refused(coco, tmp_path, content):
    path = tmp_path / "any.json"
    path.write_text(content)
    said = refused("coco-json", "--json", path, "--photos", coco, "--out", tmp_path, "--set", "ANY")
    assert "any.json must be a JSON file of instances as COCO's are" in said


def test_run_lengths_as_text_and_as_a_list_are_the_same():
    mask = np.random.default_rng(0).random(SIZE) < 0.5
    for as_text in (True, False):
        assert np.array_equal(decode_runs(run_lengths(mask, as_text), SIZE), mask)


# --------------------------------------------------------------------------------------------------------- SOC, Penn-Fudan


def soc_photo(split: Path, name: str, colors: list[tuple[np.ndarray, tuple[int, int, int]]], lines: list[str]) -> None:
    save_photo(split / f"Imgs/{name}.jpg")
    drawn = np.zeros((*SIZE, 3), np.uint8)
    for mask, color in colors:
        drawn[mask] = color
    for folder in ("gt", "Instance name"):
        (split / "Instance gt" / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(split / f"Instance gt/gt/{name}.png")
    (split / f"Instance gt/Instance name/{name}.txt").write_text("\n".join(lines) + "\n")


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_soc_colours_become_masks_of_the_classes_in_their_lines(tmp_path):
    train, val = tmp_path / "SOC6K/TrainSet", tmp_path / "SOC6K/ValSet"
    soc_photo(train, "a", [(FIRST, GREEN), (SECOND, RED), (THIRD, BLUE)], ["1:dog", "2:person", "3:dog"])
    soc_photo(val, "b", [(FIRST, RED)], ["1:dog"])
    soc_photo(val, "c", [(FIRST, RED), (SECOND, GREEN)], ["1:person", "2:person"])
    soc_photo(val, "odd", [(FIRST, RED), (SECOND, BLUE)], ["1:dog", "2:dog"])
    soc_photo(val, "more", [(FIRST, RED)], ["1:dog", "2:dog"])
    code, out, said = build("soc", "--source", tmp_path / "SOC6K", "--out", tmp_path)
    assert code == 0 and said == "left out, photos whose colours and classes do not agree: 2 (more.jpg, odd.jpg)\n"
    found = masks_of(tmp_path, "SOC")
    assert {name: list(photos) for name, photos in found.items()} == {"dog": ["a", "b"], "person": ["a", "c"]}
    assert np.array_equal(found["dog"]["a"], [SECOND, THIRD]) and np.array_equal(found["person"]["a"], [FIRST])
    assert np.array_equal(found["person"]["c"], [FIRST, SECOND])
    assert "835" in out and "all splits" in out
    assert "must hold TestSet, it does not" in refused(
        "soc", "--source", tmp_path / "SOC6K", "--out", tmp_path / "o", "--split", "TestSet"
    )


def test_penn_fudan_labels_become_masks(tmp_path):
    source = tmp_path / "PennFudanPed"
    for name, labels in {"1": FIRST + 2 * SECOND, "2": 1 * THIRD, "3": 0 * THIRD}.items():
        save_photo(source / f"PNGImages/{name}.png")
        save_labels(source / f"PedMasks/{name}_mask.png", labels)
    assert build("penn-fudan", "--source", source, "--out", tmp_path)[1].endswith("1 classes, 2 photos, 3 instances\n")
    found = masks_of(tmp_path, "PennFudan")["pedestrian"]
    assert list(found) == ["1", "2"] and np.array_equal(found["1"], [FIRST, SECOND]) and np.array_equal(found["2"], [THIRD])


# --------------------------------------------------------------------------------------------------------- VIA


def via_polygon(mask: np.ndarray) -> dict:
    corners = polygon(mask)
    return {"name": "polygon", "all_points_x": corners[::2], "all_points_y": corners[1::2]}


CIRCLE = {"name": "circle", "cx": 10, "cy": 10, "r": 5}
TURNED = {"name": "ellipse", "cx": 10, "cy": 10, "rx": 8, "ry": 2, "theta": np.pi / 2}
RECT = {"name": "rect", "x": 15, "y": 2, "width": 8, "height": 6}


def via_json(path: Path, shows: dict[str, list[tuple[dict, dict]]], project: bool = True, numbered: bool = False) -> Path:
    entries = {}
    for name, regions in shows.items():
        both = [{"shape_attributes": shape, "region_attributes": attributes} for shape, attributes in regions]
        listed = {str(k): one for k, one in enumerate(both)} if numbered else both
        entries[f"{name}1234"] = {"filename": name, "size": 1234, "regions": listed, "file_attributes": {}}
    path.write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": entries} if project else entries))
    return path


@pytest.mark.parametrize(("project", "numbered"), [(True, False), (False, False), (False, True)])
def test_via_shapes_become_masks(tmp_path, project, numbered):
    cat = {"kind": "cat"}
    shows = {
        "1.jpg": [(via_polygon(FIRST), cat), (RECT, {"kind": {"cat": True, "dog": False}})],
        "2.jpg": [(CIRCLE, cat), (TURNED, cat), ({"name": "point", "cx": 1, "cy": 1}, cat), (RECT, {}), (RECT, {"kind": ""})],
    }
    path = via_json(tmp_path / "via.json", shows, project, numbered)
    for name in shows:
        save_photo(tmp_path / "photos" / name)
    code, _, said = build("via", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path, "--set", "MINE")
    assert code == 0
    assert said == "left out, regions without an area: 1 (2.jpg)\nleft out, regions without a class: 2 (2.jpg, 2.jpg)\n"
    found = masks_of(tmp_path, "MINE")["cat"]
    assert np.array_equal(found["1"], [FIRST, SECOND])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    assert np.array_equal(found["2"][0], (x - 10) ** 2 + (y - 10) ** 2 <= 25)
    assert np.array_equal(found["2"][1], (x - 10) ** 2 / 4 + (y - 10) ** 2 / 64 <= 1)


def test_an_ellipse_of_via_turns_clockwise(tmp_path):
    shape = TURNED | {"theta": np.pi / 4}
    shows = {f"{k}.jpg": [(shape, {})] for k in (1, 2)}
    path = via_json(tmp_path / "via.json", shows)
    for name in shows:
        save_photo(tmp_path / "photos" / name)
    build("via", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path, "--set", "MINE")
    (mask,) = masks_of(tmp_path, "MINE")["object"]["1"]
    assert mask[14, 14] and mask[5, 5] and not mask[5, 14] and not mask[14, 5]  # rows go down


def test_which_attribute_of_via_is_the_class_must_be_clear(tmp_path):
    shows = {f"{k}.jpg": [(RECT, {"kind": "cat", "colour": "red"})] for k in (1, 2)}
    path = via_json(tmp_path / "via.json", shows)
    for name in shows:
        save_photo(tmp_path / "photos" / name)
    arguments = ("via", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path, "--set", "MINE")
    assert refused(*arguments) == f"attribute must say which is the class in {path}, one of colour, kind\n"
    assert "must have an attribute 'size', got colour, kind" in refused(*arguments, "--attribute", "size")
    assert build(*arguments, "--attribute", "colour")[0] == 0 and list(masks_of(tmp_path, "MINE")) == ["red"]


@pytest.mark.parametrize(
    "shape", [{"name": "circle", "cx": 1, "cy": 1}, {"name": "polygon", "all_points_x": [1], "all_points_y": []}]
)
def test_a_shape_of_via_that_cannot_be_drawn_is_refused(tmp_path, shape):
    path = via_json(tmp_path / "via.json", {"1.jpg": [(shape, {})]})
    save_photo(tmp_path / "photos/1.jpg")
    said = refused("via", "--json", path, "--photos", tmp_path / "photos", "--out", tmp_path, "--set", "MINE")
    assert f"must hold shapes that can be drawn, not so a {shape['name']} of 1.jpg" in said


# --------------------------------------------------------------------------------------------------------- writing


def photos_at(folder: Path, count: int = 2, **how) -> list[Photo]:
    return [Photo("cat", save_photo(folder / f"{k}.jpg", k, **how), np.stack([FIRST])) for k in range(count)]


def test_photos_that_do_not_fit_their_masks_are_left_out_and_named(tmp_path):
    good = photos_at(tmp_path / "photos")
    exif = Image.Exif()
    exif[0x0112] = 3
    upside_down = save_photo(tmp_path / "photos/upside.jpg", exif=exif)
    damaged = tmp_path / "photos/damaged.jpg"
    damaged.write_bytes(b"no")
    text = tmp_path / "photos/notes.txt"
    text.touch()
    odd = [upside_down, damaged, text, tmp_path / "none.jpg", save_photo(tmp_path / "photos/small.jpg", size=(5, 6))]
    bad = [Photo("cat", path, np.stack([FIRST])) for path in odd]
    built = write_set([*good, *bad, good[0]], Rules(), tmp_path, "SET")
    assert built.left_out == [
        "left out, photos that EXIF turns, with no telling whether their masks are turned: 1 (upside.jpg)",
        "left out, photos that cannot be read: 1 (damaged.jpg)",
        "left out, files of no format that can be read: 1 (notes.txt)",
        "left out, photos that are not there: 1 (none.jpg)",
        "left out, photos of another size than their masks: 1 (small.jpg)",
        "left out, photos that come twice: 1 (0.jpg)",
    ]
    assert list(masks_of(tmp_path, "SET")["cat"]) == ["0", "1"]


@pytest.mark.parametrize("as_stored", [True, False])
def test_masks_of_a_photo_that_exif_turns_fit_it(tmp_path, as_stored):
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn = FIRST if as_stored else np.rot90(FIRST, -1)
    photos = [Photo("cat", save_photo(tmp_path / f"{k}.jpg", exif=exif), np.stack([drawn])) for k in range(2)]
    write_set(photos, Rules(), tmp_path, "SET")
    assert np.array_equal(masks_of(tmp_path, "SET")["cat"]["0"], [np.rot90(FIRST, -1)])


def test_photos_are_links_where_there_are_and_copies_elsewhere(tmp_path, monkeypatch):
    photos = photos_at(tmp_path / "photos")
    write_set(photos, Rules(), tmp_path, "LINKED")
    assert (tmp_path / "LINKED/Image/cat/0.jpg").samefile(photos[0].image_path)

    def none(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", none)
    write_set(photos, Rules(), tmp_path, "COPIED")
    copy = tmp_path / "COPIED/Image/cat/0.jpg"
    assert not copy.samefile(photos[0].image_path) and copy.read_bytes() == photos[0].image_path.read_bytes()


def test_masks_without_a_pixel_are_none(tmp_path):
    photos = [Photo("cat", photo.image_path, np.stack([0 * FIRST > 0, FIRST])) for photo in photos_at(tmp_path / "photos")]
    assert write_set(photos, Rules(), tmp_path, "SET").counts.loc["cat"].tolist() == [2, 2]
    assert np.array_equal(masks_of(tmp_path, "SET")["cat"]["0"], [FIRST])
    with pytest.raises(DatasetError, match="no class has enough photos"):
        write_set(photos, Rules(minimum_instances=2), tmp_path, "OTHER")
    assert not (tmp_path / "OTHER").exists()


def test_what_is_left_out_is_named_up_to_five():
    left_out = LeftOut()
    for k in range(7):
        left_out.add("photos that are not there", f"{k}.jpg")
    assert left_out.lines() == ["left out, photos that are not there: 7 (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more)"]


def test_nothing_stays_where_writing_fails(tmp_path, monkeypatch):
    photos = photos_at(tmp_path / "photos")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_set(photos, Rules(), tmp_path / "out", "SET")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_build_that_was_killed_leaves_no_set_and_can_be_done_again(voc, tmp_path, monkeypatch):
    arguments = ["voc12", "--source", str(voc), "--out", str(tmp_path / "out")]
    fork = multiprocessing.get_context("fork")
    linked, link = fork.Event(), write._link

    def slowly(source: Path, target: Path) -> None:
        link(source, target)
        linked.set()
        time.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(write, "_link", slowly)
        process = fork.Process(target=build, args=arguments, daemon=True)
        process.start()
    assert linked.wait(30)
    process.kill()
    process.join()
    assert any((tmp_path / "out").iterdir()) and not (tmp_path / "out/VOC12").exists()
    with pytest.raises(DatasetError, match="is not there"):
        read_set(tmp_path / "out", "VOC12")
    assert build(*arguments)[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["VOC12"]  # nor what was half-written


def test_the_command_runs_as_a_module(voc, tmp_path, monkeypatch, capsys):
    (tmp_path / "VOC12").mkdir()
    monkeypatch.setattr(sys, "argv", ["co3lib.datasets", "build", "voc12", "--source", str(voc), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("co3lib.datasets", run_name="__main__")
    said = f"{tmp_path / 'VOC12'} is already there; remove it, or name another set or folder\n"
    assert (ended.value.code, *capsys.readouterr()) == (2, "", said)
