"""Training processes killed without notice end where undisturbed ones end."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killable import train
from typer.testing import CliRunner

from mbrl_agents.agents.saving import CHECKPOINT, decisive_files
from mbrl_agents.cli.main import app
from mbrl_agents.training.checkpoints import load_meta, load_tensors

pytestmark = pytest.mark.slow

TOY = "toy_reach:ToyReach-v0"
MODEL = [
    "world_model.deter=32",
    "world_model.hidden=16",
    "world_model.units=16",
    "world_model.stoch=4",
    "training.batch_size=4",
    "training.sequence_length=8",
]
ONLINE = [
    *MODEL,
    "training.learning_starts=40",
    "training.train_ratio=4",
    "training.log_every=35",
    "training.warmup=5",
    "training.learning_rate=1e-3",
    "actor_critic.imagination=3",
]
OFFLINE = [
    *MODEL,
    "training.model_steps=20",
    "training.policy_steps=20",
    "training.log_every=6",
    "training.checkpoint_every=4",
]
SIMPLE = [
    "world_model.hidden=[16]",
    "world_model.head_hidden=[16]",
    "world_model.outcome_hidden=[16]",
    "planner.horizon=3",
    "planner.samples=8",
    "planner.elites=2",
    "planner.iterations=1",
    "training.model_steps=60",
    "training.batch_size=12",
    "training.checkpoint_every=25",
    "training.log_every=40",
    "training.random_steps=0",
    "training.round_steps=45",
    "training.refit_steps=6",
]
WORLD = [
    "world_model.latent=4",
    "world_model.depth=4",
    "world_model.hidden=8",
    "world_model.mixtures=2",
    "training.rollouts=12",
    "training.rollout_batch=1",
    "training.vision_updates=12",
    "training.encode_parts=8",
    "training.memory_updates=12",
    "training.batch_size=4",
    "training.memory_batch_size=4",
    "training.sequence_length=6",
    "training.checkpoint_every=4",
    "training.log_every=5",
    "controller.generations=5",
    "controller.population=4",
    "controller.episodes=1",
    "controller.evaluate_every=2",
    "controller.evaluate_episodes=1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "data"
    command = ["collect", str(folder), "--env", TOY, "--episodes", "6", "--workers", "1"]
    assert CliRunner().invoke(app, command).exit_code == 0
    return folder


def online(out: Path) -> list:
    """In rings of eight files, the first of which are forgotten."""
    settings = ["training.checkpoint_every=30", "training.replay_size=120"]
    return ["dreamer", "--env", TOY, "--steps", 200, "--out", out, *settings, *ONLINE]


def both(out: Path, data: Path) -> list:
    """Recorded episodes first, then own experience."""
    return ["dreamer", "--data", data, "--env", TOY, "--steps", 90, "--out", out,
            "training.updates=10", "training.checkpoint_every=4", *ONLINE]  # fmt: skip


def offline(out: Path, data: Path) -> list:
    return ["dreamer-policy", "--data", data, "--out", out, *OFFLINE]


def actor(out: Path, data: Path) -> list:
    """A prior that is trained in imagination."""
    return ["dreamer-actor-cem", "--data", data, "--out", out, "imagination.imagination=3",
            "actor.units=16", "training.policy_batch_size=64", *OFFLINE]  # fmt: skip


def simple(out: Path, data: Path) -> list:
    """Fitted to recorded episodes, and again and again to own experience beside them."""
    return ["simple-cem", "--data", data, "--env", TOY, "--steps", 170, "--out", out, *SIMPLE]


HYBRID = [
    "model_free.hidden=[8]",
    "model_free.batch_size=8",
    "training.random_steps=40",
    "training.log_every=35",
    "training.checkpoint_every=30",
]


def mbpo(out: Path) -> list:
    """Fits, sets of rollouts and SB3's updates, all with checkpoints between."""
    return ["mbpo", "--env", TOY, "--steps", 160, "--out", out, *HYBRID, "world_model.members=3",
            "world_model.elites=2", "world_model.hidden=[8]", "world_model.end_hidden=[8]",
            "training.first_updates=6", "training.refit_updates=4", "training.refit_every=20",
            "training.rollout_every=20", "training.rollouts=12", "training.check_every=3",
            "training.updates_per_step=1.5"]  # fmt: skip


def lite(out: Path) -> list:
    return ["dreamer-lite", "--env", TOY, "--steps", 140, "--out", out, *HYBRID,
            "world_model.hidden=8", "world_model.latent=4", "actor_critic.units=8",
            "actor_critic.horizon=3", "actor_critic.starts=4", "training.batch_size=4",
            "training.sequence_length=4", "training.pretrain=5"]  # fmt: skip


def iris(out: Path) -> list:
    """Three phases that begin one after another, the first while actions are still random."""
    return ["iris", "--env", "toy_images:ToyImages-v0", "--steps", 120, "--out", out,
            "world_model.channels=4", "world_model.levels=4", "world_model.residual_blocks=1",
            "world_model.attention=[4]", "world_model.codes=8", "world_model.code_size=4",
            "world_model.layers=1", "world_model.heads=2", "world_model.width=8",
            "world_model.window=4", "actor_critic.convolutions=[4]", "actor_critic.units=8",
            "actor_critic.horizon=3", "actor_critic.burn_in=2", "training.batch_size=3",
            "training.sequence_length=4", "training.tokenizer_batch_size=4",
            "training.actor_critic_batch_size=3", "training.tokenizer_start=20",
            "training.world_model_start=35", "training.actor_critic_start=50",
            "training.random_steps=50", "training.train_every=10",
            "training.tokenizer_updates=3", "training.world_model_updates=2.5",
            "training.actor_critic_updates=2", "training.log_every=25",
            "training.checkpoint_every=20"]  # fmt: skip


