"""The parts of an agent: its algorithm, planner and objective, by settings or ready-made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gymnasium import spaces

from mbrl_agents.config import MethodConfig
from mbrl_agents.data.observations import ObservationCodec
from mbrl_agents.errors import UsageError
from mbrl_agents.names import resolve
from mbrl_agents.protocols import Algorithm, Objective, Planner
from mbrl_agents.registry import OBJECTIVES, PLANNERS, agent_method


@dataclass(frozen=True)
class Parts:
    """Ready-made objects that take the place of what a method's settings describe.

    Attributes:
        world_model: a torch module with the protocol `WorldModel`, for methods that fit one to
            episodes.  With ``compute_loss`` and ``fit_statistics`` (see `training.fit.WindowModel`)
            it is trained, else it is used as it is.
        planner, objective: see `mbrl_agents.protocols`.
    """

    world_model: Any = None
    planner: Planner | None = None
    objective: Objective | None = None

    def names(self) -> list[str]:
        """Which are given."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]

    def require(self, names: Iterable[str]) -> None:
        """Raise ValueError unless exactly the parts of these names are given."""
        missing = sorted(set(names) - set(self.names()))
        if missing:
            given = ", ".join(f"{name}=..." for name in missing)
            raise ValueError(
                f"the saved agent was built of a ready-made {' and '.join(missing)}; "
                f"pass it again: load(path, {given})"
            )

    @classmethod
    def among(cls, arguments: Mapping[str, Any]) -> tuple[Parts, dict[str, Any]]:
        """Ready-made objects among arguments whose other values are settings or names; the rest."""
        names = [
            f.name
            for f in fields(cls)
            if not isinstance(arguments.get(f.name), Mapping | str | None)
        ]
        rest = {key: value for key, value in arguments.items() if key not in names}
        return cls(**{name: arguments[name] for name in names}), rest


def build_parts(
    config: MethodConfig,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    *,
    seed: int,
    given: Parts,
) -> tuple[Algorithm, Planner | None, Objective | None]:
    """An algorithm with fresh weights, and the planner and objective it acts by, if any.

    Raises:
        UsageError: for spaces the algorithm cannot work on, or a planner that needs a policy which
            it does not have.
    """
    recipe = agent_method(config.method)
    sections = {name: config.sections[name] for name in recipe.sections}
    own = {} if given.world_model is None else {"world_model": given.world_model}
    seen = ObservationCodec(observation_space).space
    try:
        algorithm: Algorithm = resolve(recipe.algorithm)(
            sections, seen, action_space, seed=seed, **own
        )
    except ValueError as error:
        raise UsageError(f"{config.method}: {error}") from error
    planner, objective = build_search(config)
    planner, objective = given.planner or planner, given.objective or objective
    if getattr(planner, "needs_prior", False) and algorithm.prior is None:
        raise UsageError(
            f"the planner {config.search['planner']!r} starts from a policy, and {config.method} "
            "has none to search from: take the planner 'cem', or a method with a policy"
        )
    return algorithm, planner, objective


def build_search(config: MethodConfig) -> tuple[Planner | None, Objective | None]:
    """The planner and the objective of a method; None for one that acts by itself."""
    if not config.search:
        return None, None
    planner: Planner = PLANNERS[config.search["planner"]].load()[0](config.planner)
    objective: Objective = OBJECTIVES[config.search["objective"]].load()[0](config.objective)
    return planner, objective


__all__ = ["Parts", "build_parts", "build_search"]
