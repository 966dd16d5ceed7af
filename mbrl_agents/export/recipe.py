"""What an exported agent is built of, as plain values and weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.space_codec import encode_space
from mbrl_agents.registry import OBJECTIVES, PLANNERS, agent_method

CALLS = 2048
"""For so many calls an exported agent knows the noise that it draws; episodes are shorter."""


def package_of(agent: Agent) -> dict[str, Any]:
    """The recipe and the weights of a trained agent; see `mbrl_agents.export.agent`.

    Raises:
        ValueError: for an agent that was built of ready-made objects.
    """
    if names := agent.parts.names():
        raise ValueError(f"an agent with a ready-made {' and '.join(names)} cannot be exported")
    method, config, seed = agent_method(agent.config.method), agent.config, int(agent.seed or 0)
    noise = [
        int(np.random.SeedSequence([seed, call]).generate_state(1)[0]) for call in range(CALLS)
    ]
    search = dict.fromkeys(("planner", "objective"))
    if config.search:
        search = {
            "planner": _part(PLANNERS[config.search["planner"]].target, config.planner),
            "objective": _part(OBJECTIVES[config.search["objective"]].target, config.objective),
        }
    recipe = {
        "method": method.name,
        "algorithm": method.algorithm,
        "sections": {name: plain(config.sections[name]) for name in method.sections},
        **search,
        "observation_space": encode_space(agent.observation_space),
        "action_space": encode_space(agent.action_space),
        "explore_std": float(agent.settings.explore_std),
        "seed": seed,
        "noise": noise,
    }
    weights = {
        name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
        for name, module in agent.algorithm.modules.items()
    }
    return {"recipe": recipe, "weights": weights}


def targets(recipe: dict[str, Any]) -> list[str]:
    """Every ``module:name`` that a recipe names."""
    found = [recipe["algorithm"]]
    for part in (recipe["planner"], recipe["objective"]):
        if part is not None:
            found += [part["target"], *_configs(part["config"])]
    for value in recipe["sections"].values():
        found += _configs(value)
    return found


def plain(value: Any) -> Any:
    """Settings as plain values; a dataclass says which it is."""
    if not dataclasses.is_dataclass(value):
        return value
    values = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    kind = type(value)
    return {"config": f"{kind.__module__}:{kind.__qualname__}", "values": values}


def _configs(value: Any) -> list[str]:
    if not (isinstance(value, dict) and "config" in value):
        return []
    found = [value["config"]]
    for inner in value["values"].values():
        found += _configs(inner)
    return found


def _part(target: str, config: Any) -> dict[str, Any]:
    return {"target": target, "config": plain(config)}


__all__ = ["package_of", "plain", "targets"]
