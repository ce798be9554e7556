"""Exercises of notebook 07: answers that are wrong in the ways that come to mind."""

from __future__ import annotations

from functools import partial

import torch

from co3lib.training import total_loss

WRONG_PREDICTIONS = [
    ("07.1", 1e-6, "one step"),
    ("07.1", 2.4e-4, "one batch"),
    ("07.1", 4e-5, "biases"),
    ("07.1", 0.04, "Count"),
    ("07.1", "far", "one number, it is str"),
    ("07.2", (1, 0.5, 0.1), "Which of the three losses"),
    ("07.2", (0, 1, 0), "Which of the three losses"),
    ("07.2", (0, 0, 0), "above zero"),
    ("07.2", (-1, 0, 1), "negative"),
    ("07.2", 6, "3 numbers are wanted"),
    ("07.2", (0, 0, float("nan")), "NaN"),
]


def neighbours(order, batch_size, spare):
    order = order + [spare] * (len(order) % batch_size % 2)
    return list(zip(order[::2], order[1::2], strict=False))


def without_the_last_batch(order, batch_size, _spare):
    whole = [order[k : k + batch_size] for k in range(0, len(order) - batch_size + 1, batch_size)]
    return [(b[k], b[k + batch_size // 2]) for b in whole for k in range(batch_size // 2)]


def every_batch_completed(order, batch_size, spare):
    pairs = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        batch = batch + [spare] * (batch_size - len(batch))
        pairs += zip(batch[: batch_size // 2], batch[batch_size // 2 :], strict=True)
    return pairs


def half_of_everything(order, _batch_size, spare):
    order = order + [spare] * (len(order) % 2)
    return list(zip(order[: len(order) // 2], order[len(order) // 2 :], strict=True))


def backwards(order, batch_size, spare):
    pairs = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        batch = batch + [spare] * (len(batch) % 2)
        pairs += [(batch[k], batch[-1 - k]) for k in range(len(batch) // 2)]
    return pairs


def changing_its_list(order, batch_size, spare):
    if len(order) % batch_size % 2:
        order.append(spare)
    pairs = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        pairs += zip(batch[: len(batch) // 2], batch[len(batch) // 2 :], strict=True)
    return pairs


WRONG_PAIRS = [
    ("07.3", neighbours, "neighbours"),
    ("07.3", without_the_last_batch, "no pair"),
    ("07.3", every_batch_completed, "odd last batch"),
    ("07.3", half_of_everything, "should be"),
    ("07.3", backwards, "should be"),
    ("07.3", changing_its_list, "copy"),
]


def plain_descent(weight, gradient, rate, decay, _decoupled):
    return weight - rate * (gradient + decay * weight)


def no_decay(weight, gradient, rate, _decay, _decoupled):
    return weight - rate * gradient / (abs(gradient) + 1e-8)


def always_in_the_gradient(weight, gradient, rate, decay, _decoupled):
    gradient = gradient + decay * weight
    return weight - rate * gradient / (abs(gradient) + 1e-8)


def no_epsilon(weight, gradient, rate, decay, decoupled):
    gradient = gradient + (0 if decoupled else decay * weight)
    return weight * (1 - rate * decay * decoupled) - rate * torch.sign(gradient)


def uphill(weight, gradient, rate, decay, _decoupled):
    gradient = gradient + decay * weight
    return weight + rate * gradient / (abs(gradient) + 1e-8)


def only_the_step(weight, gradient, rate, decay, _decoupled):
    gradient = gradient + decay * weight
    return -rate * gradient / (abs(gradient) + 1e-8)


def not_corrected(weight, gradient, rate, decay, _decoupled):
    gradient = gradient + decay * weight
    return weight - rate * 0.1 * gradient / ((0.001 * gradient**2) ** 0.5 + 1e-8)


WRONG_FIRST_STEPS = [
    ("07.4", plain_descent, "plain gradient descent"),
    ("07.4", no_decay, "decay"),
    ("07.4", always_in_the_gradient, "AdamW"),
    ("07.4", no_epsilon, "epsilon"),
    ("07.4", uphill, "uphill"),
    ("07.4", only_the_step, "new weight"),
    ("07.4", not_corrected, "Adam"),
]


def step(
    model,
    optimizer,
    activations,
    stage,
    priors,
    config,
    longest,
    share=None,
    clear=True,
    change=None,
    sign=1,
    back=None,
    shorten=True,
):
    output = model.forward_from(activations, stage)
    config = config.model_copy(update=change or {})
    total = total_loss(output, model.saliency_at_image_size(output.score), priors, config).total
    if clear:
        optimizer.zero_grad()
    (sign * total / (share or len(activations))).backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    length = float(torch.nn.utils.clip_grad_norm_(weights, longest if shorten else 1e9))
    optimizer.step()
    return back(total, length) if back else (float(total.detach()), length)


def each_weight_by_itself(model, optimizer, activations, stage, priors, config, longest):
    output = model.forward_from(activations, stage)
    total = total_loss(output, model.saliency_at_image_size(output.score), priors, config).total
    optimizer.zero_grad()
    (total / len(activations)).backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    length = float(torch.stack([weight.grad.norm() for weight in weights if weight.grad is not None]).norm())
    for weight in weights:
        torch.nn.utils.clip_grad_norm_([weight], longest)
    optimizer.step()
    return float(total.detach()), length


def no_step(model, _optimizer, activations, stage, priors, config, _longest):
    output = model.forward_from(activations, stage)
    return float(total_loss(output, model.saliency_at_image_size(output.score), priors, config).total.detach()), 1.0


WRONG_STEPS = [
    ("07.5", partial(step, share=1), "divide the loss"),
    ("07.5", partial(step, clear=False), "still there"),
    ("07.5", partial(step, sign=-1), "uphill"),
    ("07.5", partial(step, change={"copeak_weight": 1.0}), "direction"),
    ("07.5", partial(step, change={"affinity_weight": 0.0}), "direction"),
    ("07.5", partial(step, shorten=False), "longer than allowed"),
    ("07.5", each_weight_by_itself, "all weights together"),
    ("07.5", partial(step, back=lambda total, length: (float(total) / 4, length)), "not divided"),
    ("07.5", partial(step, back=lambda total, length: (float("nan"), length)), "should be"),
    ("07.5", partial(step, back=lambda total, length: (float(total), float("nan"))), "length before"),
    ("07.5", partial(step, back=lambda total, length: (float(total), min(length, 1e-3))), "length before"),
    ("07.5", partial(step, back=lambda total, length: (total, length)), "graph"),
    ("07.5", partial(step, back=lambda total, _: float(total)), "two numbers"),
    ("07.5", no_step, "do not move"),
]
RIGHT_ANSWERS = [("07.2", (0, 0.001, 1))]
WRONG_ANSWERS = WRONG_PREDICTIONS + WRONG_PAIRS + WRONG_FIRST_STEPS + WRONG_STEPS
