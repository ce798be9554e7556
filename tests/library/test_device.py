"""Where networks compute. What needs a GPU is skipped where there is none; that nothing is left behind on the CPU is seen on
torch's device "meta", which refuses tensors of another."""

import pytest
import torch

from co3lib import CoSegConfig, CoSegmenter, demo_set
from co3lib.backbones import build_both
from co3lib.beyond.methods import METHODS, segment
from co3lib.device import device_of
from co3lib.evaluation import evaluate
from co3lib.model import CoPeakNet
from co3lib.training import total_loss

PHOTOS = 3
SALIENCY, SCORE = 1e-3, 0.02
"""How far a GPU may be from the CPU: in co-saliency after training, and in AP and CorLoc."""


def test_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device_of(None) == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"one that this machine has, got 'cuda'; torch sees 0 GPUs"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_of(None) == torch.device("cuda") and device_of("cuda:0").index == 0
    with pytest.raises(ValueError, match=r"got 'cuda:1'; torch sees 1 GPUs"):
        device_of("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", 3])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=r'device must be "cpu", "cuda" or "cuda:N", got'):
        CoSegmenter(device=name)


@pytest.mark.parametrize("form", ["released", "published"])
def test_a_step_of_training_is_on_one_device(form):
    backbone, classifier = build_both()
    model = CoPeakNet(backbone).to("meta")
    # The co-peak loss asks for values, which "meta" does not have.
    config = CoSegConfig(copeak_weight=0, loss_form=form)
    images = torch.rand(2, 3, 128, 128)
    assert model.activations(images, None) is images
    activations = model.activations(images, "middle")
    output = model.forward_from(torch.rand(activations.shape), "middle")
    big = model.saliency_at_image_size(output.score, (128, 128))
    total = total_loss(output, big, torch.rand(2, 1, 128, 128, device="meta"), config).total
    total.backward()
    assert total.device.type == classifier.to("meta")(output.features).device.type == "meta"
    with pytest.raises(RuntimeError, match="device"):
        total_loss(output, big, torch.rand(2, 1, 128, 128), config)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_the_same(method):
    samples = demo_set("collage")["cat"][:PHOTOS]
    photos, truth = [sample.image_path for sample in samples], [sample.masks for sample in samples]
    config = CoSegConfig(input_size=224, epochs=2, peak_scales=(1.0, 2.0))
    found = [segment(method, photos, config, progress=False, device=device)[0] for device in ("cpu", "cuda")]
    one, other = (evaluate(instances, iter(truth)) for instances in found)
    assert all(abs(one[name] - other[name]) <= SCORE for name in one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_on_a_gpu_gives_the_same_saliency(tmp_path):
    photos = [sample.image for sample in demo_set("collage")["cat"][:PHOTOS]]
    config = CoSegConfig(input_size=224, epochs=2, peak_scales=(1.0,))
    segmenters = [CoSegmenter(config, device).fit(photos, progress=False) for device in ("cpu", "cuda")]
    segmenters[1].save(tmp_path / "gpu.safetensors")
    segmenters.append(CoSegmenter.load(tmp_path / "gpu.safetensors"))
    batch = torch.rand(1, 3, 224, 224)
    first, *others = (segmenter.model(batch).saliency.cpu() for segmenter in segmenters)
    assert all((first - other).abs().max() <= SALIENCY for other in others)
