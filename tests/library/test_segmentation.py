from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import data
from strategies import examples

from co3lib import inference, segmentation, selection
from co3lib.backbones.timm_networks import timm
from co3lib.beyond.category_priors import at_input_size
from co3lib.beyond.refinement import one_piece
from co3lib.beyond.region_ranking import RegionRanker
from co3lib.datasets import checkpoints
from co3lib.datasets.checkpoints import load_tensors, save_tensors
from co3lib.datasets.images import ImageError
from co3lib.inference import NetworkView, ScalePeaks, find_peaks, prepare
from co3lib.overlap import tight_box
from co3lib.segmentation import CoSegConfig, CoSegmenter
from co3lib.selection import Candidates, Proposals, choose_masks, finish, prepare_proposals, to_instances

SMALL = {"input_size": 64, "mask_size": 64, "epochs": 1, "max_proposals": 50}


pytestmark = pytest.mark.usefixtures("networks_built_once")


def config(**changes) -> CoSegConfig:
    return CoSegConfig(**(SMALL | changes))


def fit(photos, **changes) -> CoSegmenter:
    return CoSegmenter(config(**changes)).fit(photos, progress=False)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [data.chelsea()[::3, ::3], data.coffee()[::5, ::5], data.astronaut()[::6, ::5]]


@pytest.fixture(scope="module")
def fitted(photos) -> CoSegmenter:
    return fit(photos)


def as_tuples(instances) -> list[tuple]:
    return [(one.score, one.peak, one.box, one.mask.tobytes()) for one in instances]


def assert_valid_instances(instances, size: tuple[int, int]) -> None:
    for one in instances:
        assert one.mask.shape == size
        assert one.mask.dtype == bool
        assert one.mask.any()
        assert one.box == tight_box(one.mask)
        assert 0 <= one.peak[0] < size[0]
        assert 0 <= one.peak[1] < size[1]
        assert isinstance(one.score, float)
        assert np.isfinite(one.score)
    scores = [one.score for one in instances]
    assert scores == sorted(scores, reverse=True)


# Photos of any kind


def test_photos_of_any_kind_and_size_in_one_call(tmp_path):
    chelsea = data.chelsea()[::3, ::3]
    height, width = chelsea.shape[:2]
    Image.fromarray(chelsea).save(tmp_path / "plain.png")
    turned = Image.fromarray(np.rot90(chelsea, 1))  # a camera held on its side
    tag = Image.Exif()
    tag[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=tag, quality=95)
    alpha = np.full((height, width, 1), 255, np.uint8)
    kinds = [
        tmp_path / "plain.png",
        str(tmp_path / "turned.jpg"),
        chelsea,
        Image.fromarray(chelsea),
        np.concatenate([chelsea, alpha], 2),
        data.coins()[::4, ::4],
        Image.fromarray(data.coins()[::5, ::6]),
        data.astronaut()[:200, ::9],
        torch.from_numpy(data.coffee()[:40].copy()),
    ]
    sizes = [(height, width)] * 5 + [(76, 96), (61, 64), (200, 57), (40, 600)]
    segmenter = fit(kinds)
    found = segmenter.predict(kinds, progress=False)
    assert len(found) == len(kinds)
    for instances, size in zip(found, sizes, strict=True):
        assert_valid_instances(instances, size)
        assert instances
    # The same photo is the same however it came.
    for k in (2, 3, 4):
        assert as_tuples(found[k]) == as_tuples(found[0])
    upright, plain = (prepare(kinds[k], config(mask_size=448)).pixels.astype(float) for k in (1, 0))
    assert np.abs(upright - plain).mean() < 6  # JPEG's loss; the photo on its side differs by far more


def test_masks_follow_a_photo_that_is_larger_than_the_work_image(fitted, photos):
    large = photos[0].repeat(3, 0).repeat(3, 1)
    (instances,) = fitted.predict([large], progress=False)
    assert instances
    assert_valid_instances(instances, large.shape[:2])


@pytest.mark.parametrize(
    "photo",
    [
        np.full((1, 1, 3), 7, np.uint8),
        np.zeros((50, 70, 3), np.uint8),
        np.full((1, 300, 3), 255, np.uint8),
        np.full((300, 1), 90, np.uint8),
        np.indices((2, 2)).sum(0).astype(np.uint8) * 200,
    ],
    ids=["pixel", "constant", "row", "column", "four"],
)
def test_photos_with_nothing_in_them(photo, fitted):
    assert_valid_instances(fitted.predict([photo], progress=False)[0], photo.shape[:2])
    (instances,) = fit([photo]).predict([photo], progress=False)
    assert_valid_instances(instances, photo.shape[:2])


def test_one_photo_alone(photos):
    for source in ("score", "copeak"):
        segmenter = fit(photos[:1], peak_source=source)
        (instances,) = segmenter.predict(photos[:1], progress=False)
        assert instances
        assert_valid_instances(instances, photos[0].shape[:2])


def test_a_text_file_with_a_photos_name(tmp_path, fitted, photos):
    file = tmp_path / "not_a_photo.jpg"
    file.write_text("nothing to see")
    with pytest.raises(ImageError, match=r"not_a_photo\.jpg") as caught:
        fit([photos[0], file])
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"not_a_photo\.jpg"):
        fitted.predict([photos[0], file], progress=False)
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        fitted.predict([tmp_path / "absent.jpg"], progress=False)


@pytest.mark.parametrize(
    "photo", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), None, 3], ids=["float", "two", "none", "3"]
)
def test_what_is_no_photo_is_named(photo, photos, fitted):
    with pytest.raises(ValueError, match="image 1"):
        fitted.predict([photos[0], photo], progress=False)


