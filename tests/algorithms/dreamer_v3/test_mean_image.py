"""Images as what differs from the mean of the recorded ones."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.protocols import Batch, tree_map

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
POSE = spaces.Box(-np.inf, np.inf, (7,), np.float32)
TINY = {"deter": 64, "hidden": 16, "classes": 4, "depth": 2, "units": 16, "stoch": 4}


def scenes() -> torch.Tensor:
    """``(8, 4, 64, 64, 3)``: a still background, and a white block elsewhere in each row."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 64, 3), generator=draw, dtype=torch.uint8)
    images = images.expand(8, 4, 64, 64, 3).clone()
    for row in range(8):
        images[row, :, 4 * row : 4 * row + 4, :8] = 255
    return images


def recorded() -> Batch:
    no = torch.zeros(8, 4, dtype=torch.bool)
    return Batch(
        obs={"image": scenes(), "pose": torch.zeros(8, 4, 7)},
        prev_action=torch.zeros(8, 4, 7),
        reward=torch.zeros(8, 4),
        is_first=no,
        is_last=no,
        terminal=no,
        steps_to_go=torch.full((8, 4), torch.nan),
        label=torch.full((8, 4, 7), torch.nan),
        mask=~no,
    )


def decoded(*, fitted: bool) -> torch.Tensor:
    """What is drawn of the scenes before the first gradient step, ``(32, 64, 64, 3)``."""
    space = spaces.Dict({"image": IMAGE, "pose": POSE})
    model = make_world_model("dreamer_v3", space, ACTIONS, **TINY, mean_image=True)
    batch = recorded()
    if fitted:
        model.fit_statistics(batch)
    state = model.observe(
        model.initial(32),
        tree_map(lambda x: x.flatten(0, 1), batch.obs),
        torch.zeros(32, 7),
        torch.ones(32, dtype=torch.bool),
    )
    return model.decode(state)["image"].detach()


def test_a_fitted_model_draws_the_mean_before_it_has_learned() -> None:
    mean = scenes().flatten(0, 1).float().mean(0) / 255.0
    # The darkest and the brightest grey level have no finite logit.
    assert (decoded(fitted=True) - mean).abs().max() <= 1 / 255 + 1e-6


def test_without_recorded_episodes_it_draws_grey() -> None:
    assert (decoded(fitted=False) == 0.5).all()


def test_it_is_saved_with_the_weights() -> None:
    model = make_world_model("dreamer_v3", IMAGE, ACTIONS, **TINY, mean_image=True)
    assert model.state_dict()["decoder.offset"].shape == (3, 64, 64)
    plain = make_world_model("dreamer_v3", IMAGE, ACTIONS, **TINY)
    assert not any("offset" in key for key in plain.state_dict())
