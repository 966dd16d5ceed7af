"""CarRacing drawn faster: frames, rewards and ends are Gymnasium's, bit for bit."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import mbrl_agents.envs  # noqa: F401  registers

pytest.importorskip("Box2D")
OURS, ORIGINAL = "mbrl/CarRacing-v3", "CarRacing-v3"


def drives(seed: int, steps: int) -> np.ndarray:
    """Actions that go straight, skid, brake and leave the road."""
    rng = np.random.default_rng(seed)
    action, found = np.array([0.0, 0.5, 0.0]), []
    for _ in range(steps):
        action = np.clip(action + 0.3 * rng.normal(size=3), [-1, 0, 0], [1, 1, 0.3])
        found.append(action)
    return np.array(found)


@pytest.mark.parametrize("seed", range(4))
def test_frames_and_rewards_are_those_of_the_original(seed):
    ours, original = gymnasium.make(OURS), gymnasium.make(ORIGINAL)
    left, right = ours.reset(seed=seed)[0], original.reset(seed=seed)[0]
    assert np.array_equal(left, right)
    shown = set()
    for step, action in enumerate(drives(seed, 120)):
        left, right = ours.step(action), original.step(action)
        assert np.array_equal(left[0], right[0]), step
        assert left[1:4] == right[1:4], step
        shown.add(left[0].tobytes())
    assert len(shown) > 100  # it was no picture of standing still


def test_at_the_edge_of_the_field_and_with_other_colours():
    kwargs = {"domain_randomize": True, "continuous": False}
    ours, original = gymnasium.make(OURS, **kwargs), gymnasium.make(ORIGINAL, **kwargs)
    for env in (ours, original):
        env.reset(seed=5)
        car = env.unwrapped.car
        for body in (car.hull, *car.wheels):  # onto the edge, beyond which there is nothing
            body.position = (body.position[0] + 320 - car.hull.position[0], body.position[1])
    for step in range(60):
        left, right = ours.step(step % 5), original.step(step % 5)
        assert np.array_equal(left[0], right[0]), step
        assert left[1:4] == right[1:4], step
    for env in (ours, original):
        env.reset(seed=6, options={"randomize": False})
    assert np.array_equal(ours.step(3)[0], original.step(3)[0])


def test_frames_are_cropped_and_resized_by_any_environment_of_images():
    whole = gymnasium.make(OURS)
    small = gymnasium.make(OURS, size=64, rows=84)
    other = gymnasium.make("mbrl/Frames-v0", env_id=ORIGINAL, size=64, rows=84)
    upper = gymnasium.make(OURS, rows=84)
    frames = [env.reset(seed=0)[0] for env in (whole, small, other, upper)]
    assert [frame.shape for frame in frames] == [(96, 96, 3), (64, 64, 3), (64, 64, 3), (84, 96, 3)]
    assert np.array_equal(frames[1], frames[2])
    assert np.array_equal(frames[3], frames[0][:84])
    assert np.allclose(frames[1].mean((0, 1)), frames[3].mean((0, 1)), atol=1.0)
    assert small.observation_space.contains(frames[1])
    # What a worker process builds is the same.
    again = gymnasium.make(small.spec)
    assert np.array_equal(again.reset(seed=0)[0], frames[1])


def test_frames_need_an_image_that_is_large_enough():
    with pytest.raises(ValueError, match=r"rows must lie in 1\.\.96"):
        gymnasium.make(OURS, rows=97)
    with pytest.raises(ValueError, match="frames are a Box"):
        gymnasium.make("mbrl/Frames-v0", env_id="CartPole-v1", size=64)


# 333 actions of three frames and one of a single one are an episode.
@pytest.mark.parametrize(("seed", "count"), [(0, 334), (3, 60)])
def test_a_repeated_action_shows_the_frames_of_the_original_and_adds_their_rewards(seed, count):
    ours, original = gymnasium.make(OURS, action_repeat=3), gymnasium.make(ORIGINAL)
    assert np.array_equal(ours.reset(seed=seed)[0], original.reset(seed=seed)[0])
    for action in drives(seed, count):
        left, total, ends = ours.step(action), 0.0, False
        for _ in range(3):
            frame, reward, terminated, truncated, _ = original.step(action)
            total, ends = total + float(reward), terminated or truncated
            if ends:
                break
        assert np.array_equal(left[0], frame)
        assert left[1] == pytest.approx(total, abs=1e-9)
        assert (left[2] or left[3]) == ends
    assert ends == (count == 334)


def test_the_frame_of_an_end_amid_repeated_actions_is_shown():
    ours, original = gymnasium.make(OURS, action_repeat=8), gymnasium.make(ORIGINAL)
    for env in (ours, original):
        env.reset(seed=5)
        car = env.unwrapped.car
        for body in (car.hull, *car.wheels):
            shift = 333.1 - car.hull.position[0] if body is car.hull else 0.0
            body.position = (body.position[0] + shift, body.position[1])
        car.hull.linearVelocity = (50.0, 0.0)
    still = np.zeros(3)
    left, frames = ours.step(still), 0
    terminated = False
    while not terminated:
        frame, _, terminated, _, _ = original.step(still)
        frames += 1
    assert 1 <= frames < 8
    assert left[2]
    assert np.array_equal(left[0], frame)


def test_an_action_is_repeated_at_least_once():
    with pytest.raises(ValueError, match="action_repeat must be at least 1, got 0"):
        gymnasium.make(OURS, action_repeat=0)