def world(out: Path) -> list:
    """Gathers its own episodes, and searches for a controller in the environment."""
    env = "toy_images:ToyImages-v0"
    return ["world-models", "--env", env, "--workers", 0, "--out", out, *WORLD]


def commands(data: Path) -> dict[str, Callable[[Path], list]]:
    return {
        "online": online,
        "offline": lambda out: offline(out, data),
        "both": lambda out: both(out, data),
        "actor": lambda out: actor(out, data),
        "simple": lambda out: simple(out, data),
        "mbpo": mbpo,
        "lite": lite,
        "iris": iris,
        "world": world,
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in decisive_files(run)[1:]:
        tensors, _ = load_tensors(file)
        found |= {f"{file.stem}/{key}": value for key, value in tensors.items()}
    return found


def rows(run: Path) -> list[tuple[str, ...]]:
    """The log without wall times."""
    with (run / "training_logs.csv").open(newline="") as stream:
        return [tuple(row) for row in csv.reader(stream)]


def check_same(whole: Path, killed: Path) -> None:
    left, right = weights(whole), weights(killed)
    assert left.keys() == right.keys()
    assert {name.split("/")[0] for name in left} >= {"world_model"}
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert rows(whole) == rows(killed)
    assert max(Counter(row[:3] for row in rows(killed)).values()) == 1
    partial = [p for p in killed.rglob(".*") if p.is_file()]
    assert not [p for p in partial if {".safetensors", ".steps"} & set(p.suffixes)], partial


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> Callable[[str], Path]:
    """The run of a kind that nobody killed, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def trained(kind: str) -> Path:
        assert train(commands(data)[kind](folder / kind)) == 0
        return folder / kind

    return trained


# Some of them: what matters are the moments of writing, and of those the next test has all kinds.
KINDS = ["online", "both", "simple", "mbpo", "world"]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_twice_at_any_moment(kind, data, undisturbed, tmp_path):
    command, whole = commands(data)[kind], undisturbed(kind)
    took = json.loads((whole / "run.json").read_text())["train_seconds"]
    draw = np.random.default_rng(KINDS.index(kind))
    codes = [
        train(command(tmp_path / "killed"), kill_after=took * share)
        for share in draw.uniform(0.1, 0.4, 2)
    ]
    # How fast the machine is just now decides whether the second comes in time.
    assert -9 in codes
    assert train(command(tmp_path / "killed")) == 0
    check_same(whole, tmp_path / "killed")


WRITES = {
    "online": [
        ("000001.steps", 1),
        ("000003.steps", 1),
        (CHECKPOINT, 1),
        (CHECKPOINT, 3),
        ("000011.steps", 1),
        ("world_model.safetensors", 1),
        ("run.json", 1),
    ],
    "offline": [
        # Of five checkpoints of the world model, and as many of the policy.
        (CHECKPOINT, 2),
        (CHECKPOINT, 4),
        (CHECKPOINT, 3),
        ("world_model.safetensors", 1),
        ("run.json", 1),
    ],
    "actor": [
        (CHECKPOINT, 6),
        (CHECKPOINT, 3),
        ("policy.safetensors", 1),
    ],
    "both": [
        # Two within the fit and one at its end; then those of own experience.
        (CHECKPOINT, 2),
        (CHECKPOINT, 2),
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
    ],
    "mbpo": [
        ("000001.steps", 1),
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
        ("learner.safetensors", 1),
    ],
    "lite": [
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
        ("replay.safetensors", 1),
    ],
    "iris": [
        # While actions are random, and after the tokenizer's first turn; then among all phases.
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
        (CHECKPOINT, 2),
        ("actor_critic.safetensors", 1),
    ],
    "world": [
        # Two of rollouts and one at their end; of V, of the encoding, of M; of five generations.
        ("000001.steps", 1),
        (CHECKPOINT, 2),
        (CHECKPOINT, 3),
        (CHECKPOINT, 4),
        (CHECKPOINT, 4),
        (CHECKPOINT, 3),
        ("controller.safetensors", 1),
        ("run.json", 1),
    ],
    "simple": [
        (CHECKPOINT, 2),
        ("000001.steps", 1),
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
        ("world_model.safetensors", 1),
    ],
}


@pytest.mark.parametrize("kind", WRITES)
def test_killed_while_it_writes(kind, data, undisturbed, tmp_path):
    """With a whole and with half a file written, at checkpoints and between their files."""
    command = commands(data)[kind]
    codes = [
        train(command(tmp_path / "killed"), kill_at_file=name, nth=nth, half=bool(number % 2))
        for number, (name, nth) in enumerate(WRITES[kind])
    ]
    assert codes == [-9] * len(codes)
    assert train(command(tmp_path / "killed")) == 0
    check_same(undisturbed(kind), tmp_path / "killed")


def test_steps_of_own_experience_are_written_once(tmp_path):
    assert train(online(tmp_path)) == 0
    meta = load_meta(tmp_path / CHECKPOINT)["buffer"]
    count, steps = meta["count"][0], meta["steps"]
    needed = range((count - 120) // steps["block"], -(-count // steps["block"]))
    assert sorted(map(int, steps["files"])) == list(needed)
    assert {path.name for path in (tmp_path / "replay").iterdir()} == set(steps["files"].values())
    # A file for every block that was begun, none of them written anew.
    assert sorted(steps["files"].values()) == [f"{number + 1:06d}.steps" for number in needed]
