"""What `torchrun` starts in `tests/training/test_sharing.py`: two processes that train together.

`python -m torch.distributed.run --nproc-per-node 2 shared_training.py FOLDER` trains the methods of
`METHODS` on the episodes in FOLDER/data with the command, and writes into FOLDER/gaps.json how far
shared losses and gradients are from those of one process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from small_methods import BOX, OBSERVATIONS, random_episodes, shrunk

from mbrl_agents.cli.main import app
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.sharing import average_gradients, averaged, joined, mine, rank, sharing
from mbrl_agents.protocols import Batch
from mbrl_agents.registry import WORLD_MODELS

FITTED = ["training.model_steps=6", "training.log_every=2", "training.checkpoint_every=4"]
IMAGINED = ["training.updates=4", "training.log_every=2"]
LATENT = ["world_model.deter=16", "world_model.hidden=8", "world_model.units=8",
          "world_model.stoch=4"]  # fmt: skip
METHODS = {
    "simple-policy-cem": [
        *FITTED, "world_model.ensemble=2", "world_model.hidden=[16]", "policy.hidden=[16]",
        "training.policy_steps=6", "training.policy_batch_size=16",
    ],
    "dreamer-cem": [*FITTED, *LATENT, "world_model.classes=4"],
    "dreamer": [*IMAGINED, *LATENT, "world_model.classes=4", "actor_critic.imagination=3"],
    "dreamer-v1": [
        *IMAGINED, *LATENT, "world_model.free_nats=0", "actor_critic.units=8",
        "actor_critic.horizon=3",
    ],
    "dreamer-v2": [
        *IMAGINED, *LATENT, "world_model.classes=4", "actor_critic.units=8",
        "actor_critic.horizon=3",
    ],
}  # fmt: skip
COMMON = ["training.batch_size=8", "training.sequence_length=6", "training.threads=1"]
INTERRUPTED, RESUMED = "dreamer-cem", "resumed"
"""A method that one process began to train, and the folder in which two go on."""

MODELS = ("simple", "dreamer_v1", "dreamer_v2", "dreamer_v3")


def command(method: str, folder: Path, out: Path) -> list[str]:
    """The arguments of `mbrl` that train a method."""
    return ["train", method, "--data", str(folder / "data"), "--out", str(out),
            *METHODS[method], *COMMON]  # fmt: skip


def masked_batch() -> Batch:
    """Episodes of unequal length, so that one half of the rows counts more steps than the other."""
    episodes = random_episodes(OBSERVATIONS["vectors"], BOX, 8)
    buffer = SequenceBuffer(OBSERVATIONS["vectors"], BOX, recorded=episodes)
    assert buffer.recorded is not None
    batch = buffer.recorded.whole(torch.arange(8))
    assert not batch.mask.all()
    return batch


def gaps(name: str, batch: Batch) -> dict[str, float]:
    """Largest differences between the shared batch and the whole one."""
    cls, config = WORLD_MODELS[name].load()
    settings = shrunk(config)
    model = cls(config(**settings), OBSERVATIONS["vectors"], BOX)
    if hasattr(model, "fit_statistics") and name != "dreamer_v2":
        model.fit_statistics(batch)
    model.train()

    def loss_and_gradient(*, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        model.zero_grad()
        found = batch
        if shared:
            with sharing():
                found = mine(batch, getattr(model, "batch_parts", 1))
                output = model.compute_loss(found, generator=generator)
        else:
            output = model.compute_loss(found, generator=generator)
        loss = output[0] if isinstance(output, tuple) else output.loss
        loss.backward()
        value = loss.detach()
        if shared:
            average_gradients(model.parameters())
            value = averaged({"loss": value})["loss"]
        gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return value, torch.cat(gradient)

    (whole, expected), (value, gradient) = (loss_and_gradient(shared=s) for s in (False, True))
    return {
        "loss": float((value - whole).abs() / whole.abs()),
        "gradient": float((gradient - expected).abs().max() / expected.abs().max()),
        "size": float(expected.abs().max()),
    }


def main(folder: Path) -> None:
    with joined() as count:
        assert count == 2, "start it by torchrun"
        batch = masked_batch()
        found = {name: gaps(name, batch) for name in MODELS}
        if rank() == 0:
            (folder / "gaps.json").write_text(json.dumps(found))
        for method in METHODS:
            app(command(method, folder, folder / method), standalone_mode=False)
        app(command(INTERRUPTED, folder, folder / RESUMED), standalone_mode=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))


__all__ = ["INTERRUPTED", "METHODS", "MODELS", "RESUMED", "command"]
