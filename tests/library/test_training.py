from __future__ import annotations

import math

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from co3lib.backbones import Backbone
from co3lib.config import CoSegConfig
from co3lib.datasets import checkpoints
from co3lib.datasets.checkpoints import load_tensors, save_tensors
from co3lib.model import CoPeakNet
from co3lib.optimizers import as_the_authors_adam, build_optimizer, released_optimizer
from co3lib.training import Losses, batches, fit_head_to_prior, start_features, total_loss, train

OPTIMIZERS = ["released", "adamw"]


def small_model(seed: int = 0, head: bool = True) -> CoPeakNet:
    """Two convolutions, stride 8, and a head that is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = {
            "first": nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU()),
            "second": nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()),
        }
        model = CoPeakNet(Backbone("small", stages, (0.5,) * 3, (0.25,) * 3))
        if head:
            nn.init.normal_(model.head.weight, std=0.3)
    return model


def task(count: int = 5, size: int = 64, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark noise with a brighter square, and the square as its prior."""
    images = 0.3 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    priors = torch.zeros(count, 1, size, size)
    for k in range(count):
        start = 4 * (k % 5)
        images[k, :, start : start + 32, 8:40] += 0.6
        priors[k, :, start : start + 32, 8:40] = 1
    return images, priors


def settings(optimizer: str = "adamw", **changes) -> CoSegConfig:
    return CoSegConfig(
        **{
            "input_size": 64,
            "epochs": 4,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "optimizer": optimizer,
            "frozen_until": None,
        }
        | changes
    )


def weights(model: CoPeakNet) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def run(config: CoSegConfig, seed: int = 0, **options) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    model = small_model(seed)
    history = train(model, *task(), config, progress=False, **options)
    return weights(model), history


# Batches


@pytest.mark.parametrize("count", range(1, 15))
def test_an_epoch_sees_every_image(count):
    drawn = list(batches(count, 6, torch.Generator().manual_seed(count)))
    seen = [k for batch in drawn for k in batch]
    assert set(seen) == set(range(count))
    assert len(seen) - count == count % 2  # only an odd last batch is completed
    assert all(len(batch) == 6 for batch in drawn[:-1])
    assert len(drawn[-1]) % 2 == 0
    if count % 2 == 0 or count > 6:  # three images alone have no fourth to complete them
        assert all(len(set(batch)) == len(batch) for batch in drawn)


def test_the_order_is_that_of_the_seed():
    first, again, other = (list(batches(13, 6, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2))
    assert first == again != other


def test_an_odd_batch_is_completed_with_any_other_image():
    completed = {list(batches(5, 4, torch.Generator().manual_seed(seed)))[-1][1] for seed in range(60)}
    assert completed == set(range(5))


# The loss


@pytest.mark.parametrize("form", ["released", "published"])
def test_the_loss_is_the_weighted_sum(form):
    model, (images, priors) = small_model(), task(4)
    output = model(images)
    big = model.saliency_at_image_size(output.score)
    losses = total_loss(output, big, priors, settings(loss_form=form))
    assert losses.total.requires_grad
    losses = Losses(losses.saliency.detach(), losses.copeak.detach(), losses.affinity.detach(), losses.total.detach())
    expected = losses.saliency + 0.5 * losses.copeak + 0.1 * losses.affinity
    assert float(losses.total) == pytest.approx(float(expected), rel=1e-6)
    assert min(float(losses.saliency), float(losses.copeak), float(losses.affinity)) > 0
    without = total_loss(output, big, priors, settings(loss_form=form, copeak_weight=0.0, affinity_weight=0.0))
    assert torch.equal(without.total.detach(), losses.saliency)


# Repeatable, resumable


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_seed_gives_the_same_network(optimizer):
    first = run(settings(optimizer))
    torch.rand(7)  # the caller's random numbers play no part
    second = run(settings(optimizer))
    assert same(first[0], second[0])
    assert first[1] == second[1]
    assert not same(first[0], run(settings(optimizer, seed=1))[0])


def test_training_leaves_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    run(settings(epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("last", [1, 3])
def test_an_interrupted_training_goes_on_to_the_same_result(optimizer, last, tmp_path):
    config, file = settings(optimizer), tmp_path / "folder" / "state.safetensors"

    def stop(epoch, _):
        if epoch == last:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(config, checkpoint=file, on_epoch=stop)
    called = []
    resumed = run(config, checkpoint=file, on_epoch=lambda epoch, _: called.append(epoch))
    straight = run(config)
    assert called == list(range(last + 1, 5))
    assert same(resumed[0], straight[0])
    assert resumed[1] == straight[1]
    assert len(resumed[1]) == 4


def test_a_finished_training_is_read_and_may_be_lengthened(tmp_path):
    file = tmp_path / "state.safetensors"
    done = run(settings(), checkpoint=file)
    again = run(settings(), checkpoint=file, on_epoch=lambda *_: pytest.fail("nothing was left to do"))
    assert same(done[0], again[0])
    assert done[1] == again[1]
    longer = run(settings(epochs=6), checkpoint=file)
    assert same(longer[0], run(settings(epochs=6))[0])


def test_a_longer_training_is_not_taken_for_a_shorter_one(tmp_path):
    file = tmp_path / "state.safetensors"
    run(settings(), checkpoint=file)
    with pytest.raises(ValueError, match=r"state\.safetensors.* 4 epochs.* 2"):
        run(settings(epochs=2), checkpoint=file)


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"seed": 3}, {"alpha": 2.0}, {"optimizer": "released"}], ids=str)
def test_a_checkpoint_of_other_settings_is_refused(change, tmp_path):
    file = tmp_path / "state.safetensors"
    run(settings(epochs=1), checkpoint=file)
    content = file.read_bytes()
    with pytest.raises(ValueError, match=r"state\.safetensors is a checkpoint of other images, weights or settings"):
        run(settings(**({"epochs": 1} | change)), checkpoint=file)
    assert file.read_bytes() == content


