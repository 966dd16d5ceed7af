"""What training writes down: in the log of the run and for TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path

import gymnasium
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mbrl_agents
import toy_grasp
from mbrl_agents.agents.saving import append_rows, trim_rows

SMALL = {"deter": 32, "hidden": 16, "units": 16, "depth": 2, "stoch": 4, "classes": 4}
MODEL = {
    "vectors", "reward", "continue", "dynamics", "representation", "kl", "posterior_entropy",
    "prior_entropy", "latent_use", "latent_live", "loss", "gradient_norm",
}  # fmt: skip
ACTOR_CRITIC = {"policy", "value", "replay_value", "return", "return_scale", "action_entropy"}


def logged(run: Path) -> dict[tuple[str, str], dict[int, float]]:
    """Steps and values by phase and metric."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    with (run / "training_logs.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            steps = found.setdefault((row["phase"], row["metric"]), {})
            steps[int(row["step"])] = float(row["value"])
    return found


def shown(run: Path, prefix: str) -> set[str]:
    tags = EventAccumulator(str(run)).Reload().Tags()["scalars"]
    return {tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)}


@pytest.fixture(scope="module")
def episodes():
    return toy_grasp.demonstrations(3)


def test_offline_planning_methods(episodes, tmp_path):
    agent = mbrl_agents.make_agent(
        "dreamer-cem",
        gymnasium.make("toy_grasp:ToyGrasp-v0"),
        world_model=SMALL,
        training={"model_steps": 6, "log_every": 3, "batch_size": 2, "sequence_length": 8},
    )
    agent.fit(episodes, folder=tmp_path)
    agent.logger.close()
    rows = logged(tmp_path)
    for name in MODEL | {"progress"}:
        values = rows["world_model", f"train/{name}"]
        assert list(values) == [3, 6]
        assert name == "kl" or min(values.values()) >= 0
    assert 1 <= rows["world_model", "train/latent_use"][6] <= 4
    assert 0 <= rows["world_model", "train/latent_live"][6] <= 1
    assert rows["world_model", "train/gradient_norm"][6] > 0
    assert shown(tmp_path, "train/world_model/") >= MODEL
    assert "reward_1" in shown(tmp_path, "held_out/optimism/")


def test_with_several_phases_each_has_its_own_curves(episodes, tmp_path):
    agent = mbrl_agents.make_agent(
        "dreamer-policy",
        gymnasium.make("toy_grasp:ToyGrasp-v0"),
        world_model=SMALL,
        training={
            "model_steps": 4, "policy_steps": 6, "log_every": 2, "batch_size": 2,
            "sequence_length": 8, "policy_batch_size": 16,
        },
    )  # fmt: skip
    agent.fit(episodes, folder=tmp_path)
    agent.logger.close()
    rows = logged(tmp_path)
    assert list(rows["world_model", "train/loss"]) == [2, 4]
    assert list(rows["policy", "train/loss"]) == [2, 4, 6]
    assert list(rows["policy", "held_out/error"]) == [2, 4, 6]
    assert shown(tmp_path, "train/world_model/") >= MODEL
    assert shown(tmp_path, "train/policy/") == {"loss", "mean", "std", "gradient_norm"}
    assert agent.metrics["train/policy/loss"] == pytest.approx(rows["policy", "train/loss"][6])


@pytest.mark.parametrize("online", [False, True])
def test_dreamer(online, episodes, tmp_path):
    agent = mbrl_agents.make_agent(
        "dreamer",
        gymnasium.make("toy_grasp:ToyGrasp-v0"),
        world_model=SMALL,
        actor_critic={"imagination": 2},
        training={
            "batch_size": 2, "sequence_length": 8, "updates": 4, "log_every": 2 + 28 * online,
            "train_ratio": 1.0, "learning_starts": 10,
        },
    )  # fmt: skip
    if online:
        from stable_baselines3.common.logger import configure

        agent.set_logger(configure(str(tmp_path), ["tensorboard"]))
        agent.learn(60, folder=tmp_path)
    else:
        agent.fit(episodes, folder=tmp_path)
    agent.logger.close()
    rows = logged(tmp_path)
    phase, steps = ("online", [30, 60]) if online else ("dreamer", [2, 4])
    for name in MODEL | ACTOR_CRITIC:
        assert list(rows[phase, f"train/{name}"]) == steps
    assert shown(tmp_path, "train/") >= MODEL | ACTOR_CRITIC


def test_rows_after_the_checkpoint_are_removed(tmp_path):
    path = tmp_path / "log.csv"
    trim_rows(path, "a", 0)
    for phase, step in (("a", 5), ("a", 10), ("b", 5), ("b", 10)):
        append_rows(path, phase, {"step": float(step), "y": 0.5 * step, "x": 1.0})
    whole = path.read_text()
    assert whole.splitlines()[:3] == ["phase,step,metric,value", "a,5,x,1.0", "a,5,y,2.5"]
    path.write_text(whole + "b,11,x")
    trim_rows(path, "b", 20)
    assert path.read_text().splitlines() == whole.splitlines()
    trim_rows(path, "b", 5)
    trim_rows(path, "a", 0)
    assert path.read_text().splitlines() == ["phase,step,metric,value", "b,5,x,1.0", "b,5,y,2.5"]
    path.write_text("phase,st")
    trim_rows(path, "a", 0)
    assert not path.exists()
