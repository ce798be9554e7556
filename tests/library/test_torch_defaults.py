"""The caller's settings of torch do not change what the library gives, and are as they were afterwards."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from co3course.figures import trace_pipeline
from co3course.metrics import class_result, photo_results
from co3lib import correlation, evaluation, losses, peak_backprop, peaks, proposals, ranking, saliency
from co3lib.backbones import build_backbone, build_dense_classifier
from co3lib.beyond import priors
from co3lib.beyond.baselines import connected_components, dff_head
from co3lib.datasets import demo_set
from co3lib.experiment import Experiment, run_experiment
from co3lib.instance import Instance
from co3lib.model import CoPeakNet, upsample
from co3lib.segmentation import CoSegConfig, CoSegmenter


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


STATES = {
    "float64": lambda: default_dtype(torch.float64),
    "meta": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
SMALL = CoSegConfig(
    weights="random", input_size=128, mask_size=128, epochs=2, max_proposals=60, peak_scales=(1.0, 2.0), prior_scales=(1.0,)
)
PHOTOS = [sample.image for sample in demo_set("collage")["cat"][:3]]


def each(states):
    return pytest.mark.parametrize("state", states)


def numbers(value):
    """Everything in a result that can be compared, as arrays."""
    if isinstance(value, torch.Tensor):
        return [value.detach().numpy()]
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Instance):
        return numbers([value.mask, value.score, value.peak, value.box])
    if isinstance(value, (list, tuple)):
        return [array for one in value for array in numbers(one)]
    return [np.asarray(value)]


def same(actual, expected):
    actual, expected = numbers(actual), numbers(expected)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# -------------------------------------------------------------------------------------------------- the whole method


def whole():
    segmenter = CoSegmenter(SMALL).fit(PHOTOS, progress=False)
    return segmenter, segmenter.predict(PHOTOS, progress=False)


@pytest.fixture(scope="module")
def expected():
    return whole()


@each(STATES)
def test_fit_and_predict_give_the_same(state, expected):
    with STATES[state]():
        segmenter, found = whole()
        assert state != "float64" or torch.get_default_dtype() == torch.float64
    assert segmenter.history == expected[0].history
    assert sum(map(len, found)) > 0
    same(found, expected[1])
    same(segmenter.predict(PHOTOS, progress=False), expected[1])  # also once the state is left


@contextmanager
def everything():
    with default_dtype(torch.float64), default_device("meta"), torch.no_grad():
        yield


def test_what_is_kept_gives_the_same(expected, tmp_path):
    priors = [np.asarray(photo.mean(2) / 255) for photo in PHOTOS]
    plain = CoSegmenter(SMALL).fit(PHOTOS, priors, progress=False)
    with everything():
        fitted = CoSegmenter(SMALL).fit(PHOTOS, [torch.from_numpy(one) for one in priors], tmp_path / "half", progress=False)
        expected[0].save(tmp_path / "kept")
        loaded = CoSegmenter.load(tmp_path / "kept")
        found = loaded.predict(PHOTOS, progress=False)
        trace = trace_pipeline(loaded, PHOTOS[0])
    assert fitted.history == plain.history
    same(found, expected[1])
    same(loaded.predict(PHOTOS[:1], progress=False), expected[0].predict(PHOTOS[:1], progress=False))
    same(trace.heat, trace_pipeline(expected[0], PHOTOS[0]).heat)


def test_an_error_leaves_the_settings_as_they_were():
    with everything():
        with pytest.raises(ValueError, match="at least one photo"):
            CoSegmenter(SMALL).fit([])
        assert torch.zeros(1).dtype == torch.float64 and torch.zeros(1).device.type == "meta"
        assert not torch.is_grad_enabled()
    assert torch.zeros(1).dtype == torch.float32 and torch.zeros(1).device.type == "cpu"


def test_an_experiment_is_the_same(tmp_path):
    experiment = Experiment(set="collage", classes=("cup",), photos=2, seeds=(0,), config=SMALL)
    plain = run_experiment(experiment, tmp_path / "plain", progress=False).drop(columns="s a photo")
    with everything():
        table = run_experiment(experiment, tmp_path / "state", progress=False).drop(columns="s a photo")
    assert table.equals(plain)


# --------------------------------------------------------------------------------------------------------- the parts


def parts() -> dict:
    """Name -> a call of a public function."""
    draw = np.random.default_rng(0)
    features, other = (torch.from_numpy(draw.random((2, 6, 4, 5), np.float32) - 0.3) for _ in range(2))
    small, big = (torch.from_numpy(draw.random((2, 1, *size), np.float32)) for size in ((4, 5), (32, 40)))
    masks = draw.random((4, 32, 40)) < 0.3
    heat, cosaliency = torch.from_numpy(draw.random((3, 32, 40), np.float32)), big[0, 0]
    ts = correlation.correlate(features, other)
    photo = PHOTOS[0][:64, :80]
    samples = demo_set("collage")["cat"][:2]
    found = [[Instance(one, 0.5 + k / 7, (0, 0), (0, 0, 40, 32)) for k, one in enumerate(masks)]] * 2

    def network():
        model = CoPeakNet(build_backbone(weights="random"))
        model.head.weight.data.fill_(0.1)
        return model

    image = torch.from_numpy(PHOTOS[1][:64, :64].copy()).movedim(-1, 0)[None].float() / 255
    return {
        "normalize": lambda: correlation.normalize_features(features),
        "score_peaks": lambda: peaks.score_peaks(small),
        "copeaks": lambda: peaks.copeaks(ts),
        "peak_cells": lambda: peaks.peak_cells(peaks.score_peaks(small)[0, 0], small[0, 0]),
        "no peak_cells": lambda: peaks.peak_cells(np.zeros((3, 4), bool), np.zeros((3, 4))),
        "votes": lambda: peaks.copeak_votes(features[:1], other),
        "saliency_loss": lambda: losses.saliency_loss(small, small.flip(0)),
        "copeak_loss": lambda: [losses.copeak_loss(ts, form) for form in losses.FORMS],
        "affinity_loss": lambda: [losses.affinity_loss(features, small, form=form) for form in losses.FORMS],
        "upsample": lambda: upsample(small, 8),
        "features": lambda: network()(image).features,
        "recognizer": lambda: build_dense_classifier(weights="random")(
            torch.ones(1, 192, 2, 2, dtype=torch.float32, device="cpu")
        ),
        "heat": lambda: peak_backprop.peak_response_maps(network(), image, np.array([[0, 1], [1, 1]])),
        "contours": lambda: ranking.contours(masks),
        "rank": lambda: ranking.rank_proposals(heat, cosaliency, masks),
        "nms": lambda: ranking.mask_nms(masks, [0.5, 0.2, 0.9, 0.1]),
        "noise_filter": lambda: ranking.noise_filter([[0.5, 0.2], [0.1], []]),
        "average_precision": lambda: evaluation.average_precision([masks], [[0.3, 0.1, 0.2, 0.1]], [masks[1:]]),
        "nothing found": lambda: evaluation.average_precision([[]], [[]], [masks]),
        "corloc": lambda: evaluation.corloc([(0, 0, 4, 4.1)], [[(0, 0, 4, 8.2)]]),
        "best_box": lambda: evaluation.best_box(found[0]),
        "mask_boxes": lambda: evaluation.mask_boxes(masks),
        "prior": lambda: saliency.saliency_prior(photo),
        "a prior of nothing": lambda: saliency.saliency_prior(np.zeros((20, 30, 3), np.uint8)),
        "ddt_prior": lambda: priors.ddt_prior(features, [photo, photo[:, ::-1]]),
        "propose": lambda: proposals.propose(photo, 30),
        "components": lambda: connected_components(big[0, 0]),
        "dff": lambda: dff_head(features.abs(), 2, 5),
        "samples": lambda: [(sample.masks, sample.image) for sample in samples],
        "class_result": lambda: list(class_result(photo_results(samples, [[], []])).average_precision.values()),
    }


@each(["float64", "meta", "inference_mode"])
def test_parts_give_the_same(state):
    calls = parts()
    expected = {name: call() for name, call in calls.items()}
    with STATES[state]():
        actual = {name: call() for name, call in calls.items()}
    for name, value in expected.items():
        same(actual[name], value)
