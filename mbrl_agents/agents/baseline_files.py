"""A baseline of Stable-Baselines3 on disk: weights in safetensors, the rest plain text.

Stable-Baselines3's own ``save`` pickles: whoever loads such a zip runs whatever code was put into
it.  Weights, optimisers and what else has gradients go into one safetensors file instead, with the
spaces beside them; the settings are those of the run's ``config.yaml``.  A replay buffer is part of
neither.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr, recursive_setattr
from torch import Tensor

from mbrl_agents.agents.sb3 import build_baseline
from mbrl_agents.agents.space_codec import decode_space, encode_space
from mbrl_agents.names import resolve
from mbrl_agents.registry import BaselineMethod
from mbrl_agents.training.checkpoints import (
    load_tensors,
    pack_optimizer,
    save_tensors,
    under,
    unpack_optimizer,
)


def save_baseline(model: BaseAlgorithm, path: str | os.PathLike[str]) -> None:
    """Write the weights and optimisers of a baseline, atomically."""
    save_tensors(path, *pack_baseline(model))


def pack_baseline(model: BaseAlgorithm) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and optimisers of a baseline as named tensors, and plain values beside them."""
    states, variables = model._get_torch_save_params()
    tensors: dict[str, Tensor] = {}
    optimizers: dict[str, Any] = {}
    for name in states:
        part = recursive_getattr(model, name)
        if isinstance(part, torch.optim.Optimizer):
            found, optimizers[name] = pack_optimizer(part)
        else:
            found = part.state_dict()
        tensors |= {f"{name}/{key}": value for key, value in found.items()}
    for name in variables:
        tensors[f"variables/{name}"] = recursive_getattr(model, name).data
    policy = next(k for k, v in model.policy_aliases.items() if v is model.policy_class)
    meta = {
        "policy": policy,
        "observation_space": encode_space(model.observation_space),
        "action_space": encode_space(model.action_space),
        "num_timesteps": model.num_timesteps,
        "n_envs": model.n_envs,
        "exploration_rate": getattr(model, "exploration_rate", None),
        "optimizers": optimizers,
    }
    return tensors, meta


def restore_baseline(
    model: BaseAlgorithm, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Put back what `pack_baseline` gave, into an algorithm of the same settings."""
    _load_into(model, tensors, meta["optimizers"])
    model.num_timesteps = int(meta["num_timesteps"])
    if meta["exploration_rate"] is not None:
        model.exploration_rate = float(meta["exploration_rate"])  # type: ignore[attr-defined]


def load_baseline_file(
    path: str | os.PathLike[str],
    recipe: BaselineMethod,
    settings: Any,
    *,
    seed: int = 0,
    device: torch.device | str = "auto",
) -> BaseAlgorithm:
    """The baseline that `save_baseline` wrote; nothing in the file is run.

    Args:
        settings: the method's config section ``baseline``.
        seed: of what it draws from now on.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it does not fit the method and its settings.
    """
    tensors, meta = load_tensors(path)
    try:
        model = build_baseline(
            resolve(recipe.target),
            meta["policy"],
            None,
            settings,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        model.observation_space = decode_space(meta["observation_space"])
        model.action_space = decode_space(meta["action_space"])
        model.n_envs = int(meta["n_envs"])
        if getattr(model, "target_entropy", None) == "auto":
            # SB3 asks the environment, which is not there.
            model.target_entropy = -float(np.prod(model.action_space.shape or ()))  # type: ignore[attr-defined]
        model._setup_model()
        restore_baseline(model, tensors, meta)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not fit the settings beside it, or another version of this package "
            f"wrote it: {error}"
        ) from error
    return model


def _load_into(
    model: BaseAlgorithm, tensors: Mapping[str, Tensor], optimizers: Mapping[str, Any]
) -> None:
    states, variables = model._get_torch_save_params()
    for name in states:
        part = recursive_getattr(model, name)
        if isinstance(part, torch.optim.Optimizer):
            unpack_optimizer(part, under(tensors, f"{name}/"), optimizers[name])
        else:
            part.load_state_dict(under(tensors, f"{name}/"))
    for name in variables:
        value = tensors[f"variables/{name}"].to(model.device)
        recursive_setattr(model, f"{name}.data", value)


def trusted_baseline(path: Path, algorithm: str, device: torch.device | str) -> BaseAlgorithm:
    """A zip of Stable-Baselines3, whose pickled parts are run.

    Args:
        algorithm: name of its class.

    Raises:
        ValueError: for a class that Stable-Baselines3 does not have.
    """
    import stable_baselines3

    found = getattr(stable_baselines3, algorithm, None)
    if not (isinstance(found, type) and issubclass(found, BaseAlgorithm)):
        raise ValueError(f"{path}: Stable-Baselines3 has no algorithm {algorithm!r}")
    return found.load(path, device=device)


def refuse_pickle(path: Path) -> None:
    """Raise ValueError for a zip of Stable-Baselines3 that nobody said is to be trusted."""
    raise ValueError(
        f"{path} is a zip of Stable-Baselines3, which runs whatever code was pickled into it: an "
        "earlier version of this package or another project wrote it. If you trust where it comes "
        "from, say so (--trust-pickle, in Python trust_pickle=True); else train again"
    )


__all__ = [
    "load_baseline_file",
    "pack_baseline",
    "refuse_pickle",
    "restore_baseline",
    "save_baseline",
    "trusted_baseline",
]