# Calls that cannot work


def test_no_photos(fitted):
    for nothing in ([], (), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="images must be a list of at least one photo") as caught:
            CoSegmenter().fit(nothing)
        assert "\n" not in str(caught.value)
    assert fitted.predict([]) == []


def one_photo_unlisted():
    return [
        pytest.param("photo.jpg", id="path"),
        pytest.param(Image.new("RGB", (9, 9)), id="pil"),
        pytest.param(np.zeros((9, 9, 3), np.uint8), id="array"),
    ]


@pytest.mark.parametrize("photo", one_photo_unlisted())
def test_a_photo_that_is_not_in_a_list(photo, fitted):
    with pytest.raises(ValueError, match="images must be a list"):
        CoSegmenter(config()).fit(photo)
    with pytest.raises(ValueError, match="images must be a list"):
        fitted.predict(photo, progress=False)


def test_photos_one_by_one(photos, fitted):
    assert fit(photo for photo in photos).history == fitted.history
    found = fitted.predict((photo for photo in photos), progress=False)
    assert [as_tuples(one) for one in found] == [as_tuples(one) for one in fitted.predict(photos, progress=False)]


def test_before_fitting(photos, tmp_path):
    for call in (lambda s: s.predict(photos), lambda s: s.predict([]), lambda s: s.save(tmp_path / "x")):
        with pytest.raises(RuntimeError, match="not been fitted"):
            call(CoSegmenter(config()))
    assert not list(tmp_path.iterdir())


def test_lists_of_other_lengths(photos, fitted):
    prior = torch.rand(20, 30)
    mask = torch.ones(1, 20, 30, dtype=torch.bool)
    with pytest.raises(ValueError, match="images has 3, priors has 2"):
        CoSegmenter(config()).fit(photos, priors=[prior, prior])
    with pytest.raises(ValueError, match="images has 3, proposals has 1"):
        fitted.predict(photos, proposals=[mask], progress=False)


@pytest.mark.parametrize("key", ["frozen_until", "heat_map_stage"])
def test_a_wrong_stage_is_named(key, photos):
    with pytest.raises(ValueError, match=f"{key} must be one of None, 'conv_stem'"):
        fit(photos, **{key: "blocks.9"})


def test_a_wrong_tap_is_named(photos):
    with pytest.raises(ValueError, match="feature_stage must be one of"):
        fit(photos, feature_stage="blocks.9")


# The same again


def test_two_runs_are_equal(photos, fitted):
    again = fit(photos)
    assert again.history == fitted.history
    found = [as_tuples(one) for one in fitted.predict(photos, progress=False)]
    assert found == [as_tuples(one) for one in again.predict(photos, progress=False)]
    assert any(found)


def test_fitted_twice_is_fitted_anew(photos, fitted):
    segmenter = fit([data.coins()])
    segmenter.fit(photos, progress=False)
    assert segmenter.history == fitted.history
    found = segmenter.predict(photos, progress=False)
    assert [as_tuples(one) for one in found] == [as_tuples(one) for one in fitted.predict(photos, progress=False)]


def test_a_failed_fit_leaves_the_last_one(photos, fitted):
    segmenter = fit(photos)
    with pytest.raises(ImageError):
        segmenter.fit([None], progress=False)
    assert as_tuples(segmenter.predict(photos[:1], progress=False)[0]) == as_tuples(
        fitted.predict(photos[:1], progress=False)[0]
    )


