"""Sets in the authors' layout, as MATLAB and numpy write them; the bundled sets through their cache."""

import io
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import unicodedata
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from PIL import Image
from scipy import ndimage

from co3lib.datasets import (
    DatasetError,
    Sample,
    array_files,
    bundled,
    cache_folder,
    demo_set,
    demo_sets,
    list_photos,
    mask_files,
    read_set,
)
from co3lib.datasets.array_files import read_arrays
from co3lib.datasets.mask_files import read_gray, read_mask
from co3lib.files import part_of

SIZE = (6, 8)


@pytest.fixture
def root(tmp_path):
    """A set SET of one class cat, photos 1, 2, 10 and 12: 1 has a mask, 12 has three, 10 and 2 have none."""
    draw = np.random.default_rng(0)
    for name in ("1", "2", "10", "12"):
        _save(tmp_path / f"SET/Image/cat/{name}.png", draw.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    for name in ("1_InstID1", "12_InstID1", "12_InstID2", "12_InstID10"):
        _save(tmp_path / f"SET/Mask/cat/{name}.png", _mask(len(name)))
    return tmp_path


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _mask(seed):
    return (np.random.default_rng(seed).random(SIZE) < 0.5).astype(np.uint8) * 255


def _file(root, folder, name):
    path = root / "SET" / folder / "cat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _cat(root, name="1"):
    return next(sample for sample in read_set(root, "SET")["cat"] if sample.name == name)


def test_photos_and_masks(root):
    samples = read_set(root, "SET")["cat"]
    assert [sample.name for sample in samples] == ["1", "10", "12", "2"]
    assert {sample.category for sample in samples} == {"cat"}
    one = samples[0]
    assert np.array_equal(one.image, np.asarray(Image.open(one.image_path)))
    assert one.masks.dtype == torch.bool and np.array_equal(one.masks[0].numpy(), _mask(9) > 0)
    assert one.prior is None and one.proposals is None


def test_a_photo_takes_only_its_own_masks(root):
    """1 must not take those of 12, whose name begins alike; 10 has none."""
    assert [len(sample.masks) for sample in read_set(root, "SET")["cat"]] == [1, 0, 3, 0]
    assert _cat(root, "10").masks.shape == (0, *SIZE)


def test_masks_are_in_the_order_of_their_numbers(root):
    names = [path.stem for path in _cat(root, "12").mask_paths]
    assert names == ["12_InstID1", "12_InstID2", "12_InstID10"]


def test_a_name_that_contains_the_marker(root):
    _save(root / "SET/Image/cat/a_InstID3.png", np.zeros((*SIZE, 3), np.uint8))
    _save(root / "SET/Mask/cat/a_InstID3_InstID1.png", _mask(1))
    assert len(_cat(root, "a_InstID3").mask_paths) == 1


def test_classes_and_stray_files(root):
    _save(root / "SET/Image/ant/1.jpg", np.zeros((*SIZE, 3), np.uint8))
    _save(root / "SET/Image/ant/2.JPEG", np.zeros((*SIZE, 3), np.uint8))
    (root / "SET/Image/ant/Thumbs.db").write_bytes(b"")
    (root / "SET/Image/ant/._1.jpg").write_bytes(b"left by macOS")
    (root / "SET/Image/.ipynb_checkpoints").mkdir()
    (root / "SET/Image/readme.txt").write_text("")
    classes = read_set(root, "SET")
    assert list(classes) == ["ant", "cat"] and [sample.name for sample in classes["ant"]] == ["1", "2"]


@pytest.mark.parametrize("missing", ["SET", "SET/Image"])
def test_missing_folders_are_named(tmp_path, missing):
    (tmp_path / missing).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(DatasetError, match="Image is not there"):
        read_set(tmp_path, "SET")


def test_a_set_without_photos(tmp_path):
    (tmp_path / "SET/Image/cat").mkdir(parents=True)
    with pytest.raises(DatasetError, match="holds no photo"):
        read_set(tmp_path, "SET")


def test_mask_of_another_size_is_named(root):
    _save(root / "SET/Mask/cat/1_InstID2.png", np.zeros((6, 7), np.uint8))
    with pytest.raises(DatasetError, match=r"1_InstID2\.png must be of its photo's size \(6, 8\), got \(6, 7\)"):
        _ = _cat(root).masks


def test_damaged_mask_is_named(root):
    (root / "SET/Mask/cat/1_InstID1.png").write_bytes(b"no")
    with pytest.raises(DatasetError, match=r"1_InstID1\.png"):
        _ = _cat(root).masks


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_whatever_is_not_zero_in_a_mask_is_the_instance(root, kind):
    _save(root / "SET/Mask/cat/1_InstID1.png", (_mask(1) > 0).astype(kind))
    assert torch.equal(_cat(root, "1").masks[0], torch.from_numpy(_mask(1) > 0))


# Masks as annotation tools and image editors leave them


def _disc(size=(60, 80), center=(30, 38), radius=17):
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def _soft(mask, sigma=1.2):
    return np.rint(ndimage.gaussian_filter(mask.astype(float), sigma) * 255).astype(np.uint8)


def _palette(indices, colors, **options):
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette(np.array(colors, np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return Image.open(file)


_DISC = _disc()
_ALPHA = np.where(_DISC, 255, 0).astype(np.uint8)
_PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
_WHITE = np.full((60, 80, 3), 255, np.uint8)
_RED = np.array([255, 0, 0], np.uint8)
_DRAWN = {
    "white on transparent": np.dstack([_WHITE, _ALPHA]),
    "black on transparent": np.dstack([0 * _WHITE, _ALPHA]),
    "black on transparent white": np.dstack([np.where(_DISC[..., None], 0, _WHITE), _ALPHA]),
    "cut out of the photo": np.dstack([_PHOTO, _ALPHA]),
    "gray and alpha": Image.merge("LA", [Image.fromarray(255 - _ALPHA), Image.fromarray(_ALPHA)]),
    "half transparent": np.dstack([_WHITE, _ALPHA // 2]),
    "soft alpha": np.dstack([_WHITE, _soft(_DISC)]),
    "opaque, with alpha": np.dstack([_ALPHA, _ALPHA, _ALPHA, 255 + 0 * _ALPHA]),
    "a transparent colour": (Image.fromarray(_ALPHA), {"transparency": 0}),
    "red on black": _DISC[..., None] * _RED,
    "red on transparent": np.dstack([_DISC[..., None] * _RED, _ALPHA]),
    "palette, white ground": _palette(_DISC, [(255, 255, 255), (0, 0, 0)]),
    "palette, all black": _palette(_DISC, [(0, 0, 0), (0, 0, 0)]),
    "only 255": np.where(_DISC, 255, 0).astype(np.uint8),
    "palette, only 255": _palette(_DISC * 255, [(k, k, k) for k in range(256)]),
    "palette, a thin edge": _palette(_DISC * 1 + _disc(radius=16), [(0, 0, 0), (128, 128, 128), (255, 255, 255)]),
    "an edge of one value": np.where(_DISC, np.where(_disc(radius=16), 255, 150), 0).astype(np.uint8),
    "palette, VOC's colours": _palette(_DISC * 15, [(0, 0, 0), *[(192, 128, 128)] * 15]),
    "palette, transparent ground": _palette(_DISC, [(0, 0, 0), (9, 0, 0)], transparency=0),
    "palette, transparent ground of index 1": _palette(~_DISC, [(9, 9, 9), (0, 0, 0)], transparency=1),
    "soft edges": _soft(_DISC),
    "softer edges": _soft(_DISC, 2.5),
    "soft and coloured": (_soft(_DISC)[..., None] * (_RED / 255)).astype(np.uint8),
    "ones": _DISC.astype(np.uint8),
    "soft of sixteen bits": _soft(_DISC).astype(np.uint16) * 257,
    "one bit": _DISC,
    "dark gray": _ALPHA // 255 * 40,
    "gray ground": np.where(_DISC, 200, 50).astype(np.uint8),
}


@pytest.mark.parametrize("image", _DRAWN.values(), ids=_DRAWN.keys())
def test_a_mask_is_what_was_drawn(tmp_path, image):
    image, options = image if isinstance(image, tuple) else (image, {})
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    Image.fromarray(_PHOTO).save(tmp_path / "a.png")
    image.save(tmp_path / "m.png", **options)
    mask = Sample("a", "cat", tmp_path / "a.png", (tmp_path / "m.png",)).masks[0].numpy()
    soft = np.abs(_soft(_DISC, 2.5).astype(int) - 127) < 60  # what is on the very edge may be either
    assert np.array_equal(mask | soft, _DISC | soft)
    assert (mask & _DISC).sum() / (mask | _DISC).sum() > 0.97


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0), (40, 200, 90)])
def test_a_mask_through_lossy_compression(tmp_path, quality, ending, color):
    Image.fromarray(_PHOTO).save(tmp_path / "a.png")
    drawn = Image.fromarray((_DISC[..., None] * np.array(color)).astype(np.uint8))
    drawn.save(tmp_path / f"m.{ending}", quality=quality)
    mask = Sample("a", "cat", tmp_path / "a.png", (tmp_path / f"m.{ending}",)).masks[0].numpy()
    assert (mask & _DISC).sum() / (mask | _DISC).sum() > 0.95


@pytest.mark.parametrize("name, quality", [("m.webp", 75), ("m.JPG", 100)])
def test_the_smallest_errors_of_lossy_compression_are_no_label(tmp_path, name, quality):
    mask = np.zeros((120, 160), bool)
    mask[{"m.webp": (slice(16, 80), slice(32, 88)), "m.JPG": (slice(31, 120), slice(0, 47))}[name]] = True
    Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / name, quality=quality)
    with Image.open(tmp_path / name) as stored:
        assert np.unique(np.asarray(stored.convert("L"))).tolist() == [0, 1, 255]
    assert np.array_equal(Sample("a", "cat", tmp_path / "a.png", (tmp_path / name,)).masks[0].numpy(), mask)


_LEFT = np.arange(80)[None] < 30
_VOIDED = _disc(radius=19) & ~_DISC  # round the thing, as VOC draws it
_THIN = _disc(radius=1)
_VOC = [(k, k, 255 - k) for k in range(256)]
_UNDECIDED = {
    "a map of labels": (_DISC * 1 + (_DISC & _LEFT)).astype(np.uint8),
    "a label and void": np.where(_VOIDED, 255, _DISC).astype(np.uint8),
    "label 15 and void": np.where(_VOIDED, 255, _DISC * 15).astype(np.uint8),
    "a thin label and void": np.where(_DISC & ~_THIN, 255, _THIN).astype(np.uint8),
    "a label of 20 and void": np.where(_VOIDED, 255, _DISC * 20).astype(np.uint8),
    "two labels and void": np.where(_VOIDED, 255, _DISC * 1 + (_DISC & _LEFT)).astype(np.uint8),
    "a label and void of sixteen bits": np.where(_VOIDED, 255, _DISC).astype(np.uint16),
    "a label and void as alpha": np.dstack([_WHITE, np.where(_VOIDED, 255, _DISC).astype(np.uint8)]),
    "labels 10 and 11": (_DISC * 10 + (_DISC & _LEFT)).astype(np.uint8),
    "palette, a label and void": _palette(np.where(_VOIDED, 255, _DISC), _VOC),
    "palette, a label and one pixel of void": _palette(np.where(_disc(radius=0.5), 255, _DISC), _VOC),
    "palette, two labels": _palette(_DISC * 1 + (_DISC & _LEFT), _VOC),
    "three grays": np.where(_DISC, 255, np.where(_LEFT, 128, 0)).astype(np.uint8),
    "a photo": ndimage.gaussian_filter(_PHOTO[..., 0].astype(float), 3).astype(np.uint8),
    "two colours": np.where(_DISC[..., None], np.where(_LEFT[..., None], _RED, _RED[::-1]), 0).astype(np.uint8),
    "red on white": np.where(_DISC[..., None], _RED, 255).astype(np.uint8),
    "all transparent": np.dstack([_DISC[..., None] * _WHITE, 0 * _ALPHA]),
    "no ground": np.where(_DISC, 200, 150).astype(np.uint8),
    "opaque and half transparent": np.dstack([_WHITE, np.where(_DISC, 255, 128).astype(np.uint8)]),
    "drawn on a cut-out": np.dstack([_DISC[..., None] * _WHITE, np.where(_disc(radius=28), 255, 0).astype(np.uint8)]),
}


@pytest.mark.parametrize("image", _UNDECIDED.values(), ids=_UNDECIDED.keys())
def test_a_mask_that_could_be_anything_is_refused(tmp_path, image):
    Image.fromarray(_PHOTO).save(tmp_path / "a.png")
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"m\.png must be a mask of one instance"):
        _ = Sample("a", "cat", tmp_path / "a.png", (tmp_path / "m.png",)).masks


