"""An environment of your own, a model-based agent, and Stable-Baselines3's tools around it.

Any Gymnasium environment of vectors or images will do.  This one is a cart on a track that has to
stop at a mark; MBPO learns it in a few hundred steps, and SB3's SAC with the same steps stands
beside it::

    python examples/own_environment.py
    python examples/own_environment.py --steps 2000
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import mbrl_agents


class Cart(gym.Env[np.ndarray, np.ndarray]):
    """Observation: distance from the mark (m) and speed (m/s); action: push, -1 to 1."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        place, speed = self.state
        speed = 0.95 * speed + 0.1 * float(np.clip(action[0], -1, 1))
        self.state = np.array([place + 0.1 * speed, speed])
        return self.state.astype(np.float32), float(-(place**2)), False, False, {}


# An id of its own makes it known to `mbrl train mbpo --env own_environment:Cart-v0` as well.
gym.register("Cart-v0", entry_point=Cart, max_episode_steps=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="environment steps of each agent")
    parser.add_argument("--tests", type=int, default=10, help="episodes")
    arguments = parser.parse_args()
    env = Monitor(gym.make("Cart-v0"))

    agent = mbrl_agents.make_agent("mbpo", env, seed=0, training={"random_steps": 120})
    agent.learn(arguments.steps)
    sac = SAC("MlpPolicy", env, seed=0, learning_starts=120).learn(arguments.steps)
    for name, model in (("mbpo", agent), ("sac", sac)):
        mean, std = evaluate_policy(model, env, n_eval_episodes=arguments.tests)
        print(f"{name}: return {mean:.2f} +- {std:.2f} after {arguments.steps} steps")

    with tempfile.TemporaryDirectory(prefix="mbrl-") as folder:
        agent.save(Path(folder) / "cart.zip")
        again = mbrl_agents.load(Path(folder) / "cart.zip", env=env)
        observation, _ = env.reset(seed=0)
        same = np.allclose(
            agent.predict(observation, deterministic=True)[0],
            again.predict(observation, deterministic=True)[0],
        )
        print(f"saved and loaded: {'the same action' if same else 'another action'}")


if __name__ == "__main__":
    main()