def test_fit_returns_itself_and_leaves_the_photos(photos):
    before = [photo.copy() for photo in photos]
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    segmenter = CoSegmenter(config())
    assert segmenter.fit(photos, progress=False) is segmenter
    segmenter.predict(photos, progress=False)
    assert all(np.array_equal(*pair) for pair in zip(before, photos, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_photos_that_were_not_in_fit(fitted):
    rocket = data.rocket()[::3, ::3]
    (instances,) = fitted.predict([rocket], progress=False)
    assert instances
    assert_valid_instances(instances, rocket.shape[:2])


def test_an_interrupted_fit_goes_on(photos, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(epoch, _):
        if epoch == 1:
            raise Interrupted

    file = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        CoSegmenter(config(epochs=2)).fit(photos, checkpoint=file, progress=False, on_epoch=stop)
    resumed = CoSegmenter(config(epochs=2)).fit(photos, checkpoint=file, progress=False)
    straight = fit(photos, epochs=2)
    assert resumed.history == straight.history
    assert as_tuples(resumed.predict(photos, progress=False)[0]) == as_tuples(straight.predict(photos, progress=False)[0])


# Files


@pytest.mark.parametrize("changes", [{}, {"peak_source": "copeak", "heat_map_stage": None}], ids=["default", "copeak"])
def test_what_was_saved_predicts_the_same(changes, photos, tmp_path):
    segmenter = fit(photos, **changes)
    segmenter.save(tmp_path / "new" / "fitted.safetensors")
    loaded = CoSegmenter.load(tmp_path / "new" / "fitted.safetensors")
    assert loaded.config == segmenter.config
    assert loaded.history == segmenter.history
    assert loaded.certainty == segmenter.certainty and loaded.scale_weights == segmenter.scale_weights
    assert list(segmenter.certainty) == segmenter.config.classifier_sizes and max(segmenter.certainty.values()) == 1
    assert loaded.model.backbone.weights_sha256 == segmenter.model.backbone.weights_sha256
    before, after = (one.predict(photos, progress=False) for one in (segmenter, loaded))
    assert [as_tuples(one) for one in before] == [as_tuples(one) for one in after]


@pytest.mark.parametrize(
    "damage",
    [
        "text",
        "short",
        "absent",
        "folder",
        "checkpoint",
        "no weights",
        "other settings",
        "digest",
        "history",
        "certainty",
        "partners",
        "NaN",
    ],
)
def test_a_file_that_save_did_not_write_is_named(damage, fitted, tmp_path):
    file = tmp_path / "fitted.safetensors"
    fitted.save(file)
    tensors, metadata = load_tensors(file)
    if damage == "text":
        file.write_text("no segmenter")
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "absent":
        file.unlink()
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "checkpoint":
        save_tensors(tensors, file, {"fingerprint": "0", "history": "[]"})
    elif damage == "no weights":
        save_tensors({"partners": tensors["partners"]}, file, metadata)
    elif damage == "digest":
        save_tensors(tensors, file, {key: value for key, value in metadata.items() if key != "backbone_sha256"})
    elif damage == "history":
        save_tensors(tensors, file, metadata | {"history": "["})
    elif damage == "certainty":
        save_tensors(tensors, file, metadata | {"certainty": "x"})
    elif damage == "partners":
        save_tensors(tensors | {"partners": torch.ones(2, 3)}, file, metadata)
    elif damage == "NaN":
        save_tensors(tensors | {"model.head.bias": torch.tensor([torch.nan])}, file, metadata)
    else:
        save_tensors(tensors, file, metadata | {"config": '{"nonsense": 1}'})
    with pytest.raises(ValueError, match=r"fitted\.safetensors") as caught:
        CoSegmenter.load(file)
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)


def test_an_interrupted_save_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    file = tmp_path / "fitted.safetensors"
    fitted.save(file)
    before = file.read_bytes()

    def fail(_, path, *__):
        path.write_bytes(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


# Choices


@pytest.mark.parametrize("source", ["score", "copeak"])
@pytest.mark.parametrize("stage", [None, "blocks.4"])
def test_every_kind_of_peak_and_heat_map(source, stage, photos):
    segmenter = fit(photos, peak_source=source, heat_map_stage=stage, input_size=128, peak_scales=(1.0, 2.0))
    found = segmenter.predict(photos, progress=False)
    assert any(found)
    for instances, photo in zip(found, photos, strict=True):
        assert_valid_instances(instances, photo.shape[:2])


@pytest.mark.parametrize(
    "changes",
    [
        {"prior": "ddt"},
        {"prior": "single"},
        {"prior_scales": (1.0,)},
        {"peak_scales": (1.0,), "group_peaks": False},
        {"group_peaks": False},
        {"ranking": "released"},
        {"optimizer": "released"},
        {"frozen_until": None},
        {"init_head": False},
        {"center_features": False},
        {"loss_form": "published"},
        {"interpolation": "bicubic"},
        {"mask_size": None},
        {"max_proposals": None},
        {"copeak_weight": 0.0, "affinity_weight": 0.0},
        {"ranking": "released", "rank_with_saliency": False},
        {"stride": 16},
        {"epochs": 0},
    ],
    ids=str,
)
def test_every_choice_runs(changes, photos):
    found = fit(photos[:2], **changes).predict(photos[:2], progress=False)
    for instances, photo in zip(found, photos[:2], strict=True):
        assert instances
        assert_valid_instances(instances, photo.shape[:2])


def test_ready_made_priors_are_what_is_learned(photos):
    left = [np.zeros(photo.shape[:2], np.float32) for photo in photos]
    for prior in left:
        prior[:, : prior.shape[1] // 2] = 1
    right = [1 - prior for prior in left]
    maps = []
    for priors in (left, right):
        segmenter = CoSegmenter(config(input_size=128)).fit(photos, priors=priors, progress=False)
        with torch.no_grad():
            maps.append(segmenter.model(prepare(photos[0], segmenter.config).tensor).saliency[0, 0])
    assert maps[0][:, 0].mean() > maps[1][:, 0].mean() + 0.2
    assert maps[1][:, -1].mean() > maps[0][:, -1].mean() + 0.2


def test_priors_of_other_types_are_learned_from_alike(photos):
    ramp = np.linspace(0, 1, 20).reshape(4, 5)
    kinds = [ramp, ramp.astype(np.float32), np.rint(ramp * 65535).astype(np.uint16), torch.from_numpy(ramp)]
    found = [at_input_size([kind], config()) for kind in kinds]
    assert all(torch.allclose(one, found[0], atol=1e-4) for one in found)
    bright = at_input_size([np.rint(ramp * 200).astype(np.uint8)], config())
    assert torch.allclose(bright, found[0] * 200 / 255, atol=1 / 255)
    with pytest.raises(ValueError, match=r"priors\[0\] must hold saliency in \[0, 1\].* in \[0, 255\]$"):
        CoSegmenter(config()).fit(photos[:1], priors=[ramp * 255], progress=False)


@pytest.mark.parametrize("prior", [torch.ones(3, 4, 5), np.ones((4, 5), np.uint8), None], ids=["three", "bytes", "none"])
def test_a_wrong_prior_is_named(prior, photos):
    with pytest.raises(ValueError, match=r"priors\[1\]"):
        CoSegmenter(config()).fit(photos[:2], priors=[torch.ones(4, 5), prior], progress=False)


def halves(photo) -> torch.Tensor:
    masks = torch.zeros(2, *photo.shape[:2], dtype=torch.bool)
    masks[0, :, : photo.shape[1] // 2] = True
    masks[1] = ~masks[0]
    return masks


def test_ready_made_proposals_are_what_is_chosen_from(photos, fitted):
    given = [halves(photo) for photo in photos]
    found = fitted.predict(photos, proposals=given, progress=False)
    for instances, masks in zip(found, given, strict=True):
        assert instances
        for one in instances:
            overlap = [np.mean(one.mask == mask.numpy()) for mask in masks]
            assert max(overlap) > 0.98  # the edge is where the work image has it


def test_no_proposals_are_no_instances(photos, fitted):
    given = [halves(photos[0]), torch.zeros(0, *photos[1].shape[:2], dtype=torch.bool), halves(photos[2])]
    found = fitted.predict(photos, proposals=given, progress=False)
    assert [bool(one) for one in found] == [True, False, True]


@pytest.mark.parametrize("masks", [torch.ones(20, 30, dtype=torch.bool), torch.full((1, 20, 30), 0.5)])
def test_wrong_proposals_are_named(masks, photos, fitted):
    with pytest.raises(ValueError, match="proposals of image 0"):
        fitted.predict(photos[:1], proposals=[masks], progress=False)


def test_timms_vggs_work_in_every_configuration(photos, monkeypatch):
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, mlp_ratio=0.01))
    small = SMALL | {"backbone": "vgg11_bn", "weights": "random"}
    for settings in (CoSegConfig(**small), CoSegConfig.released(**small), CoSegConfig.published(**small)):
        found = CoSegmenter(settings).fit(photos[:2], progress=False).predict(photos[:2], progress=False)
        for instances, photo in zip(found, photos, strict=False):
            assert_valid_instances(instances, photo.shape[:2])
        assert any(found)


def test_a_network_without_a_classifier_has_the_prior_of_the_default_network(photos, monkeypatch):
    make, classified = timm.create_model, []
    without = {"num_classes": 0}
    monkeypatch.setattr(
        timm, "create_model", lambda *names, **options: make(*names, **options, **(without if names == ("resnet18",) else {}))
    )
    classify = segmentation.classify
    monkeypatch.setattr(segmentation, "classify", lambda *a: classified.append(classify(*a)) or classified[-1])
    segmenter = fit(photos, backbone="resnet18", weights="random")
    assert [one.network for one in classified] == ["efficientnet_lite0"]
    assert segmenter.certainty == classified[0].certainty()
    assert segmenter.model.backbone.name == "resnet18"


def test_every_photo_of_the_category_is_a_partner_if_asked_for(photos):
    for partners, kept in ((None, 3), (2, 2), (20, 3)):
        segmenter = fit(photos, peak_source="copeak", max_partners=partners)
        assert len(segmenter.partners) == kept
    with_all = fit(photos * 8, peak_source="copeak", max_partners=None, epochs=0)
    assert len(with_all.partners) == 24


def test_ready_made_proposals_are_all_ranked_where_nothing_limits_them(photos):
    released = CoSegConfig.released(input_size=64)
    image = prepare(photos[0], released)
    given = torch.rand(1500, *photos[0].shape[:2], generator=torch.Generator().manual_seed(0)) < 0.5
    assert len(prepare_proposals(image, released, given[:, :20, :20].repeat(1, 5, 8)[:, :100, :151]).ranker.members) == 1500
    assert 1 < len(prepare_proposals(image, released).ranker.members) <= 1000


def test_the_released_ranking_is_at_the_photos_own_size(photos):
    large = photos[0].repeat(4, 0).repeat(4, 1)
    assert prepare(large, CoSegConfig.released(input_size=64)).pixels.shape == large.shape
    assert prepare(large, CoSegConfig()).pixels.shape == (297, 448, 3)
    kept = []
    with pytest.MonkeyPatch.context() as patch:  # fit keeps all photos at once, and its priors need no more
        patch.setattr(CoSegmenter, "fit_prepared", lambda self, work, *rest: kept.extend(work))
        CoSegmenter(CoSegConfig.released(input_size=64)).fit([large], progress=False)
    assert max(kept[0].pixels.shape) == 64 and kept[0].size == large.shape[:2]


def test_proposals_are_limited(photos):
    image = prepare(photos[0], config(), 0)
    assert len(prepare_proposals(image, config(max_proposals=7)).ranker.members) <= 7
    assert len(prepare_proposals(image, config(max_proposals=1), halves(photos[0])).ranker.members) == 1


# Stages


def test_peaks_are_cells_of_the_grid_best_first(photos):
    segmenter = fit(photos, input_size=128, peak_source="copeak")
    image = prepare(photos[0], segmenter.config)
    with torch.no_grad():
        output = segmenter.model(image.tensor)
    for source in ("score", "copeak"):
        cells = find_peaks(output, config(input_size=128, peak_source=source), segmenter.partners)
        assert 1 <= len(cells) <= 16
        assert (cells >= 0).all()
        assert (cells < 4).all()
        assert len({tuple(cell) for cell in cells.tolist()}) == len(cells)
    score = output.score[0, 0]
    cells = find_peaks(output, config(input_size=128, peak_source="score"), segmenter.partners)
    heights = [float(score[i, j]) for i, j in cells.tolist()]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == float(score.max())


def test_a_photo_is_prepared_at_every_scale(photos):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 1.5, 3.0), mask_size=96)
    image = prepare(photos[0], segmenter.config)
    seen = segmenter.peaks_at_scales(image)
    assert [one.grid for one in seen] == [(4, 4), (6, 6), (12, 12)]
    assert [one.weight for one in seen] == segmenter.scale_weights
    for one in seen:
        grid = one.view.output.score.shape[2]
        assert one.heat.shape == (len(one.cells), *image.pixels.shape[:2])
        assert 1 <= len(one.cells) <= 20
        assert ((one.cells >= 0) & (one.cells < grid)).all()
    assert torch.allclose(image.at(384), prepare(photos[0], config(input_size=384)).tensor)


def test_fit_keeps_photos_no_larger_than_its_prior_needs(photos, monkeypatch):
    settings = config(input_size=128, prior_scales=(1.0, 2.0), peak_scales=(1.0, 3.0))
    assert list(prepare(photos[0], settings).squares) == [128, 256, 384]
    kept = []
    monkeypatch.setattr(CoSegmenter, "fit_prepared", lambda self, work, *rest: kept.extend(work))
    CoSegmenter(settings).fit(photos, progress=False)
    assert [set(image.squares) for image in kept] == [{128, 256}] * len(photos)
    # A prior that is given, or is not made at several sizes, needs none but that of training.
    for changes, priors in (({"prior": "single"}, None), ({}, [np.zeros((4, 4), np.float32)] * len(photos))):
        kept.clear()
        CoSegmenter(settings.model_copy(update=changes)).fit(photos, priors, progress=False)
        assert [set(image.squares) for image in kept] == [{128}] * len(photos)


@pytest.mark.parametrize("prior", ["classifier", "single"])
def test_fit_keeps_of_a_photo_its_input_of_training_alone(photos, monkeypatch, prior):
    made, kept, alive = [], [], []

    def noted(*arguments, **named):
        gc.collect()
        alive.append(sum(one() is not None for one in made))
        image = prepare(*arguments, **named)
        made.append(weakref.ref(image))
        return image

    category_priors = segmentation.category_priors
    monkeypatch.setattr(segmentation, "prepare", noted)
    monkeypatch.setattr(segmentation, "category_priors", lambda work, *rest: kept.extend(work) or category_priors(work, *rest))
    fit(photos, input_size=128, prior=prior, prior_scales=(1.0, 2.0))
    assert [set(image.squares) for image in kept] == [{128}] * len(photos)
    assert max(alive) <= 1 and len(made) == len(photos)  # the one before is let go when the next is there


def test_predict_keeps_nothing_of_a_photo_but_its_instances(fitted, photos, monkeypatch):
    made, left = [], []

    def noting(make):
        def noted(*arguments, **named):
            one = make(*arguments, **named)
            made.append(weakref.ref(one))
            return one

        return noted

    def first(*arguments, **named):
        gc.collect()
        left.append(sum(one() is not None for one in made))
        return prepare(*arguments, **named)

    for name in ("prepare_proposals", "peaks_at_scale", "choose_masks"):
        monkeypatch.setattr(segmentation, name, noting(getattr(segmentation, name)))
    monkeypatch.setattr(segmentation, "prepare", first)
    fitted.predict(photos, progress=False)
    assert left == [0, 0, 0] and len(made) > 2 * len(photos)


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_photos_of_a_sequence_are_read_one_at_a_time(fitted, photos, monkeypatch, method):
    events = []

    class Read(Sequence):
        def __len__(self):
            return len(photos)

        def __getitem__(self, k):
            events.append(("read", photos[k].shape))
            return photos[k]

    def noted(photo, *arguments):
        events.append(("prepare", photo.shape))
        return prepare(photo, *arguments)

    monkeypatch.setattr(segmentation, "prepare", noted)
    if method == "fit":
        monkeypatch.setattr(CoSegmenter, "fit_prepared", lambda self, work, *rest: list(work))
        CoSegmenter(config()).fit(Read(), progress=False)
    else:
        fitted.predict(Read(), progress=False)
    assert events[:6] == [(what, photo.shape) for photo in photos for what in ("read", "prepare")]


def test_other_scales_keep_their_strongest_peaks(photos, monkeypatch):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 3.0))
    image = prepare(photos[0], segmenter.config)
    every = segmenter.peaks_at_scales(image)
    monkeypatch.setattr(inference, "_MORE_PEAKS", 1)
    first, larger = segmenter.peaks_at_scales(image)
    assert len(every[1].cells) > 1
    assert torch.equal(first.cells, every[0].cells)
    assert torch.equal(larger.cells, every[1].cells[:1])