# Names and formats


def _said(root, name="SET"):
    """The set's first class as names, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classes = read_set(root, name)
    return classes, [str(one.message) for one in caught]


def test_other_formats_and_endings_in_capitals(root):
    photo = Image.fromarray(np.zeros((*SIZE, 3), np.uint8))
    for name in ("a.webp", "b.tif", "c.bmp", "d.JPG", "e.TIFF"):
        photo.save(root / "SET/Image/cat" / name)
        Image.fromarray(_mask(1)).save(root / "SET/Mask/cat" / f"{name[0]}_InstID1.PNG")
        _write(_file(root, "SalRes_ZhangICCV17", f"{name[0]}.mat"), SalMap=np.ones(SIZE))
        os.rename(_file(root, "SalRes_ZhangICCV17", f"{name[0]}.mat"), _file(root, "SalRes_ZhangICCV17", f"{name[0]}.MAT"))
        _write(_file(root, "MCG_fast", f"{name[0]}.npz"), masks=_proposals()[0], scores=_proposals()[1])
        os.rename(_file(root, "MCG_fast", f"{name[0]}.npz"), _file(root, "MCG_fast", f"{name[0]}.NPZ"))
    Image.fromarray(_mask(2)).save(root / "SET/Mask/cat/a_instid2.tif")
    classes, said = _said(root)
    assert not said
    samples = {sample.name: sample for sample in classes["cat"]}
    assert list(samples) == ["1", "10", "12", "2", "a", "b", "c", "d", "e"]
    assert [len(samples[name].masks) for name in "abcde"] == [2, 1, 1, 1, 1]
    assert all(samples[name].prior.min() == 1 and len(samples[name].proposals) == 4 for name in "abcde")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_encoded_in_two_ways_are_one_name(tmp_path, forms):
    one, other = (unicodedata.normalize(form, "Käthe é") for form in forms)
    assert one != other
    _save(tmp_path / f"SET/Image/{one}/{one}.png", np.zeros((*SIZE, 3), np.uint8))
    _save(tmp_path / f"SET/Mask/{other}/{other}_InstID1.png", _mask(1))
    _save(tmp_path / f"SET/SalRes_ZhangICCV17/{other}/{other}.png", np.full(SIZE, 255, np.uint8))
    (tmp_path / f"SET/MCG_fast/{other}").mkdir(parents=True)
    _write(tmp_path / f"SET/MCG_fast/{other}/{other}.npz", masks=_proposals()[0], scores=_proposals()[1])
    classes, said = _said(tmp_path)
    (sample,) = classes[one]
    assert not said and len(sample.masks) == 1 and sample.prior.min() == 1 and len(sample.proposals) == 4


def test_folders_of_one_class_encoded_in_two_ways(tmp_path):
    """Masks are taken from both; photos cannot be, being two classes."""
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    _save(tmp_path / f"SET/Image/{one}/a.png", np.zeros((*SIZE, 3), np.uint8))
    for k, folder in enumerate((one, other), start=1):
        _save(tmp_path / f"SET/Mask/{folder}/a_InstID{k}.png", _mask(k))
    assert len(read_set(tmp_path, "SET")[one][0].masks) == 2
    _save(tmp_path / f"SET/Image/{other}/a.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DatasetError, match="must hold each class once"):
        read_set(tmp_path, "SET")


def test_what_belongs_to_no_photo_is_named(root):
    for path in ("Image/cat/x.heic", "Image/cat/y.HEIC", "Image/cat/film.mpg", "Image/loose.jpg", "Mask/cat/99_InstID1.png",
                 "Mask/cat/1.png", "Mask/cat/1_InstID2.txt", "Mask/dog/1_InstID1.png", "Image/cat/Thumbs.db",
                 "SalRes_ZhangICCV17/cat/99.mat", "SalRes_ZhangICCV17/cat/1.txt", "MCG_fast/cat/1_old.mat",
                 "MCG_fast/cat/1.png", "Mask/cat/.DS_Store"):  # fmt: skip
        (root / "SET" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "SET" / path).write_bytes(b"")
    (root / "SET/Image/cat/z.jpg").mkdir()
    classes, said = _said(root)
    assert [len(sample.mask_paths) for sample in classes["cat"]] == [1, 0, 3, 0]
    assert len(said) == 3 and not any("\n" in one for one in said)
    text = "\n".join(sorted(said))
    assert "left out: 1 MPG, 2 HEIC, 1 folder of" in text and "left out: 1 JPG, 1 folder of" in text
    for name in ("film.mpg", "x.heic", "y.HEIC", "z.jpg", "Image/loose.jpg", "Mask/dog", "MCG_fast/cat/1.png",
                 "MCG_fast/cat/1_old.mat", "Mask/cat/1.png", "Mask/cat/1_InstID2.txt", "Mask/cat/99_InstID1.png"):  # fmt: skip
        assert name in text
    assert "and 2 more" in text and "Thumbs" not in text and "DS_Store" not in text


def test_a_second_prior_of_a_photo_is_named(root):
    for name in ("1.mat", "1.npz"):
        _write(_file(root, "SalRes_ZhangICCV17", name), SalMap=np.ones(SIZE))
    _save(_file(root, "SalRes_ZhangICCV17", "1.png"), np.zeros(SIZE, np.uint8))
    classes, said = _said(root)
    assert classes["cat"][0].prior_path.name == "1.mat"
    assert len(said) == 1 and "1.npz" in said[0] and "1.png" in said[0]


def test_two_photos_or_masks_of_one_name_are_refused(root):
    other = _mask(7)
    _save(root / "SET/Mask/cat/1_InstID01.png", other)
    with pytest.raises(DatasetError, match=r"1_InstID1\.png must have a number of its own, got the one of 1_InstID01\.png"):
        read_set(root, "SET")
    (root / "SET/Mask/cat/1_InstID01.png").unlink()
    _save(root / "SET/Image/cat/1.jpg", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"1\.png must have a name of its own, got the one of 1\.jpg"):
        read_set(root, "SET")


def test_a_folder_of_photos(tmp_path):
    for name in ("b.JPG", "a.png", "c.webp", "d.jfif"):
        Image.new("RGB", (4, 3)).save(tmp_path / name, format="PNG")
    for name in ("e.pdf", "f.mpg", "g.h5", "h.HEIC", "i.heic", "j", "k.eps", "l.txt", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "x.jpg").mkdir()
    with pytest.warns(UserWarning) as caught:
        photos = list_photos(tmp_path)
    assert [path.name for path in photos] == ["a.png", "b.JPG", "c.webp", "d.jfif"]
    (said,) = (str(one.message) for one in caught)
    assert said.startswith("left out: 1 PDF, 1 MPG, 1 H5, 2 HEIC, 1 without an ending, 1 EPS, 1 TXT, 1 folder of ")
    assert "(e.pdf, f.mpg, g.h5, h.HEIC, i.heic and 4 more)" in said


# Photos that EXIF turns

_TURN = {
    5: lambda seen: seen.swapaxes(0, 1), 6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1), 8: lambda seen: np.rot90(seen, -1),
}  # fmt: skip


def _turned_photo(root, number, stored):
    exif = Image.Exif()
    exif[0x0112] = number
    path = root / "SET/Image/cat/t.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("number", _TURN)
@pytest.mark.parametrize("as_stored", [True, False])
def test_masks_priors_and_proposals_fit_a_photo_that_exif_turns(tmp_path, number, as_stored):
    """Drawn on the pixels as stored, as MATLAB reads them, or on the photo as viewers show it."""
    seen = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    drawn = _mask(1)
    turn = _TURN[number] if as_stored else np.asarray
    _turned_photo(tmp_path, number, _TURN[number](seen))
    _save(tmp_path / "SET/Mask/cat/t_InstID1.png", np.ascontiguousarray(turn(drawn)))
    _write(_file(tmp_path, "SalRes_ZhangICCV17", "t.mat"), SalMap=turn(drawn) / 255)
    _write(_file(tmp_path, "MCG_fast", "t.mat"), masks=turn(drawn)[..., None], scores=np.ones(1))
    sample = _cat(tmp_path, "t")
    assert np.array_equal(sample.image, seen)
    for found in (sample.masks[0], sample.prior, sample.proposals[0]):
        assert np.array_equal(found.numpy(), drawn > 0)


@pytest.mark.parametrize(("number", "size"), [(2, SIZE), (3, SIZE), (4, SIZE), (6, (6, 6)), (8, (6, 6))])
def test_what_fits_a_turned_photo_both_ways_is_refused(tmp_path, number, size):
    _turned_photo(tmp_path, number, np.zeros((*size, 3), np.uint8))
    _save(tmp_path / "SET/Mask/cat/t_InstID1.png", np.triu(np.full(size, 255, np.uint8)))
    _write(_file(tmp_path, "SalRes_ZhangICCV17", "t.mat"), SalMap=np.eye(*size))
    with pytest.raises(DatasetError, match=rf"t_InstID1\.png fits .* \(EXIF orientation {number}\); save t\.png turned"):
        _ = _cat(tmp_path, "t").masks
    with pytest.raises(DatasetError, match=r"t\.mat fits its photo turned and not turned"):
        _ = _cat(tmp_path, "t").prior


def _write(path, **arrays):
    """Arrays in MATLAB's axes, as the file's name says; ``v73`` in it: HDF5, axes reversed as MATLAB does."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif "v73" in path.parts[-1]:
        path = path.with_name(path.name.replace(".v73", ""))
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, array in arrays.items():
                file[name] = array.T
        with path.open("r+b") as file:  # as MATLAB begins such files
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" "))
    else:
        scipy.io.savemat(path, arrays)


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("share", [1, 0.3])
def test_prior(root, name, kind, share):
    """A type says what its values mean, the largest of them does not; axes are not swapped."""
    values = np.linspace(0, share, SIZE[0] * SIZE[1]).reshape(SIZE)
    full = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1
    _write(_file(root, "SalRes_ZhangICCV17", name), SalMap=(values * full).astype(kind))
    prior = _cat(root).prior
    assert prior.shape == SIZE and prior.dtype == torch.float32
    assert np.allclose(prior.numpy(), values, atol=1 / 255)


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
@pytest.mark.parametrize("peak", [1.0000001, 1.02, 1.2])
def test_a_prior_a_little_beyond_its_range_is_clamped(root, name, peak):
    """Cubic resizing leaves that."""
    values = np.linspace(1 - peak, peak, SIZE[0] * SIZE[1]).reshape(SIZE)
    _write(_file(root, "SalRes_ZhangICCV17", name), SalMap=values)
    assert np.allclose(_cat(root).prior.numpy(), values.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
@pytest.mark.parametrize("ends", [(0, 255), (0, 100), (-1, 1), (0, 1.5)])
def test_a_prior_of_another_range_is_refused_with_it(root, name, ends):
    _write(_file(root, "SalRes_ZhangICCV17", name), SalMap=np.linspace(*ends, 48).reshape(SIZE))
    with pytest.raises(DatasetError, match=rf"1\.(mat|npz) must hold saliency.* in \[{ends[0]}, {ends[1]}\]$"):
        _ = _cat(root).prior


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
def test_a_prior_that_is_a_mask(root, name):
    """MATLAB stores logical as bytes, and doubles that are whole numbers as well (v5)."""
    mask = _mask(3) > 0
    path = _file(root, "SalRes_ZhangICCV17", name)
    for values in (mask, mask.astype(float)):
        _write(path, SalMap=values)
        assert np.array_equal(_cat(root).prior.numpy(), mask)
        path.unlink(missing_ok=True)
    if name == "1.v73.mat":
        _write(path, SalMap=mask.astype(np.uint8))
        with h5py.File(path.with_name("1.mat"), "r+") as file:
            file["SalMap"].attrs["MATLAB_class"] = np.bytes_("logical")
        assert np.array_equal(_cat(root).prior.numpy(), mask)
    _write(path, SalMap=mask.astype(np.uint8))  # written by others, bytes are bytes
    with pytest.raises(DatasetError, match=r"must be of type bool or float to hold 0 and 1, got torch\.uint8"):
        _ = _cat(root).prior


def test_a_double_that_matlab_stores_as_bytes_is_a_double(root):
    """MATLAB writes whole numbers as small as they fit: miDOUBLE values under the tag of miUINT8."""
    path = _file(root, "SalRes_ZhangICCV17", "1.mat")
    scipy.io.savemat(path, {"SalMap": np.ones(SIZE, np.uint8)})
    content = path.read_bytes()
    flags = content.index(bytes([9, 0, 0, 0]), 128)  # mxUINT8_CLASS
    path.write_bytes(content[:flags] + bytes([6]) + content[flags + 1 :])  # mxDOUBLE_CLASS
    assert (_cat(root).prior == 1).all()


@pytest.mark.parametrize("kind", [np.float64, bool])
@pytest.mark.parametrize("v73", [False, True])
def test_a_sparse_prior(root, kind, v73):
    values = (_mask(5) > 0).astype(kind)
    path = _file(root, "SalRes_ZhangICCV17", "1.mat")
    matrix = scipy.sparse.csc_matrix(values)
    if v73:
        with h5py.File(path, "w") as file:
            group = file.create_group("SalMap")
            group.attrs["MATLAB_sparse"] = np.uint64(SIZE[0])
            for name, array in {"data": matrix.data, "ir": matrix.indices, "jc": matrix.indptr}.items():
                group[name] = array
    else:
        scipy.io.savemat(path, {"SalMap": matrix})
    assert np.array_equal(_cat(root).prior.numpy(), values)


@pytest.mark.parametrize("rows", [[999_999_999, 0], [-5, 0], [0, 1]], ids=["beyond", "before", "too few"])
def test_a_sparse_prior_with_places_outside_of_it(root, rows):
    """They would be written to all the same, and end the process."""
    with h5py.File(_file(root, "SalRes_ZhangICCV17", "1.mat"), "w") as file:
        group = file.create_group("SalMap")
        group.attrs["MATLAB_sparse"] = np.uint64(3)
        group["data"], group["ir"] = np.ones(2), np.array(rows)
        group["jc"] = np.array([0, 1, 2] if rows[0] else [0, 1, 99_999])
    with pytest.raises(DatasetError, match=r"1\.mat cannot be read: "):
        _ = _cat(root).prior


@pytest.mark.parametrize("compressed", [False, True])
def test_a_v5_file_whose_elements_are_of_no_type(root, compressed):
    """scipy.io alone takes the type for a place in memory, and the process ends."""
    path = _file(root, "MCG_fast", "1.mat")
    scipy.io.savemat(path, {"masks": _proposals()[0].astype(np.uint8), "scores": np.arange(4.0)})
    whole = path.read_bytes()
    assert whole[144] == 9 and whole[192] == 2  # the class of the array and the type of its values: uint8
    for at, value in ((145, 8), (192, 0x7F), (192, 8), (192, 14), (193, 0xFF), (136, 0)):  # 145: it is complex
        content = whole[:at] + bytes([value]) + whole[at + 1 :]
        if compressed:
            inner = zlib.compress(content[128:])
            content = content[:128] + struct.pack("<II", 15, len(inner)) + inner
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"1\.mat cannot be read"):
            _ = _cat(root).proposals