def test_a_checkpoint_of_other_images_or_priors_is_refused(tmp_path):
    file = tmp_path / "state.safetensors"
    run(settings(epochs=1), checkpoint=file)
    images, priors = task()
    for others in ((images + 0.01, priors), (images, 1 - priors), (images[:4], priors[:4])):
        with pytest.raises(ValueError, match=r"state\.safetensors"):
            train(small_model(), *others, settings(epochs=1), file, progress=False)


def test_a_checkpoint_of_other_weights_under_the_same_name_is_refused(tmp_path):
    file = tmp_path / "state.safetensors"
    run(settings(epochs=1), checkpoint=file)
    other = small_model()
    other.backbone.weights_sha256 = "0" * 64
    with pytest.raises(ValueError, match="other images, weights or settings"):
        train(other, *task(), settings(epochs=1), file, progress=False)


@pytest.mark.parametrize("damage", ["text", "empty", "short", "folder", "other", "a weight less", "no history", "NaN"])
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    file = tmp_path / "state.safetensors"
    run(settings(epochs=1), checkpoint=file)
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "other":
        save_tensors({"a": torch.ones(2)}, file, {"made": "elsewhere"})
    elif damage in ("a weight less", "no history", "NaN"):
        tensors, metadata = load_tensors(file)
        if damage == "a weight less":
            del tensors["weight:head.bias"]
        elif damage == "no history":
            metadata["history"] = "3"
        else:
            tensors["weight:head.bias"][:] = torch.nan
        save_tensors(tensors, file, metadata)
    else:
        content = {"text": b"not a checkpoint", "empty": b"", "short": file.read_bytes()[:-50]}[damage]
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.safetensors") as caught:
        run(settings(), checkpoint=file)
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "state.safetensors"
    save_tensors({"a": torch.ones(2)}, file, {"age": "old"})

    def fail(_, path, *__):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_tensors({"a": torch.zeros(2)}, file, {"age": "new"})
    tensors, metadata = load_tensors(file)
    assert (tensors["a"].tolist(), metadata) == ([1, 1], {"age": "old"})
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


# The optimisers


