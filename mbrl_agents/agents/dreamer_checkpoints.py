"""Checkpoints of `DreamerAgent`: one file per phase of training, beside the replay they share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from mbrl_agents.training.checkpoints import load_tensors, save_tensors
from mbrl_agents.training.dreamer import DreamerTrainer
from mbrl_agents.training.replay import Replay

FIT_CHECKPOINT = "fit.checkpoint.safetensors"
CHECKPOINT = "learn.checkpoint.safetensors"
REPLAY_FOLDER = "replay"


def replay_folder(run: Path, lanes: int) -> Path:
    """Where the steps of ``lanes`` environments lie; `fit` and one environment share a folder."""
    return run / (REPLAY_FOLDER if lanes == 1 else f"{REPLAY_FOLDER}-{lanes}")


def write_checkpoint(
    file: Path,
    identity: str,
    replay: Replay,
    trainer: DreamerTrainer,
    draws: torch.Generator,
    facts: dict[str, Any],
) -> None:
    """Write everything training goes on from; the last file written makes it count.

    Args:
        file: in the run folder.
        identity: what training it belongs to.
        draws: generator of the noise in acting.
        facts: plain JSON values, returned by `read_checkpoint`.
    """
    folder = replay_folder(file.parent, replay.lanes)
    latents, recorded = replay.save(folder)
    tensors, trained = trainer.tensors()
    tensors |= {f"replay/{k}": v for k, v in latents.items()}
    tensors["generator/draws"] = draws.get_state()
    meta = {"identity": identity, "trainer": trained, "replay": recorded, "facts": facts}
    save_tensors(file, tensors, meta)
    if file.name == CHECKPOINT:
        # Own experience may push recorded steps out of the replay, which that one still lists.
        (file.parent / FIT_CHECKPOINT).unlink(missing_ok=True)
    replay.tidy(folder)


def read_checkpoint(
    file: Path, identity: str, replay: Replay, trainer: DreamerTrainer, draws: torch.Generator
) -> dict[str, Any]:
    """Bring replay, trainer and generator to where they were; returns the facts.

    Raises:
        ValueError: for the checkpoint of another training.
    """
    tensors, meta = load_tensors(file)
    check_identity(file, meta, identity)
    latents = {k.removeprefix("replay/"): v for k, v in tensors.items() if k.startswith("replay/")}
    replay.restore(replay_folder(file.parent, replay.lanes), latents, meta["replay"])
    trainer.restore(tensors, meta["trainer"])
    draws.set_state(tensors["generator/draws"])
    facts: dict[str, Any] = meta["facts"]
    return facts


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