@pytest.mark.parametrize("marked", [True, False])
def test_arrays_that_are_empty(root, marked):
    """In v7.3 the size of an empty array stands in place of its values, and says that it is one."""

    def write(folder, **arrays):
        path = _file(root, folder, "1.mat")
        if not marked:
            return scipy.io.savemat(path, arrays)
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = np.array(array.shape, np.uint64)
                file[name].attrs["MATLAB_empty"] = np.uint8(1)

    write("SalRes_ZhangICCV17", SalMap=np.zeros((0, 0)))
    with pytest.raises(DatasetError, match=r"1\.mat must hold a map of shape \(H, W\), got .*\(0, 0\)"):
        _ = _cat(root).prior
    for shape in ((0, 0), (*SIZE, 0)):
        write("MCG_fast", masks=np.zeros(shape), scores=np.zeros((0, 1)))
        assert _cat(root).proposals.shape == (0, *SIZE)


def test_a_struct_is_no_array(root):
    with h5py.File(_file(root, "SalRes_ZhangICCV17", "1.mat"), "w") as file:
        file.create_group("SalMap")["map"] = np.zeros(SIZE)
    with pytest.raises(DatasetError, match=r"1\.mat cannot be read: /SalMap is a struct"):
        _ = _cat(root).prior


def test_images_as_priors(root):
    """Of eight bits, sixteen, floats or one; gray in colours; with transparency, which is no saliency."""
    values = np.linspace(0, 0.6, SIZE[0] * SIZE[1]).reshape(SIZE)
    gray = np.rint(values * 255).astype(np.uint8)
    sixteen = np.rint(values * 65535).astype(np.uint16)
    images = {
        "a.png": gray, "b.png": sixteen, "c.tif": sixteen, "d.tif": values.astype(np.float32), "e.PNG": gray,
        "f.png": np.repeat(gray[..., None], 3, 2), "g.png": np.dstack([np.full((*SIZE, 3), 255, np.uint8), gray]),
        "h.bmp": gray, "i.webp": gray, "j.jpg": gray,
    }  # fmt: skip
    for name, array in images.items():
        Image.fromarray(array).save(path := _file(root, "SalRes_ZhangICCV17", name))
        prior = Sample("1", "cat", root / "SET/Image/cat/1.png", (), path).prior.numpy()
        assert np.allclose(prior, values, atol=1 / 40 if name[0] in "ij" else 1 / 255), name
    Image.fromarray(values > 0.3).save(path := _file(root, "SalRes_ZhangICCV17", "k.png"))
    assert np.array_equal(Sample("1", "cat", root / "SET/Image/cat/1.png", (), path).prior.numpy(), values > 0.3)
    colored = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(colored).save(path := _file(root, "SalRes_ZhangICCV17", "l.png"))
    with pytest.raises(DatasetError, match=r"l\.png must be a gray image"):
        _ = Sample("1", "cat", root / "SET/Image/cat/1.png", (), path).prior