def gradients(model: CoPeakNet, images, priors, config, batch, drawn=None) -> dict[str, torch.Tensor]:
    model.zero_grad()
    output = model(images[batch])
    total_loss(output, model.saliency_at_image_size(output.score), priors[batch], config).total.backward()
    return {name: parameter.grad.clone() / (drawn or len(batch)) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_released_optimiser_to_the_letter(epochs):
    config = settings("released", epochs=epochs, batch_size=2, learning_rate=1e-3)
    images, priors = task(5)
    trained, by_hand = small_model(), small_model()
    train(trained, images, priors, config, progress=False)
    for epoch in range(1, epochs + 1):
        mean, square = {}, {}  # new at every epoch
        generator = torch.Generator().manual_seed(epoch)
        for step, batch in enumerate(batches(5, 2, generator), start=1):
            # Five images in batches of two: the third is one image, completed with another, and divided by one.
            for name, gradient in gradients(by_hand, images, priors, config, batch, 1 if step == 3 else 2).items():
                parameter = dict(by_hand.named_parameters())[name]
                with torch.no_grad():
                    gradient = gradient + 5e-4 * parameter
                    mean[name] = 0.9 * mean.get(name, 0) + 0.1 * gradient
                    square[name] = 0.999 * square.get(name, 0) + 0.001 * gradient**2
                    rate = 2e-3 if name.endswith("bias") else 1e-3
                    # As in their adam.m: epsilon is added before the root is corrected for its bias.
                    rate *= (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
                    parameter -= rate * mean[name] / (square[name].sqrt() + 1e-8)
    expected, start = weights(by_hand), weights(small_model())
    for name, value in weights(trained).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
        assert not torch.equal(value, start[name]), name


def test_the_other_optimiser_is_adamw_with_one_state():
    config = settings("adamw", epochs=2, learning_rate=1e-3)
    images, priors = task(4)
    trained, by_hand = small_model(), small_model()
    train(trained, images, priors, config, progress=False)
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-3, weight_decay=5e-4)
    for epoch in (1, 2):
        for batch in batches(4, 4, torch.Generator().manual_seed(epoch)):
            drawn = gradients(by_hand, images, priors, config, batch)
            for name, parameter in by_hand.named_parameters():
                parameter.grad = drawn[name]
            optimizer.step()
    for name, value in weights(by_hand).items():
        torch.testing.assert_close(weights(trained)[name], value, rtol=1e-4, atol=1e-6)


# Freezing


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "freeze, moved",
    [(None, {"first", "second", "head"}), ("first", {"second", "head"}), ("second", {"head"})],
)
def test_frozen_stages_do_not_change(optimizer, freeze, moved):
    model, (images, priors) = small_model(), task()
    with torch.no_grad():
        activations = images if freeze is None else model.backbone(images, until=freeze)
    before = weights(model)
    train(model, activations, priors, settings(optimizer, epochs=2, frozen_until=freeze), progress=False)
    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if any(f"{part}." in name for part in moved)}


def test_freezing_changes_the_cost_and_not_the_numbers():
    # Trained from the first stage's output or from the images with that stage's rate at zero: the same.
    model, (images, priors) = small_model(), task(4)
    config = settings(epochs=1, frozen_until="first", batch_size=4)
    history = train(model, model.backbone(images, until="first").detach(), priors, config, progress=False)
    assert history == train(small_model(), images, priors, settings(epochs=1, batch_size=4), progress=False)


# The start


@pytest.mark.parametrize("stage", [None, "first", "second"])
def test_what_the_network_makes_of_the_photos_before_training(stage):
    model, (images, _) = small_model(), task(3)
    every = model.backbone(images).detach()
    activations, features = start_features(model, list(images.split(1)), stage)
    assert torch.equal(activations, model.activations(images, stage)) and not features.requires_grad
    torch.testing.assert_close(features, every)
    torch.testing.assert_close(model.center, every.mean((0, 2, 3), keepdim=True))
    torch.testing.assert_close(model.forward_from(activations, stage).features, features - model.center)
    # Once more without centring: nothing is left of the first time.
    torch.testing.assert_close(start_features(model, list(images.split(1)), stage, center=False)[1], every)
    assert not model.center.any()


def test_the_head_starts_with_what_is_linear_in_the_features():
    model = small_model(head=False)
    features = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    direction = torch.linspace(-0.6, 0.6, 8)
    wanted = (torch.einsum("nchw,c->nhw", features, direction) + 0.3).sigmoid()[:, None]
    priors = wanted.repeat_interleave(8, 2).repeat_interleave(8, 3)
    fit_head_to_prior(model, features, priors)
    started = model.head(features).sigmoid()
    assert (started - wanted).abs().max() < 0.05
    assert model.head.weight.requires_grad


def test_the_head_starts_level_where_features_say_nothing():
    model = small_model(head=False)
    fit_head_to_prior(model, torch.full((2, 8, 4, 4), 0.7), task(2)[1])
    assert torch.isfinite(model.head.weight).all()
    assert model.head.weight.abs().max() < 1e-3


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_head_starts_with_a_flat_prior(value):
    model = small_model(head=False)
    features = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(3))
    fit_head_to_prior(model, features, torch.full((2, 1, 32, 32), value))
    assert (model.head(features).sigmoid() - value).abs().max() < 0.03


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_falls_and_the_object_is_found(optimizer):
    images, priors = task(6)
    model = small_model(head=False)
    history = train(model, images, priors, settings(optimizer, epochs=25), progress=False)
    assert len(history) == 25
    assert history[-1]["total"] < 0.7 * history[0]["total"]
    with torch.no_grad():
        big = model.saliency_at_image_size(model(images).score)
    assert big[priors == 1].mean() > big[priors == 0].mean() + 0.3