def test_at_every_size_the_photo_is_no_partner_of_its_own(photos):
    segmenter = fit(photos, input_size=128, peak_source="copeak", peak_scales=(1.0, 2.0))
    image = prepare(photos[0], segmenter.config)
    with_itself = segmenter.peaks_at_scales(image)
    others, nobody = segmenter.with_settings(), segmenter.with_settings()
    others.partners, nobody.partners = segmenter.partners[1:], segmenter.partners[:1]
    without, alone = others.peaks_at_scales(image), nobody.peaks_at_scales(image)
    for one, other in zip(with_itself, without, strict=True):
        assert torch.equal(one.cells, other.cells)
    # Alone it has no partner at all, and its peaks are the peaks of its score.
    for one in alone:
        by_score = find_peaks(one.view.output, config(input_size=128, peak_source="score"), segmenter.partners)[:20]
        assert torch.equal(one.cells[: len(by_score)], by_score)


def test_instances_of_all_scales_compete_by_their_weights(photos):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 2.0), mask_size=96, max_proposals=200)
    image = prepare(photos[0], segmenter.config)
    ready = prepare_proposals(image, segmenter.config)
    first, larger = segmenter.peaks_at_scales(image)
    alone = [choose_masks([one], ready, segmenter.config) for one in (first, larger)]
    both = choose_masks([first, larger], ready, segmenter.config)
    assert torch.equal(choose_masks([larger, first], ready, segmenter.config).scores, both.scores)
    assert both.scores[0] == max(one.scores[0] for one in alone)
    assert (both.scores.diff() <= 0).all()
    # With no weight at all the larger scale adds nothing where the first has found something.
    silent = choose_masks([first, replace(larger, weight=0.0)], ready, segmenter.config)
    assert torch.equal(silent.masks[: len(alone[0].masks)], alone[0].masks)
    # A look's finds scale with its weight.
    half = choose_masks([replace(larger, weight=larger.weight / 2)], ready, segmenter.config)
    assert half.scores.tolist() == pytest.approx((alone[1].scores / 2).tolist())
    torch.testing.assert_close(both.masks, segmenter.candidates(image, ready).masks)


