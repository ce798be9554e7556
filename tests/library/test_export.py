"""COCO JSON as pycocotools reads it, and overlays pixel by pixel."""

import json
import pickle
import tempfile
import weakref
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from strategies import examples

from co3lib import _torchvision  # noqa: F401  (before torchvision)
from co3lib.datasets.export import (
    COLORS,
    GROUND_TRUTH,
    INSTANCES,
    RESULTS,
    ExportError,
    PhotoResult,
    overlay,
    overlay_names,
    read_coco,
    to_coco,
    write_coco,
    write_overlay,
    write_overlays,
)
from co3lib.instance import Instance
from co3lib.overlap import tight_box


def _instance(mask, score=0.5, peak=(0, 0)):
    return Instance(mask, score, peak, tight_box(mask))


def _box(size, y0, y1, x0, x1):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY = Instance(np.zeros((4, 4), bool), 1.0, (0, 0), (0, 0, 0, 0))


@pytest.fixture
def photos():
    draw = np.random.default_rng(0)
    size, other = (7, 11), (5, 4)
    ragged = draw.random((2, *size)) < 0.4
    return [
        PhotoResult("b.jpg", "cup", size, [_instance(ragged[0], 2.5, (3, 4)), _instance(ragged[1], -1e-9)],
                    torch.from_numpy(ragged)),
        PhotoResult("a.jpg", "cat", other, [_instance(_box(other, 1, 3, 0, 4), 0.25, (2, 1))]),
        PhotoResult("c.jpg", "cup", size, [], torch.zeros(0, *size, dtype=torch.bool)),
        PhotoResult("d.jpg", "dog", size, []),
    ]  # fmt: skip


def test_pycocotools_loads_what_is_written(photos, tmp_path):
    write_coco(tmp_path, photos)
    truth = COCO(str(tmp_path / GROUND_TRUTH))
    results = truth.loadRes(str(tmp_path / RESULTS))
    assert [image["file_name"] for image in truth.loadImgs([1, 2, 3, 4])] == [photo.name for photo in photos]
    assert {c["name"]: c["id"] for c in truth.loadCats(truth.getCatIds())} == {"cat": 1, "cup": 2, "dog": 3}
    for image_id, photo in enumerate(photos, start=1):
        found = results.loadAnns(results.getAnnIds(imgIds=[image_id]))
        assert len(found) == len(photo.instances)
        for annotation, instance in zip(found, photo.instances, strict=True):
            assert isinstance(annotation["segmentation"]["counts"], str)
            assert np.array_equal(results.annToMask(annotation), instance.mask)
            assert annotation["score"] == instance.score
            x, y, width, height = annotation["bbox"]
            assert (x, y, x + width, y + height) == instance.box
            assert list(annotation["bbox"]) == list(rle.toBbox(annotation["segmentation"]))
            assert annotation["area"] == instance.mask.sum()
    known = truth.loadAnns(truth.getAnnIds(imgIds=[1]))
    assert [a["area"] for a in known] == photos[0].truth.sum((1, 2)).tolist()
    assert truth.getAnnIds(imgIds=[2, 3, 4]) == []


def test_cocoeval_gives_full_marks_to_the_truth(photos, tmp_path):
    write_coco(tmp_path, photos[:1])
    truth = COCO(str(tmp_path / GROUND_TRUTH))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / RESULTS)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_reads_back_what_was_written(photos, tmp_path):
    write_coco(tmp_path / "new" / "folder", photos)
    again = read_coco(tmp_path / "new" / "folder")
    assert [(p.name, p.category, p.size) for p in again] == [(p.name, p.category, p.size) for p in photos]
    for photo, read in zip(photos, again, strict=True):
        assert (read.truth is None) == (photo.truth is None)
        assert photo.truth is None or torch.equal(read.truth, photo.truth)
        for instance, other in zip(photo.instances, read.instances, strict=True):
            assert np.array_equal(instance.mask, other.mask) and other.mask.dtype == bool
            assert (instance.score, instance.peak, instance.box) == (other.score, other.peak, other.box)
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [GROUND_TRUTH, INSTANCES, RESULTS]


def masks_by_photo(coco: COCO) -> dict[str, list[np.ndarray]]:
    """Photo's file name -> its masks in a loaded COCO file, in their order."""
    return {
        image["file_name"]: [coco.annToMask(one).astype(bool) for one in coco.loadAnns(coco.getAnnIds(imgIds=[k]))]
        for k, image in coco.imgs.items()
    }


