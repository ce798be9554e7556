"""co3course.lessons.own_photos: what is said of a folder, and the figures at the ends of their ranges."""

import struct
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from quickness import LIMIT, plain_figures

from co3course.figures import png
from co3course.lessons.own_photos import (
    LONG,
    SMALL,
    above,
    album_figure,
    album_of,
    check_photos,
    example_folder,
    scales_table,
    score_figure,
)
from co3course.session import WHOLE_PHOTO, usable_photos
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.datasets.images import read_image
from co3lib.instance import Instance


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


def instance(score: float, height=300, width=400) -> Instance:
    mask = np.zeros((height, width), bool)
    mask[100:200, 50:250] = True
    return Instance(mask, score, (150, 150), (50, 100, 250, 200))


@pytest.fixture
def album():
    """A large photo with many finds, a small one with one, one with none."""
    photos = [np.full((300, 400, 3), 90, np.uint8), np.full((30, 40, 3), 90, np.uint8), np.full((300, 400, 3), 9, np.uint8)]
    small = Instance(np.ones((30, 40), bool), 0.1, (3, 3), (0, 0, 40, 30))
    return album_of(["many", "one", "none"], photos, [[instance(0.5 / k) for k in range(1, 21)], [small], []])


# ------------------------------------------------------------------------------------------------------ the folder


def test_the_example_folder_has_each_kind_of_file(tmp_path):
    paths = example_folder(tmp_path / "coins")
    assert all(path.is_file() and path.parent == tmp_path / "coins" for path in paths)
    usable, left_out = usable_photos(tmp_path / "coins")
    assert [path.name for path in usable] == [*(path.name for path in paths[:4]), "coin_92.png"]
    assert len(left_out) == 2 and "coin_90.png" in left_out[0] and "HEIC" in left_out[1]
    assert str(tmp_path) not in "".join(left_out)
    table = check_photos(usable)
    assert table.usable.tolist() == [True] * 4 + [False] and table.turned.tolist() == [True] + [False] * 4
    windows = demo_set("coins")["coin"]
    for path, k in zip(paths[:4], WHOLE_PHOTO, strict=True):
        assert np.array_equal(read_image(path), windows[k].image)
    with Image.open(paths[0]) as stored:
        assert stored.size == windows[0].image.shape[:2]


def test_scales_are_those_of_the_configuration():
    table = scales_table(CoSegConfig(), 32)
    assert table.index.tolist() == sorted(CoSegConfig().peak_sizes)
    assert table.loc[448].tolist() == [14, 1 / 14]


def test_a_turned_photo_with_an_odd_tag_beside_it(tmp_path):
    tags = [struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHIf", 0x0128, 11, 1, np.nan)]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(tags) + bytes(4)
    Image.new("RGB", (300, 250)).save(tmp_path / "a.jpg", exif=exif)
    row = check_photos([tmp_path / "a.jpg"]).loc["a.jpg"]
    assert row.turned and row.usable and (row.width, row.height) == (250, 300)


def test_every_remark(tmp_path):
    draw = np.random.default_rng(0)

    def save(name, height, width):
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
        return tmp_path / name

    good, small = save("good.png", SMALL, SMALL), save("small.png", SMALL - 1, SMALL - 1)
    long, just = save("long.png", 100, int(100 * LONG) + 1), save("just.png", 100, int(100 * LONG))
    same = tmp_path / "same.png"
    same.write_bytes(good.read_bytes())
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    table = check_photos([good, small, long, just, same, text, tmp_path / "missing.jpg"])
    assert table.usable.tolist() == [True] * 4 + [False] * 3
    remarks = table.remark.tolist()
    assert remarks[0] == remarks[3] == "" and remarks[1].startswith("small") and remarks[2].startswith("long")
    assert remarks[4] == "the same file as good.png" and "not a photo" in remarks[5] and "not there" in remarks[6]
    assert check_photos([text]).usable.tolist() == [False]


# -------------------------------------------------------------------------------------------------------- figures


def test_what_is_kept_at_a_share(album):
    kept = [len(above(ones, album.best, 0.25)) for ones in album.found]
    assert album.best == 0.5 and kept == [4, 0, 0]  # 0.5 / 4 is exactly a quarter of 0.5
    assert [len(above(ones, album.best, 0.0)) for ones in album.found] == [20, 1, 0]
    assert [len(above(ones, album.best, 1.0)) for ones in album.found] == [1, 0, 0]


def test_an_album_is_small_and_its_masks_fit(album):
    for photo, ones in zip(album.photos, album.found, strict=True):
        assert max(photo.shape) <= 360 and all(one.mask.shape == photo.shape[:2] for one in ones)
    assert album.found[0][0].box == (45, 90, 225, 180)
    assert album_of(["a"], [album.photos[0]], [[]]).best == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("photo", [0, 1, 2])
def test_album_at_its_ends(album, photo, share):
    assert plain_figures(lambda: album_figure(album, photo, share)) < LIMIT
    title = album_figure(album, photo, share).axes[1].get_title()
    kept = len(above(album.found[photo], album.best, share))
    assert title == f"{kept} of {len(album.found[photo])} found are kept"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_scores_at_their_ends(album, share):
    assert plain_figures(lambda: score_figure(album, share)) < LIMIT
    (axis,) = score_figure(album, share).axes
    dots = np.concatenate([collection.get_offsets() for collection in axis.collections])
    assert len(dots) == 21 and dots[:, 1].max() == 1
    assert isinstance(score_figure(album_of(["a"], [album.photos[0]], [[]]), share), Figure)


def test_a_files_name_is_no_mathematics(album):
    named = replace(album, names=["a$b$.png", *album.names[1:]])
    for figure in (album_figure(named, 0, 0.5), score_figure(named, 0.5)):
        png(figure)
