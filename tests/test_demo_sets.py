"""The bundled sets: their layout, that their masks can be true, and that they are made alike each time."""

import re

import numpy as np
import pytest
from PIL import Image

from co3lib.datasets import demo_sets


@pytest.fixture(scope="module")
def coins(tmp_path_factory):
    return _build("coins", tmp_path_factory)


@pytest.fixture(scope="module")
def collage(tmp_path_factory):
    return _build("collage", tmp_path_factory)


def _build(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / name
    demo_sets.build(name, folder)
    return folder


def _read(folder):
    """(class, photo) -> image, list of masks; every file must fit the layout."""
    found = {}
    for path in sorted((folder / "Image").glob("*/*")):
        with Image.open(path) as image:
            assert image.format == "PNG" and image.mode == "RGB"
            found[path.parent.name, path.stem] = np.asarray(image), []
    for path in sorted((folder / "Mask").glob("*/*")):
        photo, number = re.fullmatch(r"(.+)_InstID(\d\d)\.png", path.name).groups()
        masks = found[path.parent.name, photo][1]
        assert int(number) == len(masks) + 1
        with Image.open(path) as mask:
            assert mask.mode == "L"
            values = np.asarray(mask)
        assert set(np.unique(values)) == {0, 255}
        masks.append(values > 0)
    return found


def _check_masks(image, masks):
    assert all(mask.shape == image.shape[:2] for mask in masks)
    assert np.sum(masks, 0).max() == 1, "masks overlap"


def test_coins(coins):
    found = _read(coins)
    assert len(found) == 8 and {category for category, _ in found} == {"coin"}
    assert sum(len(masks) for _, masks in found.values()) == 55
    for image, masks in found.values():
        assert 4 <= len(masks) <= 9 and max(image.shape) == 400
        _check_masks(image, masks)
        background = image[~np.any(masks, 0)].mean()
        assert all(image[mask].mean() > background + 25 for mask in masks), "a mask off its coin"


def test_coins_are_24_round_and_apart():
    masks = demo_sets.coin_masks()
    assert masks.shape == (24, 303, 384) and masks.sum(0).max() == 1
    for mask in masks:
        rows, columns = (np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (1, 0))
        assert 0.7 < rows / columns < 1.4
        assert mask.sum() / (rows * columns) == pytest.approx(np.pi / 4, abs=0.06)


def test_every_coin_is_whole_in_some_view():
    coins = demo_sets.coin_masks()
    views = demo_sets._COIN_VIEWS
    seen = [coins[:, y0:y1, x0:x1].sum((1, 2)) / coins.sum((1, 2)) for x0, y0, x1, y1 in views]
    assert (np.max(seen, 0) == 1).all()
    # No view shows a recognisable part of a coin that is not counted.
    assert all(((view < 0.02) | (view > 0.98)).all() for view in seen)


def test_collage(collage):
    found = _read(collage)
    assert {category for category, _ in found} == set(demo_sets.CLASSES)
    for category in demo_sets.CLASSES:
        assert sum(c == category for c, _ in found) == demo_sets.PHOTOS_PER_CLASS
    areas = []
    for image, masks in found.values():
        assert image.shape[:2] in {(360, 480), (480, 360), (420, 420)}
        assert 2 <= len(masks) <= 4
        _check_masks(image, masks)
        areas += [mask.mean() for mask in masks]
    assert min(areas) >= 0.01 and max(areas) <= 0.27
    assert np.quantile(areas, 0.9) > 3 * np.quantile(areas, 0.1), "all of one size"
    assert {len(masks) for _, masks in found.values()} == {2, 3, 4}


def test_occluded_objects_lose_what_is_covered():
    below, above = np.zeros((2, 6, 8), np.uint8)
    below[:, :5], above[2:4, 3:] = 255, 200
    seen_below, seen_above = demo_sets._visible([below, above])
    assert seen_above.sum() == 10 and seen_below.sum() == 30 - 4
    assert not (seen_below & seen_above).any()


def test_laying_outside_the_photo_cuts_off():
    layer = np.arange(1, 7, dtype=np.uint8).reshape(2, 3)
    assert demo_sets._lay(layer, (-1, -1), (2, 2)).tolist() == [[5, 6], [0, 0]]
    assert demo_sets._lay(layer, (1, 1), (2, 3)).tolist() == [[0, 0, 0], [0, 1, 2]]


def test_made_again_the_same(coins, collage, tmp_path):
    demo_sets.build("coins", tmp_path)
    files = sorted(p.relative_to(coins) for p in coins.rglob("*.png"))
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.png"))
    assert all((coins / p).read_bytes() == (tmp_path / p).read_bytes() for p in files)
    found = _read(collage)
    for category, number in (("person", 9), ("coin", 0), ("cat", 4)):  # whatever was made before them
        image, masks = demo_sets._collage_photo(category, number)
        kept, kept_masks = found[category, f"{category}_{number + 1:02d}"]
        assert np.array_equal(image, kept) and np.array_equal(masks, kept_masks)


def test_digest_follows_name_and_outlines(tmp_path, monkeypatch):
    digests = {demo_sets.recipe_digest("coins"), demo_sets.recipe_digest("collage")}
    changed = tmp_path / "outlines.json"
    changed.write_text(demo_sets.OUTLINES.read_text() + " ")
    monkeypatch.setattr(demo_sets, "OUTLINES", changed)
    digests.add(demo_sets.recipe_digest("collage"))
    assert len(digests) == 3


def test_unknown_set(tmp_path):
    with pytest.raises(ValueError, match="'coins', 'collage', got 'dogs'"):
        demo_sets.build("dogs", tmp_path / "dogs")
    assert not (tmp_path / "dogs").exists()
