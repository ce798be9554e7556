from __future__ import annotations

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import close, load
from strategies import examples, random, uniform
from torch import nn
from torch.nn import functional

from co3lib.backbones import Backbone, build_backbone
from co3lib.model import CoPeakNet
from co3lib.peak_backprop import PeakRule, enlarge, peak_conv2d, peak_response_maps, response_maps_from

# stride, padding, dilation, groups, input channels, output channels, kernel
SETTINGS = {
    "plain": (1, 0, 1, 1, 3, 4, (3, 3)),
    "padded": (1, 1, 1, 1, 3, 4, (3, 3)),
    "strided": (2, 1, 1, 1, 2, 3, (3, 3)),
    "strided, last rows unseen": (3, 0, 1, 1, 2, 3, (2, 2)),
    "dilated": (1, 2, 2, 1, 2, 3, (3, 3)),
    "strided and dilated": (2, 2, 2, 1, 2, 2, (3, 3)),
    "grouped": (1, 1, 1, 2, 4, 6, (3, 3)),
    "depthwise": (1, 1, 1, 3, 3, 3, (3, 3)),
    "depthwise, strided, multiplied": (2, 1, 1, 2, 2, 4, (3, 3)),
    "one by one": (1, 0, 1, 1, 4, 3, (1, 1)),
    "oblong": (1, 0, 1, 1, 2, 2, (1, 4)),
    "one output cell": (1, 0, 1, 1, 2, 3, (6, 7)),
}


def backwards(values: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor, **options) -> torch.Tensor:
    values = values.detach().requires_grad_()
    return torch.autograd.grad(peak_conv2d(values, weight, **options), values, grad)[0]


