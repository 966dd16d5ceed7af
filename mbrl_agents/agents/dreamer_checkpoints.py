"""Checkpoints of `DreamerAgent`: one file per phase of training, beside the replay they share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mbrl_agents.training.checkpoints import discard_partial, load_tensors, save_tensors
from mbrl_agents.training.dreamer import DreamerTrainer
from mbrl_agents.training.means import RunningMeans
from mbrl_agents.training.replay import Replay

FIT_CHECKPOINT = "fit.checkpoint.safetensors"
CHECKPOINT = "learn.checkpoint.safetensors"
REPLAY_FOLDER = "replay"


def replay_folder(run: Path, lanes: int) -> Path:
    """Where the steps of ``lanes`` environments lie; `fit` and one environment share a folder."""
    return run / (REPLAY_FOLDER if lanes == 1 else f"{REPLAY_FOLDER}-{lanes}")


@dataclass
class Learner:
    """What changes while `DreamerAgent` trains, beside plain facts.

    Attributes:
        replay: recorded steps.
        trainer: takes the gradient steps.
        draws: generator of the noise in acting.
        means: what was not logged yet.
    """

    replay: Replay
    trainer: DreamerTrainer
    draws: torch.Generator
    means: RunningMeans = field(default_factory=RunningMeans)

    def update(self) -> None:
        """One gradient step, noted for the log."""
        self.means.add(self.trainer.update(self.replay))


def write_checkpoint(file: Path, identity: str, learner: Learner, facts: dict[str, Any]) -> None:
    """Write everything training goes on from; the last file written makes it count.

    Args:
        file: in the run folder.
        identity: what training it belongs to.
        learner: what training goes on from.
        facts: plain JSON values, returned by `read_checkpoint`.
    """
    replay = learner.replay
    folder = replay_folder(file.parent, replay.lanes)
    latents, recorded = replay.save(folder)
    tensors, trained = learner.trainer.tensors()
    tensors |= {f"replay/{k}": v for k, v in latents.items()}
    tensors |= {f"means/{k}": v for k, v in learner.means.sums.items()}
    tensors["generator/draws"] = learner.draws.get_state()
    meta = {
        "identity": identity,
        "trainer": trained,
        "replay": recorded,
        "means": learner.means.count,
        "facts": facts,
    }
    save_tensors(file, tensors, meta)
    if file.name == CHECKPOINT:
        # Own experience may push recorded steps out of the replay, which that one still lists.
        (file.parent / FIT_CHECKPOINT).unlink(missing_ok=True)
        discard_partial(file.parent / FIT_CHECKPOINT)
        if replay.lanes > 1:
            shutil.rmtree(replay_folder(file.parent, 1), ignore_errors=True)
    replay.tidy()


def read_checkpoint(file: Path, identity: str, learner: Learner) -> dict[str, Any]:
    """Bring a learner to where it was; returns the facts.

    Raises:
        ValueError: for the checkpoint of another training or version.
    """
    tensors, meta = load_tensors(file)
    check_identity(file, meta, identity)

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    folder = replay_folder(file.parent, learner.replay.lanes)
    learner.replay.restore(folder, under("replay/"), meta["replay"])
    learner.trainer.restore(tensors, meta["trainer"])
    learner.means.restore(under("means/"), meta["means"])
    learner.draws.set_state(tensors["generator/draws"])
    learner.replay.tidy()
    facts: dict[str, Any] = meta["facts"]
    return facts


def listing_checkpoints(run: Path, lanes: int) -> list[Path]:
    """The checkpoints there are that may list files of `replay_folder`."""
    names = [CHECKPOINT, FIT_CHECKPOINT] if lanes == 1 else [CHECKPOINT]
    return [run / name for name in names if (run / name).is_file()]


def check_identity(file: Path, meta: dict[str, Any], identity: str) -> None:
    """Raise ValueError unless the checkpoint belongs to this training."""
    if meta["identity"] != identity:
        raise ValueError(
            f"{file} belongs to another training ({meta['identity']}; this one: {identity}); "
            "take another folder or remove the file"
        )


def remove_replays(run: Path) -> None:
    """Remove the recorded steps of a run folder."""
    for folder in run.glob(f"{REPLAY_FOLDER}*"):
        if folder.is_dir():
            shutil.rmtree(folder)
