"""How the bundled sets are made from photos that scikit-image ships: the same bytes each time, no network.

``coins`` are views into one photo of 24 coins. ``collage`` pastes hand-outlined cut-outs of a few photos, in
many sizes, poses and lights, onto backgrounds made of others, together with objects of other categories.
``data/README.md`` says what the sets are good for and where the photos come from.

Shape letters: H W photo size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from ..files import packaged, path_of

RECIPE = "1"
CLASSES = ("cat", "coin", "cup", "motorcycle", "person")
PHOTOS_PER_CLASS = 10
MIN_VISIBLE, MIN_AREA = 0.55, 0.015  # of an object's own area, and of the photo's
OUTLINES = packaged("outlines.json")

_EXTRAS = ("rocket", "shuttle")  # never a photo's category, only beside it
_SIZES = ((360, 480), (480, 360), (420, 420))
_AREA = (0.03, 0.25)  # an object before occlusion, as a part of the photo
_MOST_AREA = {"coin": 0.09, "rocket": 0.06, "shuttle": 0.12}  # their sources are small, or thin
_LEAN = {"person": 12.0}  # degrees; others up to 25
_COIN_VIEWS = (  # x0, y0, x1, y1, each edge between coins, but for one column of one coin
    (0, 0, 181, 150),
    (181, 0, 384, 150),
    (0, 84, 242, 225),
    (126, 84, 384, 225),
    (0, 148, 136, 303),
    (136, 148, 384, 303),
    (126, 0, 300, 225),
    (0, 0, 126, 225),
)
# photo, part of it (x0, y0, x1, y1), tint of a gray photo
_Piece = tuple[str, tuple[int, int, int, int], tuple[float, float, float] | None]
_WALLS: tuple[_Piece, ...] = (
    ("brick.png", (0, 0, 512, 512), (1.25, 0.8, 0.65)),
    ("brick.png", (0, 0, 512, 512), (1.1, 1.0, 0.85)),
    ("motorcycle_left.png", (585, 0, 741, 240), None),
    ("motorcycle_left.png", (0, 0, 320, 100), None),
    ("rocket.jpg", (0, 0, 215, 427), None),
    ("rocket.jpg", (425, 0, 640, 427), None),
    ("astronaut.png", (0, 0, 90, 260), None),
    ("ihc.png", (0, 0, 512, 512), None),
    ("retina.jpg", (330, 250, 1080, 1160), None),
    ("chelsea.png", (378, 70, 451, 300), None),
    ("page.png", (0, 0, 384, 191), (1.0, 0.97, 0.86)),
    ("hubble_deep_field.jpg", (0, 0, 1000, 872), None),
)
_GROUNDS: tuple[_Piece, ...] = (
    ("grass.png", (0, 0, 512, 512), (0.75, 1.05, 0.45)),
    ("grass.png", (0, 0, 512, 512), (1.15, 1.0, 0.6)),
    ("gravel.png", (0, 0, 512, 512), (1.15, 1.0, 0.85)),
    ("gravel.png", (0, 0, 512, 512), (0.85, 0.95, 1.1)),
    ("coffee.png", (485, 0, 600, 400), None),
    ("moon.png", (0, 0, 512, 512), (1.15, 0.95, 0.75)),
    ("motorcycle_left.png", (0, 410, 320, 500), None),
    ("brick.png", (0, 0, 512, 512), (0.95, 0.95, 1.05)),
)


@dataclass(frozen=True)
class CutOut:
    """An object cut out of a photo.

    Attributes
    ----------
    colors : (H, W, 3) uint8.
    alpha : (H, W) uint8, 255 inside.
    """

    colors: np.ndarray
    alpha: np.ndarray


def build(name: str, folder: str | Path) -> None:
    """Write a set.

    Parameters
    ----------
    name : "coins" or "collage".
    folder : where to; it gets ``Image/<category>/<photo>.png`` (RGB) and ``Mask/<category>/<photo>_InstID<kk>.png`` (one
        channel, 0 or 255), one an instance, kk from 01.

    Raises
    ------
    ValueError : for another name.
    """
    makers = {"coins": _coins, "collage": _collage}
    if name not in makers:
        raise ValueError(f"name must be one of {', '.join(map(repr, makers))}, got {name!r}")
    folder = path_of(folder, "folder")
    for category, photo, image, masks in makers[name]():
        images, mask_folder = folder / "Image" / category, folder / "Mask" / category
        images.mkdir(parents=True, exist_ok=True)
        mask_folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(images / f"{photo}.png", compress_level=1)
        for k, mask in enumerate(masks, 1):
            Image.fromarray(mask.astype(np.uint8) * 255).save(mask_folder / f"{photo}_InstID{k:02d}.png")


def recipe_digest(name: str) -> str:
    """A SHA-256 of the set's name, this module and the outlines: a set that was made is valid as long as it is the same."""
    digest = hashlib.sha256(f"{name} {RECIPE}".encode())
    for path in (Path(__file__), OUTLINES):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def coin_masks() -> np.ndarray:
    """The 24 coins of the coins photo, in reading order: (24, 303, 384) bool."""
    photo = _photo("coins.png")[..., 0]
    # Marker-controlled watershed on the gradient; dark relief in a coin is filled, its hull smooths its rim.
    markers = np.where(photo < 30, 1, 0) + np.where(photo > 150, 2, 0)
    regions = segmentation.watershed(filters.sobel(photo.astype(float)), markers) == 2
    regions = morphology.opening(ndimage.binary_fill_holes(regions), morphology.disk(4))
    found = [r for r in measure.regionprops(measure.label(regions)) if r.area > 500]
    masks = []
    for region in sorted(found, key=lambda r: (round(r.centroid[0] / 70), r.centroid[1])):
        mask = np.zeros(photo.shape, bool)
        mask[region.slice] = region.image_convex
        masks.append(mask)
    return np.stack(masks)


