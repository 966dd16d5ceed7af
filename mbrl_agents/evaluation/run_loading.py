"""Predictors of finished runs and of bounds, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from mbrl_agents.data.collect import Predictor
from mbrl_agents.evaluation.run_info import BASELINE_FILE, RunInfo
from mbrl_agents.registry import METHODS, Method, lookup, resolve

if TYPE_CHECKING:
    from mbrl_agents.config import MethodConfig

SEARCH = ("planner", "objective")
"""Sections of the settings that no weights depend on."""


@dataclass(frozen=True)
class RunPredictor:
    """Factory that reads a run's agent; picklable, so worker processes can use it.

    Attributes:
        folder: of a finished run.
        method: another method on the same weights, such as "simple-cem" on those which
            "simple-policy-cem" learned; None for the run's own.
        overrides: planner and objective settings to change; see `load_run`.
    """

    folder: str
    method: str | None = None
    overrides: tuple[str, ...] = ()

    def __call__(self, env: gymnasium.Env) -> Predictor:
        return load_run(self.folder, self.method, self.overrides)


@dataclass(frozen=True)
class BoundPredictor:
    """Factory of a bound: random actions, or the environment's own demonstrator."""

    method: str

    def __call__(self, env: gymnasium.Env) -> Predictor:
        import mbrl_agents

        agent: Predictor = mbrl_agents.make_agent(self.method, env)
        return agent


def predictor_factory(
    method: str, folder: str | Path | None = None, overrides: Sequence[str] = ()
) -> Callable[[gymnasium.Env], Predictor]:
    """What builds the predictor of any method: a bound by name, the others from their run."""
    if METHODS[method].kind == "bound":
        return BoundPredictor(method)
    if folder is None:
        raise ValueError(f"{method} has to be trained first; give the folder of its run")
    return RunPredictor(str(folder), method, tuple(overrides))


def load_run(
    folder: str | Path, method: str | None = None, overrides: Sequence[str] = ()
) -> Predictor:
    """The trained agent or baseline of a run folder.

    Args:
        method: build this method on the run's weights; None for the run's own method.
        overrides: planner and objective settings of ``method``; those of another method are its
            defaults, not the run's.  Everything that was trained stays as it was.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: the run holds no weights for the method, or an override would need others.
    """
    from mbrl_agents.agents.run_files import read_saved

    info = RunInfo.read(folder)
    own = METHODS[info.spec.method]
    asked = own if method is None else lookup(METHODS, method, "method")
    if not _shares_weights(asked, own):
        raise ValueError(f"{folder} is a run of {own.name}; {asked.name} cannot use its weights")
    if own.kind == "baseline":
        import stable_baselines3

        model: Predictor = getattr(stable_baselines3, info.algorithm).load(
            Path(folder) / BASELINE_FILE, device="cpu"
        )
        return model
    saved = read_saved(folder)
    if asked is not own or overrides:
        # A suite leaves planner settings out of the training and gives them at evaluation.
        given = [*(info.spec.overrides if asked is own else ()), *overrides]
        saved = replace(saved, config=_acting_config(saved.config, asked, given))
        if asked.policy and saved.policy is None:
            raise ValueError(f"{asked.name} needs a policy, and {own.name} trains none")
    agent: Predictor = resolve(asked.target).from_saved(saved)
    return agent


def check_acting_overrides(method: str, overrides: Sequence[str]) -> None:
    """Refuse settings that a trained run cannot change any more.

    Raises:
        ValueError: for one outside the planner and the objective.
    """
    for override in overrides:
        if override.split(".")[0] not in SEARCH:
            key = override.partition("=")[0]
            raise ValueError(
                f"{key} was settled when the run of {method} was trained; only planner. and "
                "objective. settings can change afterwards (`mbrl train` sets the others)"
            )


def _shares_weights(asked: Method, own: Method) -> bool:
    """Whether a method is built of the modules that another trained; all search may differ.

    A method without a policy ignores one; one with a policy finds out later that there is none.
    """
    if asked is own:
        return True
    same = (asked.target, asked.world_model) == (own.target, own.world_model)
    policies = asked.policy == own.policy or "" in (asked.policy, own.policy)
    return own.kind == asked.kind == "agent" and same and policies


def _acting_config(trained: MethodConfig, asked: Method, overrides: Sequence[str]) -> MethodConfig:
    """The settings of ``asked``, with everything that was trained as it was trained."""
    from mbrl_agents.config import resolve_config

    resolved = resolve_config(asked.name, list(overrides))
    kept: dict[str, Any] = {}
    for section in ("world_model", "policy", "behaviour", "training"):
        if getattr(resolved, section) is not None and getattr(trained, section) is not None:
            kept[section] = getattr(trained, section)
    for override in overrides:
        key, _, _ = override.partition("=")
        section, _, name = asked.shortcuts.get(key, key).partition(".")
        if name and section in kept:
            wanted = getattr(getattr(resolved, section), name)
            if wanted != getattr(kept[section], name):
                check_acting_overrides(trained.method, [override])
    return replace(resolved, **kept)


__all__ = [
    "BoundPredictor",
    "RunPredictor",
    "check_acting_overrides",
    "load_run",
    "predictor_factory",
]
