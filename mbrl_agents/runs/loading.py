"""Predictors of finished runs and of reference policies, in this process or in workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium

from mbrl_agents.agents.saving import AGENT_FILE, read_config
from mbrl_agents.config import SEARCH, MethodConfig, resolve_config
from mbrl_agents.data.episode import observation_shapes
from mbrl_agents.data.rollout import Predictor
from mbrl_agents.names import lookup, resolve
from mbrl_agents.registry import METHODS, AgentMethod, BaselineMethod
from mbrl_agents.runs.spec import BASELINE_FILE, PICKLED_FILE, RunInfo
from mbrl_agents.runs.tasks import ONE_HOT, TASK


@dataclass(frozen=True)
class RunPredictor:
    """Factory that reads a run's agent; picklable, so worker processes can use it.

    Attributes:
        folder: of a finished run.
        method: another method on the same weights, such as "simple-cem" on those which
            "simple-policy-cem" learned; None for the run's own.
        overrides: planner and objective settings to change; see `load_run`.
        device, trust_pickle: see `load_run`.
    """

    folder: str
    method: str | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    trust_pickle: bool = False

    def __call__(self, env: gymnasium.Env) -> Predictor:
        model = load_run(
            self.folder,
            self.method,
            self.overrides,
            device=self.device,
            trust_pickle=self.trust_pickle,
        )
        check_env(self.folder, model, env)
        warn_of_another_task(self.folder, env)
        return model


@dataclass(frozen=True)
class ReferencePredictor:
    """Factory of a reference policy: random actions, or the environment's own demonstrator."""

    method: str

    def __call__(self, env: gymnasium.Env) -> Predictor:
        import mbrl_agents

        agent: Predictor = mbrl_agents.make_agent(self.method, env)
        return agent


def predictor_factory(
    method: str,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    trust_pickle: bool = False,
) -> Callable[[gymnasium.Env], Predictor]:
    """What builds the predictor of any method: untrained by name, the others from their run."""
    if not lookup(METHODS, method, "method").train:
        return ReferencePredictor(method)
    if folder is None:
        raise ValueError(f"{method} has to be trained first; give the folder of its run")
    return RunPredictor(str(folder), method, tuple(overrides), device, trust_pickle)


def load_run(
    folder: str | Path,
    method: str | None = None,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    trust_pickle: bool = False,
) -> Predictor:
    """The trained agent or baseline of a run folder.

    Args:
        method: build this method on the run's weights; None for the run's own method.
        overrides: planner and objective settings of ``method``; those of another method are its
            defaults, not the run's.  Everything that was trained stays as it was.
        device: torch device; "auto" is a GPU where there is one.
        trust_pickle: read a baseline that lies in a zip of Stable-Baselines3, as earlier versions
            wrote it, although that runs whatever code was pickled into it.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: the run holds no weights for the method, or an override would need others.
    """
    info = RunInfo.read(folder)
    own = lookup(METHODS, info.spec.method, "method")
    asked = own if method is None else lookup(METHODS, method, "method")
    if not asked.reads_weights_of(own):
        raise ValueError(f"{folder} is a run of {own.name}; {asked.name} cannot use its weights")
    model: Predictor = resolve(asked.load)(
        Path(folder), info, asked, overrides, device=device, trust_pickle=trust_pickle
    )
    return model


def check_env(folder: str | Path, model: Any, env: gymnasium.Env) -> None:
    """Refuse an environment that a run's agent cannot act in.

    Raises:
        ValueError: see `mbrl_agents.agents.base.check_spaces_of_env`.
    """
    from mbrl_agents.agents.base import check_spaces_of_env

    keys = observation_shapes(model.observation_space).keys()
    unseen = keys - observation_shapes(env.observation_space).keys()
    hint = f"; {ONE_HOT}=True may show its task" if TASK in unseen else ""
    check_spaces_of_env(model, env, f"the run in {folder}", hint)


def warn_of_another_task(folder: str | Path, env: gymnasium.Env) -> None:
    """Warn (`OtherTaskWarning`) of an environment or task that a run was not trained on."""
    from mbrl_agents.agents.origins import named_origin, origin_of, warn_of_another

    spec = RunInfo.read(folder).spec
    trained = named_origin(spec.env_id, spec.env_kwargs, env)
    warn_of_another(trained, origin_of(env), f"the run in {folder}", level=4)