def layer(name: str, batch: int = 1, seed: int = 0):
    """Input (of both signs), weight, gradient at the output and the options of one of SETTINGS."""
    stride, padding, dilation, groups, channels, outputs, kernel = SETTINGS[name]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    values = random(batch, channels, 6, 7, seed=seed)
    weight = random(outputs, channels // groups, *kernel, seed=seed + 1)
    grad = random(*functional.conv2d(values, weight, **options).shape, seed=seed + 2)
    return values, weight, grad, options


def test_rule_of_the_authors_code():
    authors = load()
    actual = backwards(authors["prm_input"], authors["prm_weight"], authors["prm_grad_output"], padding=1)
    close(actual, authors["prm_grad_input"])


@pytest.mark.parametrize("name", SETTINGS)
def test_forwards_it_is_a_convolution(name):
    values, weight, _, options = layer(name, batch=2)
    expected = functional.conv2d(values, weight, **options)
    close(peak_conv2d(values, weight, **options), expected)
    close(expected, naive.conv2d(values.numpy(), weight.numpy(), **options))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("batch", [1, 3])
def test_backwards_it_is_the_loops(name, batch):
    values, weight, grad, options = layer(name, batch=batch, seed=3)
    actual = backwards(values, weight, grad, **options)
    close(actual, naive.peak_rule(values.numpy(), weight.numpy(), grad.numpy(), **options))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_gradient_in_one_cell_is_the_loops_too(name, sign):
    # Backwards only the window that the gradient reaches is computed: in the corners, at the edges and inside.
    values, weight, grad, options = layer(name, seed=6)
    for row in range(grad.shape[2]):
        for column in (0, grad.shape[3] // 2, grad.shape[3] - 1):
            alone = torch.zeros_like(grad)
            alone[0, -1, row, column] = sign
            expected = naive.peak_rule(values.numpy(), weight.numpy(), alone.numpy(), **options)
            close(backwards(values, weight, alone, **options), expected)


@pytest.mark.parametrize("name", ["padded", "strided", "dilated", "depthwise"])
def test_pairs_as_options(name):
    values, weight, grad, options = layer(name, seed=4)
    pairs = {key: value if key == "groups" else (value, value) for key, value in options.items()}
    close(peak_conv2d(values, weight, **pairs), peak_conv2d(values, weight, **options))
    close(backwards(values, weight, grad, **pairs), backwards(values, weight, grad, **options))


@examples(25)
@given(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2), st.integers(0, 10**6))
def test_backwards_it_is_the_loops_for_any_geometry(stride, padding, dilation, groups, seed):
    values, weight = random(1, 2, 5, 6, seed=seed), random(2, 2 // groups, 2, 3, seed=seed + 1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    grad = random(*functional.conv2d(values, weight, **options).shape, seed=seed + 2)
    actual = backwards(values, weight, grad, **options)
    close(actual, naive.peak_rule(values.numpy(), weight.numpy(), grad.numpy(), **options))


def test_the_rule_by_hand():
    # One output sees 1 3 2 through 2 1 -5. Less the minimum 1 that is 0 2 1, the positive weights are 2 1 0,
    # so their products are 0 2 0 and all of the gradient goes to the middle.
    values = torch.tensor([1.0, 3.0, 2.0]).reshape(1, 1, 1, 3)
    weight = torch.tensor([2.0, 1.0, -5.0]).reshape(1, 1, 1, 3)
    assert peak_conv2d(values, weight).item() == -5.0
    close(backwards(values, weight, torch.full((1, 1, 1, 1), 0.6)).ravel(), torch.tensor([0.0, 0.6, 0.0]))


def test_two_layers_by_hand():
    # Second layer: 4 and 2 lifted to 2 and 0 (weights 1 and 3), so the peak's 1 goes to the first unit.
    # First layer: that unit sees 2 0 1, the minimum 0, through 1 1 2: shares 2 0 2 of 4.
    values = torch.tensor([2.0, 0.0, 1.0]).reshape(1, 3, 1, 1).requires_grad_()
    first = torch.tensor([[1.0, 1.0, 2.0], [1.0, 5.0, 0.0]]).reshape(2, 3, 1, 1)
    second = torch.tensor([[1.0, 3.0]]).reshape(1, 2, 1, 1)
    hidden = torch.relu(peak_conv2d(values, first))
    assert hidden.ravel().tolist() == [4.0, 2.0]
    score = peak_conv2d(hidden, second)
    assert score.item() == 10.0
    (heat,) = torch.autograd.grad(score, values, torch.ones_like(score))
    close(heat.ravel(), torch.tensor([0.5, 0.0, 0.5]))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_gradient_is_conserved(name):
    values, weight, grad, options = layer(name, seed=5)
    lifted = functional.conv2d(values - values.min(), weight.relu(), **options)
    passed = torch.where(lifted < 1e-10, 0, grad * lifted / (lifted.abs() + 1e-10))
    close(backwards(values, weight, grad, **options).sum(), passed.sum())
    # Where every output has support, all of it is passed on.
    assert (functional.conv2d(values - values.min(), weight.abs(), **options) > 0).all()
    close(backwards(values, weight.abs(), grad, **options).sum(), grad.sum())


def test_outputs_without_support_pass_nothing_on():
    values = uniform(1, 2, 4, 4, seed=6)
    weight = torch.stack([-uniform(2, 3, 3, seed=7), uniform(2, 3, 3, seed=8)])
    grad = torch.ones(1, 2, 2, 2, dtype=torch.float64)
    passed = backwards(values, weight, grad)
    assert torch.isfinite(passed).all()
    close(passed.sum(), grad[:, 1].sum())
    flat = backwards(torch.full((1, 2, 4, 4), 3.0, dtype=torch.float64), weight, grad)
    assert not flat.any()


def test_support_below_1e_10_is_none():
    weight, grad = torch.ones(1, 1, 1, 2).double(), torch.ones(1, 1, 1, 1).double()
    for support, passed in [(5e-11, 0.0), (1e-10, 1 / 2), (2e-10, 2 / 3)]:
        values = torch.tensor([0.0, support], dtype=torch.float64).reshape(1, 1, 1, 2)
        close(backwards(values, weight, grad).ravel(), torch.tensor([0.0, passed]))
        assert passed or not backwards(values, weight, grad).any()


def test_a_positive_gradient_stays_positive():
    values, weight, grad, options = layer("padded", seed=9)
    assert (backwards(values, weight, grad.abs(), **options) >= 0).all()


def test_only_the_gradient_at_the_output_scales_the_result():
    values, weight, grad, options = layer("padded", seed=10)
    expected = backwards(values, weight, grad, **options)
    close(backwards(values, weight, 3 * grad, **options), 3 * expected)
    close(backwards(values + 7, weight, grad, **options), expected)
    close(backwards(values * 5, weight * 2, grad, **options), expected)


def test_every_image_of_a_batch_has_its_own_minimum():
    values, weight, grad, options = layer("padded", batch=3, seed=11)
    values = values + torch.tensor([0.0, -50.0, 20.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    together = backwards(values, weight, grad, **options)
    for n in range(3):
        one = slice(n, n + 1)
        close(together[one], backwards(values[one], weight, grad[one], **options))


def test_peaks_side_by_side_are_the_peaks_alone():
    # The same photo once for every peak, each copy with the gradient of its own peak.
    values, weight, _, options = layer("padded", seed=12)
    peaks = [(0, 1, 2), (3, 5, 6), (2, 0, 0), (1, 3, 3)]
    grads = torch.zeros(len(peaks), 4, 6, 7, dtype=torch.float64)
    for q, place in enumerate(peaks):
        grads[(q, *place)] = 1
    together = backwards(values.expand(len(peaks), -1, -1, -1), weight, grads, **options)
    for q in range(len(peaks)):
        close(together[q : q + 1], backwards(values, weight, grads[q : q + 1], **options))


def test_several_gradients_through_one_graph():
    values, weight, grad, options = layer("strided", seed=13)
    values.requires_grad_()
    output = peak_conv2d(values, weight, **options)
    for scale in (1.0, -2.0):
        (passed,) = torch.autograd.grad(output, values, scale * grad, retain_graph=True)
        close(passed, backwards(values, weight, scale * grad, **options))


def test_the_input_is_left_alone():
    values, weight, grad, options = layer("padded", seed=14)
    before = values.clone(), weight.clone(), grad.clone()
    backwards(values, weight, grad, **options)
    for now, then in zip((values, weight, grad), before, strict=True):
        assert torch.equal(now, then)


def test_single_precision():
    values, weight, grad, options = layer("padded", seed=15)
    single = backwards(values.float(), weight.float(), grad.float(), **options)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), backwards(values, weight, grad, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "values, weight, options, name",
    [
        (torch.zeros(3, 4, 4), torch.zeros(2, 3, 3, 3), {}, "input"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.long), torch.zeros(2, 3, 3, 3), {}, "input"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 3, 3, dtype=torch.long), {}, "weight"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 3), {}, "weight"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 4, 3, 3), {}, "weight"),
        (torch.zeros(1, 4, 4, 4), torch.zeros(2, 4, 3, 3), {"groups": 2}, "weight"),
    ],
)
def test_bad_arguments_are_named(values, weight, options, name):
    with pytest.raises(ValueError, match=name):
        peak_conv2d(values, weight, **options)