def test_the_history_has_every_loss():
    history = run(settings(epochs=2))[1]
    for entry in history:
        assert set(entry) == {"saliency", "copeak", "affinity", "total"}
        expected = entry["saliency"] + 0.5 * entry["copeak"] + 0.1 * entry["affinity"]
        assert entry["total"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_training_may_be_ended_after_any_epoch(last, tmp_path):
    ended, history = run(settings(epochs=3), checkpoint=tmp_path / "state", on_epoch=lambda epoch, _: epoch == last)
    assert len(history) == last
    wanted, _ = run(settings(epochs=3), on_epoch=lambda epoch, _: epoch == last or None)
    assert same(ended, wanted) and (last == 3) == same(ended, run(settings(epochs=3))[0])
    if last == 1:  # it goes on from there, to what it would have come to
        assert same(run(settings(epochs=3), checkpoint=tmp_path / "state")[0], run(settings(epochs=3))[0])


def test_no_epochs_change_nothing(tmp_path):
    called = []
    after, history = run(settings(epochs=0), checkpoint=tmp_path / "state", on_epoch=lambda k, _: called.append(k))
    assert (history, called) == ([], [0])
    assert same(after, weights(small_model()))


def test_one_image_alone_can_be_trained_on():
    history = train(small_model(), *task(1), settings(epochs=2), progress=False)
    assert all(math.isfinite(entry["total"]) for entry in history)


def test_a_loss_that_is_no_number_says_what_to_do(tmp_path):
    images, priors = task()
    images[2] = math.nan
    with pytest.raises(FloatingPointError, match=r"the loss became nan in epoch 1; try a lower learning_rate"):
        train(small_model(), images, priors, settings(), tmp_path / "state", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "activations, priors, name",
    [
        (torch.ones(3, 64, 64), torch.ones(1, 1, 64, 64), "activations"),
        (torch.ones(2, 3, 64, 64), torch.ones(3, 1, 64, 64), "priors"),
        (torch.ones(2, 3, 64, 64), torch.ones(2, 64, 64), "priors"),
        (torch.ones(2, 3, 64, 64), torch.ones(2, 1, 64, 64).byte(), "priors"),
    ],
)
def test_wrong_tensors_are_named(activations, priors, name):
    with pytest.raises(ValueError, match=name):
        train(small_model(), activations, priors, settings(), progress=False)


def test_steps_of_the_released_optimiser_are_those_of_the_authors_adam():
    """Small gradients, where epsilon tells: three steps of adam.m under Octave, from 0.3 at a rate of 1e-6, and ours."""
    weight = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    optimizer = build_optimizer({"weight": weight}, "released", 1e-6)
    optimizer.param_groups[0]["weight_decay"] = 0
    for step, gradient, expected in ((1, 2e-7, 0.299999612574), (2, -5e-7, 0.299999891177), (3, 1e-7, 0.300000030234)):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        as_the_authors_adam(optimizer, step)
        optimizer.step()
        assert weight.item() == pytest.approx(expected, abs=2e-12)


def test_a_checkpoint_may_lie_in_the_home_and_a_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_tensors({"a": torch.ones(2)}, "~/x.safetensors", {"age": "old"})
    assert load_tensors("~/x.safetensors")[1] == {"age": "old"} and not (tmp_path / "~").exists()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors cannot be written: .*No space left on device"):
        save_tensors({"a": torch.zeros(2)}, "~/x.safetensors", {"age": "new"})
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["x.safetensors"]
    assert load_tensors("~/x.safetensors")[1] == {"age": "old"}


def test_the_released_rate_is_the_authors_and_twice_that_for_biases():
    groups = released_optimizer(dict(small_model().named_parameters())).param_groups
    assert [group["lr"] for group in groups] == [1e-6, 2e-6]


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_if_it_is_asked_for(progress, capsys):
    train(small_model(), *task(2), settings(epochs=2), progress=progress)
    shown = capsys.readouterr().err
    assert ("2/2" in shown and "loss" in shown) if progress else shown == ""
