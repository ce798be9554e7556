"""Training of the co-peak network on the photos of one category, without labels (paper, Section 3.2; Eq. 1).

Shape letters: N images, B images of a batch, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from . import checks
from .config import CoSegConfig
from .correlation import correlate, pair_up
from .datasets.checkpoints import load_tensors, save_tensors
from .files import path_of
from .linear import ridge
from .losses import affinity_loss, copeak_loss, saliency_loss
from .model import CoPeakNet, CoPeakOutput
from .torch_defaults import torch_defaults, with_gradients

_WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Losses:
    """The three losses of a batch and their weighted sum, scalars."""

    saliency: torch.Tensor
    copeak: torch.Tensor
    affinity: torch.Tensor
    total: torch.Tensor


def total_loss(
    output: CoPeakOutput, big_saliency: torch.Tensor, priors: torch.Tensor, config: CoSegConfig
) -> Losses:
    """``L = ls + 0.5 lt + 0.1 la`` of a batch, with the configuration's weights and forms.

    output: of B images, B even; big_saliency and priors: (B, 1, H, W). A loss of weight zero is not computed.
    """
    zero = output.score.new_zeros(())
    saliency = saliency_loss(big_saliency, priors) if config.saliency_weight else zero
    copeak = copeak_loss(correlate(*pair_up(output.guided)), config.form) if config.copeak_weight else zero
    affinity = (
        affinity_loss(output.normalized, output.saliency, config.alpha, config.form) if config.affinity_weight else zero
    )
    total = config.saliency_weight * saliency + config.copeak_weight * copeak + config.affinity_weight * affinity
    return Losses(saliency, copeak, affinity, total)


def batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """The batches of one epoch: all ``count`` images in random order, an odd last batch completed with another image."""
    order = torch.randperm(count, generator=generator).tolist()
    for start in range(0, count, batch_size):
        batch = order[start : start + batch_size]
        if len(batch) % 2:
            others = [k for k in order if k not in batch] or batch
            batch.append(others[int(torch.randint(len(others), (), generator=generator))])
        yield batch


@torch_defaults()
def start_features(
    model: CoPeakNet, images: Iterable[torch.Tensor], stage: str | None, center: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a network on its category's photos, once before training, and set its ``center`` to their mean feature if asked.

    images: of N, (1, 3, H, W) each; stage: up to which the backbone stays as it is (None: all of it is trained). Returns the
    activations (N, C', h', w'), the output of that stage, from which ``train`` goes on, and the features (N, C, h, w), not
    centred yet.
    """
    with torch.no_grad():
        activations = torch.cat([model.activations(image, stage) for image in images])
        model.center.zero_()
        features = torch.cat([model.resume(one[None], stage).features for one in activations])
        if center:
            model.center.copy_(features.mean((0, 2, 3), keepdim=True))
    return activations, features


@torch_defaults()
def start_head(model: CoPeakNet, features: torch.Tensor, priors: torch.Tensor, strength: float = 1e-2) -> None:
    """Set the score's weights to the ridge regression of the prior's logit on the features, instead of zero.

    features: (N, C, h, w), as the model gives them; priors: (N, 1, H, W) in [0, 1]. The network then starts with a
    co-saliency that says what a linear function of the features can say of the prior.
    """
    small = interpolate(priors, features.shape[2:], mode="area").clamp(0.02, 0.98)
    target = small.logit().flatten().double()
    weight, bias = ridge(features.movedim(1, -1).flatten(0, 2).double(), target, strength)
    with torch.no_grad():
        model.head.weight.copy_(weight.view_as(model.head.weight))
        model.head.bias.fill_(float(bias))


@with_gradients()
def train(
    model: CoPeakNet,
    activations: torch.Tensor,
    priors: torch.Tensor,
    config: CoSegConfig,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    on_epoch=None,
) -> list[dict[str, float]]:
    """Train ``model`` in place on one category.

    activations: (N, C', h', w'), the output of the backbone's stage ``config.freeze`` (the images (N, 3, H, W) where it
    is None); priors: (N, 1, H, W) in [0, 1]. With ``checkpoint`` the state is kept in that file after every epoch, and
    an interrupted training goes on from it to the same result; one of other settings or images is refused.
    ``on_epoch(epoch, model)`` is called before the first epoch (epoch 0) and after each. Returns the history: for every
    epoch the mean losses of its batches.
    """
    checks.tensor(activations, "activations", ("N", "C'", "h'", "w'"), floating=True)
    checks.tensor(priors, "priors", (len(activations), 1, "H", "W"), floating=True)
    trained = _trained_parameters(model, config.freeze)
    optimizer = _optimizer(trained, config)
    checkpoint = None if checkpoint is None else path_of(checkpoint, "checkpoint")
    fingerprint = _fingerprint(model, activations, priors, config)
    history = []
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, trained, optimizer, fingerprint)
        if len(history) > config.epochs:
            raise ValueError(f"{checkpoint} is a checkpoint of {len(history)} epochs, more than the {config.epochs} asked for")
    elif on_epoch:
        on_epoch(0, model)
    bar = tqdm(total=config.epochs, initial=len(history), disable=not progress, desc="training", unit="epoch")
    with bar:
        for epoch in range(len(history) + 1, config.epochs + 1):
            history.append(_epoch(model, activations, priors, config, optimizer, epoch))
            if checkpoint is not None:
                _save(checkpoint, trained, optimizer, fingerprint, history)
            if on_epoch:
                on_epoch(epoch, model)
            bar.set_postfix_str(f"loss {history[-1]['total']:.4f}")
            bar.update()
    return history