def assert_same_masks(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def found_and_true(photos):
    """What each of the two whole data sets must hold: its file's name, photo's name -> masks."""
    found = {photo.name: [one.mask for one in photo.instances] for photo in photos}
    true = {photo.name: [] if photo.truth is None else list(photo.truth.numpy()) for photo in photos}
    return {INSTANCES: found, GROUND_TRUTH: true}


def test_instances_are_a_whole_data_set(photos, tmp_path):
    write_coco(tmp_path, photos)
    for name, wanted in found_and_true(photos).items():
        coco = COCO(str(tmp_path / name))
        coco.info()
        assert coco.getCatIds(catNms=["cup"], supNms=[""]) == [2]
        assert len(coco.getImgIds()) == len(photos)
        assert [one["id"] for one in coco.dataset["licenses"]] == [1]
        assert {one["license"] for one in coco.imgs.values()} == {1}
        assert list(coco.anns) == list(range(1, 1 + sum(map(len, wanted.values()))))
        masks = masks_by_photo(coco)
        assert masks.keys() == wanted.keys()
        for photo, ones in wanted.items():
            assert_same_masks(masks[photo], ones)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            x0, y0, x1, y1 = tight_box(mask)
            assert annotation["area"] == mask.sum() and annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["iscrowd"] == 0 and annotation["category_id"] in coco.cats
    scores = [one["score"] for one in COCO(str(tmp_path / INSTANCES)).anns.values()]
    assert scores == [one.score for photo in photos for one in photo.instances]


def test_torchvision_reads_the_instances(photos, tmp_path):
    from torchvision.datasets import CocoDetection

    for photo in photos:
        Image.new("RGB", photo.size[::-1]).save(tmp_path / photo.name)
    write_coco(tmp_path, photos)
    for photo, (image, annotations) in zip(photos, CocoDetection(tmp_path, tmp_path / INSTANCES), strict=True):
        assert image.size == photo.size[::-1]
        assert_same_masks(
            [rle.decode(one["segmentation"]).astype(bool) for one in annotations], [one.mask for one in photo.instances]
        )


def test_datumaro_reads_all_three(photos, tmp_path):
    # Not among the requirements of the tests, because it holds Pillow below 13 and pandas below 3: installed beside
    # them in an environment of its own (pip install -e ".[test]" datumaro) it runs this test too.
    data_set = pytest.importorskip("datumaro.components.dataset").Dataset
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for photo in photos:
        Image.new("RGB", photo.size[::-1]).save(tmp_path / "images" / photo.name)
    write_coco(tmp_path / "annotations", photos)
    truth = json.loads((tmp_path / "annotations" / GROUND_TRUTH).read_text())
    results = COCO(str(tmp_path / "annotations" / GROUND_TRUTH)).loadRes(str(tmp_path / "annotations" / RESULTS))
    loaded = {**truth, "annotations": [{**one, "bbox": list(one["bbox"])} for one in results.anns.values()]}
    (tmp_path / "annotations" / RESULTS).write_text(json.dumps(loaded, default=float))
    wanted = found_and_true(photos)
    for name, masks in {**wanted, RESULTS: wanted[INSTANCES]}.items():
        data = data_set.import_from(str(tmp_path / "annotations" / name), "coco_instances")
        labels = [label.name for label in data.categories()[next(iter(data.categories()))]]
        assert labels == ["cat", "cup", "dog"] and len(data) == len(photos)
        for photo in photos:
            item = data.get(photo.name.split(".")[0], next(iter(data.subsets())))
            assert tuple(item.media.size) == photo.size
            read = sorted((one for one in item.annotations if one.type.name == "mask"), key=lambda one: one.id)
            assert_same_masks([one.image.astype(bool) for one in read], masks[photo.name])
            assert all(labels[one.label] == photo.category for one in read)


@pytest.mark.parametrize("categories", [("cat", "dog"), ("cat", "cat"), ("cat", "mean")])
def test_two_photos_of_one_name_stay_two(categories, tmp_path):
    masks = [_box((6, 6), 0, 2, 0, 3), _box((6, 6), 3, 6, 1, 2)]
    photos = [
        PhotoResult("a.jpg", category, (6, 6), [_instance(mask)], torch.from_numpy(mask[None]))
        for category, mask in zip(categories, masks, strict=True)
    ]
    write_coco(tmp_path, [*photos, PhotoResult("b.jpg", "cat", (6, 6), [])])
    for name in (GROUND_TRUTH, INSTANCES):
        read = masks_by_photo(COCO(str(tmp_path / name)))
        assert len(read) == 3 and "b.jpg" in read and all(key.endswith("a.jpg") for key in list(read)[:2])
        assert_same_masks([ones[0] for ones in list(read.values())[:2]], masks)
    again = read_coco(tmp_path)
    assert [(one.name, one.category) for one in again[:2]] == [("a.jpg", category) for category in categories]
    assert_same_masks([one.instances[0].mask for one in again[:2]], masks)


def test_cocoeval_sorts_by_the_area_of_the_mask_and_not_of_its_box(tmp_path):
    # 1264 pixels are "medium" to COCO; the box round them is "large".
    ring = _box((200, 200), 20, 180, 20, 180) & ~_box((200, 200), 22, 178, 22, 178)
    photos = [PhotoResult("a.jpg", "cat", (200, 200), [_instance(ring)], torch.from_numpy(ring[None]))]
    write_coco(tmp_path, photos)
    truth = COCO(str(tmp_path / GROUND_TRUTH))
    results = truth.loadRes(str(tmp_path / RESULTS))
    (one,) = results.anns.values()
    assert one["area"] == ring.sum() == 1264
    evaluation = COCOeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[4] == pytest.approx(1) and evaluation.stats[5] == -1  # medium, by its pixels; none is large


def test_nothing_found_is_written_and_read(photos, tmp_path):
    write_coco(tmp_path, photos[2:])
    assert json.loads((tmp_path / RESULTS).read_text()) == []
    assert [p.instances for p in read_coco(tmp_path)] == [[], []]


def test_numbers_of_numpy_and_torch_become_json():
    mask = _box((4, 4), 0, 2, 0, 2)
    found = Instance(mask, np.float32(0.5), (np.int64(1), torch.tensor(1)), tight_box(mask))
    photo = PhotoResult("a", "cat", (np.int64(4), np.int64(4)), [found], torch.from_numpy(mask[None]))
    truth, (result,) = json.loads(json.dumps(to_coco([photo])))
    assert truth["images"][0]["height"] == 4 and (result["score"], result["peak"]) == (0.5, [1, 1])


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (_instance(_box((4, 5), 0, 1, 0, 1)), r"of a\.jpg must be of its size \(4, 4\), got \(4, 5\)"),
        (EMPTY, r"of a\.jpg must have at least one pixel"),
        (_instance(_box((4, 4), 0, 1, 0, 1), float("nan")), r"scores of a\.jpg must be finite"),
        (_instance(_box((4, 4), 0, 1, 0, 1), float("-inf")), r"scores of a\.jpg must be finite"),
    ],
)
def test_impossible_instances_are_refused(instance, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        write_coco(tmp_path, [PhotoResult("a.jpg", "cat", (4, 4), [instance])])
    assert not list(tmp_path.iterdir())


def test_true_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"truth of a\.jpg must have shape \(G, 4, 4\), got \(1, 4, 5\)"):
        to_coco([PhotoResult("a.jpg", "cat", (4, 4), [], torch.zeros(1, 4, 5, dtype=torch.bool))])


