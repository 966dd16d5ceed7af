"""Planning speed beside a plain search in torch and the planners of other projects."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v3 import DreamerV3Config, DreamerV3Model
from mbrl_agents.benchmarks.speed.peer_process import Missing, Peer
from mbrl_agents.benchmarks.speed.peers import (
    ACTION,
    ELITES,
    HORIZON,
    INIT_STD,
    ITERATIONS,
    MIN_STD,
    POSE,
    SAMPLES,
    SIZE,
    plain_cem,
    pose_network,
    pose_return,
)
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, compared, interleaved, timed
from mbrl_agents.factories import make_agent
from mbrl_agents.nn import MLP, Unrolled
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.planners.cem import CEMConfig, CEMPlanner
from mbrl_agents.planners.objectives import ReturnObjective, ReturnObjectiveConfig
from mbrl_agents.protocols import Rollout

MLP_PLANS, RSSM_PLANS, ROUNDS = 10, 2, 15
"""Plans of a round, and rounds: a plan takes milliseconds, and a busy machine stalls some."""

ACTIONS, WARM_UP, ACT_LIMIT = 60, 5, 50.0
"""Actions that are timed, those before them that are not, and milliseconds of a control step."""


class PoseModel(nn.Module):
    """The network of the plain loop as our world models compute theirs.

    The weights and what comes out are the same; every step works in the same memory.
    """

    action_size = ACTION

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        sizes = [layer.out_features for layer in linear]
        self.actions = ActionStatistics(ACTION)
        self.network = MLP(POSE + ACTION, sizes[-1], sizes[:-1], norm=False)
        with torch.no_grad():
            for mine, theirs in zip(self.network.linear, linear, strict=True):
                mine.weight.copy_(theirs.weight)
                mine.bias.copy_(theirs.bias)

    def imagine(self, state: dict[str, Tensor], actions: Tensor) -> Rollout:
        pose, found = state["pose"], []
        network = Unrolled(self.network, actions)
        for step in range(actions.shape[1]):
            out = network(step, pose)[0]
            pose = out[:, :POSE]
            found.append(out)
        poses, reward = torch.stack(found, 1).split([POSE, 1], -1)
        return Rollout(poses, reward[..., 0])


def planner() -> tuple[CEMPlanner, ReturnObjective]:
    """Ours, with the settings of the plain loop and the summed reward as its objective."""
    config = CEMConfig(
        horizon=HORIZON,
        samples=SAMPLES,
        elites=ELITES,
        iterations=ITERATIONS,
        init_std=INIT_STD,
        min_std=MIN_STD,
    )
    objective = ReturnObjective(ReturnObjectiveConfig(discount=1.0, terminal_value=False))
    return CEMPlanner(config), objective


def plans(model: Any, state: Any, times: int) -> Callable[[], float]:
    """What searches ``times`` times and returns how long it took."""
    search, objective = planner()
    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        for _ in range(times):
            search.plan(model, state, objective=objective, generator=generator)

    return partial(timed, work)


def _cem_mlp(name: str) -> SpeedRow:
    """Over the pose network: what our search adds to the network's own time."""
    network = pose_network()
    pose = torch.zeros(SAMPLES, POSE)
    generator = torch.Generator().manual_seed(0)

    def reference() -> None:
        for _ in range(MLP_PLANS):
            plain_cem(lambda candidates: pose_return(network, pose, candidates), generator)

    ours = plans(PoseModel(network), {"pose": pose[:1]}, MLP_PLANS)
    times = interleaved(ours, partial(timed, reference), lambda: None, ROUNDS)
    return compared(name, times, MLP_PLANS, "a plain loop: sample, clamp, roll, top k, refit")


def _cem_mlp_peer(peer: str, note: str, name: str) -> SpeedRow:
    """Over the pose network, beside another project's search."""
    with _peer(peer) as other:
        ours = plans(PoseModel(pose_network()), {"pose": torch.zeros(1, POSE)}, MLP_PLANS)
        times = interleaved(ours, partial(other.run, MLP_PLANS), lambda: None, ROUNDS)
        return compared(name, times, MLP_PLANS, f"{note}, {other.versions}")


def _cem_rssm(peer: str, note: str, name: str, *, keeps: bool = False) -> SpeedRow:
    """Over a DreamerV3 of size 1M, beside the plain loop over sheeprl's modules."""
    vector = spaces.Box(-np.inf, np.inf, (POSE,), np.float32)
    model = DreamerV3Model(DreamerV3Config(), vector, spaces.Box(-1.0, 1.0, (ACTION,), np.float32))
    with _peer(peer, keeps=keeps) as other:
        ours = plans(model, model.initial(1), RSSM_PLANS)
        times = interleaved(ours, partial(other.run, RSSM_PLANS), lambda: None, ROUNDS)
        return compared(name, times, RSSM_PLANS, f"a plain loop over {note}, {other.versions}")


class Looking(gymnasium.Env):
    """Images and poses as the benchmark's environments show them, and nothing behind them."""

    observation_space = spaces.Dict(
        {
            "agentview": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
            "pose": spaces.Box(-np.inf, np.inf, (POSE,), np.float32),
        }
    )
    action_space = spaces.Box(-1.0, 1.0, (ACTION,), np.float32)


def actions(count: int) -> list[float]:
    """Seconds of ``count`` actions of dreamer-policy-cem as it is, with untrained weights."""
    agent = make_agent("dreamer-policy-cem", Looking(), seed=0)
    random = np.random.default_rng(0)
    times: list[float] = []
    state, start = None, np.array([True])
    for _ in range(count + WARM_UP):
        image = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        obs = {"agentview": image, "pose": random.normal(size=POSE).astype(np.float32)}
        began = time.perf_counter()
        _, state = agent.predict(obs, state, start, deterministic=True)
        times.append(time.perf_counter() - began)
        start = np.array([False])
    return times[WARM_UP:]


def _act(name: str) -> SpeedRow:
    """One action from an image; a control step of 20 Hz is what it must fit into."""
    slowest = 1e3 * float(np.quantile(actions(ACTIONS), 0.95))
    note = f"95th percentile of {ACTIONS} actions against a control step of 20 Hz"
    return SpeedRow(name, slowest, ACT_LIMIT, "ms", ACT_LIMIT / slowest, ACTIONS, note)


def _peer(name: str, *, keeps: bool = False) -> Peer:
    try:
        return Peer(name, keeps=keeps)
    except Missing as reason:
        raise Unavailable(f"{reason} (see MBRL_PEERS_PYTHON)") from reason


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    "cem_mlp": _cem_mlp,
    "cem_mlp_mbrl_lib": partial(_cem_mlp_peer, "mbrl_lib", "mbrl-lib's CEMOptimizer"),
    "cem_mlp_stable_worldmodel": partial(
        _cem_mlp_peer, "stable_worldmodel", "stable-worldmodel's CEMSolver"
    ),
    "cem_rssm": partial(
        _cem_rssm, "dreamer_v3_5_cem", "sheeprl's dreamer_v3_5 modules, which draw latents"
    ),
    "cem_rssm_equal": partial(
        _cem_rssm,
        "dreamer_v3_5_cem_likeliest",
        "the same, taking the most likely latents and keeping freed memory as ours does",
        keeps=True,
    ),
    "cem_rssm_2023": partial(
        _cem_rssm, "dreamer_v3_cem", "sheeprl's dreamer_v3 modules, which draw latents"
    ),
    "act": _act,
}
"""What measures each row, by its id, which it is called with."""
