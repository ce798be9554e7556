"""Damaged and odd input of every kind that is read: used as what it is, or refused in one sentence that names it.

``make fuzz`` draws thousands of cases, others each time; the tests draw a few, the same each time.
"""

from __future__ import annotations

import io
import json
import os
import signal
import unicodedata
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import papermill  # noqa: F401  (reading it takes longer than a case may)
import pytest
import scipy.io
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save as safetensors_bytes
from torch import nn

from co3cli.sweep import read_records
from co3cli.table import read_table
from co3course.runner import NotebookError, check_parameters, read_result
from co3course.session import PhotoParameters
from co3lib.backbones import WeightsError
from co3lib.backbones.weights import load_weights, read_weights
from co3lib.config import CoSegConfig
from co3lib.datasets import DatasetError, Sample, read_set
from co3lib.datasets.checkpoints import load_training, save_training
from co3lib.datasets.export import ExportError, PhotoResult, read_coco, write_coco
from co3lib.datasets.images import ImageError, read_image
from co3lib.datasets.originals.coco import CocoFile
from co3lib.datasets.originals.photos import LeftOut
from co3lib.datasets.originals.rules import Rules
from co3lib.datasets.originals.via import read_via
from co3lib.experiment import Experiment, read_outcomes
from co3lib.instance import Instance
from co3lib.segmentation import CoSegmenter

MANY = int(os.environ.get("CO3_FUZZ_CASES", "0"))  # of each test; 0: a few, the same each time
OWN = (ImageError, DatasetError, WeightsError, ExportError, NotebookError)
SIZE = (12, 16)
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


FEW = 8
_drawn = [0]


def cases(share: float = 1.0) -> settings:
    """How many examples; share: of all of them, for what is slow."""
    count = max(2, round((MANY or FEW) * share))
    return settings(
        max_examples=count, derandomize=not MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(autouse=True)
def counted(record_property):
    before = _drawn[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
        yield
    record_property("cases", _drawn[0] - before)


@contextmanager
def used_or_refused(folder: Path, *names: str, own=OWN):
    """Within half a minute of a processor: no error but the project's own, one sentence with one of the names in it; no file
    left."""

    def late(*_):
        raise TimeoutError("no end within 30 s")

    _drawn[0] += 1
    before = sorted(folder.rglob("*"))
    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, 30)
    try:
        yield
    except Exception as error:
        said = str(error)
        if not (isinstance(error, own) or type(error) is ValueError) or "\n" in said or not any(name in said for name in names):
            raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert sorted(folder.rglob("*")) == before


@st.composite
def damage(draw, content: bytes) -> bytes:
    """Some bytes of a file changed, cut, doubled or put in, near its beginning most of the time."""
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        at = draw(st.integers(0, min(400, len(content) - 1)) | st.integers(0, len(content) - 1))
        few = draw(st.integers(1, 8))
        new = draw(
            st.binary(min_size=1, max_size=4)
            | st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f", b"\x80", b"\1", b"\0", b"\xff", b"9", b"-"])
        )
        content = draw(
            st.sampled_from([
                content[:at] + new + content[at + len(new) :],
                content[:at] + new + content[at + len(new) :],
                content[:at] + new + content[at:],
                content[:at] + content[at + few :],
                content[: at + few] + content[at:],
                content[:at],
            ])
        )  # fmt: skip
    return content


ODD_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)
    | st.just({}) | st.sampled_from([-1, 0, 1e308, 2**63, "", "\0", "../x", "a" * 300])
)  # fmt: skip


@st.composite
def damaged_json(draw, value) -> bytes:
    """A JSON text some of whose values are others, doubled or gone, or some of whose bytes are."""
    if draw(st.booleans()):
        return draw(damage(json.dumps(value).encode()))
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place, key = {"": value}, ""
        while isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 4)):
            place = place[key]
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        how = draw(st.integers(0, 3))
        if how == 0 and key != "":
            del place[key]
        elif how == 1 and isinstance(place, list):
            place.append(place[key])
        else:
            place[key] = draw(ODD_VALUES)
            value = place[key] if key == "" else value
    return json.dumps(value).encode()


