"""Ridge regression, held against the least squares that it stands for."""

from __future__ import annotations

import pytest
import torch
from strategies import random

from co3lib.linear import ridge, solve_ridge


def test_ridge_is_the_least_squares_of_the_definition():
    cells, target = random(30, 4, seed=0).double() + 2, random(30, seed=1).double()
    centred = cells - cells.mean(0)
    strength = 0.3 * centred.square().sum(0).mean()
    # The penalty is one more equation a channel; the bias has a column of ones, and none in the penalty.
    left = torch.cat([torch.cat([cells, torch.ones(30, 1).double()], 1), strength.sqrt() * torch.eye(4, 5).double()])
    expected = torch.linalg.lstsq(left, torch.cat([target, torch.zeros(4).double()])[:, None]).solution[:, 0]
    weight, bias = ridge(cells, target, 0.3)
    torch.testing.assert_close(torch.cat([weight, bias[None]]), expected)


@pytest.mark.parametrize("count", [1, 30])
def test_ridge_from_products_that_are_known_already(count):
    cells, target = random(30, 4, seed=2).double(), random(30, seed=3).double()
    centred = cells - cells.mean(0)
    weight = solve_ridge(centred.T @ centred / count, centred.T @ (target - target.mean()) / count, 0.1)
    torch.testing.assert_close(weight, ridge(cells, target, 0.1)[0])


def test_features_that_are_all_alike_say_nothing():
    weight, bias = ridge(torch.full((6, 3), 0.7), torch.arange(6.0))
    assert not weight.any() and float(bias) == 2.5