def test_damaged_files_are_named(photos, tmp_path):
    with pytest.raises(ExportError, match=GROUND_TRUTH):
        read_coco(tmp_path)
    write_coco(tmp_path, photos)
    (tmp_path / RESULTS).write_text((tmp_path / RESULTS).read_text()[:-20])
    with pytest.raises(ExportError, match=RESULTS):
        read_coco(tmp_path)
    (tmp_path / RESULTS).write_text('[{"image_id": 1}]')
    with pytest.raises(ExportError, match="segmentation"):
        read_coco(tmp_path)


def damaged(folder, name, change):
    """Change the first annotation of a file in place."""
    content = json.loads((folder / name).read_text())
    change((content if name == RESULTS else content["annotations"])[0])
    (folder / name).write_text(json.dumps(content))


def counts(change):
    return lambda one: one["segmentation"].update(counts=change(one["segmentation"]["counts"]))


@pytest.mark.parametrize("name", [GROUND_TRUTH, RESULTS])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (counts(lambda text: text[: len(text) // 2]), "run lengths"),
        (counts(lambda text: text[:-1]), "run lengths"),
        (counts(lambda text: text + text), "run lengths"),
        (counts(lambda text: text + "1"), "run lengths"),
        (counts(lambda text: ""), "run lengths"),
        (counts(lambda text: text + "P"), "cut off"),
        (counts(lambda text: "é" + text), "ascii"),
        (counts(lambda text: " " + text), "' '"),
        (counts(lambda text: "O^2"), "must not be negative"),  # -1 and 78
        (counts(lambda text: "p" + text), "'p'"),
        (counts(lambda text: "]2"), "at least one pixel"),  # 77: a mask of nothing
        (counts(lambda text: [77]), "list"),
        (lambda one: one["segmentation"].update(size=[11, 7]), r"size \[11, 7\]"),
        (lambda one: one["segmentation"].update(size=[7, 12]), r"size \[7, 12\]"),
        (lambda one: one.update(segmentation=[[1, 1, 5, 1, 5, 5]]), "list"),
        (lambda one: one.update(image_id=9), "9 is missing or unknown"),
        (lambda one: one.pop("segmentation"), "'segmentation' is missing or unknown"),
    ],
)
def test_run_lengths_that_are_not_of_the_photo_are_refused(photos, name, change, said, tmp_path):
    write_coco(tmp_path, photos)
    damaged(tmp_path, name, change)
    with pytest.raises(ExportError, match=rf"{name} .*{said}") as refused:
        read_coco(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", '"high"', "null"])
def test_scores_in_a_file_must_be_finite(photos, score, tmp_path):
    write_coco(tmp_path, photos)
    text = (tmp_path / RESULTS).read_text()
    (tmp_path / RESULTS).write_text(text.replace('"score": 2.5', f'"score": {score}'))
    with pytest.raises(ExportError, match=RESULTS):
        read_coco(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"images": 3}', "3", "null", "[" * 100_000])
@pytest.mark.parametrize("name", [GROUND_TRUTH, RESULTS])
def test_other_json_is_refused_by_its_file(photos, content, name, tmp_path):
    if (content, name) == ("[]", RESULTS):
        return  # nothing found
    write_coco(tmp_path, photos)
    (tmp_path / name).write_text(content)
    with pytest.raises(ExportError, match=name):
        read_coco(tmp_path)


def test_photos_of_one_id_are_refused(photos, tmp_path):
    write_coco(tmp_path, photos)
    content = json.loads((tmp_path / GROUND_TRUTH).read_text())
    content["images"][3]["id"] = 3
    (tmp_path / GROUND_TRUTH).write_text(json.dumps(content))
    with pytest.raises(ExportError, match=f"{GROUND_TRUTH} .*two photos have the same id"):
        read_coco(tmp_path)


@pytest.mark.parametrize("size", [(-7, 11), (7, "11"), (7.5, 11), (0, 11)])
def test_impossible_sizes_are_refused(photos, size, tmp_path):
    write_coco(tmp_path, photos)
    content = json.loads((tmp_path / GROUND_TRUTH).read_text())
    content["images"][0].update(zip(("height", "width"), size, strict=True))
    (tmp_path / GROUND_TRUTH).write_text(json.dumps(content))
    with pytest.raises(ExportError, match=f"{GROUND_TRUTH} .*height and width"):
        read_coco(tmp_path)


@examples(100)
@given(st.data())
def test_any_mask_is_read_as_it_was(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    share, seed = data.draw(st.sampled_from([0.02, 0.5])), data.draw(st.integers(0, 10**6))
    mask = np.random.default_rng(seed).random((height, width)) < share
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    with tempfile.TemporaryDirectory() as folder:
        write_coco(folder, [PhotoResult("a", "cat", (height, width), [_instance(mask)], torch.from_numpy(mask[None]))])
        (read,) = read_coco(folder)
    assert np.array_equal(read.instances[0].mask, mask) and np.array_equal(read.truth[0].numpy(), mask)


def test_three_files_or_none(photos, tmp_path, monkeypatch):
    write_coco(tmp_path, photos)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write, written = Path.write_text, []

    def full(path, text, **options):
        written.append(path)
        if len(written) == 3:
            write(path, text[:10], **options)
            raise OSError(28, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_coco(tmp_path, photos[:1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_overlay_tints_outlines_and_leaves_the_rest():
    image = np.full((40, 60, 3), 100, np.uint8)
    mask = _box((40, 60), 10, 30, 10, 30)
    drawn = overlay(image, [_instance(mask)])
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert (image == 100).all(), "the photo itself was drawn on"
    assert (drawn[~mask] == 100).all()
    assert tuple(drawn[10, 10]) == COLORS[0] and tuple(drawn[29, 20]) == COLORS[0]
    assert tuple(drawn[20, 20]) == tuple(round(0.6 * 100 + 0.4 * c) for c in COLORS[0])


@pytest.mark.parametrize(("longest", "line"), [(60, 1), (200, 1), (301, 2), (500, 2), (1000, 5)])
def test_the_contour_is_a_two_hundredth_of_the_photo_wide(longest, line):
    mask = _box((longest, 40), 10, 50, 10, 30)
    drawn = overlay(np.zeros((longest, 40, 3), np.uint8), [_instance(mask)])
    at_contour = (drawn == COLORS[0]).all(2)
    assert np.array_equal(at_contour, mask & ~_box((longest, 40), 10 + line, 50 - line, 10 + line, 30 - line))


def test_overlay_puts_the_best_on_top():
    image = np.zeros((20, 20, 3), np.uint8)
    best, second = _box((20, 20), 0, 12, 0, 12), _box((20, 20), 6, 20, 6, 20)
    drawn = overlay(image, [_instance(best), _instance(second)])
    assert tuple(drawn[11, 11]) == COLORS[0] and tuple(drawn[14, 6]) == COLORS[1]
    tint = np.rint(0.4 * np.array(COLORS[1]))
    assert np.array_equal(drawn[15, 15], tint)
    # A pixel of both is the best one's alone; what is left of the other has an outline along it.
    assert np.array_equal(drawn[9, 9], np.rint(0.4 * np.array(COLORS[0])))
    assert tuple(drawn[12, 9]) == COLORS[1]


def test_overlay_is_open_at_the_photos_border():
    drawn = overlay(np.zeros((20, 20, 3), np.uint8), [_instance(np.ones((20, 20), bool))])
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1 and tuple(drawn[0, 0]) != COLORS[0]


def test_overlay_of_nothing_and_of_an_empty_mask_is_the_photo():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(overlay(image, []), image)
    assert np.array_equal(overlay(image, [EMPTY]), image)


def test_labels_stay_inside_the_photo():
    image = np.full((60, 80, 3), 128, np.uint8)
    corner = _box((60, 80), 55, 60, 75, 80)
    plain, labelled = overlay(image, [_instance(corner)]), overlay(image, [_instance(corner)], labels=True)
    changed = (plain != labelled).any(2)
    assert labelled.shape == image.shape and changed.sum() > 50
    written = labelled[changed]
    assert changed[-1, -2] and (written.min(1) > 150).any() and (written.max(1) == 0).any()


@pytest.mark.parametrize(
    ("size", "box"), [((60, 80), (20, 15, 25, 20)), ((640, 400), (30, 200, 40, 210)), ((60, 80), (79, 59, 80, 60))]
)
def test_a_label_is_a_black_box_at_the_corner_of_its_instances(size, box):
    image, font = np.full((*size, 3), 128, np.uint8), ImageFont.load_default(max(10, max(size) / 32))
    empty = Instance(np.zeros(size, bool), 0.123456, (0, 0), box)
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), "0.123", font=font)
    width, height = int(np.ceil(right - left)) + 4, int(np.ceil(bottom - top)) + 4
    x, y = min(box[0], size[1] - width), min(box[1], size[0] - height)
    expected = Image.fromarray(image)
    ImageDraw.Draw(expected).rectangle((x, y, x + width - 1, y + height - 1), fill="black", outline=COLORS[0])
    ImageDraw.Draw(expected).text((x + 2 - left, y + 2 - top), "0.123", fill="white", font=font)
    assert np.array_equal(overlay(image, [empty], labels=True), np.asarray(expected))


def test_the_best_ones_label_is_on_top_and_a_label_may_be_wider_than_the_photo():
    image = np.full((60, 80, 3), 128, np.uint8)
    best, second = (Instance(np.zeros((60, 80), bool), score, (0, 0), (20, 15, 25, 20)) for score in (0.5, 0.4))
    colors = overlay(image, [best, second], labels=True)[15, 20], overlay(image, [best], labels=True)[15, 20]
    assert np.array_equal(*colors) and tuple(colors[0]) == COLORS[0]
    tiny = np.full((6, 9, 3), 128, np.uint8)
    drawn = overlay(tiny, [Instance(np.zeros((6, 9), bool), 0.5, (0, 0), (3, 3, 4, 4))], labels=True)
    assert drawn.shape == tiny.shape and tuple(drawn[0, 0]) == COLORS[0]


def test_eight_instances_cycle_the_colours():
    image = np.zeros((8, 64, 3), np.uint8)
    masks = [_box((8, 64), 0, 8, 8 * k, 8 * k + 8) for k in range(8)]
    drawn = overlay(image, [_instance(mask) for mask in masks])
    seen = [tuple(drawn[4, 8 * k + 7]) for k in range(8)]
    assert seen[:7] == list(COLORS) and tuple(drawn[4, 56]) == COLORS[0]


def test_colours_are_okabe_and_itos():
    # https://jfly.uni-koeln.de/color: orange, blue, yellow, reddish purple, sky blue, vermilion, bluish green.
    named = ["#E69F00", "#0072B2", "#F0E442", "#CC79A7", "#56B4E9", "#D55E00", "#009E73"]
    assert [f"#{r:02X}{g:02X}{b:02X}" for r, g, b in COLORS] == named


def test_colours_differ_for_readers_without_red_or_green():
    # Vienot, Brettel and Mollon's (1999) projection of linear RGB for protanopia and deuteranopia.
    linear = (np.array(COLORS) / 255) ** 2.2
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for seen in (linear, linear @ protan.T, linear @ deutan.T):
        seen = 255 * np.clip(seen, 0, 1) ** (1 / 2.2)
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        (np.zeros((4, 4, 3)), np.ones((4, 4), bool), "image must be uint8"),
        (np.zeros((4, 4), np.uint8), np.ones((4, 4), bool), "image must be uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), bool), "masks must be of the image's size"),
    ],
)
def test_overlay_refuses_what_does_not_fit(image, mask, said):
    with pytest.raises(ValueError, match=said):
        overlay(image, [_instance(mask)])


def test_the_truth_of_a_large_photo_is_kept_as_run_lengths():
    truth = torch.zeros(2, 900, 1200, dtype=torch.bool)
    truth[0, 3:800, 5:7], truth[1, :, 600:] = True, True
    gone, expected = weakref.ref(truth), truth.clone()
    found = [_instance(expected[0].numpy(), 0.5), _instance(~expected[0].numpy(), 0.25)]
    photo = PhotoResult("a.jpg", "cat", (900, 1200), found, truth)
    del truth
    assert gone() is None and len(pickle.dumps(photo)) < 5000
    assert torch.equal(photo.truth, expected)
    nothing = PhotoResult("a.jpg", "cat", (900, 1200), [], expected[:0])
    assert nothing.truth.shape == (0, 900, 1200)
    assert PhotoResult("a.jpg", "cat", (900, 1200), []).truth is None


def test_write_overlay(tmp_path):
    image = np.full((10, 12, 3), 7, np.uint8)
    found = [_instance(_box((10, 12), 2, 8, 2, 8))]
    write_overlay(tmp_path / "sub" / "a.png", image, found)
    with Image.open(tmp_path / "sub" / "a.png") as written:
        assert np.array_equal(np.asarray(written), overlay(image, found))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="path must end like an image's name"):
        write_overlay(tmp_path / "a.txt", image, found)


def test_every_photo_has_an_overlay_of_its_own(tmp_path):
    size = (6, 6)
    alike = [("a.jpg", "cat"), ("a.png", "cat"), ("a.JPG", "cat")]
    names = [*alike, ("b.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "dog"), ("c.jpg", "dog"), ("d.jpg", "dog")]
    photos = [PhotoResult(name, category, size, []) for name, category in names]
    images = [np.full((*size, 3), 10 * k, np.uint8) for k in range(len(photos))]
    write_overlays(tmp_path / "new", photos, images)
    paths = [tmp_path / "new" / name for name in overlay_names(photos)]
    named = ["1/a.png", "a.png.png", "3/a.png", "cat/b.png", "dog/b.png", "6/c.png", "7/c.png", "d.png"]
    assert overlay_names(photos) == named
    assert sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file()) == sorted(set(paths))
    for path, image in zip(paths, images, strict=True):
        with Image.open(path) as written:
            assert np.array_equal(np.asarray(written), image)
    with pytest.raises(ValueError, match="photos has 8, images has 7"):
        write_overlays(tmp_path, photos, images[1:])


@pytest.mark.parametrize(
    "names, overlays",
    [
        (["a.png", "b.JPEG", "c", "d.1"], ["a.png", "b.png", "c.png", "d.1.png"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg.png", "a.png.png", "b.png"]),
        (["A.jpg", "a.png"], ["A.jpg.png", "a.png.png"]),
        (["A.jpg", "a.jpg"], ["1/A.png", "2/a.png"]),
        (["\u00e9.jpg", "e\u0301.png"], ["\u00e9.jpg.png", "e\u0301.png.png"]),
        # The last would be called like the first, which is not free to have another name.
        (["a.jpg", "a.png", "a.jpg.jpg"], ["a.jpg.png", "a.png.png", "a.jpg.jpg.png"]),
        (["a.jpg.jpg", "a.jpg.tif", "a.jpg", "a.png"], ["a.jpg.jpg.png", "a.jpg.tif.png", "a.jpg.png", "a.png.png"]),
    ],
)
def test_an_overlay_is_called_as_its_photo_where_no_other_is(names, overlays):
    photos = [PhotoResult(name, "cat", (4, 4), []) for name in names]
    assert overlay_names(photos) == overlays
    if "1/A.png" not in overlays:  # where no number is needed, the order says nothing
        assert overlay_names(photos[::-1]) == overlays[::-1]


def test_overlays_of_classes_are_in_folders_only_where_they_share_a_name():
    names = [("a.jpg", "cat"), ("a.jpg", "dog"), ("b.jpg", "dog")]
    photos = [PhotoResult(name, category, (4, 4), []) for name, category in names]
    assert overlay_names(photos) == ["cat/a.png", "dog/a.png", "b.png"]


STEMS = st.sampled_from(["a", "A", "a.jpg", "1/a", "2/a", ""])  # with those that look like numbered ones


@examples(200)
@given(st.lists(st.tuples(STEMS, st.sampled_from([".jpg", ".png", ".JPG", ""]))))
def test_no_two_overlays_share_a_name_whatever_the_file_system(parts):
    overlays = overlay_names([PhotoResult(stem + ending, "1", (4, 4), []) for stem, ending in parts])
    assert len({name.casefold() for name in overlays}) == len(parts) and all(name.endswith(".png") for name in overlays)


@pytest.mark.parametrize("ending", ["psd", "xbm", "ico", "icns", "fits", "mpg", "wmf", "PSD", "h5", "cur", ""])
def test_a_format_that_cannot_be_written_is_refused_before_anything_is_drawn(ending, tmp_path):
    with pytest.raises(ValueError, match=rf"path must end like an image's name .*\.png, got .*\.{ending}$"):
        write_overlay(tmp_path / "new" / f"a.{ending}", None, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["png", "JPG", "tif", "webp", "bmp", "gif", "pdf"])
def test_formats_that_can_be_written(ending, tmp_path):
    write_overlay(tmp_path / f"a.{ending}", np.full((400, 500, 3), 7, np.uint8), [])
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]
    if ending != "pdf":
        with Image.open(tmp_path / f"a.{ending}") as written:
            assert written.size == (500, 400)


def test_folders_are_made_and_what_is_there_is_written_anew(tmp_path):
    path = tmp_path / "new" / "folder" / "a.png"
    for value in (7, 9):
        write_overlay(path, np.full((4, 4, 3), value, np.uint8), [])
        with Image.open(path) as written:
            assert (np.asarray(written) == value).all()


def test_overlays_of_photos_are_labelled(tmp_path):
    image, found = np.full((60, 80, 3), 7, np.uint8), [_instance(_box((60, 80), 5, 50, 5, 60))]
    Image.fromarray(image).save(tmp_path / "a.png")
    write_overlays(tmp_path / "new", [PhotoResult("a.png", "cat", (60, 80), found)], [tmp_path / "a.png"])
    with Image.open(tmp_path / "new" / "a.png") as written:
        assert np.array_equal(np.asarray(written), overlay(image, found, labels=True))


def test_a_long_name_is_written(tmp_path):
    name = "é" * 124 + ".png"  # 252 bytes, of the 255 that a name may have
    write_overlay(tmp_path / name, np.zeros((4, 4, 3), np.uint8), [])
    assert [path.name for path in tmp_path.iterdir()] == [name]