def test_prior_of_bytes_and_png(root):
    values = np.arange(48, dtype=np.uint8).reshape(SIZE) * 5
    _write(_file(root, "SalRes_ZhangICCV17", "1.mat"), SalMap=values)
    _save(_file(root, "SalRes_ZhangICCV17", "12.png"), values)
    for name in ("1", "12"):
        assert np.allclose(_cat(root, name).prior.numpy(), values / 255, atol=1e-6)


def test_prior_of_another_size_is_resized_smoothly(root):
    _write(_file(root, "SalRes_ZhangICCV17", "1.mat"), SalMap=np.tile(np.linspace(0, 1, 16), (12, 1)))
    prior = _cat(root).prior
    assert prior.shape == SIZE and (prior.diff(dim=1) > 0).all() and prior.diff(dim=0).abs().max() < 1e-6


@pytest.mark.parametrize("bad", [np.full(SIZE, np.nan), np.zeros((*SIZE, 2))])
def test_impossible_priors_are_named(root, bad):
    _write(_file(root, "SalRes_ZhangICCV17", "1.mat"), SalMap=bad)
    with pytest.raises(DatasetError, match=r"1\.mat must hold"):
        _ = _cat(root).prior


def _proposals(size=SIZE):
    masks = np.random.default_rng(3).random((*size, 4)) < 0.5
    return masks, np.array([0.1, 0.9, 0.5, 0.9])


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
@pytest.mark.parametrize("column", [False, True])
def test_proposals_come_best_first(root, name, column):
    masks, scores = _proposals()
    shaped = scores[:, None] if column else scores[None]
    _write(_file(root, "MCG_fast", name), masks=masks.astype(np.uint8), scores=shaped)
    proposals = _cat(root).proposals
    assert proposals.dtype == torch.bool
    assert np.array_equal(proposals.numpy(), np.moveaxis(masks, 2, 0)[[1, 3, 2, 0]])


