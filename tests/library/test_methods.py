"""co3lib.beyond.methods: every method under one protocol; what differs between them is the score."""

import re

import numpy as np
import pytest
import torch

from co3lib.beyond.baselines import connected_components
from co3lib.beyond.methods import METHODS, IntersectedNet, prm, rival, segment
from co3lib.beyond.priors import ddt_prior, principal_component
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.datasets.images import fit_within
from co3lib.inference import prepare
from co3lib.peak_backprop import peak_response_maps
from co3lib.segmentation import CoSegmenter

pytestmark = pytest.mark.usefixtures("networks_built_once")

SMALL = CoSegConfig(input_size=128, mask_size=128, epochs=1, max_proposals=50, peak_scales=(1.0,), prior_scales=(1.0,))
BARE = SMALL.model_copy(update={"epochs": 0, "init_head": False, "prior": "single"})


@pytest.fixture(scope="module")
def photos():
    return [fit_within(sample.image, 128) for sample in demo_set("collage")["cat"][:3]]


@pytest.fixture(scope="module")
def inputs(photos):
    return [prepare(photo, SMALL, k, []).tensor for k, photo in enumerate(photos)]


@pytest.fixture(scope="module")
def bare(photos):
    return CoSegmenter(BARE).fit(photos, progress=False)


@pytest.mark.parametrize(
    "method, part", [("prm", "a linear classifier of its cells"), ("ddt+", "a stage of stride 16 or less")]
)
def test_a_method_that_a_vision_transformer_cannot_have_says_why(method, part, photos):
    settings = SMALL.model_copy(update={"backbone": "test_vit", "weights": "random", "prior": "single"})
    with pytest.raises(ValueError, match=f"^{re.escape(method)} needs a network with {part}.*test_vit has none$"):
        segment(method, photos, settings, progress=False)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_gives_masks_of_the_photos_sizes(method, photos):
    found, digest = segment(method, photos, SMALL, progress=False)
    assert len(found) == 3 and len(digest) == 64
    assert all(
        one.mask.shape == photo.shape[:2] and one.mask.any() for some, photo in zip(found, photos, strict=True) for one in some
    )
    assert any(found)


def test_deepco3_is_the_segmenter_itself(photos):
    found, _ = segment("deepco3", photos, SMALL, progress=False)
    same = CoSegmenter(SMALL).fit(photos, progress=False).predict(photos, progress=False)
    for some, others in zip(found, same, strict=True):
        assert [one.score for one in some] == [one.score for one in others]


def test_given_priors_and_proposals_are_used_by_the_methods(photos):
    maps = [torch.zeros(photo.shape[:2]) for photo in photos]
    for map_ in maps:
        map_[10:40, 20:60] = 1
    found, digest = segment("components", photos, SMALL, priors=maps, progress=False)
    assert digest == ""  # no network was needed
    for some, map_ in zip(found, maps, strict=True):
        assert [one.box for one in some] == [one.box for one in connected_components(map_)] == [(20, 10, 60, 40)]
    boxes = [(map_ > 0)[None] for map_ in maps]
    for method in ("ddt", "prm"):
        found, _ = segment(method, photos, BARE, priors=maps, proposals=boxes, progress=False)
        assert all((one.mask == box[0].numpy()).mean() > 0.97 for some, box in zip(found, boxes, strict=True) for one in some)


def test_ddts_score_is_the_first_principal_component(bare, inputs):
    with torch.no_grad():
        features = torch.cat([bare.model(image).features for image in inputs]) + bare.model.center
        score = torch.cat([rival("ddt", bare, inputs).model(image).score for image in inputs])[:, 0]
    assert abs(float(score.mean())) < 1e-4 and abs(float(score.std(correction=0)) - 1) < 1e-4
    positive = ddt_prior(features) > 0
    assert torch.equal(score[score.abs() > 1e-4] > 0, positive[score.abs() > 1e-4])


def test_ddt_plus_is_positive_where_both_layers_are(bare, inputs):
    other = rival("ddt+", bare, inputs)
    first = rival("ddt", bare, inputs)
    stage = other.model.second_stage
    with torch.no_grad():
        middle = torch.cat([other.model.activations(image, stage) for image in inputs])
        seconds = torch.nn.functional.adaptive_avg_pool2d(middle, first.model(inputs[0]).score.shape[2:])
        weight, bias = principal_component(seconds)
        second = seconds.movedim(1, -1) @ weight + bias
        lower = torch.minimum(torch.cat([first.model(image).score for image in inputs])[:, 0], second)
        score = torch.cat([other.model(image).score for image in inputs])[:, 0]
        from_middle = torch.cat([other.model.forward_from(one[None], stage).score for one in middle])[:, 0]
    assert torch.allclose(score, lower, atol=1e-4) and torch.allclose(score, from_middle, atol=1e-4)


def test_heat_maps_go_back_through_the_lower_score(bare, inputs):
    other = rival("ddt+", bare, inputs)
    for stage in (None, "middle"):
        maps = peak_response_maps(other.model, inputs[0], torch.tensor([[1, 2]]), stop=stage)
        assert maps.shape == (1, 128, 128) and float(maps.sum()) != 0
    with pytest.raises(ValueError, match=r"ddt\+ reads heat maps at 'blocks.4' \('middle'\) or at the image"):
        other.model.forward_from(torch.zeros(1, 24, 32, 32), "blocks.1")


def test_prms_score_is_the_response_of_the_recognised_classes(photos, inputs, monkeypatch):
    """With one class shared, cells are ordered by that class's logit less the mean over all classes."""
    from co3lib.backbones import build_both
    from co3lib.beyond import methods

    only = torch.zeros(1000)
    only[281] = 1
    monkeypatch.setattr(methods, "shared_classes", lambda likely: only)
    segmenter = prm(photos, SMALL, progress=False)
    backbone, classifier = build_both(*SMALL.network)
    with torch.no_grad():
        logits = torch.cat([classifier(backbone(image)) for image in inputs])
        score = torch.cat([segmenter.model(image).score for image in inputs])[:, 0]
    wanted = logits[:, 281] - logits.mean(1)
    assert np.corrcoef(score.flatten(), wanted.flatten())[0, 1] > 0.9999
    assert len(segmenter.partners) == 3


def test_bad_input_is_one_sentence(photos, bare, inputs):
    with pytest.raises(ValueError, match="method must be one of"):
        segment("unet", photos, SMALL)
    with pytest.raises(ValueError, match="photos has 3"):
        segment("components", photos, SMALL, priors=[torch.zeros(4, 4)])
    with pytest.raises(RuntimeError, match="has not been fitted"):
        rival("ddt", CoSegmenter(SMALL), inputs)
    with pytest.raises(ValueError, match="method must be one of"):
        rival("prm", bare, inputs)


def test_a_network_without_a_middle_is_refused_by_ddt_plus(bare):
    from co3lib.backbones import build_backbone
    from co3lib.model import CoPeakNet

    model = CoPeakNet(build_backbone("vgg16_pool5", "random"))
    model.backbone.middle_stage = None
    with pytest.raises(ValueError, match="needs a network with a stage of stride 16"):
        IntersectedNet(model)
