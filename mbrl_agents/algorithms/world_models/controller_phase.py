"""The fifth phase: generations of CMA-ES, in the environment or in a dream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.world_models.config import ControllerConfig, WorldModelsTrainingConfig
from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.evolution import Evolution
from mbrl_agents.algorithms.world_models.model import WorldModelsModel
from mbrl_agents.algorithms.world_models.phases import MemoryPhase
from mbrl_agents.algorithms.world_models.rollouts import ModelWeights, Trial, seed_of, trial
from mbrl_agents.protocols import Metrics, Rollouts, Schedule
from mbrl_agents.training.checkpoints import under

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer

SEARCH, TRIALS, CHECKS, DREAMS = 5, 6, 7, 8
"""Words that tell seeds apart."""


class ControllerPhase:
    """An update is a generation: every candidate's episodes, and the distribution moves.

    The controller becomes the mean of the distribution that did best when it was evaluated, on
    episodes that no candidate had.

    Args:
        config: settings of the search.
        training: of the schedule.
        model: what candidates see, remember or dream by; not trained.
        controller: becomes the best found.
        memory: knows where dreams begin.
        observation_space, action_space: of the environment.
        seed: of candidates and episodes.
    """

    name, needs_labels, gathers = "controller", False, False

    def __init__(
        self,
        config: ControllerConfig,
        training: WorldModelsTrainingConfig,
        model: WorldModelsModel,
        controller: Controller,
        memory: MemoryPhase,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        seed: int,
    ) -> None:
        if config.dream and not model.config.heads:
            raise ValueError(
                "a controller dreams of rewards and ends, which this model does not predict: set "
                "world_model.heads=true, or controller.dream=false"
            )
        self.schedule = Schedule(
            config.generations,
            training.random_steps,
            training.learn_every,
            training.learn_generations,
            config.generations,
            log_every=1,
            checkpoint_every=1,
        )
        self.config, self.model, self.controller = config, model, controller
        self.memory, self.seed = memory, seed
        self.spaces = observation_space, action_space
        self.rollouts: Rollouts | None = None
        self.turns = self.env_steps = self.last = 0
        self.best = -np.inf
        self._shared: ModelWeights | None = None
        self.evolution = self._new_evolution()

    def _new_evolution(self) -> Evolution:
        scale = self.config.h_scale
        return Evolution(
            self.controller.flat(),
            self.config.sigma,
            self.config.population,
            seed=seed_of(self.seed, SEARCH, self.turns),
            diagonal=self.config.diagonal,
            scales=None if scale == 1.0 else self.controller.scales(scale),
        )

    def use(self, rollouts: Rollouts | None) -> None:
        self.rollouts = rollouts

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.ready(2)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """A search of its own for every turn, from the controller that there is."""
        self.turns, self.last, self.best = self.turns + 1, updates, -np.inf
        self._shared = None  # V and M may have changed
        self.evolution = self._new_evolution()

    def update(self, buffer: SequenceBuffer) -> Metrics:
        config, generation = self.config, self.evolution.generations
        candidates = self.evolution.ask()
        returns, lengths = self._play(candidates, self._seeds(generation))
        penalty = config.l2 * np.square(candidates).mean(1)
        self.evolution.tell(returns.mean(1) - penalty)
        metrics = {
            "return": returns.mean(),
            "return_best": returns.mean(1).max(),
            "return_worst": returns.mean(1).min(),
            "length": lengths.mean(),
            "sigma": self.evolution.spread,
        }
        done = generation + 1
        if done % config.evaluate_every == 0 or done == self.last:
            metrics |= self._check(done)
        return {name: torch.tensor(float(value)) for name, value in metrics.items()}

    def _check(self, generation: int) -> dict[str, float]:
        """Evaluate the distribution's mean, and keep it if it is the best so far."""
        count = self.config.evaluate_episodes
        seeds = [seed_of(self.seed, CHECKS, self.turns, generation, e) for e in range(count)]
        mean = self.evolution.mean
        returns, _ = self._play(mean.numpy()[None], np.array([seeds]))
        found = float(returns.mean())
        if found > self.best:
            self.best = found
            self.controller.set_flat(mean)
            self.controller.searched.fill_(True)
        return {"mean_return": found, "mean_return_best": self.best}

    def _seeds(self, generation: int) -> np.ndarray:
        """``(population, episodes)`` of the episodes of a generation."""
        size, episodes = self.config.population, self.config.episodes
        groups = size // 2 if self.config.tracks == "halves" else 1
        return np.array(
            [
                [
                    seed_of(self.seed, TRIALS, self.turns, generation, candidate % groups, episode)
                    for episode in range(episodes)
                ]
                for candidate in range(size)
            ]
        )

    def _play(self, candidates: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns and lengths ``(P, E)`` of candidates ``(P, n)`` in episodes ``(P, E)``."""
        if self.config.dream:
            return self._dream(candidates, seeds)
        if self.rollouts is None:
            raise ValueError(
                "candidates act in the environment: make the agent with one, or set "
                "controller.dream=true"
            )
        if self._shared is None:
            weights = {k: v.detach().cpu().numpy() for k, v in self.model.state_dict().items()}
            self._shared = ModelWeights(self.model.config, self.config, *self.spaces, weights)
        jobs = [
            Trial(candidates[row], int(seed), self.config.max_steps, self.config.patience)
            for row in range(len(seeds))
            for seed in seeds[row]
        ]
        played = np.array(list(self.rollouts.run(trial, jobs, shared=self._shared)))
        returns, lengths = played.T.reshape(2, *seeds.shape)
        self.env_steps += int(lengths.sum())
        return returns, lengths

    @torch.no_grad()
    def _dream(self, candidates: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All episodes at once; the dream is decided by the seeds' first."""
        config, model = self.config, self.model
        device = model.vision.mean.weight.device
        population, episodes = seeds.shape
        draws = torch.Generator(device).manual_seed(seed_of(int(seeds[0, 0]), DREAMS))
        mean, logvar = (x.to(device) for x in self.memory.starts)
        chosen = torch.randint(len(mean), (episodes,), generator=draws, device=device)
        noise = torch.randn((episodes, mean.shape[1]), generator=draws, device=device)
        first = mean[chosen] + torch.exp(0.5 * logvar[chosen]) * noise
        state = model.initial(population * episodes)
        state = {**state, "z": first.repeat(population, 1)}
        parameters = torch.from_numpy(candidates).float().to(device)
        total = torch.zeros(population * episodes, device=device)
        alive, length = torch.ones_like(total), torch.zeros_like(total)
        for _ in range(config.dream_steps):
            features = model.features(state).unflatten(0, (population, episodes))
            action = self.controller.population(features, parameters).flatten(0, 1)
            state = model.dream_step(state, action, generator=draws, temperature=config.temperature)
            total += alive * model.memory.rewards(state["h"])
            length += alive
            ends = model.memory.end_logits(state["h"])
            assert ends is not None
            alive = alive * (ends <= 0)
            if not alive.any():
                break
        shape = (population, episodes)
        return (
            total.double().cpu().numpy().reshape(shape),
            length.double().cpu().numpy().reshape(shape),
        )

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"search/{name}": value for name, value in self.evolution.tensors().items()}
        tensors["best"] = torch.tensor(self.best, dtype=torch.float64)
        return tensors, {"turns": self.turns, "last": self.last, "env_steps": self.env_steps}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self.turns, self.last = int(meta["turns"]), int(meta["last"])
        self.env_steps, self.best = int(meta["env_steps"]), float(tensors["best"])
        self._shared = None
        self.evolution = self._new_evolution()
        self.evolution.restore(under(tensors, "search/"))


__all__ = ["ControllerPhase"]