# ----------------------------------------------------------------------------------------------------- photos and masks


def _picture(kind: str, mode: str = "RGB", **options) -> bytes:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = Image.fromarray(np.stack([x * 15, y * 20, x * y], -1).astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A], exif[0x0128] = 6, "a camera", 72.0, 2
    exif.get_ifd(0x8769)[0x9286] = b"a comment"
    file = io.BytesIO()
    image.save(file, kind, **({} if kind in ("GIF", "BMP", "PPM", "TGA") else {"exif": exif}), **options)
    return file.getvalue()


PICTURES = {
    "jpeg": _picture("JPEG", quality=90),
    "progressive jpeg": _picture("JPEG", progressive=True),
    "cmyk jpeg": _picture("JPEG", "CMYK"),
    "png": _picture("PNG"),
    "palette png": _picture("PNG", "P", transparency=0),
    "rgba png": _picture("PNG", "RGBA"),
    "tiff": _picture("TIFF"),
    "lzw tiff": _picture("TIFF", compression="tiff_lzw"),
    "float tiff": _picture("TIFF", "F"),
    "webp": _picture("WEBP"),
    "gif": _picture("GIF"),
    "bmp": _picture("BMP"),
    "ppm": _picture("PPM"),
    "tga": _picture("TGA"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_photos(tmp_path, kind):
    @cases()
    @given(damage(PICTURES[kind]))
    def check(content):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            seen = read_image(path)
            assert seen.dtype == np.uint8 and seen.ndim == 3 and seen.shape[2] == 3 and seen.size

    check()


@pytest.fixture
def sample(tmp_path):
    """A photo with a place for its mask, prior and proposals."""
    Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / "photo.png")
    return lambda **paths: Sample("photo", "cat", tmp_path / "photo.png", **{"mask_paths": (), **paths})


@pytest.mark.parametrize("kind", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_masks(tmp_path, sample, kind):
    drawn = np.zeros(SIZE, np.uint8)
    drawn[3:8, 4:9] = 255
    image = Image.fromarray(drawn.astype(np.uint16) * 257) if kind == "I;16" else Image.fromarray(drawn).convert(kind)
    file = io.BytesIO()
    image.save(file, "PNG")

    @cases()
    @given(damage(file.getvalue()))
    def check(content):
        path = tmp_path / "mask.png"
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            masks = sample(mask_paths=(path,)).masks
            assert masks.dtype == torch.bool and masks.shape == (1, *SIZE)

    check()


# --------------------------------------------------------------------------------------------- MATLAB's and numpy's arrays


def _arrays(ending: str, **arrays) -> bytes:
    file = io.BytesIO()
    if ending == "v5.mat":
        scipy.io.savemat(file, arrays)
    elif ending == "compressed.mat":
        scipy.io.savemat(file, arrays, do_compression=True)
    elif ending == "sparse.mat":
        scipy.io.savemat(file, {name: scipy.sparse.csc_array(array) for name, array in arrays.items()})
    elif ending == "v73.mat":
        with h5py.File(file, "w") as content:
            for name, array in arrays.items():
                content[name] = array.T
                content[name].attrs["MATLAB_class"] = np.bytes_("double")
    elif ending == "sparse.v73.mat":
        with h5py.File(file, "w") as content:
            for name, array in arrays.items():
                matrix, group = scipy.sparse.csc_matrix(array), content.create_group(name)
                group.attrs["MATLAB_sparse"] = np.uint64(array.shape[0])
                group["data"], group["ir"], group["jc"] = matrix.data, matrix.indices, matrix.indptr
    elif ending == "npz":
        np.savez(file, **arrays)
    else:
        np.savez_compressed(file, **arrays)
    return file.getvalue()


FORMATS = ["v5.mat", "compressed.mat", "v73.mat", "npz", "compressed.npz"]


@pytest.mark.parametrize("ending", [*FORMATS, "sparse.mat", "sparse.v73.mat"])
def test_priors(tmp_path, sample, ending):
    whole = _arrays(ending, SalMap=np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE))

    @cases()
    @given(damage(whole))
    def check(content):
        path = tmp_path / f"prior.{ending}"
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            prior = sample(prior_path=path).prior
            assert prior.shape == SIZE and 0 <= prior.min() <= prior.max() <= 1

    check()


@pytest.mark.parametrize("ending", FORMATS)
def test_proposals(tmp_path, sample, ending):
    masks = np.random.default_rng(0).random((*SIZE, 5)) < 0.5
    whole = _arrays(ending, masks=masks.astype(np.uint8), scores=np.arange(5.0))

    @cases()
    @given(damage(whole))
    def check(content):
        path = tmp_path / f"proposals.{ending}"
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            found = sample(proposals_path=path).proposals
            assert found.dtype == torch.bool and found.shape[1:] == SIZE

    check()


@cases()
@given(
    st.sampled_from([bool, "u1", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "U3"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([0, 1, 1.02, 2, 100, 255, 65535, -1, -0.01, np.nan, np.inf]),
    st.sampled_from(["v5.mat", "v73.mat", "npz"]),
)
def test_priors_of_any_type_shape_and_range(tmp_path_factory, kind, shape, peak, ending):
    folder = tmp_path_factory.getbasetemp()
    with np.errstate(all="ignore"):
        values = (np.linspace(0, 1, int(np.prod(shape))).reshape(shape) * peak).astype(kind)
    Image.new("RGB", (SIZE[1], SIZE[0])).save(folder / "photo.png")
    try:
        content = _arrays(ending, SalMap=values)
    except (TypeError, ValueError):  # not every format can hold every type
        return
    path = folder / f"prior.{ending}"
    path.write_bytes(content)
    with used_or_refused(folder, str(path)):
        prior = Sample("photo", "cat", folder / "photo.png", (), path).prior
        assert prior.shape == SIZE and 0 <= prior.min() <= prior.max() <= 1


# ------------------------------------------------------------------------------------------------ weights and checkpoints


class _Small(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


def _state() -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in _Small().state_dict().items()}


def _weights(ending: str) -> bytes:
    if ending == "safetensors":
        return safetensors_bytes(_state())
    file = io.BytesIO()
    torch.save({"state_dict": _state(), "epoch": 3}, file, _use_new_zipfile_serialization=ending == "pth")
    return file.getvalue()


@pytest.mark.parametrize("ending", ["safetensors", "pth", "legacy.pth"])
def test_weights(tmp_path, ending):
    @cases()
    @given(damage(_weights(ending)))
    def check(content):
        path, network = tmp_path / f"weights.{ending}", _Small()
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            load_weights(network, read_weights(path), path)
            assert all(torch.isfinite(value.float()).all() for value in network.state_dict().values())

    check()


def test_checkpoints_of_a_training(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    network = _Small()
    parameters = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    network.a(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    save_training(path, parameters, optimizer, "f" * 64, [{"total": 1.0}])

    @cases()
    @given(damage(path.read_bytes()))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            load_training(path, parameters, optimizer, "f" * 64)

    check()


def test_fitted_segmenters(tmp_path):
    path = tmp_path / "fitted.safetensors"
    photos = [np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8) for k in range(2)]
    config = CoSegConfig(
        input_size=64, mask_size=64, epochs=0, prior_scales=(1.0,), peak_scales=(1.0,), prior="single", weights="random"
    )
    CoSegmenter(config).fit(photos, progress=False).save(path)

    @cases(share=0.1)
    @given(damage(path.read_bytes()))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            assert CoSegmenter.load(path).model is not None

    check()


# ------------------------------------------------------------------------------------------------- results and descriptions


@pytest.mark.parametrize("file", ["ground_truth.json", "results.json"])
def test_coco_files(tmp_path, file):
    mask = np.zeros(SIZE, bool)
    mask[3:8, 4:9] = True
    photos = [
        PhotoResult("a.jpg", "cat", SIZE, [Instance(mask, 0.5, (4, 5), (4, 3, 9, 8))], torch.from_numpy(mask[None])),
        PhotoResult("b.jpg", "dog", SIZE, []),
    ]
    write_coco(tmp_path, photos)

    @cases()
    @given(damaged_json(json.loads((tmp_path / file).read_text())))
    def check(content):
        (tmp_path / file).write_bytes(content)
        with used_or_refused(tmp_path, str(tmp_path)):
            for photo in read_coco(tmp_path):
                assert all(one.mask.shape == tuple(photo.size) for one in photo.instances)

    check()


def test_metrics(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    result = {
        "profile": "smoke", "data": "x", "synthetic": True, "seed": 0, "seconds": 1.5, "versions": {"python": "3.11"},
        "numbers": {"n": 1.0}, "config": json.loads(CoSegConfig().model_dump_json()), "weights_sha256": "a" * 64,
        "classes": {"cat": {"photos": 1, "instances": 1, "found": 1, "average_precision": {"0.5": 0.5}}}, "files": ["a.png"],
    }  # fmt: skip

    @cases()
    @given(damaged_json(result))
    def check(content):
        (tmp_path / "metrics.json").write_bytes(content)
        with used_or_refused(tmp_path, str(tmp_path)):
            read_result(tmp_path)

    check()


def test_outcomes_of_an_experiment(tmp_path):
    outcome = {
        "category": "cat", "seed": 0, "photos": 2, "instances": 3, "found": 3, "measures": {"AP": 0.5}, "seconds": 1.0,
        "weights_sha256": "a" * 64,
    }  # fmt: skip
    path = tmp_path / "cat" / "seed_0" / "outcome.json"
    path.parent.mkdir(parents=True)

    @cases()
    @given(damaged_json(outcome))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            read_outcomes(tmp_path)

    check()


@cases()
@given(damaged_json(json.loads(Experiment(set="collage").model_dump_json())))
def test_descriptions_of_experiments(content):
    """A configuration from a file says itself, field by field, what is wrong with it."""
    with used_or_refused(Path(__file__).parent, "validation error", own=()), suppress(ValidationError):
        assert Experiment.model_validate_json(content).config.prior_sizes


# ------------------------------------------------------------------------------------------------------------ public sets


def _photo_folder(folder: Path) -> Path:
    photos = folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (SIZE[1], SIZE[0])).save(photos / name)
    return photos


def test_instances_in_the_form_of_coco(tmp_path):
    path, photos = tmp_path / "instances.json", _photo_folder(tmp_path)
    corners, runs = [[1, 1, 9, 1, 9, 7, 1, 7]], {"size": list(SIZE), "counts": [20, 5, 167]}
    images = [{"id": k, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]} for k, name in enumerate("ab")]
    annotations = [
        {"id": k, "image_id": k % 2, "category_id": 1, "iscrowd": 0, "segmentation": runs if k > 2 else corners}
        for k in range(5)
    ]
    whole = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": annotations}

    @cases()
    @given(damaged_json(whole))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            file = CocoFile(path)
            for photo in file.read(photos, Rules(), LeftOut()):
                assert photo.masks.dtype == bool and photo.masks.ndim == 3

    check()


def test_outlines_of_via(tmp_path):
    path, photos = tmp_path / "via.json", _photo_folder(tmp_path)
    shapes = [
        {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 7]},
        {"name": "rect", "x": 1, "y": 2, "width": 5, "height": 4},
        {"name": "ellipse", "cx": 8, "cy": 6, "rx": 4, "ry": 2, "theta": 0.3},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {"kind": "cat"}} for shape in shapes]
    whole = {name: {"filename": f"{name}.png", "regions": regions} for name in "ab"}

    @cases()
    @given(damaged_json({"_via_img_metadata": whole}))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            for photo in read_via(path, photos, Rules(), LeftOut()):
                assert photo.masks.dtype == bool and photo.masks.shape[1:] == SIZE

    check()


# ---------------------------------------------------------------------------------------------------- tables and their sweeps

_TABLE = {
    "title": "t",
    "sets": ["collage"],
    "seeds": [0, 1],
    "defaults": {"config": {"epochs": 1}},
    "rows": {"a": {"method": "ddt"}},
}


def test_tables_of_rows(tmp_path):
    path = tmp_path / "table.yaml"  # JSON is YAML

    @cases()
    @given(damaged_json(_TABLE))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            assert read_table(path)[1].rows

    check()


def test_records_of_sweeps(tmp_path):
    task = {
        "row": "a", "set": "collage", "category": "cat", "seed": 0, "photos": 2, "instances": 3, "key": "k",
        "experiment": json.loads(Experiment(set="collage").model_dump_json()),
    }  # fmt: skip
    record = {"name": "n", "table": _TABLE, "root": None, "absent": [], "tasks": [task], "failed": {}}
    path = tmp_path / "n.sweep.json"

    @cases()
    @given(damaged_json(record))
    def check(content):
        path.write_bytes(content)
        with used_or_refused(tmp_path, str(path)):
            assert all(one.table.rows for one in read_records(tmp_path))

    check()


# ----------------------------------------------------------------------------------------------------- notebooks' parameters


@cases(share=0.5)
@given(
    st.sampled_from(sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))),
    st.sampled_from(["profile", "output", "seed", "photos", "epochs", "nonsense", ""]) | st.text(max_size=5),
    ODD_VALUES,
)
def test_parameters_of_notebooks(notebook, name, value):
    with used_or_refused(NOTEBOOKS, notebook, "output must", "output folder"):
        assert set(check_parameters(NOTEBOOKS / notebook, {name: value})) == {name}


