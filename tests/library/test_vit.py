"""Vision transformers as backbones, and the whole method with one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn.functional import interpolate
from torch.testing import assert_close

from co3lib.backbones import WeightsError, build_backbone, build_both, build_dense_classifier
from co3lib.backbones.timm_networks import timm
from co3lib.backbones.weights import seeded
from co3lib.beyond.category_priors import carried_over, category_priors
from co3lib.deepco3 import deepco3
from co3lib.inference import prepare, run_network
from co3lib.model import CoPeakNet
from co3lib.peak_backprop import peak_response_maps
from co3lib.segmentation import CoSegConfig, CoSegmenter

NAMES = {  # prefix tokens: 1, 5, 1, 2, 0
    "vit_small_patch14_dinov2": 14,
    "vit_small_patch14_reg4_dinov2": 14,
    "vit_small_patch8_224.dino": 8,
    "deit_tiny_distilled_patch16_224": 16,
    "vit_base_patch16_siglip_224": 16,
}
CREATE = timm.create_model


@pytest.fixture
def small(monkeypatch):
    """timm builds its vision transformers with three thin blocks."""
    build = partial(CREATE, depth=3, embed_dim=24, num_heads=3)
    monkeypatch.setattr(timm, "create_model", build)
    return build


@pytest.fixture(scope="module")
def tiny():
    return build_backbone("test_vit", "random")


def picture(*size: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))


# The chain of stages


@pytest.mark.parametrize("name, patch", NAMES.items())
def test_the_features_of_a_block_are_what_timm_calls_its_normalised_intermediate_layer(name, patch, small):
    with seeded():
        network = small(name.split(".")[0], dynamic_img_size=True).eval()
    images = picture(4 * patch, 3 * patch)
    for block in (1, 2):
        backbone = build_backbone(name, "random", f"blocks.{block}")
        assert (backbone.stride, backbone.channels, backbone.stage_names[-1]) == (patch, 24, f"blocks.{block}")
        with torch.no_grad():
            normalized = (images - backbone.mean) / backbone.std
            (expected,) = network.get_intermediate_layers(normalized, n=[block], reshape=True, norm=True)
            assert_close(backbone(images), expected)


@pytest.mark.parametrize("name, patch", NAMES.items())
def test_going_on_from_any_stage_is_the_whole_way(name, patch, small):
    backbone, images = build_backbone(name, "random"), picture(2 * patch, 3 * patch)  # five tokens take two rows of three
    with torch.no_grad():
        whole = backbone(images)
        for stage in backbone.stage_names:
            assert_close(backbone.forward_from(backbone(images, until=stage), after=stage), whole)
        assert torch.equal(backbone.forward_from(images, after=None), whole)


def test_an_image_of_any_size_is_enlarged_to_whole_patches(tiny):
    images = picture(70, 33)
    with torch.no_grad():
        features = tiny(images)
        normalized = interpolate((images - tiny.mean) / tiny.std, (80, 48), mode="bilinear")
        assert features.shape == (2, 64, 5, 3)
        assert_close(features, tiny(normalized * tiny.std + tiny.mean), rtol=1e-3, atol=1e-4)


def test_nothing_but_the_score_is_trained_by_default(tiny):
    assert tiny.middle_stage == "blocks.5" and len(tiny.stage_names) == 7
    assert build_backbone("test_vit", "random", "blocks.2").middle_stage == "blocks.2"
    assert not list(tiny.parameters_after("middle"))
    last = {id(p) for name in ("blocks/4", "blocks/5") for p in tiny.stages[name].parameters()}
    assert {id(p) for p in tiny.parameters_after("blocks.3")} == last
    assert {id(p) for p in tiny.parameters_after(None)} == {id(p) for p in tiny.parameters()}


def test_every_weight_is_reached_by_training(tiny):
    tiny(picture(32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in tiny.parameters())
    tiny.zero_grad()


def test_random_weights_are_the_same_every_time(tiny):
    assert build_backbone("test_vit", "random").weights_sha256 == tiny.weights_sha256


def test_what_a_vision_transformer_cannot_be_is_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match=r"^feature_stage must be one of 'blocks\.0', .* got 'blocks\.6'$"):
        build_backbone("test_vit", "random", "blocks.6")
    with pytest.raises(ValueError, match=r"^stride of test_vit is 16, the side of its patches, got 8$"):
        build_backbone("test_vit", "random", stride=8)

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match="weights of test_vit could not be downloaded: no route to host"):
        build_backbone("test_vit")


# The steps of the method


def test_it_has_no_classifier_of_its_cells():
    backbone, classifier = build_both("test_vit", "random")
    assert backbone.name == "test_vit" and classifier is None
    with pytest.raises(ValueError, match="test_vit must end in a linear classifier of its cells"):
        build_dense_classifier("test_vit", "random")


def test_peak_backpropagation_is_refused(tiny, monkeypatch):
    with pytest.raises(ValueError, match="must be convolutional for peak back-propagation, got test_vit"):
        peak_response_maps(CoPeakNet(tiny), picture(64, 64, count=1), torch.zeros(1, 2))
    monkeypatch.setattr("co3lib.deepco3.build_backbone", lambda _: tiny)
    photo = data.chelsea()[::8, ::8]
    masks = torch.ones(1, *photo.shape[:2], dtype=torch.bool)
    with pytest.raises(ValueError, match="must be convolutional for peak back-propagation"):
        deepco3([photo] * 2, [masks[0].float()] * 2, [masks] * 2, backbone="test_vit")


def test_the_cosaliency_has_the_size_of_the_images(tiny):
    model = CoPeakNet(tiny)
    score = torch.linspace(-2, 2, 15).view(1, 1, 3, 5)
    big = model.saliency_at_image_size(score)
    assert big.shape[2:] == (48, 80)
    assert torch.equal(model.saliency_at_image_size(score, (48, 80)), big)
    smaller = model.saliency_at_image_size(score, (40, 70))
    assert smaller.shape[2:] == (40, 70)
    assert_close(smaller, interpolate(big.logit(), (40, 70), mode="bilinear").sigmoid())


def test_a_prior_is_carried_over_as_a_linear_function_of_the_features():
    features = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    told = (0.5 + 0.1 * features[:, 0] - 0.05 * features[:, 2]).clamp(0.05, 0.95)
    assert_close(carried_over(told, features), told, rtol=0, atol=0.05)
    # What no feature says of the prior is not carried over.
    noise = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(3))
    assert (carried_over(noise, features) - noise.mean()).abs().mean() < 0.5 * (noise - noise.mean()).abs().mean()
    assert carried_over(torch.rand(3, 3, 3), features).shape == (3, 6, 5)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [data.chelsea()[::3, ::3], data.coffee()[::5, ::5], data.astronaut()[::6, ::5]]


def config(**changes) -> CoSegConfig:
    return CoSegConfig(**{"backbone": "test_vit", "weights": "random", "input_size": 96, "mask_size": 64, "epochs": 1,
                          "prior_scales": (1.0,), "peak_scales": (1.0, 0.7), "max_proposals": 50, **changes})  # fmt: skip


def test_the_default_prior_is_that_of_the_default_network_carried_over(photos):
    settings = config(peak_scales=(1.0,))
    work = [prepare(photo, settings, k) for k, photo in enumerate(photos)]
    theirs = category_priors(
        work, config(backbone="efficientnet_lite0", weights="imagenet", peak_scales=(1.0,)), progress=False
    )
    with torch.no_grad():
        features = torch.cat([build_backbone("test_vit", "random")(image.tensor) for image in work])
    ours = category_priors(work, settings, progress=False)
    assert_close(category_priors(work, settings, features, progress=False), ours)
    small = interpolate(theirs, features.shape[2:], mode="area").flatten()
    made = interpolate(ours, features.shape[2:], mode="area").flatten()
    assert torch.corrcoef(torch.stack([small, made]))[0, 1] > 0.5
    assert not torch.allclose(ours, theirs, atol=0.05)


@pytest.mark.parametrize("name, side", [("test_vit", 96), ("vit_small_patch14_reg4_dinov2", 64)])
def test_the_whole_method(name, side, photos, tmp_path, monkeypatch):
    thin = {"depth": 3, "embed_dim": 24, "num_heads": 3}
    monkeypatch.setattr(timm, "create_model", lambda *n, **o: CREATE(*n, **o, **(thin if n[0].startswith("vit") else {})))
    segmenter = CoSegmenter(config(backbone=name, input_size=side)).fit(photos, progress=False)
    assert segmenter.certainty and len(segmenter.history) == 1
    found = segmenter.predict(photos, progress=False)
    assert any(found) and all(
        one.mask.shape == photo.shape[:2] for photo, ones in zip(photos, found, strict=True) for one in ones
    )
    segmenter.save(tmp_path / "vit.safetensors")
    loaded = CoSegmenter.load(tmp_path / "vit.safetensors")
    again = loaded.predict(photos, progress=False)
    assert [[(one.score, one.box) for one in ones] for ones in again] == [[(one.score, one.box) for one in o] for o in found]
    # Where heat maps are read makes no difference: they are made of the features.
    other = loaded.with_settings(heat_map_stage=None, peak_source="copeak", peak_scales=(1.0,))
    image = prepare(photos[0], other.config)
    one, two = run_network(loaded.model, image, loaded.config), run_network(other.model, image, other.config)
    assert torch.equal(one.activations, two.activations) and one.saliency.shape == image.pixels.shape[:2]
    assert len(other.predict(photos[:1], progress=False)) == 1


@pytest.mark.parametrize("until, trained", [("middle", set()), ("blocks.3", {"blocks/4", "blocks/5"})])
def test_it_learns_from_its_photos(until, trained, photos):
    learning = {"epochs": 4, "learning_rate": 1e-3, "init_head": False, "frozen_until": until}
    segmenter = CoSegmenter(config(**learning)).fit(photos[:2], progress=False)
    losses = [epoch["total"] for epoch in segmenter.history]
    assert losses[-1] < losses[0]
    start, end = build_backbone("test_vit", "random").state_dict(), segmenter.model.backbone.state_dict()
    assert {key.split(".")[1] for key in start if not torch.equal(start[key], end[key])} == trained
    assert segmenter.model.head.weight.any()