def test_an_instance_counts_as_often_as_scales_agree_on_it(photos):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 2.0), mask_size=96, max_proposals=200)
    image = prepare(photos[0], segmenter.config)
    ready = prepare_proposals(image, segmenter.config)
    one = segmenter.peaks_at(image)
    alone = choose_masks([one], ready, segmenter.config)
    for times in (2, 3):
        again = choose_masks([one] * times, ready, segmenter.config)
        assert torch.equal(again.masks, alone.masks)
        assert torch.equal(again.scores, alone.scores * times)
    # A scale at which nothing was found adds nothing to it.
    empty = replace(one, cells=one.cells[:0], heat=one.heat[:0])
    assert torch.equal(choose_masks([one, empty], ready, segmenter.config).scores, alone.scores)


def test_chosen_masks_are_refined_if_asked_for_and_only_by_superpixels(photos):
    segmenter = fit(photos, input_size=128, mask_size=96, max_proposals=200)
    image = prepare(photos[0], segmenter.config)
    ready = prepare_proposals(image, segmenter.config)
    ranker = ready.ranker
    every = ranker.masks(torch.arange(len(ranker.members)))
    one = [segmenter.peaks_at(image)]
    plain = segmenter.config.model_copy(update={"refine_masks": False})

    def chosen(proposals, settings):
        masks = choose_masks(one, proposals, settings).masks
        return [bool((mask == every).all((1, 2)).any()) for mask in masks]

    assert all(chosen(ready, plain)) and not all(chosen(ready, segmenter.config))
    # What is refined is one piece.
    assert all(ndimage.label(mask)[1] == 1 for mask in choose_masks(one, ready, segmenter.config).masks.numpy())
    # Proposals that were given are taken as they are.
    assert prepare_proposals(image, segmenter.config, every).refiner is None
    assert prepare_proposals(image, plain).refiner is None
    assert all(chosen(prepare_proposals(image, segmenter.config, every), segmenter.config))
    by_hand = ranker.shares(one[0].heat, one[0].view.saliency)
    best = ranker.terms(one[0].heat, one[0].view.saliency).score().max(1)
    usable = torch.isfinite(best.values)
    regions = ready.refiner.refine(ranker.members[best.indices[usable]].bool(), by_hand[usable])
    found = choose_masks(one, ready, segmenter.config).masks
    assert all((mask == one_piece(ranker.unions(regions))).all((1, 2)).any() for mask in found)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_predict_works_where_gradients_are_off(photos, mode):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 2.0))
    expected = segmenter.predict(photos[:2], progress=False)
    with mode():
        found = segmenter.predict(photos[:2], progress=False)
    assert [[one.score for one in each] for each in found] == [[one.score for one in each] for each in expected]


