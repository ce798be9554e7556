from __future__ import annotations

import numpy as np
import pytest
import torch

from co3lib import checks


def test_arrays_and_tensors_come_back_as_tensors():
    drawn = torch.ones(2, 3)
    assert checks.tensor(drawn, "x", ("H", "W")) is drawn
    assert torch.equal(checks.tensor(np.ones((2, 3), np.float32), "x", (2, "W")), drawn)
    assert torch.equal(checks.tensor([[1.0, 1.0, 1.0]] * 2, "x", ("H", 3)), drawn)


def test_a_flipped_array_is_a_tensor_too():
    flipped = np.arange(6.0).reshape(2, 3)[::-1, ::-1]
    assert checks.tensor(flipped, "x", ("H", "W")).tolist() == [[5, 4, 3], [2, 1, 0]]


@pytest.mark.filterwarnings("error")
def test_a_read_only_array_is_taken_in_silence():
    fixed = np.ones((2, 3))
    fixed.flags.writeable = False
    assert checks.tensor(fixed, "x", ("H", "W")).sum() == 6


@pytest.mark.parametrize(
    "value, shape, said",
    [
        (torch.ones(2), ("H", "W"), r"prior must have shape \(H, W\), got \(2,\)"),
        (torch.ones(2, 4), ("H", 3), r"prior must have shape \(H, 3\), got \(2, 4\)"),
        (torch.ones(2, 3), ("H", "H"), r"prior must have shape \(H, H\), got \(2, 3\)"),
        (torch.ones(2, 3), ("M",), r"prior must have shape \(M,\), got \(2, 3\)"),
        ("cat", ("H", "W"), r"prior must be a tensor of shape \(H, W\), got str"),
        (None, ("H", "W"), "NoneType"),
        ([[1, 2], [3]], ("H", "W"), "list"),
        (np.array([["a"]]), ("H", "W"), "ndarray"),
    ],
)
def test_a_wrong_shape_is_named(value, shape, said):
    with pytest.raises(ValueError, match=said):
        checks.tensor(value, "prior", shape)


def test_the_same_letter_is_the_same_size():
    assert checks.tensor(torch.ones(3, 2, 3), "x", ("H", "W", "H")).shape == (3, 2, 3)


def test_whole_numbers_are_refused_where_others_are_wanted():
    with pytest.raises(ValueError, match=r"heat must be of a floating-point type, got torch\.uint8"):
        checks.tensor(np.ones((2, 2), np.uint8), "heat", ("H", "W"), floating=True)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_zeros_and_ones_are_masks(kind):
    drawn = torch.tensor([[[0, 1], [1, 0]]])
    masks = checks.masks(drawn.to(kind), "masks")
    assert masks.dtype == torch.bool
    assert torch.equal(masks, drawn == 1)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, float("nan")])
def test_other_numbers_are_no_masks(value):
    with pytest.raises(ValueError, match="found must be boolean"):
        checks.masks(torch.full((1, 2, 2), value), "found")


def test_lengths():
    checks.same_length(images=[1, 2], priors="ab")
    checks.same_length()
    with pytest.raises(ValueError, match=r"images and priors .*: images has 2, priors has 3"):
        checks.same_length(images=[1, 2], priors=[1, 2, 3])


def test_choices():
    assert checks.choice("b", "form", ["a", "b"]) == "b"
    with pytest.raises(ValueError, match="form must be one of 'a', 'b', got 'c'"):
        checks.choice("c", "form", ["a", "b"])


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_ranges(value):
    assert checks.between(0, "iou", 0, 1) == 0
    assert checks.between(1, "iou", 0, 1) == 1
    with pytest.raises(ValueError, match=r"iou must lie in \[0, 1\]"):
        checks.between(value, "iou", 0, 1)


@pytest.mark.parametrize(("value", "wanted"), [
    (np.array([[0, 51], [255, 102]], np.uint8), [[0, 0.2], [1, 0.4]]),
    (np.array([[0, 13107]], np.uint16), [[0, 0.2]]), (torch.tensor([[0, 13107]], dtype=torch.uint16), [[0, 0.2]]),
    (torch.tensor([[True, False]]), [[1, 0]]), (np.array([[0, 1]]), [[0, 1]]),
    ([[0.25, 1.2], [-0.1, 0.5]], [[0.25, 1], [0, 0.5]]),
    (torch.tensor([[0.5]], dtype=torch.float16), [[0.5]]), (np.zeros((1, 1), np.uint8), [[0]]),
])  # fmt: skip
def test_a_saliency_map_is_what_its_type_says(value, wanted):
    found = checks.saliency_map(value, "x")
    assert found.dtype == torch.float32 and torch.allclose(found, torch.tensor(wanted, dtype=torch.float32), atol=1e-6)


@pytest.mark.parametrize(("value", "said"), [
    (np.array([[0.0, 255.0]]), r"got torch\.float64 in \[0, 255\]"), (np.array([[0, 100]]), r"got torch\.int64 in \[0, 100\]"),
    (np.array([[-1.0, 0.5]]), r"in \[-1, 0\.5\]"), (np.array([[0, 1]], np.uint8), "a mask, or nearly black"),
    (np.array([[np.nan]]), "finite"), (np.zeros((0, 3)), "map of numbers"), (np.zeros((1, 1), complex), "map of numbers"),
    (np.zeros(3), r"shape \(H, W\)"),
])  # fmt: skip
def test_what_is_no_saliency_map_is_refused(value, said):
    with pytest.raises(ValueError, match=rf"^x must .*{said}"):
        checks.saliency_map(value, "x")
