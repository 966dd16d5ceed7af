"""The model rows of the speed benchmark do the work they say; how fast is never asserted."""

from __future__ import annotations

import sys

import pytest
import torch

from mbrl_agents.algorithms.dreamer_v3 import DreamerV3Config
from mbrl_agents.benchmarks.speed import peers, planning, runner, training
from mbrl_agents.benchmarks.speed.peer_process import Peer


@pytest.fixture
def network():
    torch.manual_seed(0)
    return peers.pose_network().requires_grad_(False)


def test_the_model_and_the_plain_loop_score_plans_alike(network):
    generator = torch.Generator().manual_seed(0)
    plans = torch.rand(20, peers.HORIZON, 7, generator=generator) * 2 - 1
    pose = torch.rand(20, 7, generator=generator)
    plain = peers.pose_return(network, pose, plans)
    rollout = planning.PoseModel(network).imagine({"pose": pose}, plans)
    _, objective = planning.planner()
    torch.testing.assert_close(objective.score(rollout), plain, rtol=1e-5, atol=1e-5)


def test_both_searches_find_plans_of_about_the_same_score(network):
    pose = torch.zeros(peers.SAMPLES, 7)

    def score(plans):
        return peers.pose_return(network, pose, plans)

    random = torch.rand(100, peers.HORIZON, 7, generator=torch.Generator().manual_seed(1))
    drawn = score(random * 2 - 1)
    planner, objective = planning.planner()
    _, plain = peers.plain_cem(score, torch.Generator().manual_seed(0))
    found = planner.plan(
        planning.PoseModel(network), {"pose": pose[:1]}, objective=objective
    ).score[0]
    gain = plain - drawn.mean()
    assert gain > 2 * drawn.std()
    assert abs(found - plain) < 0.25 * gain


@pytest.mark.parametrize("image", [False, True])
def test_the_gradient_step_trains(image):
    small = DreamerV3Config(deter=16, hidden=8, classes=4, depth=2, units=8, stoch=4, blocks=2)
    update = training.gradient_step(image=image, batch=2, length=4, config=small)
    first, second = update(), update()
    assert first.keys() == second.keys() >= {"loss", "policy", "value", "gradient_norm"}
    assert all(torch.isfinite(value).all() for value in second.values())


def test_actions_are_timed_after_a_warm_up():
    times = planning.actions(2)
    assert len(times) == 2
    assert min(times) > 0


def test_rows_without_a_peer_say_why(monkeypatch):
    monkeypatch.setenv("MBRL_PEERS_PYTHON", "/no/such/python")
    names = ["cem_mlp_mbrl_lib", "cem_rssm", "train_vector"]
    rows = runner.run_speed(only=names)
    assert [row.id for row in rows] == names
    for row in rows:
        assert row.ratio is None
        assert "/no/such/python does not start" in row.note


def test_a_peer_works_in_a_process_of_its_own(monkeypatch, tmp_path):
    """A package called mbrl with the one class that is used, which prints when it works."""
    (tmp_path / "fake.py").write_text(
        "import sys, types\n"
        "planning = types.ModuleType('mbrl.planning')\n"
        "class CEMOptimizer:\n"
        "    def __init__(self, **settings): self.count = settings['population_size']\n"
        "    def optimize(self, score, x0):\n"
        "        print('working'); score(x0.expand(self.count, *x0.shape))\n"
        "planning.CEMOptimizer = CEMOptimizer\n"
        "sys.modules['mbrl'] = types.ModuleType('mbrl')\n"
        "sys.modules['mbrl.planning'] = planning\n"
        "import runpy\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/fake.py" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("MBRL_PEERS_PYTHON", str(python))
    with Peer("mbrl_lib") as peer:
        assert peer.versions.startswith("torch ")
        assert peer.run(2) > 0
