"""What a policy is cloned on: each recorded episode, seen once or several times."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.policies.cloned import ClonedPolicy, ClonedPolicyConfig
from mbrl_agents.training.cloning import CloneFit, encode
from mbrl_agents.training.fit import FitSettings

IMAGES = spaces.Box(0, 255, (16, 16, 3), np.uint8)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
TINY = {"deter": 16, "hidden": 8, "classes": 4, "depth": 2, "units": 8, "stoch": 4}


def recorded(episodes: int = 2, steps: int = 5) -> RecordedEpisodes:
    rng = np.random.default_rng(0)
    found = [
        Episode(
            observations={"obs": rng.integers(0, 256, (steps + 1, 16, 16, 3), dtype=np.uint8)},
            actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            labels=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            rewards=np.zeros(steps, np.float32),
            terminated=False,
            success=False,
            info={},
        )
        for _ in range(episodes)
    ]
    return RecordedEpisodes(found, ActionCodec(ACTIONS))


def test_further_views_are_other_features_with_the_same_labels() -> None:
    data = recorded()
    model = make_world_model("dreamer_v3", IMAGES, ACTIONS, **TINY, image_shift=2)
    policy = ClonedPolicy(ClonedPolicyConfig(hidden=(8,)), model.feature_size, 2)
    phase = CloneFit(policy, model, FitSettings(policy_views=3), seed=0)
    features, labels = phase._pairs(data, 3)
    plain, once = encode(model, data)
    assert torch.equal(labels, once.repeat(3, 1))
    assert torch.equal(features[: len(plain)], plain)
    second, third = features[len(plain) :].chunk(2)
    assert not torch.equal(second, plain)
    assert not torch.equal(second, third)
    again = CloneFit(policy, model, FitSettings(policy_views=3), seed=0)._pairs(data, 3)
    assert torch.equal(again[0], features)


def test_a_model_without_augmentation_and_chance_gives_the_same_view_again() -> None:
    data = recorded()
    model = make_world_model("dreamer_v3", IMAGES, ACTIONS, **TINY)
    members = ("initial", "observe", "features")
    plain = SimpleNamespace(**{name: getattr(model, name) for name in members})
    plain.observe = lambda *args, generator=None: model.observe(*args)
    views = [encode(plain, data, generator=g)[0] for g in (None, torch.Generator().manual_seed(1))]
    assert torch.equal(*views)
