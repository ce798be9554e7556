"""Photos as cameras, scanners and web pages leave them, made on the fly; and what is no photo."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from co3lib.datasets.images import (
    ImageError,
    fit_within,
    name_of,
    orientation,
    read_image,
    resize_image,
    resize_nearest,
    to_tensor,
)

SIZE = (24, 32)  # H W


def picture(size=SIZE):
    """Smooth, so that JPEG keeps it, and different in each of its orientations."""
    y, x = np.mgrid[: size[0], : size[1]] / (np.array(size)[:, None, None] - 1)
    return np.rint(np.stack([220 * x, 220 * y, 200 * x * (1 - y)], -1)).astype(np.uint8)


def saved(path, image, **options):
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def refused(source, named, **options):
    """The message of the ImageError that must come: one sentence, on one line, that names the photo."""
    with pytest.raises(ImageError) as caught:
        read_image(source, **options)
    message = str(caught.value)
    assert str(named) in message
    said = message.replace(str(named), "")
    assert "\n" not in said and not re.search(r"[.!?]\s+[A-Z]", said), message
    return message


# ------------------------------------------------------------------------------------------------- readable


# What a camera stored, from the picture as it should be seen, for each value of EXIF's orientation.
STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1),
    8: lambda seen: np.rot90(seen, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_shows_the_same_picture(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    path = saved(tmp_path / "a.jpg", stored, quality=98, subsampling=0, exif=exif)
    seen = read_image(path)
    assert seen.shape == (*SIZE, 3) and seen.dtype == np.uint8
    assert np.abs(seen.astype(int) - picture()).max() < 12
    with Image.open(path) as image:
        assert np.array_equal(read_image(image), seen)


def ifd(entries, start=8):
    """A directory of EXIF or TIFF at offset ``start``, little-endian; entries: (tag, type, count, content)."""
    entries, beside = sorted(entries), b""
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, content in entries:
        value = content.ljust(4, b"\0")
        if len(content) > 4:
            value, beside = struct.pack("<I", start + 6 + 12 * len(entries) + len(beside)), beside + content
        directory += struct.pack("<HHI", tag, kind, count) + value
    return directory + bytes(4) + beside


def photo_with(path, stored, entries):
    """A photo whose EXIF holds these entries, whatever they are, in the format that the path's ending says."""
    if path.suffix != ".tif":
        exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd(entries)
        return saved(path, stored, exif=exif, **({} if path.suffix == ".png" else {"quality": 98}))
    height, width = stored.shape[:2]
    numbers = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: 3, 278: height, 279: stored.nbytes}
    layout = [(258, 3, 3, struct.pack("<3H", 8, 8, 8)), *((tag, 4, 1, struct.pack("<I", n)) for tag, n in numbers.items())]
    start = 8 + stored.nbytes
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + stored.tobytes() + ifd(layout + entries, start))
    return path