# Looks, and what they count


def test_a_scale_counts_by_its_size_and_by_how_well_the_category_is_recognised_there():
    segmenter = CoSegmenter(CoSegConfig(peak_scales=(1.0, 0.5, 2.0, 3.0, 0.25)))
    assert segmenter.scale_weights == pytest.approx([1, 8, 1 / 8, 1 / 27, 3.5**3])
    segmenter.certainty = {448: 0.9, 672: 0.95, 896: 1.0, 224: 0.8}
    # 1344 is nearest to 896 of what the classifier saw, 128 to 224.
    expected = [0.9**16, 8 * 0.8**16, 1 / 8, 1 / 27, 3.5**3 * 0.8**16]
    assert segmenter.scale_weights == pytest.approx(expected)
    assert segmenter.with_settings(peak_scales=(1.0, 1.5)).scale_weights == pytest.approx([0.9**16, 0.95**16 / 1.5**3])


def test_certainty_is_that_of_the_photos_of_the_last_fit(photos):
    segmenter = fit(photos, input_size=128)
    image = [prepare(photo, segmenter.config) for photo in photos]
    backbone, classifier = segmentation.build_both(segmenter.config.backbone, "imagenet", None, None)
    sides = segmenter.config.classifier_sizes
    assert sides == [128, 192, 256, 64, 96] == list(segmenter.certainty)
    with torch.no_grad():
        likely = [torch.cat([classifier(backbone(one.at(side))).softmax(1) for one in image]).numpy() for side in sides]
    assert list(segmenter.certainty.values()) == pytest.approx(naive.certainty_by_scale(likely), rel=1e-4)
    assert [one.weight for one in segmenter.peaks_at_scales(image[0])] == segmenter.scale_weights
    # Where the prior is another nothing is known of it, and nothing is left of what was.
    segmenter.fit(photos, priors=[np.zeros(photo.shape[:2], np.float32) for photo in photos], progress=False)
    assert segmenter.certainty == {}
    assert fit(photos[:1], prior="single").certainty == {}


