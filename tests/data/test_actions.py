"""ActionCodec: asymmetric bounds, one-hot choices, missing labels, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.data.actions import ActionCodec


def box(low, high, dtype=np.float32) -> spaces.Box:
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


def test_every_dimension_has_its_own_asymmetric_bounds():
    codec = ActionCodec(box([0.0, -3.0, 10.0], [2.0, 1.0, 20.0]))
    assert (codec.size, codec.discrete) == (3, False)
    raw = np.array([[0.0, -3.0, 10.0], [1.0, -1.0, 15.0], [2.0, 1.0, 20.0], [0.5, 0.0, 17.5]])
    unit = np.array([[-1, -1, -1], [0, 0, 0], [1, 1, 1], [-0.5, 0.5, 0.5]], np.float32)
    encoded = codec.encode(raw)
    assert encoded.dtype == np.float32
    assert np.array_equal(encoded, unit)
    decoded = codec.decode(unit)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, raw.astype(np.float32))


def test_a_gas_pedal_at_rest_is_not_half_pressed():
    """Bounds of 0 and 1 are where an assumption of symmetry shows first."""
    codec = ActionCodec(box([-1.0, 0.0, 0.0], [1.0, 1.0, 1.0]))
    assert codec.encode(np.zeros((1, 3))).tolist() == [[0.0, -1.0, -1.0]]
    assert codec.decode(np.zeros((1, 3), np.float32)).tolist() == [[0.0, 0.5, 0.5]]


def test_unit_bounds_change_no_number():
    values = np.random.default_rng(0).uniform(-1, 1, (100, 4)).astype(np.float32)
    codec = ActionCodec(spaces.Box(-1.0, 1.0, (4,), np.float32))
    assert np.array_equal(codec.encode(values), values)
    assert np.array_equal(codec.decode(values), values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trips(dtype):
    rng = np.random.default_rng(1)
    low = rng.uniform(-5, 5, 6).astype(dtype)
    space = box(low, low + rng.uniform(0.1, 9, 6), dtype)
    codec = ActionCodec(space)
    unit = rng.uniform(-1, 1, (200, 6)).astype(np.float32)
    raw = codec.decode(unit)
    assert raw.dtype == dtype
    assert all(space.contains(action) for action in raw)
    assert np.allclose(codec.encode(raw), unit, atol=1e-5)
    edges = codec.decode(np.stack([np.full(6, -1.0), np.full(6, 1.0)]))
    assert np.allclose(edges, np.stack([space.low, space.high]), rtol=0, atol=1e-6)


def test_both_ways_clip_to_the_bounds():
    codec = ActionCodec(box([0.0], [4.0]))
    assert codec.encode(np.array([[-1.0], [9.0], [np.inf]])).tolist() == [[-1.0], [1.0], [1.0]]
    assert codec.decode(np.array([[-1.5], [1.5]], np.float32)).tolist() == [[0.0], [4.0]]


def test_bounds_of_no_width_and_whole_numbers():
    codec = ActionCodec(box([2.0, 0.0], [2.0, 1.0]))
    assert codec.encode(np.array([[2.0, 1.0]])).tolist() == [[0.0, 1.0]]
    assert codec.decode(np.array([[0.7, 1.0]])).tolist() == [[2.0, 1.0]]
    whole = ActionCodec(box([0, -2], [10, 2], np.int64))
    assert whole.decode(np.array([[0.19, -1.0]])).tolist() == [[6, -2]]
    assert whole.decode(np.array([[0.19, -1.0]])).dtype == np.int64


def test_missing_labels_stay_missing():
    encoded = ActionCodec(box([0.0, 5.0], [1.0, 5.0])).encode(
        np.array([[np.nan, np.nan], [1.0, 5.0]], np.float32)
    )
    assert np.isnan(encoded[0]).all()
    assert encoded[1].tolist() == [1.0, 0.0]
    rows = ActionCodec(spaces.Discrete(3)).encode(np.array([[np.nan], [2.0]], np.float32))
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("start", [0, 1, -3])
def test_discrete_actions_begin_at_the_spaces_start(start):
    space = spaces.Discrete(4, start=start)
    codec = ActionCodec(space)
    assert (codec.size, codec.discrete) == (4, True)
    numbers = np.arange(start, start + 4)
    for recorded in (numbers, numbers[:, None].astype(np.float32)):
        encoded = codec.encode(recorded)
        assert encoded.dtype == np.float32
        assert np.array_equal(encoded, np.eye(4))
    decoded = codec.decode(np.eye(4, dtype=np.float32))
    assert decoded.shape == (4,)
    assert decoded.dtype == space.dtype
    assert decoded.tolist() == numbers.tolist()
    assert all(space.contains(action) for action in decoded)


def test_the_largest_entry_is_the_choice():
    codec = ActionCodec(spaces.Discrete(3, start=5))
    assert codec.decode(np.array([[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]])).tolist() == [6, 5]


@pytest.mark.parametrize("number", [0.0, 4.0, 1.5, np.inf])
def test_numbers_that_are_no_action_are_refused(number):
    with pytest.raises(ValueError, match=r"is no action of .* has 1 to 3"):
        ActionCodec(spaces.Discrete(3, start=1)).encode(np.array([[1.0], [number]]))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1.0, 1.0, (2, 2)), "one dimension"),
        (spaces.Box(-1.0, 1.0, ()), "one dimension"),
        (box([-1.0, -np.inf], [1.0, 1.0]), "bounded, but dimension 1 reaches from -inf"),
        (spaces.MultiDiscrete([2, 2]), "got a MultiDiscrete"),
    ],
)
def test_other_spaces_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        ActionCodec(space)


@pytest.mark.parametrize("space", [spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(3)])
def test_other_shapes_and_numbers_that_are_not_finite_are_refused(space):
    codec = ActionCodec(space)
    with pytest.raises(ValueError, match="got shape"):
        codec.encode(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="got shape"):
        codec.encode(np.zeros(()))
    with pytest.raises(ValueError, match="got shape"):
        codec.decode(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        codec.decode(np.array([[0.0, np.nan, 1.0]]))