def test_a_single_proposal_in_matlab_has_no_third_axis(root):
    masks, _ = _proposals()
    for name in ("1.mat", "12.v73.mat"):
        _write(_file(root, "MCG_fast", name), masks=masks[..., 0].astype(np.uint8), scores=np.array([[0.5]]))
    for name in ("1", "12"):
        assert np.array_equal(_cat(root, name).proposals.numpy(), masks[None, ..., 0])


def test_proposals_of_another_size_are_resized_by_nearest_neighbour(root):
    masks, scores = _proposals((3, 4))
    _write(_file(root, "MCG_fast", "1.npz"), masks=masks, scores=scores)
    wanted = np.moveaxis(masks, 2, 0)[1].repeat(2, 0).repeat(2, 1)
    assert np.array_equal(_cat(root).proposals[0].numpy(), wanted)


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
def test_missing_variable_is_named(root, name):
    _write(_file(root, "MCG_fast", name), masks=_proposals()[0].astype(np.uint8))
    with pytest.raises(DatasetError, match=r"1\.(mat|npz) must hold masks and scores, it lacks scores$"):
        _ = _cat(root).proposals


def test_scores_that_are_no_numbers(root):
    _write(_file(root, "MCG_fast", "1.npz"), masks=_proposals()[0], scores=np.array([1, np.nan, 2, 3]))
    with pytest.raises(DatasetError, match=r"1\.npz must hold numbers in masks and scores, got NaN$"):
        _ = _cat(root).proposals