# Of another type than the standard's, out of its range, of no value, cut short: maker, model, resolutions, their unit,
# software, date, XMP, IPTC, EXIF's own directory, GPS, a comment.
ODD = [
    (tag, kind, count, content)
    for tag in (0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x02BC, 0x83BB, 0x8769, 0x8825, 0x9286)
    for kind, count, content in [
        (1, 1, b"\xff"), (2, 2, b"6\0"), (3, 1, b"\xff\xff"), (4, 2, b"\xff" * 8), (5, 1, struct.pack("<2I", 6, 0)),
        (6, 1, b"\xff"), (7, 2, b"ab"), (9, 1, struct.pack("<i", -6)), (10, 1, struct.pack("<2i", -1, 0)),
        (11, 1, struct.pack("<f", np.nan)), (12, 1, struct.pack("<d", 1e300)), (3, 0, b""), (99, 1, b"\1"),
        (2, 100000, b"\x10"),
    ]
]  # fmt: skip


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.filterwarnings("ignore")
def test_an_odd_tag_beside_the_orientation_does_no_harm(tmp_path, ending):
    turned = {number: np.ascontiguousarray(turn(picture())) for number, turn in STORED.items()}
    for k, odd in enumerate(ODD):
        number = k % 8 + 1  # all eight with every tag
        entries = [(0x0112, 3, 1, struct.pack("<H", number)), odd]
        path = photo_with(tmp_path / f"a.{ending}", turned[number], entries)
        seen = read_image(path)
        assert seen.shape == (*SIZE, 3), (number, odd)
        assert np.abs(seen.astype(int) - picture()).mean() < 6, (number, odd)
        with Image.open(path) as image:
            assert orientation(image) == number, odd
            assert np.array_equal(read_image(image), seen), odd


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(("entry", "number"), [
    ((1, 1, b"\6"), 6), ((2, 2, b"6\0"), 6), ((4, 1, b"\6"), 6), ((5, 1, struct.pack("<2I", 6, 1)), 6),
    ((6, 1, b"\6"), 6), ((9, 1, b"\6"), 6), ((11, 1, struct.pack("<f", 6)), 6), ((12, 1, struct.pack("<d", 6)), 6),
    ((3, 1, b"\0"), 1), ((3, 1, b"\x09"), 1), ((3, 1, b"\x2c\1"), 1), ((8, 1, b"\xfa\xff"), 1), ((3, 2, b"\6\0\1\0"), 6),
    ((3, 0, b""), 1), ((2, 4, b"top\0"), 1), ((7, 3, b"abc"), 1), ((5, 1, struct.pack("<2I", 6, 0)), 1),
    ((11, 1, struct.pack("<f", np.nan)), 1), ((12, 1, struct.pack("<d", 6.5)), 1), ((99, 1, b"\6"), 1),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_orientation_of_another_type_counts_if_its_value_is_one(tmp_path, ending, entry, number):
    stored = np.ascontiguousarray(STORED[number](picture()))
    seen = read_image(photo_with(tmp_path / f"a.{ending}", stored, [(0x0112, *entry)]))
    assert seen.shape == (*SIZE, 3) and np.abs(seen.astype(int) - picture()).mean() < 6


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "tEXt", "iCCP"])
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
def test_a_png_with_much_text_is_the_photo_all_the_same(tmp_path, monkeypatch, kind, behind):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1 << 20)  # as 64 MiB of it would
    text = b"x" * (2 << 20)
    content = {
        "zTXt": b"prompt\0\0" + zlib.compress(text),
        "iTXt": b"prompt\0\1\0\0\0" + zlib.compress(text),
        "tEXt": b"prompt\0" + text,
        "iCCP": b"profile\0\0" + zlib.compress(text),
    }[kind]
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", np.ascontiguousarray(STORED[6](picture())), exif=exif)
    png = path.read_bytes()
    chunk = struct.pack(">I", len(content)) + kind.encode() + content
    chunk += struct.pack(">I", zlib.crc32(kind.encode() + content))
    at = len(png) - 12 if behind else 33  # IEND has 12 bytes; signature and IHDR have 33
    path.write_bytes(png[:at] + chunk + png[at:])
    assert np.array_equal(read_image(path), picture())


def test_gray(tmp_path):
    gray = picture()[..., 0]
    assert np.array_equal(read_image(saved(tmp_path / "a.png", gray)), np.repeat(gray[..., None], 3, 2))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    pixels = picture()
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:8], alpha[8:16] = 0, 128
    image = Image.fromarray(pixels).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    seen = read_image(saved(tmp_path / "a.png", image)).astype(float)
    opaque = np.asarray(Image.fromarray(pixels).convert(mode[:-1]).convert("RGB"), float)
    share = alpha[..., None] / 255
    assert np.abs(seen - (share * opaque + (1 - share) * 255)).max() <= 1


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path, transparent):
    indices = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 3
    colors = np.array([[250, 0, 0], [0, 240, 10], [5, 6, 230]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colors.tobytes())
    path = saved(tmp_path / "a.png", image, **({"transparency": 1} if transparent else {}))
    expected = colors.copy()
    if transparent:
        expected[1] = 255
    assert np.array_equal(read_image(path), expected[indices])


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7))])
def test_a_transparent_colour_is_laid_on_white(tmp_path, mode, key):
    image = Image.fromarray(np.array([[7, 90]], np.uint8)).convert(mode)
    path = saved(tmp_path / "a.png", image, transparency=key)
    assert np.array_equal(read_image(path)[0], [[255] * 3, [90] * 3])


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("brightest", [65535, 20000, 200])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, ending, brightest):
    values = np.linspace(0, brightest, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE)
    seen = read_image(saved(tmp_path / f"a.{ending}", values))
    assert np.array_equal(seen[..., 1], np.rint(values / 257).astype(np.uint8))


