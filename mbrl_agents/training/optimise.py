"""Gradient steps on a module: schedule, held-out data, keep-best, exact resumption."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mbrl_agents.training.checkpoints import (
    load_tensors,
    pack_optimizer,
    save_tensors,
    unpack_optimizer,
)
from mbrl_agents.training.laprop import LaProp
from mbrl_agents.training.latents import LatentStore

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with the phase ("world_model" or "policy"), steps done, steps in all, and metrics."""

Losses = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of training.

    Attributes:
        model_steps, policy_steps: gradient steps of a fit from scratch.
        batch_size: sequences per gradient step of the world model.
        policy_batch_size: steps of demonstration per gradient step of the policy.
        sequence_length: ``T``, one step of context included; the model unrolls the rest.
        optimizer: of the world model, "adamw" or "laprop"; policies are fitted with AdamW.
        learning_rate: of the world model, peak; cosine to a twentieth of it, after a short
            warm-up.
        policy_learning_rate: likewise of the policy; None for the same.
        weight_decay: of AdamW.
        clip: bound on the gradient's norm; LaProp has its own.
        holdout: share of the episodes that is held out for the diagnostics and keep-best.
        evaluate_every: gradient steps between looks at held-out data.
        checkpoint_every: gradient steps between resumable checkpoints.
        keep_best: return the weights with the least held-out loss instead of the last.
        seed: of weights, splits, batches and the planner's noise.
        threads: CPU threads while fitting; 0 leaves torch's setting.
        compile: compile a latent model's steps with ``torch.compile`` while it is fitted, for a
            GPU; the first gradient step then takes minutes.
        round_steps: environment steps between refits in ``learn``.
        random_steps: environment steps ``learn`` takes at random before the first fit.
        refit_steps: gradient steps of each refit in ``learn``.
        explore_std: noise on actions ``learn`` collects with, in normalised action units.
    """

    model_steps: int = 3000
    policy_steps: int = 2000
    batch_size: int = 256
    policy_batch_size: int = 512
    sequence_length: int = 6
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    policy_learning_rate: float | None = None
    weight_decay: float = 1e-4
    clip: float = 10.0
    holdout: float = 0.1
    evaluate_every: int = 250
    checkpoint_every: int = 1000
    keep_best: bool = True
    seed: int = 0
    threads: int = 0
    compile: bool = False
    round_steps: int = 1000
    random_steps: int = 1000
    refit_steps: int = 500
    explore_std: float = 0.1

    def __post_init__(self) -> None:
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        if self.optimizer not in ("adamw", "laprop"):
            raise ValueError(f"optimizer must be 'adamw' or 'laprop', got {self.optimizer!r}")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout must lie in [0, 1), got {self.holdout}")


@dataclass
class FitResult:
    """What a fit gives: final metrics (train and held-out) and one row per evaluation."""

    metrics: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)


def optimise(
    module: nn.Module,
    train_loss: Callable[[torch.Generator], Losses],
    *,
    steps: int,
    config: TrainingConfig,
    phase: str,
    held_out: Callable[[], dict[str, float]] | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    seed: int = 0,
    carried: LatentStore | None = None,
) -> FitResult:
    """Take ``steps`` gradient steps on ``module``.

    Raises:
        FloatingPointError: when a gradient is not finite.
        ValueError: when ``checkpoint`` belongs to another fit.

    Args:
        module: trained in place; left in eval mode.
        train_loss: draws a batch with the generator it is given; loss and detached components.
        held_out: metrics on held-out data.  The best weights by its "loss" are kept, or, for a
            module with ``best_by`` (prefix of weights: metric), the best of each part by its own:
            a head that begins to overfit must not stop the rest.
        progress: told of every evaluation; an exception from it (an interrupt) stops the fit.
        checkpoint: file to resume from where it exists, and to write; removed by nobody, a
            finished fit is found finished.
        identity: what settings and data the fit belongs to; another fit's checkpoint is refused.
        seed: of the batches.
        carried: latents that the losses read and write; part of the checkpoint.

    Returns:
        metrics by name, ``train/...`` the mean since the last evaluation, ``held_out/...``.
    """
    optimizer: torch.optim.Optimizer
    if config.optimizer == "laprop":
        optimizer, clip = LaProp(module.parameters(), config.learning_rate), math.inf
    else:
        optimizer, clip = (
            torch.optim.AdamW(
                module.parameters(),
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                fused=True,
            ),
            config.clip,
        )
    generator = torch.Generator().manual_seed(seed)
    best_by: Mapping[str, str] = getattr(module, "best_by", {"": "loss"})
    best: dict[str, Tensor] = {}
    best_loss = dict.fromkeys(best_by, math.inf)
    done = 0
    history: list[dict[str, float]] = []
    last: dict[str, float] = {}
    sums: dict[str, Tensor] = {}
    since = 0
    identity = f"{steps} steps, seed {seed}, {config}, {identity}"
    if checkpoint is not None and checkpoint.is_file():
        done, best_loss, best, history, sums, since = _restore(
            checkpoint, module, optimizer, generator, identity, carried
        )
        last = dict(history[-1]) if history else {}
    warmup = max(1, min(100, steps // 10))
    module.train()
    while done < steps:
        share = (done + 1) / steps
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (done + 1) / warmup) * cosine
        loss, parts = train_loss(generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{phase}: the gradient is not finite at step {done}")
        optimizer.step()
        done += 1
        since += 1
        for name, value in {**parts, "gradient_norm": norm}.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.detach().float()
        if done % config.evaluate_every == 0 or done == steps:
            last = {"step": float(done)}
            last |= {f"train/{k}": float(v) / since for k, v in sums.items()}
            sums, since = {}, 0
            if held_out is not None:
                module.eval()
                found = held_out()
                module.train()
                last |= {f"held_out/{k}": v for k, v in found.items()}
                for prefix, name in best_by.items() if config.keep_best else ():
                    if found[name] < best_loss[prefix]:
                        best_loss[prefix] = found[name]
                        weights = module.state_dict().items()
                        best |= {k: v.clone() for k, v in weights if k.startswith(prefix)}
            history.append(last)
            if progress is not None:
                progress(phase, done, steps, last)
        if checkpoint is not None and (done % config.checkpoint_every == 0 or done == steps):
            _store(
                checkpoint, module, optimizer, generator, done, best_loss, best, history, sums,
                since, identity, carried,
            )  # fmt: skip
    module.load_state_dict({**module.state_dict(), **best})
    module.eval()
    if best and held_out is not None:
        last |= {f"held_out/{k}": v for k, v in held_out().items()}
    return FitResult(last, history)


def _store(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    done: int,
    best_loss: Mapping[str, float],
    best: Mapping[str, Tensor],
    history: list[dict[str, float]],
    sums: Mapping[str, Tensor],
    since: int,
    identity: str,
    carried: LatentStore | None,
) -> None:
    moments, groups = pack_optimizer(optimizer)
    tensors = {f"module/{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"optimizer/{k}": v for k, v in moments.items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    tensors |= {f"sums/{k}": v for k, v in sums.items()}
    if carried is not None:
        tensors |= {f"carried/{k}": v for k, v in carried.tensors().items()}
    tensors["generator"] = generator.get_state()
    meta = {
        "done": done,
        "identity": identity,
        "since": since,
        "best_loss": {k: v if math.isfinite(v) else None for k, v in best_loss.items()},
        "history": history,
        "optimizer": groups,
    }
    save_tensors(path, tensors, meta)


def _restore(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    identity: str,
    carried: LatentStore | None,
) -> tuple[
    int, dict[str, float], dict[str, Tensor], list[dict[str, float]], dict[str, Tensor], int
]:
    tensors, meta = load_tensors(path)
    if meta["identity"] != identity:
        raise ValueError(
            f"{path} belongs to another fit ({meta['identity']}; this one: {identity}); "
            "take another folder or remove the file"
        )

    def under(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(under("module/"))
    unpack_optimizer(optimizer, under("optimizer/"), meta["optimizer"])
    generator.set_state(tensors["generator"])
    if carried is not None:
        carried.restore(under("carried/"))
    best_loss = {k: math.inf if v is None else v for k, v in meta["best_loss"].items()}
    return meta["done"], best_loss, under("best/"), meta["history"], under("sums/"), meta["since"]


__all__ = ["FitResult", "Losses", "Progress", "TrainingConfig", "optimise"]