# A whole network


def small_network(std: float = 1.0, seed: int = 0) -> CoPeakNet:
    """Convolution, ReLU, 2 x 2 max-pool, strided convolution, score; random, in double precision."""
    torch.manual_seed(seed)
    stages = {
        "first": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        "second": nn.Conv2d(4, 5, 3, stride=2, padding=1),
    }
    model = CoPeakNet(Backbone("small", stages, [0.4, 0.5, 0.6], [std] * 3))
    nn.init.normal_(model.head.weight)
    return model.double()


def loops(model: CoPeakNet, image: torch.Tensor, peak: tuple[int, int]) -> torch.Tensor:
    """The heat map of one peak of ``small_network``, layer by layer."""
    first, second, head = model.backbone.stages["first"][0], model.backbone.stages["second"], model.head
    kernels = [layer.weight.detach().numpy() for layer in (first, second, head)]
    x = ((image - model.backbone.mean) / model.backbone.std).numpy()
    a = naive.conv2d(x, kernels[0], padding=1) + first.bias.detach().numpy()[:, None, None]
    b = a.clip(min=0)
    channels, rows, columns = b.shape[1], b.shape[2] // 2, b.shape[3] // 2
    c = b[:, :, : 2 * rows, : 2 * columns].reshape(1, channels, rows, 2, columns, 2).max(axis=(3, 5))
    d = naive.conv2d(c, kernels[1], stride=2, padding=1) + second.bias.detach().numpy()[:, None, None]
    gradient = naive.conv2d(d, kernels[2]) * 0
    gradient[0, 0, peak[0], peak[1]] = 1
    gradient = naive.peak_rule(d, kernels[2], gradient)
    pooled = naive.peak_rule(c, kernels[1], gradient, stride=2, padding=1)
    gradient = b * 0
    for k, i, j in torch.cartesian_prod(*map(torch.arange, (channels, rows, columns))).tolist():
        block = b[0, k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y, x_ = divmod(int(block.argmax()), 2)
        gradient[0, k, 2 * i + y, 2 * j + x_] = pooled[0, k, i, j]
    gradient[a <= 0] = 0
    return torch.from_numpy(naive.peak_rule(x, kernels[0], gradient, padding=1)[0].sum(0))


def test_heat_maps_of_a_small_network_are_the_loops():
    model, image = small_network(seed=1), uniform(1, 3, 12, 10, seed=16)
    peaks = torch.tensor([[0, 0], [2, 2], [1, 2], [1, 1]])
    heat = peak_response_maps(model, image, peaks)
    assert heat.shape == (4, 12, 10)
    for one, peak in zip(heat, peaks.tolist(), strict=True):
        assert one.sum() > 0
        close(one, loops(model, image, peak))


@pytest.mark.parametrize("std", [1.0, 0.25])
def test_the_heat_is_read_at_the_network_input(std):
    # The normalised image is what the first layer sees; its scale must not change how much heat a peak has.
    model, image = small_network(std=std, seed=2), uniform(1, 3, 12, 12, seed=17)
    close(peak_response_maps(model, image, torch.tensor([[1, 1]]))[0], loops(model, image, (1, 1)))


# Additions


class Added(nn.Module):
    """Two branches of a stage's input, added; ``way`` is the spelling."""

    def __init__(self, way: str):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
        self.way = way

    def forward(self, x):
        first, second = self.first(x), self.second(x)
        if self.way == "+=":
            first += second
            return first
        if self.way == "reversed":
            return second + first
        if self.way == "add":
            return torch.add(first, second)
        return first.add(second) if self.way == ".add" else first + second


@pytest.mark.parametrize("way", ["+", "reversed", "+=", "add", ".add"])
def test_an_addition_shares_in_proportion_to_its_summands(way):
    torch.manual_seed(5)
    model = CoPeakNet(Backbone("added", {"sum": Added(way)}, [0.0] * 3, [1.0] * 3))
    nn.init.uniform_(model.head.weight)
    model.double()
    image, peak = uniform(1, 3, 6, 7, seed=21), (2, 3)
    stage = model.backbone.stages["sum"]
    first, second = stage.first(image), stage.second(image)
    at_head = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    at_head[0, 0, peak[0], peak[1]] = 1
    at_sum = naive.peak_rule((first + second).detach().numpy(), model.head.weight.detach().numpy(), at_head.numpy())
    above = [(one - one.min()).detach().numpy() for one in (first, second)]
    expected = 0
    for own, branch in zip(above, (stage.first, stage.second), strict=True):
        share = own / (above[0] + above[1])
        expected = expected + naive.peak_rule(image.numpy(), branch.weight.detach().numpy(), at_sum * share, padding=1)
    heat = peak_response_maps(model, image, torch.tensor([peak]))
    close(heat[0], torch.from_numpy(expected[0]).sum(0))
    # Each with all of the relevance, as torch's own gradient of a sum has it, would be twice as much.
    close(heat.sum(), at_sum.sum())


def test_additions_of_other_things_are_torchs_own():
    values = random(1, 2, 3, 3, seed=30).requires_grad_()
    row = random(1, 2, 1, 1, seed=31)
    with PeakRule():
        for other in (row, 2.0, random(2, 3, 3, seed=32)):
            (passed,) = torch.autograd.grad((values + other).sum(), values)
            assert torch.equal(passed, torch.ones_like(values))
        flat = values[0] + values[0].detach()  # three axes: no activations
        (passed,) = torch.autograd.grad(flat.sum(), values)
        assert torch.equal(passed, torch.ones_like(values))
        (passed,) = torch.autograd.grad(torch.add(values, values.detach(), alpha=2).sum(), values)
        assert torch.equal(passed, torch.ones_like(values))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_two_flat_summands_pass_nothing_but_numbers(dtype):
    flat = torch.ones(1, 2, 3, 3, dtype=dtype, requires_grad=True)
    with PeakRule():
        (passed,) = torch.autograd.grad((flat + torch.ones(1, 2, 3, 3, dtype=dtype)).sum(), flat)
    assert torch.isfinite(passed).all()


def test_every_image_of_a_batch_shares_by_its_own_minima():
    first, second = random(3, 2, 4, 3, seed=34), random(3, 2, 4, 3, seed=35)
    first = first + torch.tensor([0.0, -50, 20]).double().reshape(3, 1, 1, 1)

    def shared(one, other):
        one = one.clone().requires_grad_()
        with PeakRule():
            return torch.autograd.grad((one + other).sum(), one)[0]

    close(shared(first, second), torch.cat([shared(first[k : k + 1], second[k : k + 1]) for k in range(3)]))


def test_summands_of_1e_10_share_with_as_much_again():
    # So that what is hardly there is shared by no rounding error: above 0 the second has 1e-10, of 1e-10 and 1e-10.
    first = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    second = torch.tensor([0.0, 1e-10], dtype=torch.float64).reshape(1, 1, 1, 2).requires_grad_()
    with PeakRule():
        (passed,) = torch.autograd.grad((second + first).sum(), second)
    close(passed.ravel(), torch.tensor([0.0, 0.5]))


def test_heat_is_never_negative():
    # So clamping it at zero, as Zhou et al. do, or taking its absolute value, before the channels are summed, changes nothing.
    for seed in range(5):
        model, image = small_network(seed=seed), random(1, 3, 12, 12, seed=40 + seed)
        score = model(image).score
        peaks = torch.nonzero(torch.ones_like(score[0, 0]))
        by_channel = []
        for i, j in peaks.tolist():
            with PeakRule():
                start = image.clone().requires_grad_()
                by_channel.append(torch.autograd.grad(model(start).score[0, 0, i, j], start)[0])
        by_channel = torch.cat(by_channel)
        assert (by_channel >= 0).all() and by_channel.any()
        close(peak_response_maps(model, image, peaks), by_channel.sum(1))


def test_a_convolution_padded_by_a_word_is_refused():
    with PeakRule(), pytest.raises(ValueError, match="padding in numbers, got 'same'"):
        nn.Conv2d(2, 2, 3, padding="same")(torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": (1, 0), "dilation": 2}, {"bias": random(2, seed=33)}])
def test_a_convolution_may_be_called_without_its_options(options):
    values, weight = random(1, 4, 6, 7, seed=31), random(2, 4, 3, 3, seed=32)
    with PeakRule():
        output = functional.conv2d(values, weight, **options)
    close(output, functional.conv2d(values, weight, **options))


def test_a_bias_is_added_forwards_and_takes_nothing_backwards():
    values, layer_ = random(1, 2, 5, 5, seed=50).float().requires_grad_(), nn.Conv2d(2, 3, 3)
    with PeakRule():
        output = layer_(values)
    close(output, functional.conv2d(values, layer_.weight, layer_.bias))
    (passed,) = torch.autograd.grad(output.sum(), values)
    close(passed, backwards(values, layer_.weight.detach(), torch.ones_like(output)))


def test_heat_read_at_a_stage_is_enlarged_to_the_image():
    model, image = small_network(seed=6), uniform(1, 3, 16, 24, seed=22)
    peaks = torch.tensor([[1, 2], [0, 0]])
    small = response_maps_from(model, model.backbone(image, until="first"), "first", peaks)
    assert small.shape == (2, 8, 12) and small.any()
    expected = functional.interpolate(small[:, None], (16, 24), mode="bilinear", align_corners=False)[:, 0]
    actual = peak_response_maps(model, image, peaks, stop="first")
    close(actual / actual.sum((1, 2), keepdim=True), expected / expected.sum((1, 2), keepdim=True))
    assert torch.equal(enlarge(small, (8, 12)), small)
    assert enlarge(small[:0], (16, 24)).shape == (0, 16, 24)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_heat_of_activations_made_without_gradients(mode):
    model, image, peaks = small_network(seed=7), uniform(1, 3, 16, 16, seed=23), torch.tensor([[1, 2], [3, 3]])
    expected = response_maps_from(model, model.backbone(image, until="first"), "first", peaks)
    with mode():
        activations = model.backbone(image, until="first")
        within = response_maps_from(model, activations, "first", peaks)
    before = activations.clone()
    close(within, expected)
    close(response_maps_from(model, activations, "first", peaks), expected)
    assert torch.equal(activations, before) and not activations.requires_grad


def test_a_peaks_heat_lies_in_its_receptive_field():
    model, image = small_network(seed=1), uniform(1, 3, 24, 24, seed=18)
    heat = peak_response_maps(model, image, torch.tensor([[0, 0]]))[0]
    # Cell 0 sees pooled rows up to 1, those rows up to 3 of the first layer, and those pixels up to 4.
    assert heat[:5, :5].sum() > 0
    assert not heat[5:].any()
    assert not heat[:, 5:].any()


def test_all_peaks_together_are_the_peaks_alone():
    model, image = small_network(seed=3), uniform(1, 3, 20, 16, seed=19)
    peaks = torch.cartesian_prod(torch.arange(5), torch.arange(4))
    together = peak_response_maps(model, image, peaks)
    alone = torch.cat([peak_response_maps(model, image, peak[None]) for peak in peaks])
    close(together, alone)


def test_no_peaks_no_heat_maps():
    heat = peak_response_maps(small_network(), uniform(1, 3, 8, 12), torch.zeros(0, 2, dtype=torch.long))
    assert heat.shape == (0, 8, 12)


def test_the_model_is_as_before_afterwards():
    model, image = small_network(seed=4), uniform(1, 3, 8, 8, seed=20)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    score = model(image).score
    peak_response_maps(model, image, torch.tensor([[0, 1]]))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(image).score, score)
    ordinary = torch.autograd.grad(model(image).score.sum(), model.backbone.stages["second"].weight)[0]
    assert ordinary.abs().sum() > 0


@pytest.mark.parametrize(
    "image, peaks, name",
    [
        (torch.zeros(3, 8, 8).double(), torch.zeros(1, 2, dtype=torch.long), "image"),
        (torch.zeros(2, 3, 8, 8).double(), torch.zeros(1, 2, dtype=torch.long), "image"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long), "image"),
        (torch.zeros(1, 3, 8, 8).double(), torch.zeros(2, dtype=torch.long), "peaks"),
        (torch.zeros(1, 3, 8, 8).double(), torch.tensor([[0, 2]]), "peaks"),
        (torch.zeros(1, 3, 8, 8).double(), torch.tensor([[-1, 0]]), "peaks"),
    ],
)
def test_bad_images_and_peaks_are_named(image, peaks, name):
    with pytest.raises(ValueError, match=name):
        peak_response_maps(small_network(), image, peaks)