def test_one_bit(tmp_path):
    bits = picture()[..., 0] > 100
    seen = read_image(saved(tmp_path / "a.png", Image.fromarray(bits)))
    assert np.array_equal(seen, np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_cmyk_jpeg(tmp_path):
    image = Image.fromarray(picture()).convert("CMYK")
    seen = read_image(saved(tmp_path / "a.jpg", image, quality=98))
    assert np.abs(seen.astype(int) - picture()).mean() < 4


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5000.0)])
def test_float_tiff_fills_the_range(tmp_path, low, high):
    values = np.linspace(low, high, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    seen = read_image(saved(tmp_path / "a.tif", values))[..., 0]
    assert (seen.min(), seen.max()) == (0, 255) and (np.diff(seen.ravel().astype(int)) >= 0).all()


def test_float_tiff_of_bytes_keeps_its_values(tmp_path):
    values = picture()[..., 0].astype(np.float32)
    assert np.array_equal(read_image(saved(tmp_path / "a.tif", values))[..., 0], picture()[..., 0])


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_float_tiff_with_holes_shows_the_rest(tmp_path, hole):
    values = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    values[3, 4] = hole
    seen = read_image(saved(tmp_path / "a.tif", values))[..., 0]
    whole = np.rint(values * 255, where=np.isfinite(values), out=np.zeros(SIZE))
    assert seen[3, 4] == (255 if hole == np.inf else 0)
    elsewhere = np.isfinite(values)
    assert np.abs(seen[elsewhere] - whole[elsewhere]).max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1e9, np.nan])
@pytest.mark.filterwarnings("error")
def test_float_tiff_of_one_value(tmp_path, value):
    seen = read_image(saved(tmp_path / "a.tif", np.full(SIZE, value, np.float32)))
    assert len(np.unique(seen)) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_tiny_and_thin_photos(tmp_path, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    seen = read_image(saved(tmp_path / "a.png", pixels))
    assert np.array_equal(seen, pixels)
    assert to_tensor(seen, 16).shape == (1, 3, 16, 16)
    assert fit_within(seen, 100).shape[:2] == tuple(min(n, 100) for n in size)


def test_arrays_and_tensors():
    pixels = picture()
    assert np.array_equal(read_image(pixels), pixels)
    assert np.array_equal(read_image(torch.from_numpy(pixels)), pixels)
    assert np.array_equal(read_image(pixels[::-1, ::2]), pixels[::-1, ::2])
    assert np.array_equal(read_image(pixels[..., 0]), np.repeat(pixels[..., :1], 3, 2))
    clear = np.dstack([pixels, np.zeros(SIZE, np.uint8)])
    assert (read_image(clear) == 255).all()
    assert (read_image(np.zeros((2, 3), np.uint8)) == 0).all()


def test_what_is_read_can_be_written_on_and_is_a_copy():
    pixels = picture()
    seen = read_image(pixels)
    seen[:] = 0
    assert pixels.any()


def test_pil_images_in_memory():
    image = Image.fromarray(picture()).convert("HSV")
    assert np.abs(read_image(image).astype(int) - picture()).max() < 12
    assert name_of(image, 5) == "image 5"


def test_names(tmp_path):
    path = saved(tmp_path / "my cat.v2.png", picture())
    assert name_of(path) == name_of(str(path)) == "my cat.v2.png"
    with Image.open(path) as image:
        assert name_of(image, 3) == "my cat.v2.png"
    assert name_of(np.zeros(1), 3) == "image 3"


# ----------------------------------------------------------------------------------------------- unreadable


@pytest.mark.parametrize("array", [
    np.zeros((4, 5, 3)), np.zeros((4, 5, 3), np.int64), np.zeros((4, 5), bool), np.zeros((3, 4, 5), np.uint8),
    np.zeros(4, np.uint8), np.zeros((1, 4, 5, 3), np.uint8), np.zeros((0, 5, 3), np.uint8),
    torch.zeros(4, 5, 3),
])  # fmt: skip
def test_arrays_of_another_kind(array):
    message = refused(array, "image 3", name=name_of(array, 3))
    kind = np.asarray(array)
    assert "uint8" in message and f"got {kind.dtype} of shape {kind.shape}" in message


@pytest.mark.parametrize("source", [None, 7, b"bytes", [[1, 2], [3, 4]]])
def test_what_is_no_source_at_all(source):
    assert f"got {type(source).__name__}" in refused(source, "image 3", name="image 3")


def test_text_named_jpg(tmp_path):
    (tmp_path / "a.jpg").write_text("This is no photo. It is text.")
    refused(tmp_path / "a.jpg", tmp_path / "a.jpg")
    refused(str(tmp_path / "a.jpg"), tmp_path / "a.jpg")


def test_empty_missing_and_folder(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path / "empty.png", tmp_path / "empty.png")
    assert "not there" in refused(tmp_path / "absent.jpg", tmp_path / "absent.jpg")
    assert "a folder" in refused(tmp_path / "folder.jpg", tmp_path / "folder.jpg")


def test_what_the_file_system_says_is_not_called_damage(tmp_path, monkeypatch):
    assert "File name too long" in refused(tmp_path / ("a" * 5000 + ".jpg"), "a.jpg")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.png", picture())
    monkeypatch.setattr(Image, "open", denied)
    assert refused(path, path) == f"{path} cannot be read: Permission denied"


@pytest.mark.parametrize("error", [struct.error("argument out of range"), TypeError("bad\noperand"), AssertionError()])
def test_whatever_a_decoder_raises_names_the_photo(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    path = saved(tmp_path / "a.png", picture())
    with Image.open(path) as image:
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
        refused(path, path)
        refused(image, "a.png")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "tiff", "bmp", "webp"])
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF")
def test_files_cut_short_at_any_place(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format=kind)
    content, path = file.getvalue(), tmp_path / f"a.{kind}"
    for length in np.linspace(0, 0.9 * len(content), 60).astype(int):
        path.write_bytes(content[:length])
        refused(path, path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "tiff", "bmp", "webp"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_read_or_refused_by_name(tmp_path, kind):
    draw = np.random.default_rng(1)
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, format=kind)
    content, path = np.frombuffer(file.getvalue(), np.uint8), tmp_path / f"a.{kind}"
    for _ in range(150):
        damaged = content.copy()
        damaged[draw.integers(0, min(300, len(content)), 4)] = draw.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            seen = read_image(path)
        except ImageError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert seen.dtype == np.uint8 and seen.ndim == 3 and seen.shape[2] == 3