def test_scores_that_do_not_fit(root):
    _write(_file(root, "MCG_fast", "1.npz"), masks=_proposals()[0], scores=np.ones(3))
    with pytest.raises(DatasetError, match=r"1\.npz must hold masks of shape \(H, W, K\) and K scores"):
        _ = _cat(root).proposals


def test_variables_that_are_no_numbers_are_named(root):
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.zeros(SIZE), np.zeros(SIZE)
    _write(_file(root, "SalRes_ZhangICCV17", "1.mat"), SalMap=cell)
    _write(_file(root, "MCG_fast", "1.mat"), masks=_proposals()[0].astype(np.uint8), scores="abcd")
    for variable, read in (("SalMap", lambda: _cat(root).prior), ("scores", lambda: _cat(root).proposals)):
        with pytest.raises(DatasetError, match=rf"1\.mat must hold numbers in {variable}, got"):
            read()


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
@pytest.mark.parametrize("keep", [0, 40, 150])
def test_damaged_files_are_named(root, name, keep):
    path = _file(root, "SalRes_ZhangICCV17", name)
    _write(path, SalMap=np.random.default_rng(0).random(SIZE))
    if "v73" in name:  # MATLAB's own 512 bytes stay, what is behind them is cut
        path, keep = path.with_name("1.mat"), 512 + keep
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=path.name) as caught:
        _ = _cat(root).prior
    assert "\n" not in str(caught.value)


# The bundled sets


@pytest.fixture
def small_recipe(monkeypatch, tmp_path):
    """A recipe of one photo in place of the real ones, with its own cache; gives the list of its builds."""
    monkeypatch.setenv("CO3_DATA", str(tmp_path / "kept"))
    built = []

    def build(name, folder):
        built.append(name)
        _save(folder / "Image/dot/1.png", np.zeros((4, 4, 3), np.uint8))
        _save(folder / "Mask/dot/1_InstID1.png", np.full((4, 4), 255, np.uint8))

    monkeypatch.setattr(demo_sets, "build", build)
    return built


def test_demo_set_is_made_once(small_recipe, tmp_path):
    first, again = demo_set("coins"), demo_set("coins")
    assert first == again and small_recipe == ["coins"]
    assert first["dot"][0].masks.all() and (tmp_path / "kept") in first["dot"][0].image_path.parents


def test_a_changed_recipe_is_made_anew(small_recipe, monkeypatch):
    old = demo_set("coins")["dot"][0].image_path
    monkeypatch.setattr(demo_sets, "recipe_digest", lambda name: "f" * 64)
    assert demo_set("coins")["dot"][0].image_path != old and len(small_recipe) == 2


def test_a_half_made_set_is_never_seen(small_recipe, monkeypatch, tmp_path):
    whole = demo_sets.build

    def interrupted(name, folder):
        whole(name, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_sets, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo_set("coins")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setattr(demo_sets, "build", whole)
    assert len(demo_set("coins")["dot"]) == 1


def test_many_may_make_it_at_once(small_recipe, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(demo_set, ["coins"] * 8))
    assert all(made == sets[0] for made in sets)
    assert len([path for path in tmp_path.rglob("Image")]) == 1, "something was left beside the set"


# Another process has its own modules, so the small recipe goes in as text.
_PROCESS = """
import pathlib, sys, time
from PIL import Image
from co3lib.datasets import demo_set, demo_sets

def build(name, folder):
    for kind in ("Image/dot/1.png", "Mask/dot/1_InstID1.png"):
        path = pathlib.Path(folder) / kind
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4), 255).save(path)
        time.sleep(0.3)

demo_sets.build = build
print("ready", flush=True)
sys.stdin.readline()
(sample,) = demo_set("coins")["dot"]
print(len(sample.masks))
"""


def test_two_processes_may_make_it_at_once(tmp_path):
    environment = {**os.environ, "CO3_DATA": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", _PROCESS], env=environment, text=True, stdin=PIPE, stdout=PIPE)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=300)[0] for process in both] == ["1\n", "1\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(tmp_path.rglob("Image"))) == 1, "something was left beside the set"


def test_a_folder_that_cannot_be_written_is_an_error(small_recipe, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CO3_DATA", str(tmp_path / "file"))
    with pytest.raises(OSError):
        demo_set("coins")


def test_unknown_demo_set():
    with pytest.raises(ValueError, match="name must be one of 'coins', 'collage', got 'dogs'"):
        demo_set("dogs")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CO3_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CO3_DATA")
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(bundled.__file__))))
    assert os.fspath(cache_folder()) == os.path.join(checkout, "data", "cache")
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "site-packages/co3lib/datasets/bundled.py"))
    assert tmp_path not in cache_folder().parents and cache_folder().is_absolute()


