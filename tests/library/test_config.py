from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from co3lib.config import CoSegConfig


def test_the_released_settings_are_the_authors():
    config = CoSegConfig.released()
    # Network and training
    assert (config.input_size, config.center_features, config.prior) == (448, False, "single")
    assert (config.epochs, config.batch_size, config.learning_rate) == (40, 6, 1e-6)
    assert (config.optimizer, config.frozen_until, config.init_head) == ("released", None, False)
    # Losses
    assert (config.saliency_weight, config.copeak_weight, config.affinity_weight, config.alpha) == (
        1,
        0.5,
        0.1,
        4,
    )
    assert config.loss_form == "released"
    # Segmentation
    assert (config.peak_source, config.heat_map_stage, config.rank_with_saliency) == ("score", None, True)
    assert config.group_peaks is False
    assert (config.prior_scales, config.peak_scales, config.ranking, config.refine_masks) == ((1,), (1,), "released", False)
    assert (config.beta, config.gamma, config.nms_iou, config.noise_percentile) == (0.8, 1e-5, 0.4, 20)
    # At the photo's own size, from all proposals, resized as their imresize does
    assert (config.mask_size, config.max_proposals, config.interpolation) == (None, None, "bicubic")


def test_the_published_form_differs_in_peaks_and_losses():
    config, released = CoSegConfig.published(epochs=3), CoSegConfig.released(epochs=3)
    changed = {name for name in CoSegConfig.model_fields if getattr(config, name) != getattr(released, name)}
    assert changed == {"peak_source", "max_partners", "loss_form"}
    assert (config.peak_source, config.max_partners, config.loss_form) == ("copeak", None, "published")
    assert CoSegConfig.published(loss_form="released", max_partners=7) == CoSegConfig.released(
        peak_source="copeak", max_partners=7
    )


def test_the_default_ranks_small_photos_with_a_thousand_proposals():
    config = CoSegConfig()
    assert (config.mask_size, config.max_proposals, config.max_partners, config.interpolation) == (448, 1000, 20, "bilinear")


def test_released_settings_with_changes():
    config = CoSegConfig.released(backbone="vgg16_fc6", epochs=3)
    assert config == CoSegConfig.released().model_copy(update={"backbone": "vgg16_fc6", "epochs": 3})


@pytest.mark.parametrize("make", [CoSegConfig, CoSegConfig.released])
def test_unknown_names_are_refused(make):
    with pytest.raises(ValidationError, match="learning_rat"):
        make(learning_rat=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": 450},
        {"input_size": 32},
        {"batch_size": 5},
        {"batch_size": 0},
        {"epochs": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"optimizer": "sgd"},
        {"loss_form": "new"},
        {"peak_source": "saliency"},
        {"prior": "none"},
        {"prior_scales": ()},
        {"prior_scales": (2.0,)},
        {"prior_scales": (1.0, 9.0)},
        {"peak_scales": ()},
        {"peak_scales": (1.5, 1.0)},
        {"peak_scales": (1.0, 0.2)},
        {"peak_scales": (0.5, 1.0)},
        {"group_peaks": "some"},
        {"ranking": "paper"},
        {"ranking": "fit_contrast", "rank_with_saliency": False},
        {"nms_iou": 1.5},
        {"nms_iou": float("nan")},
        {"noise_percentile": 101.0},
        {"noise_percentile": -1.0},
        {"beta": -0.1},
        {"gamma": float("nan")},
        {"gamma": float("inf")},
        {"alpha": float("inf")},
        {"learning_rate": float("inf")},
        {"max_proposals": 0},
        {"mask_size": 63},
        {"max_partners": 0},
        {"interpolation": "nearest"},
        {"stride": 0},
        {"seed": -1},
        {"epochs": "many"},
    ],
    ids=str,
)
def test_impossible_values_are_named(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        CoSegConfig(**change)


def test_a_configuration_does_not_change():
    config = CoSegConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 3
    assert hash(config) == hash(CoSegConfig())


@pytest.mark.parametrize(
    "config",
    [CoSegConfig(), CoSegConfig.released(), CoSegConfig.published(), CoSegConfig(frozen_until=None, stride=8)],
    ids=str,
)
def test_a_configuration_survives_a_file(config):
    assert CoSegConfig.model_validate_json(config.model_dump_json()) == config


def test_sizes_are_multiples_of_the_stride():
    assert CoSegConfig().prior_sizes == [448, 672, 896]
    assert CoSegConfig(input_size=96, prior_scales=(1.0, 1.5)).prior_sizes == [96, 128]
    assert CoSegConfig.released().prior_sizes == [448]
    assert CoSegConfig(input_size=96, peak_scales=(1.0, 1.5, 2.0)).peak_sizes == [96, 128, 192]
    assert CoSegConfig.released().peak_sizes == [448]


def test_weights_may_be_a_path(tmp_path):
    config = CoSegConfig(weights=tmp_path / "a.safetensors")
    assert config.weights == str(tmp_path / "a.safetensors")
    assert CoSegConfig.model_validate_json(config.model_dump_json()) == config
    assert CoSegConfig.released(weights=Path("w.pth")).weights == "w.pth"
    with pytest.raises(ValueError, match="weights"):
        CoSegConfig(weights=3)


def test_the_default_has_scales_above_and_below_that_of_training():
    config = CoSegConfig()
    assert config.peak_sizes == [448, 224, 320, 672, 896, 1344]
    assert config.group_peaks
    # The classifier sees all of them but the largest, and the prior's first.
    assert config.classifier_sizes == [448, 672, 896, 224, 320]
    assert CoSegConfig(prior_scales=(1.0,)).classifier_sizes == [448, 224, 320]
    assert CoSegConfig(peak_scales=(1.0,)).classifier_sizes == [448, 672, 896]


def test_a_small_photo_is_seen_once_in_every_size_and_never_in_none():
    assert CoSegConfig(input_size=64).peak_sizes == [64, 32, 96, 128, 192]
    assert CoSegConfig(input_size=64, peak_scales=(1.0, 0.25)).peak_sizes == [64, 32]
    assert CoSegConfig(input_size=64, prior_scales=(1.0, 1.1, 1.5)).prior_sizes == [64, 96]
