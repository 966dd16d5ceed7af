"""Checkpoints of a Stable-Baselines3 algorithm in training, from which it goes on exactly.

Stable-Baselines3 saves no environment, no generator and no place within ``learn``.  So a checkpoint
is taken where none of that matters: before a rollout, where generators and environments begin anew
with seeds that the number of steps decides, interrupted or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from mbrl_agents.agents.baseline_files import pack_baseline, restore_baseline
from mbrl_agents.training.checkpoints import load_tensors, save_tensors, under
from mbrl_agents.training.trainer import LEARN, check_identity

COUNTERS = (
    "_n_updates",
    "_n_calls",
    "_episode_num",
    "learning_starts",
    "_current_progress_remaining",
)
"""Numbers in an algorithm that decide what it does next, where it has them."""

ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Of a replay buffer; observations may be arrays by name."""

BUFFER = "replay_buffer"


class BaselineCheckpoints(BaseCallback):
    """Writes a checkpoint every so many environment steps, before the next rollout.

    Args:
        file: to write; replaced by the next.
        identity: of the training; a checkpoint of another one is refused.
        every: environment steps from one to the next, and before the first.
        seed: of what is drawn after a checkpoint.
        updates: counted so far by phase, as in `RunInfo`; kept beside the weights.
    """

    def __init__(
        self,
        file: Path,
        identity: str,
        *,
        every: int,
        seed: int,
        updates: dict[str, tuple[int, float]],
    ) -> None:
        super().__init__()
        self.file, self.identity, self.every, self.seed = file, identity, every, seed
        self.updates = updates
        self._last = 0
        self._restored = False

    def restore(self, model: BaseAlgorithm) -> None:
        """Go on from the file, where there is one.

        Raises:
            ValueError: it belongs to another training, or does not fit the algorithm.
        """
        if not self.file.is_file():
            return
        tensors, meta = load_tensors(self.file)
        check_identity(self.file, meta, self.identity)
        try:
            restore_baseline(model, under(tensors, "model/"), meta["model"])
            for name, value in meta["counters"].items():
                setattr(model, name, value)
            if meta["buffer"] is not None:
                _fill(model.replay_buffer, under(tensors, f"{BUFFER}/"), meta["buffer"])  # type: ignore[attr-defined]
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.file} does not fit, or another version of this package wrote it: {error}"
            ) from error
        self.updates |= {name: (int(n), float(s)) for name, (n, s) in meta["updates"].items()}
        self._last, self._restored = model.num_timesteps, True

    def _on_rollout_start(self) -> None:
        due = self.num_timesteps - self._last >= self.every
        if due:
            self._write()
        if due or self._restored:
            self._last, self._restored = self.num_timesteps, False
            self._begin_anew()

    def _on_step(self) -> bool:
        return True

    def _write(self) -> None:
        model = self.model
        tensors, meta = pack_baseline(model)
        tensors = {f"model/{name}": value for name, value in tensors.items()}
        buffer = getattr(model, BUFFER, None)
        found: dict[str, Any] | None = None
        if isinstance(buffer, ReplayBuffer):
            arrays, found = _packed(buffer)
            tensors |= {f"{BUFFER}/{name}": value for name, value in arrays.items()}
        counters = {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
        save_tensors(
            self.file,
            tensors,
            {
                "stage": LEARN,
                "identity": self.identity,
                "facts": {"num_timesteps": model.num_timesteps},
                "model": meta,
                "counters": counters,
                "buffer": found,
                "updates": self.updates,
            },
        )

    def _begin_anew(self) -> None:
        """New episodes, and new generators, by a seed that the number of steps decides."""
        model = self.model
        assert model.env is not None
        words = np.random.SeedSequence([self.seed, self.num_timesteps])
        model.set_random_seed(int(words.generate_state(1)[0] >> 1))
        model._last_obs = model.env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(model.env.num_envs, dtype=bool)


def _packed(buffer: ReplayBuffer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The filled part of a replay buffer, and where it goes on."""
    size = buffer.size()
    tensors = {}
    for name, array in _arrays(buffer).items():
        # What safetensors has no type for goes as bytes.
        tensors[name] = torch.from_numpy(np.ascontiguousarray(array[:size]).view(np.uint8))
    return tensors, {"pos": buffer.pos, "full": buffer.full}


def _fill(buffer: Any, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    for name, array in _arrays(buffer).items():
        found = tensors[name].numpy().view(array.dtype)
        array[: len(found)] = found
    buffer.pos, buffer.full = int(meta["pos"]), bool(meta["full"])


def _arrays(buffer: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name in ARRAYS:
        part = getattr(buffer, name)
        if isinstance(part, dict):
            found |= {f"{name}/{key}": array for key, array in part.items()}
        else:
            found[name] = part
    return found


__all__ = ["BaselineCheckpoints"]