def _epoch(model, activations, priors, config, optimizer, epoch) -> dict[str, float]:
    if config.optimizer == "released":
        optimizer.state.clear()  # the authors' framework starts every epoch with a new Adam state
    generator = torch.Generator().manual_seed(epoch + 1_000_003 * config.seed)
    sums = dict.fromkeys(("saliency", "copeak", "affinity", "total"), 0.0)
    for count, batch in enumerate(batches(len(activations), config.batch_size, generator), start=1):
        output = model.resume(activations[batch], config.freeze)
        losses = total_loss(output, model.saliency_at_image_size(output.score), priors[batch], config)
        if not torch.isfinite(losses.total):
            raise FloatingPointError(f"the loss became {losses.total.item()} in epoch {epoch}; try a lower learning_rate")
        images = len(batch)
        if config.optimizer == "released":
            images = min(images, len(activations) - config.batch_size * (count - 1))  # before an odd batch was completed
            as_the_authors_adam(optimizer, count)
        optimizer.zero_grad()
        (losses.total / images).backward()
        optimizer.step()
        for key in sums:
            sums[key] += float(getattr(losses, key).detach())
    return {key: value / count for key, value in sums.items()}


def _trained_parameters(model: CoPeakNet, freeze: str | None) -> dict[str, nn.Parameter]:
    after = {id(parameter) for parameter in model.backbone.parameters_after(freeze)}
    trained = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head.") or id(parameter) in after)
        if parameter.requires_grad:
            trained[name] = parameter
    return trained


def _optimizer(trained: dict[str, nn.Parameter], config: CoSegConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained.values(), lr=config.learning_rate, weight_decay=_WEIGHT_DECAY)
    return released_optimizer(trained, config.learning_rate)


def released_optimizer(trained: dict[str, nn.Parameter], learning_rate: float = 1e-6) -> torch.optim.Adam:
    """The authors' Adam for parameters by name: biases at twice the rate, weight decay in the gradient. Its epsilon is theirs
    after ``as_the_authors_adam``."""
    biases = [parameter for name, parameter in trained.items() if name.endswith("bias")]
    weights = [parameter for name, parameter in trained.items() if not name.endswith("bias")]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "lr": 2 * learning_rate}]
    # Adam's weight_decay is added to the gradient, as the authors do; AdamW's is not.
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=_WEIGHT_DECAY)


def as_the_authors_adam(optimizer: torch.optim.Adam, step: int) -> None:
    """Set epsilon for the next step, the ``step``-th of an epoch, to what it is in the authors' Adam: they add it to the root
    before its bias is corrected, PyTorch after that."""
    for group in optimizer.param_groups:
        group["eps"] = 1e-8 / math.sqrt(1 - group["betas"][1] ** step)


def _fingerprint(model: CoPeakNet, activations: torch.Tensor, priors: torch.Tensor, config: CoSegConfig) -> str:
    sha = hashlib.sha256(config.model_dump_json(exclude={"epochs"}).encode())
    sha.update(model.backbone.weights_sha256.encode())  # a file under the same path may have been changed
    for value in (activations, priors):
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def _save(path: Path, trained, optimizer, fingerprint: str, history) -> None:
    tensors = {f"weight:{name}": parameter.detach() for name, parameter in trained.items()}
    for name, parameter in trained.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}:{name}"] = torch.as_tensor(value)
    save_tensors(tensors, path, {"fingerprint": fingerprint, "history": json.dumps(history)})


def _resume(path: Path, trained, optimizer, fingerprint: str) -> list[dict[str, float]]:
    tensors, metadata = load_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        raise ValueError(f"{path} is a checkpoint of other images, weights or settings; remove it or name another file")
    try:
        history = [dict(epoch) for epoch in json.loads(metadata["history"])]
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[f"weight:{name}"])
    except Exception as error:  # a damaged file may lack anything
        raise ValueError(f"{path} is not a whole checkpoint ({error!r}); remove it or name another file") from error
    for name, parameter in trained.items():
        keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}:{name}" in tensors]
        if keys:
            optimizer.state[parameter] = {key: tensors[f"{key}:{name}"] for key in keys}
    return history
