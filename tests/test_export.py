"""COCO JSON as pycocotools reads it, and overlays pixel by pixel."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from co3lib.export import (
    COLORS,
    GROUND_TRUTH,
    RESULTS,
    ExportError,
    PhotoResult,
    overlay,
    read_coco,
    to_coco,
    write_coco,
    write_overlay,
)
from co3lib.overlap import tight_box
from co3lib.ranking import Instance


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
            assert annotation["bbox"] == list(rle.toBbox(annotation["segmentation"]))
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
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [GROUND_TRUTH, RESULTS]


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


def test_overlay_tints_outlines_and_leaves_the_rest():
    image = np.full((40, 60, 3), 100, np.uint8)
    mask = _box((40, 60), 10, 30, 10, 30)
    drawn = overlay(image, [_instance(mask)])
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert (image == 100).all(), "the photo itself was drawn on"
    assert (drawn[~mask] == 100).all()
    assert tuple(drawn[10, 10]) == COLORS[0] and tuple(drawn[29, 20]) == COLORS[0]
    assert tuple(drawn[20, 20]) == tuple(round(0.6 * 100 + 0.4 * c) for c in COLORS[0])


def test_overlay_puts_the_best_on_top():
    image = np.zeros((20, 20, 3), np.uint8)
    best, second = _box((20, 20), 0, 12, 0, 12), _box((20, 20), 6, 20, 6, 20)
    drawn = overlay(image, [_instance(best), _instance(second)])
    assert tuple(drawn[11, 11]) == COLORS[0] and tuple(drawn[14, 6]) == COLORS[1]
    tint = np.rint(0.4 * np.array(COLORS[1]))
    assert np.array_equal(drawn[15, 15], tint)
    # In the overlap's inside both tints shine through, the best one's last.
    assert np.array_equal(drawn[9, 9], np.rint(0.6 * 0.4 * np.array(COLORS[1]) + 0.4 * np.array(COLORS[0])))


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


def test_eight_instances_cycle_the_colours():
    image = np.zeros((8, 64, 3), np.uint8)
    masks = [_box((8, 64), 0, 8, 8 * k, 8 * k + 8) for k in range(8)]
    drawn = overlay(image, [_instance(mask) for mask in masks])
    seen = [tuple(drawn[4, 8 * k + 7]) for k in range(8)]
    assert seen[:7] == list(COLORS) and tuple(drawn[4, 56]) == COLORS[0]


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


def test_write_overlay(tmp_path):
    image = np.full((10, 12, 3), 7, np.uint8)
    found = [_instance(_box((10, 12), 2, 8, 2, 8))]
    write_overlay(tmp_path / "sub" / "a.png", image, found)
    with Image.open(tmp_path / "sub" / "a.png") as written:
        assert np.array_equal(np.asarray(written), overlay(image, found))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="path must end like an image's name"):
        write_overlay(tmp_path / "a.txt", image, found)