@cases()
@given(st.dictionaries(st.sampled_from(["profile", "output", "seed", "photos", "other"]), ODD_VALUES | st.text(), max_size=4))
def test_parameters_within_a_notebook(given_parameters):
    with used_or_refused(Path(__file__).parent, "validation error", own=()), suppress(ValidationError):
        PhotoParameters(**given_parameters)


# ---------------------------------------------------------------------------------------------------------- folders of a set

_STEMS = st.sampled_from(["a", "b", "\u00e9", "e\u0301", "a_InstID1", "A", "c d", "\U0001f431", "{x}", "$y"])
_ENDINGS = st.sampled_from([".jpg", ".PNG", ".heic", ".mat", ".MAT", ".npz", ".pdf", ".txt", "", ".jpeg.bak", ".webp", ".tif"])
_FOLDERS = st.sampled_from(["Image", "Mask", "SalRes_ZhangICCV17", "MCG_fast"])
_NUMBERS = st.sampled_from(["", "", "_InstID1", "_InstID2", "_instid3", "_InstID", "_InstIDx"])
_CLASSES = st.sampled_from(["cat", "cat", "cat", "\u00e9", "e\u0301", ""])


@cases(share=2)
@given(st.lists(st.tuples(_FOLDERS, _CLASSES, _STEMS, _NUMBERS, _ENDINGS), min_size=1, max_size=14))
def test_every_file_of_a_set_is_used_or_named(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("set")
    (root / "SET/Image/cat").mkdir(parents=True)
    files = {root / "SET" / folder / cls / f"{stem}{number}{ending}" for folder, cls, stem, number, ending in names}
    for path in sorted(files, key=lambda path: -len(path.parts)):  # where a folder is wanted there can be no file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.touch()
    with warnings.catch_warnings(record=True) as caught, used_or_refused(root, str(root)):
        warnings.simplefilter("always")
        classes = read_set(root, "SET")
        used = [
            path
            for samples in classes.values()
            for one in samples
            for path in (one.image_path, *one.mask_paths, one.prior_path, one.proposals_path)
            if path
        ]
        assert len(used) == len(set(used))
        left = [str(one.message) for one in caught]
        counted = sum(_count(one) for one in left)
        folders = [path for path in root.glob("SET/[!I]*/*") if path.is_dir() and _nfc(path.name) not in map(_nfc, classes)]
        beside = [path for path in files if path.is_file() and not any(path.is_relative_to(one) for one in folders)]
        assert len(used) + counted == len(beside) + len(folders), (left, used)


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _count(warning: str) -> int:
    return sum(int(part.split()[0]) for part in warning.removeprefix("left out: ").split(" of ")[0].split(", "))
