"""The parts by hand: fit a world model, imagine with it, let a planner search in it.

Prints what the plan was imagined to earn beside what it earns in the environment: how far a model
can be trusted is how far these agree::

    python examples/plan_in_a_model.py
    python examples/plan_in_a_model.py --episodes 40 --model-steps 3000
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import torch

import mbrl_agents
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.planners.objectives import ReturnObjective, ReturnObjectiveConfig

ENV = "Pendulum-v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=15, help="of random actions, to learn from")
    parser.add_argument("--model-steps", type=int, default=800, help="gradient steps")
    parser.add_argument("--horizon", type=int, default=12, help="steps that are planned ahead")
    arguments = parser.parse_args()
    env = gym.make(ENV)

    episodes = collect(Collection(ENV, source="random", episodes=arguments.episodes))
    agent = mbrl_agents.make_agent(
        "simple-cem", env, seed=0, training={"model_steps": arguments.model_steps}
    )
    agent.fit(episodes)
    model, codec = agent.algorithm.world_model, agent.policy.codec

    # A state of the model: before the first observation, and after it.  B = 1 environment.
    observation, _ = env.reset(seed=3)
    shown = {"obs": torch.as_tensor(observation)[None]}
    with torch.inference_mode():
        state = model.observe(
            model.initial(1), shown, torch.zeros(1, codec.size), torch.ones(1, dtype=torch.bool)
        )
        objective = ReturnObjective(ReturnObjectiveConfig(discount=1.0, terminal_value=False))
        planner = mbrl_agents.make_planner("cem", horizon=arguments.horizon, samples=200)
        plan = planner.plan(model, state, objective=objective)
        imagined = model.imagine(state, plan.actions).reward[0]

    print("step  imagined reward  reward")
    total = 0.0
    for step, action in enumerate(codec.decode(plan.actions[0].numpy())):
        _, reward, _, _, _ = env.step(action)
        total += float(reward)
        print(f"{step + 1:4d}  {imagined[step]:15.2f}  {float(reward):6.2f}")
    print(f"imagined return {imagined.sum():.2f}, return {total:.2f}")


if __name__ == "__main__":
    main()
