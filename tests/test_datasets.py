"""Sets in the authors' layout, as MATLAB and numpy write them; the bundled sets through their cache."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from co3lib import datasets, demo_sets
from co3lib.datasets import DatasetError, cache_folder, demo_set, read_set
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
    with pytest.raises(
        DatasetError, match=r"1_InstID2\.png must be of its photo's size \(6, 8\), got \(6, 7\)"
    ):
        _ = _cat(root).masks


def test_damaged_mask_is_named(root):
    (root / "SET/Mask/cat/1_InstID1.png").write_bytes(b"no")
    with pytest.raises(DatasetError, match=r"1_InstID1\.png"):
        _ = _cat(root).masks


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_whatever_is_not_zero_in_a_mask_is_the_instance(root, kind):
    _save(root / "SET/Mask/cat/1_InstID1.png", (_mask(1) > 0).astype(kind))
    assert torch.equal(_cat(root, "1").masks[0], torch.from_numpy(_mask(1) > 0))


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
@pytest.mark.parametrize("peak", [1, 255])
def test_prior(root, name, peak):
    """Values in 0..1 and in 0..255 mean the same; axes are not swapped."""
    values = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    _write(_file(root, "SalRes_ZhangICCV17", name), SalMap=values * peak)
    prior = _cat(root).prior
    assert prior.shape == SIZE and prior.dtype == torch.float32
    assert np.allclose(prior.numpy(), values, atol=1e-6)


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
from co3lib import datasets, demo_sets

def build(name, folder):
    for kind in ("Image/dot/1.png", "Mask/dot/1_InstID1.png"):
        path = pathlib.Path(folder) / kind
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4), 255).save(path)
        time.sleep(0.3)

demo_sets.build = build
print("ready", flush=True)
sys.stdin.readline()
(sample,) = datasets.demo_set("coins")["dot"]
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
    assert [process.communicate(timeout=60)[0] for process in both] == ["1\n", "1\n"]
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
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(datasets.__file__)))
    assert os.fspath(cache_folder()) == os.path.join(checkout, "data", "cache")
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "site-packages/co3lib/datasets.py"))
    assert tmp_path not in cache_folder().parents and cache_folder().is_absolute()


def test_a_checkout_that_cannot_be_written_to_is_not_written_to(small_recipe, monkeypatch, tmp_path):
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    (checkout / "data").mkdir(parents=True)
    (checkout / "data" / "cache").write_text("no folder")  # root may write to every folder
    monkeypatch.setattr(datasets, "__file__", str(checkout / "co3lib" / "datasets.py"))
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
    monkeypatch.setattr(datasets, "make_folder", None)
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