def test_a_checkout_that_cannot_be_written_to_is_not_written_to(small_recipe, monkeypatch, tmp_path):
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    (checkout / "data").mkdir(parents=True)
    (checkout / "data" / "cache").write_text("no folder")  # root may write to every folder
    monkeypatch.setattr(bundled, "__file__", str(checkout / "co3lib" / "datasets" / "bundled.py"))
    monkeypatch.setenv("CO3_DATA", "")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    made = demo_set("coins")["dot"][0].image_path
    assert home / ".cache" / "co3" in made.parents and small_recipe == ["coins"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" / "co3" in demo_set("coins")["dot"][0].image_path.parents
    # What somebody else has made in the checkout is read.
    (checkout / "data" / "cache").unlink()
    shutil.copytree(home / ".cache" / "co3", checkout / "data" / "cache")
    monkeypatch.setattr(bundled, "make_folder", None)
    assert checkout in demo_set("coins")["dot"][0].image_path.parents and len(small_recipe) == 2


def test_what_a_killed_making_left_is_removed(small_recipe, tmp_path):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    root = tmp_path / "kept" / demo_sets.recipe_digest("coins")[:12]
    half = root / part_of(root / "coins").name.replace(str(os.getpid()), str(ended.pid))
    (half / "Image" / "dot").mkdir(parents=True)
    (root / "mine.part").write_text("mine")
    demo_set("coins")
    assert sorted(path.name for path in root.iterdir()) == ["coins", "mine.part"]


def test_a_tilde_is_the_home(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CO3_DATA", "~/data")
    folder = demo_set("coins")["dot"][0].image_path.parents[2]
    assert tmp_path / "data" in folder.parents and not (tmp_path / "~").exists()
    assert list(read_set("~/" + os.fspath(folder.parent.relative_to(tmp_path)), "coins")) == ["dot"]


def test_the_bundled_coins_read_through_the_layout(monkeypatch, tmp_path):
    monkeypatch.setenv("CO3_DATA", str(tmp_path))
    samples = demo_set("coins")["coin"]
    assert sum(len(sample.masks) for sample in samples) == 55
    assert all(sample.masks.shape[1:] == sample.image.shape[:2] for sample in samples)


# ------------------------------------------------------------------------------------------------ limits, to the last value


def test_proposals_of_floats_must_be_numbers(tmp_path):
    image, path = tmp_path / "a.png", tmp_path / "a.npz"
    _save(image, np.zeros((*SIZE, 3), np.uint8))
    masks = np.ones((*SIZE, 2))
    np.savez(path, masks=masks, scores=[0.5, 0.25])
    assert Sample("a", "cat", image, (), None, path).proposals.all()
    masks[0, 0, 1] = np.nan
    np.savez(path, masks=masks, scores=[0.5, 0.25])
    with pytest.raises(DatasetError, match=r"a\.npz must hold numbers in masks and scores, got NaN"):
        _ = Sample("a", "cat", image, (), None, path).proposals


def test_a_lossy_mask_may_be_off_by_a_tenth_of_its_range(tmp_path):
    values = np.zeros((30, 40), np.uint8)
    values[2:12, 2:12], values[15:25, 15:25] = 20, 200
    Image.fromarray(values).save(tmp_path / "a.webp", lossless=True)
    assert np.array_equal(read_mask(tmp_path / "a.webp"), values == 200)
    values[values == 20] = 21
    Image.fromarray(values).save(tmp_path / "b.webp", lossless=True)
    with pytest.raises(DatasetError, match=r"b\.webp must be a mask"):
        read_mask(tmp_path / "b.webp")


@pytest.mark.parametrize(("edge", "mask"), [(50, True), (51, False)])
def test_smooth_edges_are_a_quarter_of_a_mask_at_most(tmp_path, edge, mask):
    """Edges are counted from more than a quarter of the range on."""
    values = np.tile(np.array([0, edge, 0, edge, 0, 200, 200], np.uint8), (14, 2))
    _save(tmp_path / "a.png", values)
    if mask:
        assert np.array_equal(read_mask(tmp_path / "a.png"), values == 200)
    else:
        with pytest.raises(DatasetError, match=r"a\.png must be a mask"):
            read_mask(tmp_path / "a.png")


@pytest.mark.parametrize(("height", "width", "mask"), [(5, 5, False), (4, 12, True), (12, 4, True)])
def test_a_second_colour_has_an_area_of_five_by_five(tmp_path, height, width, mask):
    colors = np.zeros((40, 40, 3), np.uint8)
    colors[5:35, 5:35] = [200, 0, 0]
    colors[12 : 12 + height, 12 : 12 + width] = [0, 200, 0]
    _save(tmp_path / "a.png", colors)
    if mask:
        assert read_mask(tmp_path / "a.png").sum() == 900
    else:
        with pytest.raises(DatasetError, match=r"a\.png must be a mask"):
            read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("version", ["4", "5"])
def test_matlab_files_with_short_names_and_of_version_4(tmp_path, version):
    values = np.arange(35.0).reshape(5, 7)
    scipy.io.savemat(tmp_path / "a.mat", {"a": values, "b": values.T}, format=version)
    first, second = read_arrays(tmp_path / "a.mat", ("a", "b"))
    assert np.array_equal(first, values) and np.array_equal(second, values.T)


def test_gray_files_may_be_a_little_coloured(tmp_path):
    colors = np.full((10, 10, 3), 100, np.uint8)
    colors[..., 0] = 140  # as far apart as may be
    _save(tmp_path / "a.png", colors)
    assert read_gray(tmp_path / "a.png").shape == (10, 10)
    colors[0, 0] = [141, 100, 100]  # one in a hundred may be farther
    _save(tmp_path / "b.png", colors)
    assert read_gray(tmp_path / "b.png").shape == (10, 10)
    colors[0, 1] = [141, 100, 100]
    _save(tmp_path / "c.png", colors)
    with pytest.raises(DatasetError, match=r"c\.png must be a gray image"):
        read_gray(tmp_path / "c.png")


def test_void_beside_two_labels_of_a_palette_is_refused_however_thin(tmp_path):
    indices = np.zeros((12, 12), np.uint8)
    indices[2:8, 2:8], indices[9, 2:5], indices[9, 6:9] = 1, 2, 255
    image = Image.fromarray(indices, "P")
    image.putpalette([value for k in range(256) for value in (k, 0, 255 - k)])
    image.save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png must be a mask"):
        read_mask(tmp_path / "a.png")


def test_values_at_half_of_the_highest_are_not_in_the_mask(tmp_path):
    values = np.full((12, 12), 100, np.uint8)
    values[3:9, 3:9] = 200
    _save(tmp_path / "a.png", values)
    assert np.array_equal(read_mask(tmp_path / "a.png"), values == 200)
    values[values == 100] = 0
    values[3:9, 2] = 100  # an edge
    _save(tmp_path / "b.png", values)
    assert np.array_equal(read_mask(tmp_path / "b.png"), values == 200)


def test_two_labels_that_are_near_each_other_are_no_mask(tmp_path):
    values = np.zeros((20, 20), np.uint8)
    values[2:8, 2:8], values[10:18, 10:18] = 10, 200
    _save(tmp_path / "a.png", values)
    with pytest.raises(DatasetError, match=r"a\.png must be a mask"):
        read_mask(tmp_path / "a.png")


def test_a_dark_texture_of_another_colour_is_outside_of_the_mask(tmp_path):
    colors = np.zeros((40, 40, 3), np.uint8)
    colors[5:35, 5:35, 0] = 200
    y, x = np.mgrid[12:19, 12:19]
    colors[12:19, 12:19] = 0
    colors[12:19, 12:19, 1] = np.where((y + x) % 2, 70, 95)
    _save(tmp_path / "a.png", colors)
    assert np.array_equal(read_mask(tmp_path / "a.png"), colors[..., 0] == 200)


def test_flat_values_are_those_of_all_their_neighbours():
    values = np.random.default_rng(0).integers(0, 2, (40, 50)).repeat(2, 0).repeat(2, 1)
    expected = np.zeros(values.shape, bool)
    for y in range(1, len(values) - 1):
        for x in range(1, values.shape[1] - 1):
            expected[y, x] = len(np.unique(values[y - 1 : y + 2, x - 1 : x + 2])) == 1
    assert expected.any() and np.array_equal(mask_files._flat(values), expected)


@pytest.mark.parametrize(("kind", "parts"), [(4, 3), (5, 5), (6, 3), (15, 3)], ids=["text", "sparse", "double", "uint64"])
def test_a_v5_matrix_that_lacks_a_part_is_refused(tmp_path, kind, parts):
    def element(number: int, content: bytes) -> bytes:
        return struct.pack("<II", number, len(content)) + content + bytes(-len(content) % 8)

    inside = [element(6, struct.pack("<II", kind, 0)), element(5, struct.pack("<ii", 1, 1)), element(1, b"SalMap.."[:6])]
    inside += [element(5, struct.pack("<i", 0))] * (parts - 3)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "a.mat").write_bytes(header + element(14, b"".join(inside)))
    with pytest.raises(DatasetError, match=r"a\.mat .*cut off or damaged"):
        read_arrays(tmp_path / "a.mat", ("SalMap",))


@pytest.mark.parametrize("kind", ["Mask", "SalRes_ZhangICCV17", "MCG_fast"])
def test_a_file_where_a_categorys_folder_is_expected_is_named(tmp_path, kind):
    _save(tmp_path / "SET/Image/cat/a.png", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / f"SET/{kind}").mkdir()
    (tmp_path / f"SET/{kind}/cat").touch()
    with pytest.warns(UserWarning, match=rf"left out: 1 without an ending of .*SET \({kind}/cat\)"):
        samples = read_set(tmp_path, "SET")
    assert len(samples["cat"]) == 1


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_mask_of_height_and_width_exchanged_is_refused_where_exif_only_mirrors(tmp_path, number):
    _turned_photo(tmp_path, number, np.zeros((*SIZE, 3), np.uint8))
    _save(tmp_path / "SET/Mask/cat/t_InstID1.png", _mask(1).T.copy())
    with pytest.raises(DatasetError, match=r"t_InstID1\.png must be of its photo's size"):
        _ = _cat(tmp_path, "t").masks


@pytest.mark.parametrize("chunks", [None, (1, 8, 6), (2, 3, 6), (4, 1, 2)])
@pytest.mark.parametrize("limit", [None, 2, 9])
def test_proposals_are_read_in_slices_of_whole_chunks(root, monkeypatch, chunks, limit):
    """Of one layer, of several, and of a part of each; the same as all at once."""
    masks, scores = _proposals()
    path = _file(root, "MCG_fast", "1.mat")
    with h5py.File(path, "w") as file:
        file.create_dataset("masks", data=masks.T.astype(np.uint8), chunks=chunks)
        file["scores"] = scores
    monkeypatch.setattr(array_files, "_SLICE", 2 * SIZE[0] * (chunks or (1, 8))[1])
    wanted = np.moveaxis(masks, 2, 0)[[1, 3, 2, 0]][:limit]
    assert np.array_equal(_cat(root).best_proposals(limit).numpy(), wanted)


@pytest.mark.parametrize("name", ["1.mat", "1.v73.mat", "1.npz"])
def test_the_best_proposals_are_those_of_the_highest_scores(root, name):
    masks, scores = _proposals()
    _write(_file(root, "MCG_fast", name), masks=masks.astype(np.uint8), scores=scores)
    assert torch.equal(_cat(root).best_proposals(3), _cat(root).proposals[:3])


def test_a_damaged_slice_of_proposals_is_refused_with_the_file(root):
    path = _file(root, "MCG_fast", "1.mat")
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).integers(0, 2, (4, 80, 60), np.uint8)
        file.create_dataset("masks", data=noise, chunks=(1, 80, 60), compression=9)
        file["scores"] = np.arange(4.0)
        place = file["masks"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"1\.mat cannot be read: "):
        _ = _cat(root).proposals


def test_proposals_that_are_not_wanted_take_no_memory(root):
    """The best 20 of 400 are 5 MB; all of them would be 100 MB, and as much again for each copy."""
    path, size = _file(root, "MCG_fast", "1.mat"), (500, 500)
    with h5py.File(path, "w") as file:
        file.create_dataset("masks", (400, *size), np.uint8, chunks=(10, *size), compression=1)
        file["scores"] = np.arange(400.0)
    tracemalloc.start()
    try:
        assert len(_cat(root).best_proposals(20)) == 20
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6  # with a slice of 32 MB