def test_enlarged_maps_keep_their_sums():
    maps = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    for interpolation in ("bilinear", "bicubic"):
        sums = enlarge(maps, (48, 32), interpolation).sum((1, 2))
        torch.testing.assert_close(sums, maps.sum((1, 2)), rtol=0.02, atol=0)
        flat = enlarge(torch.full((1, 16, 16), 0.25), (48, 32), interpolation)
        torch.testing.assert_close(flat, torch.full((1, 48, 32), 0.25 / 6))
        assert torch.equal(enlarge(maps, (16, 16), interpolation), maps)
    assert enlarge(maps[:0], (5, 4), "bicubic").shape == (0, 5, 4)


def test_where_the_middle_stage_is_the_image_heat_is_read_at_the_image():
    model = small_network(std=0.25)
    model.backbone.middle_stage = None  # as of a network whose first stage has a stride above 16
    image, peaks = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1], [1, 0]])
    expected = peak_response_maps(model, image, peaks)
    assert expected.any()
    torch.testing.assert_close(peak_response_maps(model, image, peaks, "middle"), expected, rtol=0, atol=0)


# All peaks together, against torch's own way back, one peak after another


def one_by_one(model: CoPeakNet, activations: torch.Tensor, stage: str | None, peaks: torch.Tensor) -> torch.Tensor:
    """The heat maps by autograd and the rule alone."""
    with PeakRule():
        start = activations.detach().clone().requires_grad_()
        score = model.forward_from(start, stage).score
    maps = []
    for i, j in peaks.tolist():
        (relevance,) = torch.autograd.grad(score[0, 0, i, j], start, retain_graph=True)
        maps.append((relevance if stage else relevance * model.backbone.std)[0].sum(0))
    return torch.stack(maps)


