"""Imagination as an environment, and playing in it, for every world model of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from PIL import Image
from small_methods import ACTIONS, UNREAD, VECTORS, random_episodes, shrunk

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.evaluation.imagined_env import ImaginedEnv
from mbrl_agents.evaluation.playing import in_order, parse_actions, play, write_played
from mbrl_agents.protocols import Batch
from mbrl_agents.registry import WORLD_MODELS

IMAGES = spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)})
MODELS = [name for name in WORLD_MODELS if "images" not in UNREAD.get(name, ())]


def made(name: str, actions: str = "discrete", obs: spaces.Dict = IMAGES, **named: Any) -> Any:
    cls, config = WORLD_MODELS[name].load()
    model = cls(config(**shrunk(config)), obs, ACTIONS[actions])
    return ImaginedEnv(
        model.eval(), obs, ACTIONS[actions], episodes(obs, actions), max_steps=6, **named
    )


def episodes(obs: spaces.Dict, actions: str) -> list[Batch]:
    found = random_episodes(obs, ACTIONS[actions], 2)
    recorded = SequenceBuffer(obs, ACTIONS[actions], recorded=found).recorded
    assert recorded is not None
    return [recorded.whole(number[None])[0] for number in torch.arange(2)]


def test_every_model_of_images_is_played() -> None:
    assert set(MODELS) >= {"dreamer_v1", "dreamer_v2", "dreamer_v3", "iris", "world_models"}


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_gymnasium_finds_nothing_wrong(name: str, actions: str) -> None:
    env = made(name, actions, render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    env.reset(seed=1)
    drawn = env.render()
    assert drawn.dtype == np.uint8
    assert drawn.shape == (256, 256, 3)


@pytest.mark.parametrize("name", MODELS)
def test_reward_and_state_are_of_the_same_draws(name: str) -> None:
    env = made(name)
    env.reset(seed=4)
    before, draws = env.state, env._draws.get_state()
    generator = torch.Generator()
    generator.set_state(draws)
    action = torch.eye(4)[None, 1:2]
    with torch.no_grad():
        rollout = env.model.imagine(before, action, generator=generator, keep_features=True)
    _, reward, *_ = env.step(np.int64(2))
    assert reward == pytest.approx(float(rollout.reward[0, 0].nan_to_num()))
    torch.testing.assert_close(env.model.features(env.state)[0], rollout.features[0, 0])


def test_a_seed_decides_everything_and_draws_matter() -> None:
    env = made("dreamer_v3")
    plan = [np.int64(1), np.int64(2), np.int64(4)]
    first, again, other = (play(env, in_order(plan), seed=seed) for seed in (5, 5, 6))
    assert first.to_json() == again.to_json()
    assert all(np.array_equal(x, y) for x, y in zip(first.frames, again.frames, strict=True))
    assert first.to_json() != other.to_json()
    assert first.ended in ("stopped", "terminated")
    assert len(first.frames) == len(first.actions) + 1 <= 4
    assert play(env, in_order([])).ended == "stopped"
    most_likely = made("dreamer_v3", draw=False)
    one, two = (
        [most_likely.reset(seed=seed, options={"episode": 1}), most_likely.step(np.int64(1))][1]
        for seed in (1, 2)
    )
    assert np.array_equal(one[0]["image"], two[0]["image"])


def test_an_episode_ends_and_says_so() -> None:
    env = made("dreamer_v1")
    with pytest.raises(ResetNeeded):
        env.step(np.int64(1))
    played = play(env, lambda obs, begins: np.int64(1))
    assert played.ended in ("truncated", "terminated")
    assert len(played.actions) <= 6
    with pytest.raises(ResetNeeded):
        env.step(np.int64(1))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is no action of"):
        env.step(np.int64(0))


def test_context_is_what_the_model_has_seen() -> None:
    with pytest.raises(ValueError, match="no episode to start from has 50 observations"):
        made("dreamer_v1", context=50)
    short, long = made("dreamer_v3", context=1), made("dreamer_v3", context=5)
    for env in (short, long):
        env.reset(seed=0, options={"episode": 0})
    assert not torch.equal(short.state["deter"], long.state["deter"])


def test_a_model_of_vectors_is_an_environment_without_images() -> None:
    env = made("dreamer_v1", "box", VECTORS)
    check_env(env, skip_render_check=True)
    with pytest.raises(ValueError, match="shows no images"):
        play(env, in_order([env.action_space.sample()]))


def test_files_of_what_was_played(tmp_path: Path) -> None:
    env = made("iris")
    played = play(env, in_order([np.int64(1)] * 3), seed=0)
    files = write_played(tmp_path, played, fps=5)
    record = json.loads(Path(files["record"]).read_text())
    assert record["actions"] == [1] * record["steps"]
    assert record["return"] == pytest.approx(sum(record["rewards"]))
    with Image.open(files["filmstrip"]) as strip:
        assert strip.width == 128 * len(played.frames) + 2 * (len(played.frames) - 1)
    assert Path(files["video"]).stat().st_size > 100


def test_actions_are_read_as_they_are_written() -> None:
    discrete = ACTIONS["discrete"]
    assert parse_actions("1,2, 4\n3", discrete) == [1, 2, 4, 3]
    with pytest.raises(ValueError, match=r"action 2, '0', is none of Discrete"):
        parse_actions("1,0", discrete)
    box = spaces.Box(-1, 1, (2,), np.float32)
    rows = parse_actions("0.5 -1; 1,0\n0 0", box)
    np.testing.assert_array_equal(rows, [[0.5, -1], [1, 0], [0, 0]])
    for text in ("1 2", "1", "a b", "0 0 0"):
        with pytest.raises(ValueError, match="2 numbers for each action"):
            parse_actions(text, box)
    with pytest.raises(ValueError, match="no actions were given"):
        parse_actions("  \n", box)