def _coins():
    photo, coins = _photo("coins.png"), coin_masks()
    for number, (x0, y0, x1, y1) in enumerate(_COIN_VIEWS, 1):
        scale = 400 / max(x1 - x0, y1 - y0)
        size = round((x1 - x0) * scale), round((y1 - y0) * scale)
        view = Image.fromarray(photo[y0:y1, x0:x1]).resize(size, Image.Resampling.BICUBIC)
        inside = coins[:, y0:y1, x0:x1]
        whole = inside.sum((1, 2)) > 0.98 * coins.sum((1, 2))
        layers = (Image.fromarray(mask.astype(np.uint8) * 255) for mask in inside[whole])
        masks = [np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) > 127 for layer in layers]
        yield "coin", f"coin_{number:02d}", np.asarray(view), masks


def _collage():
    for category in CLASSES:
        for number in range(PHOTOS_PER_CLASS):
            yield category, f"{category}_{number + 1:02d}", *_collage_photo(category, number)


def _collage_photo(category: str, number: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The photo, (H, W, 3) uint8, and its masks, (H, W) bool each; seeded by itself, needing no other."""
    c = CLASSES.index(category)
    rng = np.random.default_rng((c, number))
    size = _SIZES[rng.integers(len(_SIZES))]
    return _paste(rng, _background(rng, size, PHOTOS_PER_CLASS * c + number), category)


def _paste(rng: np.random.Generator, image: np.ndarray, category: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paste objects onto (H, W, 3) float: the photo as uint8, and the category's visible masks, (H, W) bool."""
    size = image.shape[:2]
    kinds = [category] * rng.integers(2, 5)
    others = [kind for kind in (*CLASSES, *_EXTRAS) if kind != category]
    kinds += list(rng.choice(others, rng.integers(1, 3), replace=False))
    while True:
        objects = _draw_objects(rng, kinds, size[0] * size[1])
        order = rng.permutation(len(kinds))
        for _ in range(60):
            corners = [_corner(rng, kinds[k], objects[k].alpha.shape, size) for k in range(len(kinds))]
            layers = [_lay(objects[k].alpha, corners[k], size) for k in range(len(kinds))]
            masks = _visible([layers[k] for k in order])
            areas = np.array([(objects[k].alpha > 127).sum() for k in order])
            seen = np.array([mask.sum() for mask in masks])
            if (seen >= MIN_VISIBLE * areas).all() and (seen >= MIN_AREA * size[0] * size[1]).all():
                for k in order:
                    there, part = _overlap(corners[k], objects[k].alpha.shape, size)
                    alpha = objects[k].alpha[part][..., None] / 255.0
                    image[there] = image[there] * (1 - alpha) + objects[k].colors[part] * alpha
                image = image + rng.normal(0, 2, size)[..., None]  # one grain over all that was pasted
                image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
                return image, [mask for k, mask in zip(order, masks, strict=True) if kinds[k] == category]


def _draw_objects(rng: np.random.Generator, kinds: Sequence[str], photo_area: int) -> list[CutOut]:
    """One changed cut-out a kind, together covering at most 60 % of the photo; coins all different."""
    while True:
        most = [_MOST_AREA.get(kind, _AREA[1]) for kind in kinds]
        parts = np.exp(rng.uniform(np.log(_AREA[0]), np.log(most)))
        if parts.sum() <= 0.6:
            break
    coins = iter(rng.permutation(len(coin_masks())))
    sources = [_coin(next(coins)) if kind == "coin" else _cut_out(kind) for kind in kinds]
    return [
        _change(rng, source, part * photo_area, _LEAN.get(kind, 25.0), metal=kind == "coin")
        for kind, part, source in zip(kinds, parts, sources, strict=True)
    ]


def _change(rng: np.random.Generator, source: CutOut, area: float, lean: float, metal: bool) -> CutOut:
    """Another light, size (``area`` pixels), proportion, side and angle."""
    scale, stretch = np.sqrt(area / (source.alpha > 127).sum()), rng.uniform(0.94, 1.06)
    height, width = source.alpha.shape
    size = max(1, round(width * scale * stretch)), max(1, round(height * scale / stretch))
    angle, mirrored = rng.uniform(-lean, lean), rng.random() < 0.5
    layers = Image.fromarray(source.colors), Image.fromarray(source.alpha)
    colors, alpha = (layer.resize(size, Image.Resampling.BICUBIC) for layer in layers)
    if mirrored:
        colors, alpha = ImageOps.mirror(colors), ImageOps.mirror(alpha)
    light = rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, 3)
    if metal:
        light = light * np.array([(1.2, 1.0, 0.6), (1.2, 0.85, 0.65), (1.1, 1.1, 1.1)])[rng.integers(3)]
    lit = light * (np.asarray(colors) / 255.0) ** rng.uniform(0.75, 1.35)
    colors = Image.fromarray(np.clip(np.rint(lit * 255), 0, 255).astype(np.uint8))
    colors, alpha = (layer.rotate(angle, Image.Resampling.BICUBIC, expand=True) for layer in (colors, alpha))
    return CutOut(np.asarray(colors), np.asarray(alpha.filter(ImageFilter.GaussianBlur(0.6))))