def test_photos_too_large_to_be_safe(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", picture())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "too large" in refused(path, path)


def test_an_open_image_that_cannot_be_decoded(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.png", noise)
    path.write_bytes(path.read_bytes()[:900])
    with Image.open(path) as image:
        refused(image, "a.png")
    refused(Image.new("RGB", (0, 5)), "image 2", name="image 2")


# ------------------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((60, 90), 45, (30, 45)),
        ((90, 60), 45, (45, 30)),
        ((1, 500), 50, (1, 50)),
        ((30, 40), 40, (30, 40)),
        ((30, 40), 400, (30, 40)),
    ],
)
def test_fit_within(size, longest, expected):
    image = picture(size) if min(size) > 1 else np.zeros((*size, 3), np.uint8)
    small = fit_within(image, longest)
    assert small.shape == (*expected, 3) and small.dtype == np.uint8
    if size == expected:
        assert np.array_equal(small, image)


def test_resizing_down_averages():
    board = np.repeat(((np.indices((64, 64)).sum(0) % 2) * 200).astype(np.uint8)[..., None], 3, 2)
    small = resize_image(board, (8, 8))
    assert np.abs(small.astype(int) - 100).max() <= 8, "pixels were picked, not averaged"


@pytest.mark.parametrize(("old", "new"), [(2, 4), (4, 2), (3, 7), (7, 3), (5, 5), (1, 6), (300, 1), (9, 4)])
def test_resize_nearest_takes_the_pixel_under_the_new_centre(old, new):
    values = torch.arange(old)
    # Exact integers: the centre (2 k + 1) / 2, in units of old pixels, rounded down.
    expected = [(2 * k + 1) * old // (2 * new) for k in range(new)]
    assert resize_nearest(values.view(1, old, 1), (new, 1)).flatten().tolist() == expected
    assert resize_nearest(values.view(1, 1, old), (1, new)).flatten().tolist() == expected


def test_resize_nearest_is_symmetric_and_keeps_types():
    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(3, 6, 10, generator=draw) < 0.5
    resized = resize_nearest(masks, (13, 25))
    assert resized.dtype == torch.bool and resized.shape == (3, 13, 25)
    enlarged = resize_nearest(masks, (18, 30))
    assert torch.equal(enlarged, masks.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert torch.equal(resize_nearest(masks.flip(2), (18, 30)), enlarged.flip(2))
    assert resize_nearest(masks[:0], (4, 5)).shape == (0, 4, 5)
    assert resize_nearest(torch.full((1, 2, 2), 0.3), (5, 5)).dtype == torch.float32


def test_to_tensor():
    image = np.zeros((4, 8, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    tensor = to_tensor(image, 16)
    assert tensor.shape == (1, 3, 16, 16) and tensor.dtype == torch.float32
    assert torch.allclose(tensor.mean((0, 2, 3)), torch.tensor([1.0, 0.0, 0.2]))
    same = picture((16, 16))
    assert torch.equal(to_tensor(same, 16)[0], torch.from_numpy(same).movedim(-1, 0) / 255)
