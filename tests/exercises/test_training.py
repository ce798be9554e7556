from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from co3course.exercises import NOT_TRIED, RIGHT, WRONG, check, hint
from co3course.exercises.training import EXERCISES
from co3lib.training import total_loss

SOLUTIONS = Path(__file__).parents[2] / "notebooks" / "solutions" / "06_training_solutions.ipynb"


@pytest.fixture(scope="module")
def solutions(tmp_path_factory) -> dict:
    """The names that the code cells of the solutions notebook leave, run in order."""
    names = {"profile": "smoke", "output": str(tmp_path_factory.mktemp("solutions")), "seed": 0}
    for cell in json.loads(SOLUTIONS.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), names)
    return names


def test_every_solution_is_right(solutions):
    assert [verdict.number for verdict in solutions["verdicts"]] == list(EXERCISES)
    assert {verdict.state for verdict in solutions["verdicts"]} == {RIGHT}


@pytest.mark.parametrize("number", EXERCISES)
def test_a_stub_is_not_tried_yet(number):
    def stub(*_):
        raise NotImplementedError

    assert check(number, stub if number > "06.2" else ...).state == NOT_TRIED
    assert all(hint(number, which).endswith((".", "?")) for which in (1, 2))


@pytest.mark.parametrize(
    ("number", "answer", "word"),
    [
        ("06.1", 1e-6, "one step"),
        ("06.1", 2.4e-4, "one batch"),
        ("06.1", 8e-5, "biases"),
        ("06.1", 0.04, "Count"),
        ("06.2", 6, "plain gradient descent"),
        ("06.2", 1 / 6, "longer"),
        ("06.2", 36, "first step"),
    ],
)
def test_wrong_predictions(number, answer, word):
    verdict = check(number, answer)
    assert verdict.state == WRONG
    assert word in verdict.reason


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


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (neighbours, "neighbours"),
        (without_the_last_batch, "no pair"),
        (every_batch_completed, "odd last batch"),
        (half_of_everything, "should be"),
        (backwards, "should be"),
        (changing_its_list, "copy"),
    ],
)
def test_wrong_pairs(answer, word):
    verdict = check("06.3", answer)
    assert verdict.state == WRONG
    assert word in verdict.reason


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


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (plain_descent, "plain gradient descent"),
        (no_decay, "decay"),
        (always_in_the_gradient, "AdamW"),
        (no_epsilon, "epsilon"),
        (uphill, "uphill"),
        (only_the_step, "new weight"),
        (not_corrected, "Adam"),
    ],
)
def test_wrong_first_steps(answer, word):
    verdict = check("06.4", answer)
    assert verdict.state == WRONG
    assert word in verdict.reason


def step(model, optimizer, activations, stage, priors, config, share=None, clear=True, change=None, sign=1, back=float):
    output = model.resume(activations, stage)
    config = config.model_copy(update=change or {})
    total = total_loss(output, model.saliency_at_image_size(output.score), priors, config).total
    if clear:
        optimizer.zero_grad()
    (sign * total / (share or len(activations))).backward()
    optimizer.step()
    return back(total.detach())


def no_step(model, _optimizer, activations, stage, priors, config):
    output = model.resume(activations, stage)
    return float(total_loss(output, model.saliency_at_image_size(output.score), priors, config).total.detach())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"share": 1}, "divide the loss"),
        ({"clear": False}, "still there"),
        ({"sign": -1}, "uphill"),
        ({"change": {"copeak_weight": 1.0}}, "direction"),
        ({"change": {"affinity_weight": 0.0}}, "direction"),
        ({"back": lambda total: float(total) / 4}, "not divided"),
        ({"back": lambda _: None}, "returns nothing"),
    ],
)
def test_wrong_training_steps(options, word):
    verdict = check("06.5", lambda *inputs: step(*inputs, **options))
    assert verdict.state == WRONG
    assert word in verdict.reason


def test_a_step_that_does_not_step():
    verdict = check("06.5", no_step)
    assert verdict.state == WRONG
    assert "do not move" in verdict.reason
