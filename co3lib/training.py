"""Training of the co-peak network on the photos of one category, without labels (paper, Section 3.2; Eq. 1).

Shape letters: N images, B images of a batch, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from . import checks
from .config import CoSegConfig
from .correlation import correlate, pair_up
from .datasets.checkpoints import load_training, save_training
from .files import path_of
from .linear import ridge
from .losses import affinity_loss, copeak_loss, saliency_loss
from .model import CoPeakNet, CoPeakOutput
from .optimizers import as_the_authors_adam, build_optimizer
from .torch_defaults import torch_defaults, with_gradients


@dataclass(frozen=True)
class Losses:
    """The three losses of a batch and their weighted sum, scalars."""

    saliency: torch.Tensor
    copeak: torch.Tensor
    affinity: torch.Tensor
    total: torch.Tensor


def total_loss(output: CoPeakOutput, big_saliency: torch.Tensor, priors: torch.Tensor, config: CoSegConfig) -> Losses:
    """``L = ls + 0.5 lt + 0.1 la`` of a batch, with the configuration's weights and forms; no loss of weight zero is computed.

    Parameters
    ----------
    output : of B images, B even.
    big_saliency, priors : (B, 1, H, W).
    """
    zero, form = output.score.new_zeros(()), config.loss_form
    saliency = saliency_loss(big_saliency, priors) if config.saliency_weight else zero
    copeak = copeak_loss(correlate(*pair_up(output.weighted)), form) if config.copeak_weight else zero
    affinity = affinity_loss(output.normalized, output.saliency, config.alpha, form) if config.affinity_weight else zero
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
    """Run a network on its category's photos, once before training.

    Parameters
    ----------
    images : of N, (1, 3, H, W) each.
    stage : up to which the backbone stays as it is; None: all of it is trained.
    center : whether ``model.center`` becomes the photos' mean feature; it becomes zero otherwise.

    Returns
    -------
    activations : (N, C', h', w'), the output of ``stage``, from which ``train`` goes on.
    features : (N, C, h, w), not centred yet.
    """
    with torch.no_grad():
        activations = torch.cat([model.activations(image, stage).cpu() for image in images])
        model.center.zero_()
        features = torch.cat([model.forward_from(activation[None], stage).features.cpu() for activation in activations])
        if center:
            model.center.copy_(features.mean((0, 2, 3), keepdim=True))
    return activations, features


@torch_defaults()
def fit_head_to_prior(model: CoPeakNet, features: torch.Tensor, priors: torch.Tensor, strength: float = 1e-2) -> None:
    """Set the score's weights to the ridge regression of the prior's logit on the features, instead of zero.

    The network then starts with a co-saliency that says what a linear function of the features can say of the prior.

    Parameters
    ----------
    features : (N, C, h, w), as the model gives them.
    priors : (N, 1, H, W) in [0, 1].
    strength : as for ``linear.ridge``.
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
    """Train ``model`` in place on one category; returns the history, for every epoch the mean losses of its batches.

    Parameters
    ----------
    activations : (N, C', h', w'), the output of stage ``config.frozen_until``; the images (N, 3, H, W) where it is None.
    priors : (N, 1, H, W) in [0, 1].
    checkpoint : the file that keeps the state after every epoch; an interrupted training goes on from it to the same result.
    on_epoch : called with ``(epoch, model)`` before the first epoch (epoch 0) and after each; the training ends there if it
        returns True.

    Raises
    ------
    ValueError : for a checkpoint of other settings or images, or of more epochs than are asked for.
    FloatingPointError : if the loss is not finite.
    """
    checks.tensor(activations, "activations", ("N", "C'", "h'", "w'"), floating=True)
    checks.tensor(priors, "priors", (len(activations), 1, "H", "W"), floating=True)
    trained = _trained_parameters(model, config.frozen_until)
    optimizer = build_optimizer(trained, config.optimizer, config.learning_rate)
    checkpoint = None if checkpoint is None else path_of(checkpoint, "checkpoint")
    fingerprint = _fingerprint(model, activations, priors, config)
    history = []
    if checkpoint is not None and checkpoint.exists():
        history = load_training(checkpoint, trained, optimizer, fingerprint)
        if len(history) > config.epochs:
            raise ValueError(f"{checkpoint} is a checkpoint of {len(history)} epochs, more than the {config.epochs} asked for")
    elif on_epoch and on_epoch(0, model):
        return history
    with tqdm(total=config.epochs, initial=len(history), disable=not progress, desc="training", unit="epoch") as bar:
        for epoch in range(len(history) + 1, config.epochs + 1):
            history.append(_epoch(model, activations, priors, config, optimizer, epoch))
            if checkpoint is not None:
                save_training(checkpoint, trained, optimizer, fingerprint, history)
            bar.set_postfix_str(f"loss {history[-1]['total']:.4f}")
            bar.update()
            if on_epoch and on_epoch(epoch, model):
                break
    return history


def _epoch(model, activations, priors, config, optimizer, epoch) -> dict[str, float]:
    if config.optimizer == "released":
        optimizer.state.clear()  # the authors' framework starts every epoch with a new Adam state
    generator = torch.Generator().manual_seed(epoch + 1_000_003 * config.seed)
    sums = dict.fromkeys(("saliency", "copeak", "affinity", "total"), 0.0)
    for count, batch in enumerate(batches(len(activations), config.batch_size, generator), start=1):
        output = model.forward_from(activations[batch], config.frozen_until)
        big_saliency = model.saliency_at_image_size(output.score, priors.shape[2:])
        losses = total_loss(output, big_saliency, priors[batch].to(output.score.device), config)
        if not torch.isfinite(losses.total):
            raise FloatingPointError(f"the loss became {losses.total.item()} in epoch {epoch}; try a lower learning_rate")
        images = len(batch)
        if config.optimizer == "released":
            images = min(images, len(activations) - config.batch_size * (count - 1))  # before an odd batch was completed
            as_the_authors_adam(optimizer, count)
        optimizer.zero_grad()
        (losses.total / images).backward()
        optimizer.step()
        sums = {key: value + float(getattr(losses, key).detach()) for key, value in sums.items()}
    return {key: value / count for key, value in sums.items()}


def _trained_parameters(model: CoPeakNet, freeze: str | None) -> dict[str, nn.Parameter]:
    after = {id(parameter) for parameter in model.backbone.parameters_after(freeze)}
    trained = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head.") or id(parameter) in after)
        if parameter.requires_grad:
            trained[name] = parameter
    return trained


def _fingerprint(model: CoPeakNet, activations: torch.Tensor, priors: torch.Tensor, config: CoSegConfig) -> str:
    sha = hashlib.sha256(config.model_dump_json(exclude={"epochs"}).encode())
    sha.update(model.backbone.weights_sha256.encode())  # a file under the same path may have been changed
    for value in (activations, priors):
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