def test_other_settings_share_the_network(fitted, photos):
    image = prepare(photos[0], fitted.config)
    other = fitted.with_settings(peak_scales=(1.0, 1.5), group_peaks=False, nms_iou=0.1)
    assert other.model is fitted.model and other.partners is fitted.partners
    assert (other.certainty, other.history) == (fitted.certainty, fitted.history)
    assert (other.config.peak_scales, other.config.group_peaks, other.config.nms_iou) == ((1, 1.5), False, 0.1)
    assert fitted.config.peak_scales == CoSegConfig().peak_scales and fitted.config.group_peaks
    assert len(other.peaks_at_scales(image)) == 2 and len(fitted.peaks_at_scales(image)) == len(fitted.config.peak_sizes)
    assert fitted.with_settings().config == fitted.config


def test_other_settings_may_be_those_of_any_configuration(fitted, photos):
    again = fitted.with_settings(heat_map_stage="middle", frozen_until="middle")
    assert again.config == fitted.config
    assert as_tuples(again.predict(photos[:1], progress=False)[0]) == as_tuples(fitted.predict(photos[:1], progress=False)[0])
    for wrong in ({"nms_iou": 2.0}, {"no_such": 1}, {"peak_scales": (0.5,)}, {"heat_map_stage": "blocks.9"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fitted.with_settings(**wrong)


CHANGED = {
    "backbone": "vgg16_pool5", "weights": "random", "feature_stage": "blocks.5", "stride": 16, "input_size": 128,
    "prior_scales": (1.0,), "center_features": False, "interpolation": "bicubic", "prior": "single", "epochs": 2,
    "batch_size": 4, "learning_rate": 0.1, "optimizer": "released", "frozen_until": None, "init_head": False,
    "saliency_weight": 2.0, "copeak_weight": 2.0, "affinity_weight": 2.0, "alpha": 2.0, "loss_form": "published",
    "max_partners": 1, "seed": 1, "peak_scales": (1.0,), "peak_source": "copeak", "group_peaks": False, "level_sets": False,
    "heat_map_stage": None, "mask_size": 80, "max_proposals": 9, "ranking": "released", "refine_masks": False,
    "rank_with_saliency": False, "beta": 0.1, "gamma": 0.1, "nms_iou": 0.1, "noise_percentile": 90.0,
}  # fmt: skip


class Noted:
    """A configuration that notes which of its settings are read."""

    def __init__(self, config, read):
        self._config, self._read = config, read

    def __getattr__(self, name):
        if name in CoSegConfig.model_fields:
            self._read.add(name)
            return getattr(self._config, name)
        kind = getattr(CoSegConfig, name)
        return kind.fget(self) if isinstance(kind, property) else partial(kind, self)


def test_settings_that_predict_does_not_read_are_refused_once_fitted(fitted, photos):
    read = set()
    for changes in ({}, {"ranking": "released", "rank_with_saliency": False, "peak_source": "copeak"}):
        segmenter = fitted.with_settings(**changes)
        segmenter.config = Noted(segmenter.config, read)
        segmenter.predict(photos[:1], progress=False)
    assert set(CHANGED) == set(CoSegConfig.model_fields)
    for name, value in CHANGED.items():
        others = {"ranking": "released"} if name == "rank_with_saliency" else {}
        assert getattr(fitted.config, name) != value
        if name in read - {"input_size", "interpolation"}:
            assert getattr(fitted.with_settings(**others, **{name: value}).config, name) == value
        else:
            with pytest.raises(ValueError, match=rf"^{name} must stay .* with which fit was called, got .*; call fit again"):
                fitted.with_settings(**others, **{name: value})
    # Before fit all of them are open.
    assert CoSegmenter(config()).with_settings(epochs=7, input_size=128).config == config(epochs=7, input_size=128)


def finite_or_not():
    return st.sampled_from([-float("inf"), 0.0, 1.0, 1.0, 2.0, 3.0])


@examples(100)
@given(st.integers(1, 4), st.data())
def test_every_peak_goes_to_one_group(peaks, data):
    groups = data.draw(st.lists(st.frozensets(st.integers(0, peaks - 1), min_size=1), max_size=7))
    scores = data.draw(st.lists(finite_or_not(), min_size=len(groups), max_size=len(groups)))
    table = torch.tensor([[q in group for q in range(peaks)] for group in groups], dtype=torch.bool).reshape(-1, peaks)
    kept = selection._one_each(table, torch.tensor(scores))
    assert kept.nonzero().flatten().tolist() == naive.one_each(groups, scores)


def two_parts_of_one(pass_height: float):
    """A photo of 8 x 8 in four columns of two pixels; a thing of the two in the middle, a peak in either of them."""
    labels = (torch.arange(8) // 2).expand(8, 8)
    saliency = ((labels == 1) | (labels == 2)).float()
    heat = torch.stack([labels == 1, labels == 2]).float() + 0.01
    grid = torch.zeros(1, 1, 3, 8)
    grid[0, 0, 1, 2:6] = torch.tensor([0.9, pass_height, pass_height, 0.9])
    output = SimpleNamespace(saliency=grid, score=grid.logit(1e-6))
    members = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]]).bool()
    cells = torch.tensor([[1, 2], [1, 5]])
    return ScalePeaks(NetworkView(torch.zeros(0), output, saliency), cells, heat), Proposals(RegionRanker(labels, members))