def load_baseline(
    folder: Path,
    info: RunInfo,
    asked: BaselineMethod,
    overrides: Sequence[str],
    *,
    device: str,
    trust_pickle: bool,
) -> Predictor:
    """A baseline of Stable-Baselines3."""
    from mbrl_agents.agents import baseline_files as files

    model: Any
    pickled = folder / PICKLED_FILE
    if pickled.is_file() and not (folder / BASELINE_FILE).is_file():
        if not trust_pickle:
            files.refuse_pickle(pickled)
        model = files.trusted_baseline(pickled, info.algorithm, device)
    else:
        settings = read_config(folder).baseline
        model = files.load_baseline_file(
            folder / BASELINE_FILE, asked, settings, seed=info.spec.seed, device=device
        )
    found: Predictor = model
    return found


def load_agent(
    folder: Path,
    info: RunInfo,
    asked: AgentMethod,
    overrides: Sequence[str],
    *,
    device: str,
    trust_pickle: bool,
) -> Predictor:
    """A model-based agent, acting as ``asked`` and ``overrides`` say."""
    from mbrl_agents.agents.agent import Agent
    from mbrl_agents.agents.saving import read_saved

    saved = read_saved(folder)
    if asked.name != info.spec.method or overrides:
        config = _acting_config(saved.config, info, asked, overrides, knows_success(saved.facts))
        saved = replace(saved, config=config)
    return Agent.from_saved(saved, device=device)  # nothing of an agent is pickled


def knows_success(facts: Mapping[str, Any]) -> bool:
    """Whether the environment of a saved agent told success; earlier versions did not ask."""
    return bool(facts.get("knows_success", True))


def check_acting(folder: str | Path, method: str, overrides: Sequence[str]) -> None:
    """Refuse settings by which a run's weights cannot act, before its agent is read.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: see `check_acting_overrides`; for a setting that ``method`` does not have.
    """
    info = RunInfo.read(folder)
    check_acting_overrides(info.spec.method, overrides)
    recipe = lookup(METHODS, method, "method")
    if not isinstance(recipe, AgentMethod) or not (Path(folder) / AGENT_FILE).is_file():
        resolve_config(method, overrides)
        return
    facts = json.loads((Path(folder) / AGENT_FILE).read_text(encoding="utf-8"))
    given = _given(read_config(Path(folder)), info, recipe, overrides)
    resolve_config(method, given, success=knows_success(facts))


def check_acting_overrides(method: str, overrides: Sequence[str]) -> None:
    """Refuse settings that a trained run cannot change any more.

    Raises:
        ValueError: for one outside the planner and the objective.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key.split(".")[0] not in SEARCH:
            raise ValueError(
                f"{key} was settled when the run of {method} was trained; only planner. and "
                "objective. settings can change afterwards (`mbrl train` sets the others)"
            )


def _given(
    trained: MethodConfig, info: RunInfo, asked: AgentMethod, overrides: Sequence[str]
) -> list[str]:
    """A run's own overrides, as far as they concern ``asked``, and then others.

    A suite leaves planner settings out of the training and gives them at evaluation.  What the run
    said of a planner or objective does not concern another one.
    """
    own = info.spec.overrides if asked.name == info.spec.method else ()
    replaced = set()
    for key, _, name in (override.partition("=") for override in overrides):
        part = key.removesuffix(".name")
        if part in SEARCH and name != trained.search.get(part):
            replaced.add(part)
    return [*(o for o in own if o.partition("=")[0].split(".")[0] not in replaced), *overrides]


def _acting_config(
    trained: MethodConfig,
    info: RunInfo,
    asked: AgentMethod,
    overrides: Sequence[str],
    success: bool,
) -> MethodConfig:
    """The settings of ``asked``, with everything that was trained as it was trained."""
    overrides = _given(trained, info, asked, overrides)
    resolved = resolve_config(asked.name, overrides, success=success)
    kept = {
        name: trained.sections[name]
        for name in resolved.sections
        if name not in SEARCH and name in trained.sections
    }
    for override in overrides:
        key, _, _ = override.partition("=")
        section, _, name = asked.shortcuts.get(key, key).partition(".")
        if name and section in kept:
            wanted = getattr(resolved.sections[section], name)
            if wanted != getattr(kept[section], name):
                check_acting_overrides(trained.method, [override])
    return replace(resolved, sections={**resolved.sections, **kept})


__all__ = [
    "ReferencePredictor",
    "RunPredictor",
    "check_acting",
    "check_acting_overrides",
    "load_agent",
    "load_baseline",
    "load_run",
    "predictor_factory",
]
