"""What stays the same throughout an episode is read with every action, not remembered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.protocols import Batch, tree_map
from mbrl_agents.training.fit import TOKENS

TASKS = 3
SPACE = spaces.Dict(
    {
        "pose": spaces.Box(-np.inf, np.inf, (4,), np.float32),
        "task": spaces.Box(0.0, 1.0, (TASKS,), np.float32),
        "image": spaces.Box(0, 255, (32, 32, 3), np.uint8),
    }
)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4, "depth": 2}
MORE = {"progress": True, "ensemble": 2}


def model_of(context=("task",), **changes):
    return make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY, **changes, context=context).eval()


def seen(size: int, task: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "pose": torch.randn(size, 4, generator=draw),
        "task": torch.eye(TASKS)[task].expand(size, -1),
        "image": torch.randint(0, 256, (size, 32, 32, 3), generator=draw, dtype=torch.uint8),
    }


def sequences(size: int, length: int) -> Batch:
    draw = torch.Generator().manual_seed(2)
    no = torch.zeros(size, length, dtype=torch.bool)
    first = no.clone()
    first[:, 0] = True
    return Batch(
        obs=tree_map(lambda x: x.unflatten(0, (size, length)), seen(size * length)),
        prev_action=torch.rand(size, length, 2, generator=draw) * 2 - 1,
        reward=torch.randn(size, length, generator=draw),
        is_first=first,
        is_last=no,
        terminal=no,
        steps_to_go=torch.arange(length, 0, -1.0).expand(size, -1),
        label=torch.full((size, length, 2), torch.nan),
        mask=~no,
    )


def after_one(model, task: int):
    first = torch.ones(2, dtype=torch.bool)
    return model.observe(model.initial(2), seen(2, task), torch.zeros(2, 2), first)


def test_it_is_part_of_the_state_and_imagination_keeps_it():
    model = model_of()
    state = after_one(model, 1)
    assert torch.equal(state["context"], torch.eye(TASKS)[[1, 1]])
    for _ in range(3):
        state = model.imagine_step(state, torch.zeros(2, 2))
    assert torch.equal(state["context"], torch.eye(TASKS)[[1, 1]])
    assert model.initial(2).keys() == state.keys()


def test_what_is_imagined_depends_on_it_alone():
    model = model_of(**MORE)
    actions = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0))
    state = after_one(model, 0)
    other = {**state, "context": torch.eye(TASKS)[[2, 2]]}
    first, second = (model.imagine(s, actions, keep_features=True) for s in (state, other))
    assert not torch.allclose(first.features, second.features)


def test_a_search_imagines_what_the_modules_do():
    model = model_of(**MORE)
    actions = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0))
    state = after_one(model, 1)
    with torch.no_grad():
        rolled = model.imagine(state, actions, keep_features=True).features
    stepped, now = [], state
    for step in range(5):
        now = model.imagine_step(now, actions[:, step])
        stepped.append(model.features(now))
    torch.testing.assert_close(rolled, torch.stack(stepped, 1))


def test_every_loss_reads_it():
    model, batch = model_of(**MORE, unroll=3).train(), sequences(2, 6)
    other = replace(batch, obs={**batch.obs, "task": batch.obs["task"].roll(1, -1)})
    weight = model.rssm.from_action.linear.weight
    model.compute_loss(batch).loss.backward()
    assert weight.grad[:, ACTIONS.shape[0]].abs().sum() > 0  # of the task that was shown
    assert weight.grad[:, ACTIONS.shape[0] + 1 :].abs().sum() == 0  # of the others
    with torch.no_grad():
        found = [model.compute_loss(b).metrics["imagined_dynamics"] for b in (batch, other)]
    assert found[0] != found[1]


def test_encoded_observations_show_it_beside_the_tokens():
    model, batch = model_of(**MORE), sequences(2, 6)
    flat = tree_map(lambda x: x.flatten(0, 1), batch.obs)
    tokens = model.encode(flat).unflatten(0, (2, 6))
    encoded = replace(batch, obs={TOKENS: tokens, "task": batch.obs["task"]})
    with torch.no_grad():
        whole, read = (model.compute_loss(b) for b in (batch, encoded))
    torch.testing.assert_close(whole.features, read.features)


def test_keys_that_are_not_there_are_left_out():
    plain, asked = model_of(()), model_of(("goal",))
    assert plain.state_dict().keys() == asked.state_dict().keys()
    assert "context" not in asked.initial(1)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), asked.parameters(), strict=True)
    )


def test_an_image_is_no_context():
    with pytest.raises(ValueError, match="'image' is an image"):
        model_of(("image",))