def _corner(rng: np.random.Generator, kind: str, box: tuple, size: tuple) -> tuple[int, int]:
    """Where the object's box begins (y, x): at most a tenth of it outside the photo."""
    y, x = (rng.uniform(-0.1 * b, max(s - 0.9 * b, 0)) for b, s in zip(box, size, strict=True))
    if kind == "person":  # cut off at the waist, so it rises from the photo's lower edge
        y = size[0] - rng.uniform(0.75, 0.9) * box[0]
    return round(y), round(x)


def _lay(layer: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 at ``corner`` of an otherwise empty (H, W)."""
    canvas = np.zeros(size, np.uint8)
    there, part = _overlap(corner, layer.shape, size)
    canvas[there] = layer[part]
    return canvas


def _overlap(corner: tuple[int, int], box: tuple[int, int], size: tuple[int, int]) -> tuple[tuple, tuple]:
    """What a box at ``corner`` shares with a photo of ``size``: slices of the photo, and of the box."""
    begins = [max(c, 0) for c in corner]
    ends = [min(c + b, s) for c, b, s in zip(corner, box, size, strict=True)]
    there = tuple(slice(b, max(b, e)) for b, e in zip(begins, ends, strict=True))
    part = tuple(slice(t.start - c, t.stop - c) for t, c in zip(there, corner, strict=True))
    return there, part


def _visible(layers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What is seen of each of (H, W) uint8 layers, the last on top: bool."""
    covered, masks = np.zeros(layers[0].shape, bool), []
    for layer in reversed(layers):
        masks.append((layer > 127) & ~covered)
        covered |= layer > 127
    return masks[::-1]


def _background(rng: np.random.Generator, size: tuple[int, int], place: int) -> np.ndarray:
    """A scene without objects, (H, W, 3) float in 0..255: some wall above some ground, a bit out of focus.

    place: each number below 96 has another pair of wall and ground.
    """
    wall = _piece(rng, *_WALLS[place % len(_WALLS)], size)
    ground = _piece(rng, *_GROUNDS[(place + place // 24) % len(_GROUNDS)], size)
    horizon = rng.uniform(0.25, 0.9) * size[0] + rng.uniform(-0.1, 0.1) * (np.arange(size[1]) - size[1] / 2)
    below = np.clip((np.arange(size[0])[:, None] - horizon) / 2 + 0.5, 0, 1)[..., None]
    scene = wall * (1 - below) + ground * below
    return ndimage.gaussian_filter(scene, (sigma := rng.uniform(0.6, 1.4), sigma, 0))


def _piece(rng: np.random.Generator, photo: str, part: tuple, tint: tuple | None, size: tuple) -> np.ndarray:
    """A random piece of a part of a photo, enlarged to ``size``, in another light: (H, W, 3) float."""
    source = Image.fromarray(_photo(photo)).crop(part)
    most = min(source.width / size[1], source.height / size[0])
    zoom = most * rng.uniform(0.6, 1.0)
    width, height = zoom * size[1], zoom * size[0]
    x, y = rng.uniform(0, source.width - width), rng.uniform(0, source.height - height)
    piece = source.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=(x, y, x + width, y + height))
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    light = rng.uniform(0.75, 1.15) * rng.uniform(0.93, 1.07, 3) * np.array(tint or (1.0, 1.0, 1.0))
    return np.clip(np.asarray(piece) * light.astype(np.float32), 0, 255)


@cache
def _cut_out(kind: str) -> CutOut:
    """A hand-outlined object, cropped to its box."""
    outline = json.loads(OUTLINES.read_text(encoding="utf-8"))[kind]
    photo = _photo(outline["photo"])
    fine = 4  # the polygon is drawn this much larger, for a smooth edge
    drawn = Image.new("L", (photo.shape[1] * fine, photo.shape[0] * fine))
    pen = ImageDraw.Draw(drawn)
    for part, fill in (("outline", 255), ("hole", 0)):
        if part in outline:
            pen.polygon([((x + 0.5) * fine, (y + 0.5) * fine) for x, y in outline[part]], fill=fill)
    return _crop(photo, np.asarray(drawn.reduce(fine)))


@cache
def _coin(number: int) -> CutOut:
    """One of the photo's coins, enlarged threefold so that its edge is smooth, cropped to its box."""
    cut = _crop(_photo("coins.png"), coin_masks()[number].astype(np.uint8) * 255)
    size = cut.alpha.shape[1] * 3, cut.alpha.shape[0] * 3
    colors, alpha = (Image.fromarray(layer).resize(size, Image.Resampling.BICUBIC) for layer in (cut.colors, cut.alpha))
    return CutOut(np.asarray(colors), np.asarray(alpha.filter(ImageFilter.GaussianBlur(2))))


def _crop(photo: np.ndarray, alpha: np.ndarray) -> CutOut:
    # Feathered, and a touch inside the outline: the outermost pixels are mixed with the source's background.
    soft = ndimage.gaussian_filter(alpha.astype(float), 1.0)
    alpha = np.clip((soft - 255 * 0.3) / 0.6, 0, 255).astype(np.uint8)
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    # With a margin of the photo around it, so that resampling never mixes in black.
    window = (
        slice(max(rows[0] - 3, 0), rows[-1] + 4),
        slice(max(columns[0] - 3, 0), columns[-1] + 4),
    )
    return CutOut(photo[window], alpha[window])


@cache
def _photo(name: str) -> np.ndarray:
    """A photo from scikit-image's wheel: (H, W, 3) uint8."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return np.asarray(image.convert("RGB"))
