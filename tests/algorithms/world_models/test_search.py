"""World Models: what a search gives up, and how it adapts."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.world_models import ControllerConfig
from mbrl_agents.algorithms.world_models.config import WorldModelsConfig
from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.evolution import Evolution
from mbrl_agents.algorithms.world_models.model import WorldModelsModel
from mbrl_agents.algorithms.world_models.rollouts import Trial, trial
from mbrl_agents.data.env_workers import Workplace

PIXELS = spaces.Box(0, 255, (16, 16, 3), np.uint8)
STEER = spaces.Box(-1, 1, (1,))


class Track(gymnasium.Env):
    """Tiles are passed at the given steps; every step costs a tenth."""

    observation_space, action_space = PIXELS, STEER

    def __init__(self, tiles: set[int], ends: int = 1000) -> None:
        self.tiles, self.ends = tiles, ends

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(PIXELS.shape, np.uint8), {}

    def step(self, action):
        self.steps += 1
        reward = 1.0 * (self.steps in self.tiles) - 0.1
        return np.zeros(PIXELS.shape, np.uint8), reward, self.steps == self.ends, False, {}


def played(env: gymnasium.Env, *limits: int) -> tuple[float, int]:
    model = WorldModelsModel(WorldModelsConfig(latent=2, depth=2, hidden=4), PIXELS, STEER)
    controller = Controller(ControllerConfig(), 2, 4, 1, discrete=False)
    place = Workplace(env, memo={"built": (model.eval(), controller)})
    return trial(place, Trial(np.zeros(controller.size), 0, *limits))


def test_an_episode_is_given_up_and_counts_as_if_it_had_gone_on():
    stuck = Track({1, 2, 5})
    whole = played(stuck, 40)
    assert whole == (pytest.approx(3 - 4.0), 40)
    assert played(stuck, 40, 6) == (pytest.approx(whole[0]), 11)
    assert played(stuck, 40, 3) == (pytest.approx(whole[0]), 8)
    assert played(stuck, 40, 2) == (pytest.approx(2 - 4.0), 4)  # too impatient for the third


def test_patience_changes_nothing_of_an_episode_that_goes_well_or_ends():
    assert played(Track(set(range(0, 40, 4))), 30, 5) == (pytest.approx(7 - 3.0), 30)
    assert played(Track(set(), ends=3), 30, 5) == (pytest.approx(-0.3), 3)
    assert played(Track(set(), ends=5), 30, 5) == (pytest.approx(-0.5), 5)


def test_patience_needs_a_length():
    with pytest.raises(ValueError, match="max_steps must say"):
        ControllerConfig(patience=50)
    assert ControllerConfig(patience=50, max_steps=700).patience == 50


def test_a_diagonal_covariance_learns_the_scales_of_many_parameters_sooner():
    scales = np.logspace(0, 3, 60)

    def left(diagonal: bool) -> float:
        search = Evolution(torch.ones(60), 0.5, 12, seed=1, diagonal=diagonal)
        for _ in range(300):
            search.tell(-(scales * np.square(search.ask())).sum(1))
        return float((scales * np.square(search.mean.numpy())).sum())

    assert left(True) < 0.2 * left(False)


def test_what_reads_h_varies_less_at_first_where_that_is_asked_for():
    controller = Controller(ControllerConfig(), 5, 40, 2, discrete=False)
    scales = controller.scales(0.1)
    search = Evolution(controller.flat(), 0.5, 400, seed=3, scales=scales)
    spread = torch.from_numpy(search.ask()).std(0)
    torch.testing.assert_close(spread, 0.5 * scales, rtol=0.2, atol=0)

    # Small weights of h, and a bias, wherever they are among the parameters.
    weight, bias = scales[:90].view(2, 45), scales[90:]
    assert (weight[:, :5] == 1).all()
    assert (weight[:, 5:] == 0.1).all()
    assert (bias == 1).all()
    onto_z = Controller(ControllerConfig(inputs="z"), 5, 40, 2, discrete=False)
    assert (onto_z.scales(0.1) == 1).all()

    # What was stored leads to the same search.
    search.tell(-np.square(search.ask()).sum(1))
    again = Evolution(controller.flat(), 0.5, 400, seed=3, scales=scales)
    again.restore(search.tensors())
    assert np.array_equal(again.ask(), search.ask())


@pytest.mark.parametrize("name", ["sigma", "h_scale", "temperature"])
def test_a_scale_is_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        ControllerConfig(**{name: 0.0})