NETWORKS = {"efficientnet_lite0": None, "resnet18": None, "resnet26d": "layer1.1", "regnetx_002": "s2", "vgg16_pool5": "pool3"}


@pytest.mark.parametrize("name", NETWORKS)
def test_heat_maps_of_a_network_are_those_of_autograd(name):
    model = CoPeakNet(build_backbone(name, "random"))
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    image = uniform(1, 3, 96, 128, seed=60).float()
    rows, columns = model(image).score.shape[2:]
    peaks = torch.tensor([[0, 0], [rows - 1, columns - 1], [rows // 2, columns // 2], [rows // 2, 0]])
    for stage in (NETWORKS[name], model.backbone.middle_stage):
        with torch.no_grad():
            start = model.activations(image, stage)
        expected = one_by_one(model, start, stage, peaks)
        assert (expected.sum((1, 2)) > 0).all()
        for threads in (1, 2):
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                actual = response_maps_from(model, start, stage, peaks)
            finally:
                torch.set_num_threads(before)
            error = (actual - expected).abs().amax((1, 2)) / expected.amax((1, 2))
            assert error.max() < 1e-5


class Odd(nn.Module):
    """What no timm network of ours has: parts in several ways, constants beside them, windows that are cut off."""

    def __init__(self, way: str):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.apart, self.beyond = nn.Conv2d(4, 4, 1, padding=1), nn.Conv2d(4, 4, 3, stride=4)
        self.way = way

    def forward(self, x):
        x = functional.relu6(self.first(x))
        if self.way == "split":
            left, right = x.split(2, 1)
            return self.second(torch.cat([right, left], 1))
        if self.way == "padded by more than the kernel":
            return self.apart(x)
        if self.way == "cropped and padded":
            return self.second(functional.pad(self.second(x), (-1, 2, 1, -2)))
        if self.way == "padded first":
            return functional.pad(x, (1, 0, 0, 1))
        if self.way == "strides beyond the kernel":
            return self.beyond(x)
        if self.way == "twice":
            return self.second(x) + functional.leaky_relu(self.second(2 * x), 0.1) - self.second(x / 2)
        return self.second(x + torch.ones(4, 1, 1).double()) + x


@pytest.mark.parametrize(
    "way",
    [
        "split",
        "padded by more than the kernel",
        "cropped and padded",
        "padded first",
        "strides beyond the kernel",
        "twice",
        "plain",
    ],
)
def test_heat_maps_of_odd_networks_are_those_of_autograd(way):
    torch.manual_seed(8)
    model = CoPeakNet(small_network().backbone)
    model.backbone.stages = nn.ModuleDict({"odd": Odd(way)})
    model.head, model.center = nn.Conv2d(4, 1, 1), torch.zeros(1, 4, 1, 1)
    model.double()
    for size in ((8, 8), (6, 9)):
        image = uniform(1, 3, *size, seed=61)
        score = model(image).score
        peaks = torch.nonzero(torch.ones_like(score[0, 0]))
        close(response_maps_from(model, image, None, peaks), one_by_one(model, image, None, peaks))