def test_a_group_takes_the_whole_where_the_pass_between_its_peaks_is_high():
    both, settings = torch.tensor([0, 1, 1, 0]).bool(), config(refine_masks=False, beta=1.0, gamma=0.0)
    halves = {(0, 1, 0, 0), (0, 0, 1, 0)}

    def chosen(pass_height, **changes):
        one, proposals = two_parts_of_one(pass_height)
        found = choose_masks([one], proposals, settings.model_copy(update=changes))
        return found, {tuple(mask[0, ::2].int().tolist()) for mask in found.masks}

    found, masks = chosen(0.85)
    assert masks == {tuple(both.int().tolist())} and found.peaks.tolist() == [[4, 2]]
    one, proposals = two_parts_of_one(0.85)
    together = torch.ones(1, 2, dtype=torch.bool)
    whole = proposals.ranker.terms(one.heat, one.view.saliency, 1.0, 0.0, together, 0.5).score()
    assert found.scores.tolist() == pytest.approx([float(whole.max()) * 0.85 / 0.9])
    # A deep pass counts against the group, one too deep forbids it, and so does the setting.
    for pass_height, changes in ((0.1, {}), (0.85, {"group_peaks": False})):
        found, masks = chosen(pass_height, **changes)
        assert masks == halves
        assert found.peaks.tolist() == [[4, 2], [4, 5]] and found.scores[0] == pytest.approx(float(found.scores[1]))


def test_the_share_of_a_peak_counts_as_it_is_unless_said_otherwise(photos):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0,))
    image = prepare(photos[0], segmenter.config)
    found, ranker = segmenter.peaks_at(image), prepare_proposals(image, segmenter.config).ranker
    scores = selection.rank(found.heat, found.view.saliency, ranker, segmenter.config)
    assert torch.equal(scores, selection.rank(found.heat, found.view.saliency, ranker, segmenter.config, power=1.0))
    assert not torch.equal(scores, selection.rank(found.heat, found.view.saliency, ranker, segmenter.config, power=2.0))


def test_parts_of_the_cosaliency_are_proposals_at_small_scales_but_not_beside_given_ones(photos, monkeypatch):
    segmenter = fit(photos, input_size=128, peak_scales=(1.0, 0.5))
    image = prepare(photos[0], segmenter.config)
    scales, ready = segmenter.peaks_at_scales(image), prepare_proposals(image, segmenter.config)
    made, level_sets = [], RegionRanker.level_sets
    monkeypatch.setattr(RegionRanker, "level_sets", lambda self, map_: made.append(map_) or level_sets(self, map_))
    choose_masks(scales, replace(ready, complete=True), segmenter.config)
    choose_masks(scales, ready, segmenter.config.model_copy(update={"level_sets": False}))
    assert made == []
    choose_masks(scales, ready, segmenter.config)
    assert len(made) == 1 and made[0] is scales[1].view.saliency


def test_a_photo_without_a_name_is_the_first_unless_said_otherwise(photos):
    names = [prepare(photos[0], config(), *place).name for place in ((), (0,), (1,))]
    assert names[0] == names[1] != names[2]


def test_no_scale_no_candidates(photos):
    image = prepare(photos[0], config())
    nothing = choose_masks([], prepare_proposals(image, config()), config())
    assert len(nothing.masks) == len(nothing.scores) == len(nothing.peaks) == 0


def candidates(*scores: float) -> Candidates:
    masks = torch.zeros(len(scores), 6, 8, dtype=torch.bool)
    for k in range(len(scores)):
        masks[k, k : k + 2, k : k + 3] = True
    return Candidates(masks, torch.tensor(scores), torch.tensor([[k, k + 1] for k in range(len(scores))]).reshape(-1, 2))


def test_candidates_in_the_photos_own_pixels():
    instances = to_instances(candidates(3.0, 2.0, 1.0), (12, 24))
    assert [one.score for one in instances] == [3, 2, 1]
    assert [one.box for one in instances] == [(0, 0, 9, 4), (3, 2, 12, 6), (6, 4, 15, 8)]
    assert [one.peak for one in instances] == [(0, 3), (2, 6), (4, 9)]
    for one in instances:
        assert_valid_instances([one], (12, 24))


def test_the_noise_filter_works_over_the_category():
    found = finish([candidates(9.0, 8.0, 7.0), candidates(2.0, 1.0), candidates()], [(6, 8)] * 3, config())
    assert [[one.score for one in instances] for instances in found] == [[9, 8, 7], [2], []]
    weak = finish([candidates(9.0, 8.0, 7.0, 6.0), candidates(1.0, 0.5)], [(6, 8)] * 2, config(noise_percentile=60))
    assert [[one.score for one in instances] for instances in weak] == [[9, 8], [1]]


def test_fit_and_predict_show_how_far_they_are_unless_told_not_to(photos, capsys):
    segmenter = CoSegmenter(config()).fit(photos)
    segmenter.predict(photos[:1])
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("reading", "training", "segmenting"))
    CoSegmenter(config()).fit(photos, progress=False).predict(photos[:1], progress=False)
    assert capsys.readouterr().err == ""


def test_a_file_without_the_networks_origin_says_what_is_missing(fitted, tmp_path):
    fitted.save(tmp_path / "whole.safetensors")
    tensors, metadata = load_tensors(tmp_path / "whole.safetensors")
    save_tensors(tensors, tmp_path / "less.safetensors", {key: value for key, value in metadata.items() if key != "history"})
    with pytest.raises(ValueError, match="can load: 'history'"):
        CoSegmenter.load(tmp_path / "less.safetensors")
