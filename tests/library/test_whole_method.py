"""The whole method against a slow writing of it: photos through every stage, by loops and numpy (``tests/naive.py``), so that
a setting that does not arrive where it belongs, or a stage that is handed another's result, is seen."""

from __future__ import annotations

import naive
import numpy as np
import pytest
import torch
from torch import nn

from co3lib import segmentation
from co3lib.backbones import Backbone
from co3lib.beyond.region_ranking import RegionRanker
from co3lib.datasets.images import resize_image, resize_maps
from co3lib.inference import find_peaks
from co3lib.peak_backprop import enlarge
from co3lib.proposals import regions_of
from co3lib.segmentation import CoSegConfig, CoSegmenter
from co3lib.selection import rank

MEAN, STD = np.array([0.4, 0.5, 0.3]), np.array([0.2, 0.3, 0.25])
SIDE, STRIDE = 64, 8
SIZES = [(45, 60), (66, 50), (52, 52)]
KEPT: dict = {}  # heat maps already made, by weights, stage, photo and cell: they are what takes long


def small_backbone(*_) -> Backbone:
    """Two stages and a grid of 8 x 8 cells."""
    generator = torch.Generator().manual_seed(4)
    first, second = nn.Conv2d(3, 3, 4, stride=4), nn.Conv2d(3, 5, 3, padding=1)
    with torch.no_grad():
        for parameter in (*first.parameters(), *second.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    stages = {"first": nn.Sequential(first, nn.ReLU()), "second": nn.Sequential(second, nn.ReLU(), nn.MaxPool2d(2))}
    return Backbone("small", stages, MEAN.tolist(), STD.tolist())


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    monkeypatch.setattr(segmentation, "build_backbone", small_backbone)


def photos() -> list[np.ndarray]:
    """Smooth, so that resizing to eight bits rounds alike in any precision."""
    made = []
    for k, size in enumerate(SIZES):
        noise = np.random.default_rng(k).random((3, 7, 6))
        made.append(np.moveaxis(np.array([255 * naive.bilinear(one, size) for one in noise]), 0, 2).round().astype(np.uint8))
    return made


def masks(k: int, count: int = 14) -> np.ndarray:
    """Rectangles of any size, at the photo's; the third covers too much, the fourth nothing."""
    height, width = SIZES[k]
    draw = np.random.default_rng(10 + k)
    made = np.zeros((count, height, width), bool)
    for one in made:
        top, left = draw.integers(0, height - 8), draw.integers(0, width - 8)
        one[top : top + draw.integers(6, 30), left : left + draw.integers(6, 34)] = True
    made[2], made[3] = True, False
    return made


def priors() -> list[torch.Tensor]:
    noise = [np.random.default_rng(20 + k).random((4, 5)) for k in range(len(SIZES))]
    return [torch.from_numpy(naive.bilinear(one, size)) for one, size in zip(noise, SIZES, strict=True)]


# The slow writing


class Slow:
    """The network and the method, from the weights of a fitted segmenter and its configuration."""

    def __init__(self, weights: dict[str, torch.Tensor], config: CoSegConfig):
        w = {key: value.double().numpy() for key, value in weights.items()}
        self.first = w["backbone.stages.first.0.weight"], w["backbone.stages.first.0.bias"]
        self.second = w["backbone.stages.second.0.weight"], w["backbone.stages.second.0.bias"]
        self.head, self.center = (w["head.weight"], w["head.bias"]), w["center"][0]
        self.config = config
        self.kept = KEPT.setdefault((b"".join(value.tobytes() for value in w.values()), config.heat_map_stage), {})

    def resize(self, values, size):
        return (naive.imresize if self.config.interpolation == "bicubic" else naive.bilinear)(values, size)

    def features(self, photo: np.ndarray) -> np.ndarray:
        """(5, 8, 8); what lies on the way is kept for the way back."""
        if self.config.interpolation == "bicubic":
            planes = [naive.imresize(photo[..., c].astype(float), (SIDE, SIDE)).round().clip(0, 255) for c in range(3)]
        else:
            planes = np.moveaxis(resize_image(photo, (SIDE, SIDE)), 2, 0)  # Pillow's, which has tests of its own
        self.input = (np.array(planes) / 255 - MEAN[:, None, None]) / STD[:, None, None]
        self.before_first = self.convolved(self.input, self.first, stride=4)
        self.middle = np.maximum(self.before_first, 0)
        self.before_second = self.convolved(self.middle, self.second, padding=1)
        self.pooled = np.maximum(self.before_second, 0)
        self.last = naive.max_pool(self.pooled) - self.center
        return self.last

    @staticmethod
    def convolved(values, layer, **geometry):
        return naive.conv2d(values[None], layer[0], **geometry)[0] + layer[1][:, None, None]

    def score(self, photo) -> np.ndarray:
        return self.convolved(self.features(photo), self.head)[0]

    def heat(self, i: int, j: int) -> np.ndarray:
        """The heat map of a cell of the photo last seen, at the stage where it is read."""
        key = self.input.tobytes(), i, j
        if key not in self.kept:
            self.kept[key] = self.sent_back(i, j)
        return self.kept[key]

    def sent_back(self, i: int, j: int) -> np.ndarray:
        grad = np.zeros((1, 1, *self.last.shape[1:]))
        grad[0, 0, i, j] = 1
        grad = naive.peak_rule(self.last[None], self.head[0], grad)[0]
        grad = naive.max_pool_back(self.pooled, grad) * (self.before_second > 0)
        grad = naive.peak_rule(self.middle[None], self.second[0], grad[None], padding=1)[0]
        if self.config.heat_map_stage == "first":
            return grad.sum(0)
        grad = grad * (self.before_first > 0)
        return naive.peak_rule(self.input[None], self.first[0], grad[None], stride=4)[0].sum(0)

    def weighted(self, photo) -> np.ndarray:
        score = self.score(photo)
        return naive.normalize_features(self.last[None]) / (1 + np.exp(-score))

    def seeds(self, photo, others) -> list[tuple[int, int]]:
        """Best first."""
        score = self.score(photo)
        height, found = score, naive.score_peaks(score[None, None])[0, 0]
        if self.config.peak_source == "copeak" and others:
            own, votes = self.weighted(photo), np.zeros(score.shape)
            for other in others:
                votes += naive.peaks(naive.correlate(own, self.weighted(other)))[0].any((2, 3))
            height = votes + 1 / (1 + np.exp(-score))
            found = naive.regional_maxima(height) & (votes > 0)
        return sorted(map(tuple, np.argwhere(found).tolist()), key=lambda cell: -height[cell])

    def candidates(self, photo, others, proposals):
        """One photo's masks, scores and peaks before the noise filter, at mask size."""
        config = self.config
        cells = self.seeds(photo, others)
        score = self.score(photo)
        size = photo.shape[:2]
        if config.mask_size and max(size) > config.mask_size:
            size = tuple(round(one * config.mask_size / max(size)) for one in size)
        saliency = self.resize(1 / (1 + np.exp(-naive.bilinear_upsample(score, STRIDE))), size)
        proposals = np.array([naive.nearest(one, size) for one in proposals[: config.max_proposals]])
        heat = np.array([self.resize(one := self.heat(i, j), size) * one.size for i, j in cells])
        if config.ranking == "fit_contrast":
            heat = heat / (size[0] * size[1])  # sums kept
            flat, labels = np.unique(proposals.reshape(len(proposals), -1), axis=1, return_inverse=True)
            scores = naive.distinct_scores(heat, saliency, labels.reshape(size), flat, config.beta, config.gamma)
        else:
            heat = heat / SIDE**2  # values kept: those of the network's input
            guide = saliency if config.rank_with_saliency else np.ones(size)
            scores = naive.rank_scores(heat * guide, guide, proposals, config.beta, config.gamma)
        chosen, best = proposals[scores.argmax(1)], scores.max(1)
        kept = naive.mask_nms(chosen, best, config.nms_iou)
        grid = np.array(score.shape)
        return chosen[kept], best[kept], [tuple(((np.array(cells[k]) + 0.5) * size / grid).astype(int)) for k in kept]

    def predict(self, images, proposals):
        partners = images[: self.config.max_partners]
        every = [
            self.candidates(photo, [one for one in partners if one is not photo], given)
            for photo, given in zip(images, proposals, strict=True)
        ]
        keep = naive.noise_filter([scores for _, scores, _ in every], self.config.noise_percentile)
        found = []
        for photo, (chosen, scores, peaks), kept in zip(images, every, keep, strict=True):
            scale = np.array(photo.shape[:2]) / chosen.shape[1:]
            found.append(
                [(naive.nearest(chosen[k], photo.shape[:2]), scores[k], tuple((peaks[k] * scale).astype(int).tolist()))
                 for k in np.flatnonzero(kept)]
            )  # fmt: skip
        return found


# Fitted and asked

PLAIN = {"input_size": SIDE, "epochs": 3, "batch_size": 2, "learning_rate": 0.03}
CHANGED = {"beta": 0.3, "gamma": 2e-3, "nms_iou": 0.6, "noise_percentile": 55.0, "max_proposals": 11}
CONFIGURATIONS = {
    "released": CoSegConfig.released(**PLAIN),
    "released, other numbers": CoSegConfig.released(**PLAIN, **CHANGED),
    "much contour": CoSegConfig.released(**PLAIN, beta=0.01, gamma=1e-4, nms_iou=0.9, noise_percentile=0),
    "much background": CoSegConfig.released(**PLAIN, gamma=0.05, nms_iou=1.0, noise_percentile=80.0),
    "without co-saliency": CoSegConfig.released(**PLAIN, rank_with_saliency=False, gamma=1e-3),
    "mask size": CoSegConfig.released(**PLAIN, mask_size=64, gamma=1e-3, max_proposals=9),
    "heat from a stage": CoSegConfig.released(**PLAIN, heat_map_stage="first", gamma=1e-3),
    "centred": CoSegConfig.released(**PLAIN, center_features=True, gamma=1e-3),
    "published": CoSegConfig.published(**PLAIN),
    "co-peaks with one": CoSegConfig.released(**PLAIN, peak_source="copeak", max_partners=1, gamma=1e-3),
    "bilinear": CoSegConfig.released(**PLAIN, interpolation="bilinear", gamma=1e-3),
    "distinct": CoSegConfig.released(**PLAIN, ranking="fit_contrast", interpolation="bilinear", beta=2.0, gamma=1e-6),
}


def fitted(config: CoSegConfig, **more) -> CoSegmenter:
    return CoSegmenter(config).fit(photos(), priors=priors(), progress=False, **more)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_from_photos_to_instances(name):
    config = CONFIGURATIONS[name]
    segmenter = fitted(config)
    images, proposals = photos(), [masks(k) for k in range(3)]
    expected = Slow(segmenter.model.state_dict(), config).predict(images, proposals)
    found = segmenter.predict(images, [torch.from_numpy(one) for one in proposals], progress=False)
    assert sum(map(len, expected)) >= 3
    for instances, wanted in zip(found, expected, strict=True):
        assert len(instances) == len(wanted)
        for one, (mask, score, peak) in zip(instances, wanted, strict=True):
            assert one.score == pytest.approx(score, rel=2e-3, abs=1e-7)
            assert one.peak == peak
            np.testing.assert_array_equal(one.mask, mask)


def test_the_settings_above_matter():
    """Each changed number alone changes what comes out, so none of them can be lost on the way."""
    segmenter = fitted(CONFIGURATIONS["released"])
    proposals = [torch.from_numpy(masks(k)) for k in range(3)]

    def found_with(**changes):
        segmenter.config = CONFIGURATIONS["released, other numbers"].model_copy(update=changes)
        return [(one.score, one.mask.tobytes()) for found in segmenter.predict(photos(), proposals, False) for one in found]

    plain = CoSegConfig.released()
    for key in CHANGED:
        assert found_with() != found_with(**{key: getattr(plain, key)}), key
    for key, value in (
        ("interpolation", "bilinear"),
        ("mask_size", 64),
        ("rank_with_saliency", False),
        ("heat_map_stage", "first"),
    ):
        assert found_with() != found_with(**{key: value}), key


@pytest.mark.parametrize("form", ["released", "published"])
def test_from_photos_and_priors_to_the_losses(form):
    # The losses of the second epoch, at the weights after the first: the start is level and would hide alpha.
    weights = {"saliency_weight": 0.7, "copeak_weight": 0.9, "affinity_weight": 0.3, "alpha": 2.5}
    config = CoSegConfig.released(
        **PLAIN | weights | {"epochs": 2, "learning_rate": 0.3, "center_features": True, "loss_form": form}
    )
    states = {}
    images, given = photos()[:2], priors()[:2]

    def keep(epoch, model):
        states[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    segmenter = CoSegmenter(config).fit(images, given, progress=False, on_epoch=keep)
    assert not states[0]["head.weight"].any() and not states[0]["head.bias"].any()
    start = Slow(states[0], config)
    start.center = 0
    means = np.mean([start.features(photo).mean((1, 2)) for photo in images], 0)
    np.testing.assert_allclose(states[0]["center"].flatten(), means, rtol=1e-3, atol=1e-4)
    slow = Slow(states[1], config)
    scores = np.array([slow.score(photo) for photo in images])[:, None]
    small = 1 / (1 + np.exp(-scores))
    features = naive.normalize_features(np.array([slow.features(photo) for photo in images]))
    big = 1 / (1 + np.exp(-np.array([naive.bilinear_upsample(one[0], STRIDE) for one in scores])))[:, None]
    shown = np.array([naive.imresize(one.numpy(), (SIDE, SIDE)).clip(0, 1) for one in given])[:, None]
    weighted = features * small
    affinity = naive.affinity_loss_released if form == "released" else naive.affinity_loss_published
    expected = {
        "saliency": naive.saliency_loss(big, shown),
        "copeak": naive.copeak_loss(naive.correlate(weighted[:1], weighted[1:]), form),
        "affinity": affinity(features, small, config.alpha),
    }
    expected["total"] = 0.7 * expected["saliency"] + 0.9 * expected["copeak"] + 0.3 * expected["affinity"]
    assert abs(affinity(features, small, 4.0) / expected["affinity"] - 1) > 0.02  # alpha tells
    assert segmenter.history[1] == pytest.approx(expected, rel=2e-3)


# Parts that only the whole shows


def test_peaks_are_those_of_the_score_before_the_sigmoid():
    """In single precision the sigmoid is one from 17 on: there its peaks would be a plateau, or none."""
    segmenter = fitted(CONFIGURATIONS["released"])
    with torch.no_grad():
        output = segmenter.model(torch.zeros(1, 3, SIDE, SIDE))
        output.score.fill_(20.0)
        output.score[0, 0, 1, 2], output.score[0, 0, 6, 5] = 40.0, 30.0
    assert output.saliency.unique().numel() == 1
    assert find_peaks(output, segmenter.config, segmenter.partners).tolist() == [[1, 2], [6, 5]]


def test_the_released_code_sees_a_peak_in_every_cell_of_a_plateau():
    segmenter = fitted(CONFIGURATIONS["released"])
    with torch.no_grad():
        output = segmenter.model(torch.zeros(1, 3, SIDE, SIDE))
        output.score.zero_()
        output.score[0, 0, 2, 2:5], output.score[0, 0, 6, 6] = 1.0, 2.0
    cells = [[6, 6], [2, 2], [2, 3], [2, 4]]
    assert find_peaks(output, segmenter.config, segmenter.partners).tolist() == cells
    one = segmenter.config.model_copy(update={"ranking": "fit_contrast"})
    assert find_peaks(output, one, segmenter.partners).tolist() == [cells[0], cells[2]]


@pytest.mark.parametrize("size", [(45, 60), (600, 800), (31, 97), (448, 448), (1, 3)])
def test_bicubic_is_matlabs_imresize(size):
    values = np.random.default_rng(1).random((2, 64, 64))
    resized = resize_maps(torch.from_numpy(values), size, "bicubic").numpy()
    for one, other in zip(resized, values, strict=True):
        np.testing.assert_allclose(one, naive.imresize(other, size), atol=1e-12)
    photo = (255 * np.moveaxis(np.random.default_rng(2).random((3, 64, 64)), 0, 2)).astype(np.uint8)
    rounded = resize_image(photo, size, "bicubic")
    assert rounded.dtype == np.uint8
    for c in range(3):
        exact = naive.imresize(photo[..., c].astype(float), size).clip(0, 255)
        assert np.abs(rounded[..., c] - exact).max() <= 0.5 + 1e-4


def test_scores_at_the_photos_size_are_those_of_the_authors_code():
    """Heat and co-saliency of 448 x 448 ranked at 600 x 800: what RunInstMaskGen.m computes under Octave."""
    y, x = torch.meshgrid(torch.arange(448.0), torch.arange(448.0), indexing="ij")
    saliency = (4 * torch.sin(x / 70) * torch.cos(y / 90)).sigmoid()
    bumps = ((8e-5, 150, 200, 3000), (1.5e-4, 320, 100, 800))
    heat = torch.stack([high * torch.exp(-((x - i) ** 2 + (y - j) ** 2) / wide) for high, i, j, wide in bumps])
    boxes = (
        (150, 350, 180, 360), (200, 330, 210, 330), (60, 200, 500, 640),
        (100, 170, 540, 600), (0, 600, 0, 640), (230, 300, 230, 300),
    )  # fmt: skip
    proposals = torch.zeros(6, 600, 800, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(proposals, boxes, strict=True):
        mask[top:bottom, left:right] = True
    theirs = [
        [-0.031774041, 0.00051247256, -0.15614293, -0.034876195, -1.6640633, 0.0052570957],
        [-0.25983206, -0.12869557, -0.029848921, 0.035865399, -1.8545566, -0.042371759],
    ]
    regions = regions_of(proposals)
    ranker = RegionRanker(regions.labels, regions.members)
    large = resize_maps(saliency[None], (600, 800), "bicubic")[0]
    released = CoSegConfig.released()
    scores = rank(enlarge(heat, (600, 800), "bicubic"), large, ranker, released)
    torch.testing.assert_close(scores.double(), torch.tensor(theirs, dtype=torch.float64), rtol=1e-3, atol=2e-5)
    assert scores.argmax(1).tolist() == [5, 3]
    # On a photo of twice the side the heat is four times as much, as the background is.
    bare = released.model_copy(update={"gamma": 0.0})
    once = rank(enlarge(heat, (600, 800), "bicubic"), large, ranker, bare)
    double = RegionRanker(regions.labels.repeat_interleave(2, 0).repeat_interleave(2, 1), regions.members)
    large = resize_maps(saliency[None], (1200, 1600), "bicubic")[0]
    twice = rank(enlarge(heat, (1200, 1600), "bicubic"), large, double, bare)
    torch.testing.assert_close(twice[:, 4], 4 * once[:, 4], rtol=0.02, atol=0)
