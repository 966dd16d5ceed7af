"""What happens in environments of a phase's own: random episodes, and a candidate's episodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.world_models.config import ControllerConfig, WorldModelsConfig
from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.model import WorldModelsModel
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.env_workers import Workplace
from mbrl_agents.data.episode import Episode


def seed_of(*words: int) -> int:
    """A seed that the words decide."""
    return int(np.random.SeedSequence(list(words)).generate_state(1)[0])


def correlated_actions(
    previous: Tensor, correlation: float, discrete: bool, generator: torch.Generator
) -> Tensor:
    """Random normalised actions ``(B, A)`` that resemble the previous ones.

    A Box's walk at random, in steps with a standard deviation of ``sqrt(1 - correlation)``, and
    stay within the bounds; a discrete one is kept with the probability ``correlation``.  Where
    nothing preceded (zeros), a discrete action is drawn uniformly.
    """
    if not discrete:
        noise = torch.randn(previous.shape, generator=generator)
        return (previous + np.sqrt(1.0 - correlation) * noise.to(previous)).clamp(-1.0, 1.0)
    size, actions = previous.shape
    drawn = torch.randint(actions, (size,), generator=generator)
    fresh = torch.nn.functional.one_hot(drawn, actions).to(previous)
    keeps = (torch.rand(size, 1, generator=generator) < correlation).to(previous.device)
    return torch.where(keeps & (previous.sum(-1, keepdim=True) > 0), previous, fresh)


@dataclass(frozen=True)
class RandomEpisode:
    """A job: one episode of correlated random actions.

    Attributes:
        seed: of the environment and of the actions.
        correlation: see `correlated_actions`.
        max_steps: at which it is cut off; 0 leaves it to the environment.
    """

    seed: int
    correlation: float
    max_steps: int


def random_episode(place: Workplace, job: RandomEpisode) -> Episode:
    """Play and record one."""
    env, codec = place.env, ActionCodec(place.env.action_space)
    generator = torch.Generator().manual_seed(job.seed)
    observation, info = env.reset(seed=job.seed)
    seen, actions, rewards = [_entries(observation)], [], []
    action, terminated, truncated = torch.zeros(1, codec.size), False, False
    while not (terminated or truncated):
        action = correlated_actions(action, job.correlation, codec.discrete, generator)
        executed = codec.decode(action.numpy())[0]
        observation, reward, terminated, truncated, info = env.step(executed)
        seen.append(_entries(observation))
        actions.append(np.atleast_1d(np.asarray(executed, np.float32)))
        rewards.append(float(reward))
        truncated = truncated or len(actions) == job.max_steps
    done = np.stack(actions)
    return Episode(
        observations={key: np.stack([entry[key] for entry in seen]) for key in seen[0]},
        actions=done,
        labels=np.full_like(done, np.nan),
        rewards=np.array(rewards, np.float32),
        terminated=bool(terminated),
        success=bool(info.get("is_success", False)),
        info={"source": "random", "seed": job.seed},
    )


@dataclass(frozen=True)
class ModelWeights:
    """V and M as processes read them: settings, spaces and weights.

    Attributes:
        model, controller: settings.
        observation_space, action_space: of the environment.
        weights: of `WorldModelsModel`, on the CPU.
    """

    model: WorldModelsConfig
    controller: ControllerConfig
    observation_space: spaces.Space
    action_space: spaces.Space
    weights: dict[str, np.ndarray]

    def build(self) -> tuple[WorldModelsModel, Controller]:
        """The model, and a controller whose parameters are zeros."""
        model = WorldModelsModel(self.model, self.observation_space, self.action_space)
        model.load_state_dict({name: torch.from_numpy(v) for name, v in self.weights.items()})
        controller = Controller(
            self.controller,
            self.model.latent,
            self.model.hidden,
            model.action_size,
            discrete=model.actions.discrete,
        )
        # `Module.to` has no types for it.
        model.vision.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval(), controller


@dataclass(frozen=True)
class Trial:
    """A job: one episode of a candidate, with the most likely latents.

    Attributes:
        parameters: ``(size,)`` of the controller.
        seed: of the environment.
        max_steps: at which it is cut off; 0 leaves it to the environment.
        patience: steps without a reward above zero after which it is given up; 0 never.
    """

    parameters: np.ndarray
    seed: int
    max_steps: int
    patience: int = 0


def trial(place: Workplace, job: Trial) -> tuple[float, int]:
    """Play one; returns the sum of rewards and the number of steps.

    The steps that an episode given up had left are counted with the mean reward of its last ones.
    """
    if "built" not in place.memo:
        place.memo["built"] = place.shared.build()
    model, controller = place.memo["built"]
    codec = ActionCodec(place.env.action_space)
    controller.set_flat(torch.from_numpy(job.parameters))
    total, steps, over = 0.0, 0, False
    idle, idle_reward = 0, 0.0
    with torch.inference_mode(), _one_image_at_a_time():
        observation, _ = place.env.reset(seed=job.seed)
        state, action = model.initial(1), torch.zeros(1, codec.size)
        while not over:
            obs = {
                key: torch.from_numpy(np.asarray(value)[None])
                for key, value in _entries(observation).items()
                if key in model.layout.images
            }
            state = model.observe(state, obs, action, torch.tensor([steps == 0]))
            action = controller(model.features(state))
            executed = codec.decode(action.numpy())[0]
            observation, received, terminated, truncated, _ = place.env.step(executed)
            reward = float(received)
            total, steps = total + reward, steps + 1
            over = terminated or truncated or steps == job.max_steps
            idle, idle_reward = (0, 0.0) if reward > 0 else (idle + 1, idle_reward + reward)
            if job.patience and idle >= job.patience and not over:
                return total + (job.max_steps - steps) * idle_reward / idle, steps
    return total, steps


@contextmanager
def _one_image_at_a_time() -> Iterator[None]:
    """The same sums in every process, and of convolutions the quickest for a single image."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    (enabled, *_) = torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)
        if before != 1:
            torch.set_num_threads(before)


def _entries(observation: Any) -> dict[str, np.ndarray]:
    if isinstance(observation, dict):
        return {key: np.array(value) for key, value in observation.items()}
    return {"obs": np.array(observation)}


__all__ = [
    "ModelWeights",
    "RandomEpisode",
    "Trial",
    "correlated_actions",
    "random_episode",
    "seed_of",
    "trial",
]
