"""What each kind of method does with what it is given to train on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.baseline_checkpoints import BaselineCheckpoints
from mbrl_agents.agents.baseline_files import save_baseline
from mbrl_agents.agents.saving import CHECKPOINT
from mbrl_agents.agents.space_codec import encode_space
from mbrl_agents.config import SEARCH, resolve_config
from mbrl_agents.data.episode import Episode
from mbrl_agents.evaluation.checks import FitChecks
from mbrl_agents.evaluation.learning_curve import ActedCurve
from mbrl_agents.names import resolve
from mbrl_agents.protocols import ActingPhase
from mbrl_agents.registry import Method
from mbrl_agents.runs.spec import BASELINE_FILE, RunSpec
from mbrl_agents.yaml_text import dotlist

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with the phase, steps done, steps in all, and metrics."""


@dataclass(frozen=True)
class Work:
    """What a method is given to train on.

    Attributes:
        recipe: the method.
        spec: what decides the run.
        episodes: recorded ones, empty without.
        env: the environment, monitored.
        folder: of the run.
        progress: told of every log.
        callbacks: of SB3, for own experience.
        clock: seconds of training so far.
        workers, engine: for phases that act in environments of their own, see `Agent.fit`.
        device: torch device; "auto" is a GPU where there is one.
        fit_checks: tests while episodes are fitted; None for none.
    """

    recipe: Method
    spec: RunSpec
    episodes: Sequence[Episode]
    env: Any
    folder: Path
    progress: Progress
    callbacks: list[Any]
    clock: Callable[[], float]
    workers: int = 0
    engine: str = "local"
    device: str = "auto"
    fit_checks: FitChecks | None = None

    def make(self, **arguments: Any) -> Any:
        """The untrained agent, logging into the folder."""
        from stable_baselines3.common.logger import configure

        overrides = nested_overrides(self.spec.overrides)
        agent = resolve(self.recipe.make)(
            self.recipe,
            self.env,
            seed=self.spec.seed,
            overrides=overrides,
            device=self.device,
            **arguments,
        )
        agent.set_logger(configure(str(self.folder), ["csv", "tensorboard"]))
        return agent


def train_agent(work: Work) -> tuple[Agent, dict[str, Any]]:
    """Train a model-based agent: on episodes, on its own experience, or on one after the other.

    Returns:
        The agent, and fields of `RunInfo`.
    """
    agent: Agent = work.make()
    names, steps = list(work.spec.overrides), work.spec.steps
    if work.spec.start is not None:
        agent.start_from(work.spec.start, work.episodes)
    elif work.episodes or not steps:
        agent.fit(
            work.episodes,
            folder=work.folder,
            progress=_told(work, agent),
            watch=_checked(work, agent),
            overrides=names,
            workers=work.workers,
            engine=work.engine,
        )
        if work.fit_checks is not None:
            work.fit_checks.series.close()
    if steps:
        agent.learn(steps, callback=work.callbacks, folder=work.folder)
        agent.save_run(work.folder, names)
    return agent, {
        "parameters": parameter_counts(agent),
        "env_steps": agent.num_timesteps + sum(map(len, work.episodes)),
        "metrics": agent.metrics,
        "updates": {} if agent.trainer is None else dict(agent.trainer.work),
    }


def _told(work: Work, agent: Agent) -> Progress:
    """The progress of a fit, which records as a learning curve what acting phases meet."""
    acting = {p.name: p for p in agent.algorithm.phases if isinstance(p, ActingPhase)}
    curve = ActedCurve(work.folder, work.clock)

    def tell(phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if phase in acting and "train/return" in metrics:
            steps = sum(one.env_steps for one in acting.values())
            curve.add(steps, metrics["train/return"], metrics.get("train/length", 0.0))
        work.progress(phase, done, total, metrics)

    return tell


def _checked(work: Work, agent: Agent) -> Callable[[], None] | None:
    """Tests the agent while it is fitted, where the run asks for it."""
    checks = work.fit_checks
    if checks is None:
        return None

    def check() -> None:
        assert agent.trainer is not None, "a fit has a trainer"
        checks.at(agent, sum(count for count, _ in agent.trainer.work.values()))

    return check


def train_baseline(work: Work) -> tuple[Any, dict[str, Any]]:
    """Train an algorithm of Stable-Baselines3; see `train_agent`."""
    shown = work.episodes if work.recipe.demonstrations else ()
    agent = work.make(episodes=shown)
    for space in (agent.observation_space, agent.action_space):
        encode_space(space)  # refuses what could not be saved in the end
    settings, updates = nested_overrides(work.spec.overrides), {"train": (0, 0.0)}
    kept = BaselineCheckpoints(
        work.folder / CHECKPOINT,
        json.dumps(work.spec.to_json(), sort_keys=True),
        every=resolve_config(work.recipe.name, settings).baseline.checkpoint_every,
        seed=work.spec.seed,
        updates=updates,
    )
    kept.restore(agent)
    with _timed(agent, updates):
        agent.learn(
            work.spec.steps - agent.num_timesteps,
            # Last: what the others note of a step is in their files before the checkpoint is.
            callback=[*work.callbacks, kept],
            reset_num_timesteps=agent.num_timesteps == 0,
        )
    save_baseline(agent, work.folder / BASELINE_FILE)
    return agent, {
        "parameters": parameter_counts(agent),
        # Not `spec.steps`: PPO goes on to the end of a rollout.
        "env_steps": agent.num_timesteps + sum(map(len, shown)),
        "algorithm": _algorithm(agent),
        "updates": updates,
    }


@contextmanager
def _timed(agent: BaseAlgorithm, found: dict[str, tuple[int, float]]) -> Iterator[None]:
    """A context that counts the gradient steps of SB3's ``train`` and takes its time."""
    train: Any = agent.train  # type: ignore[attr-defined]
    # SAC steps three optimisers in an update; the critic's stands for it.
    chosen: Any = getattr(agent.policy, "critic", agent.policy)

    def count(*_: Any) -> None:
        updates, seconds = found["train"]
        found["train"] = updates + 1, seconds

    def timed(*arguments: Any, **named: Any) -> None:
        began = time.perf_counter()
        train(*arguments, **named)
        updates, seconds = found["train"]
        found["train"] = updates, seconds + time.perf_counter() - began

    hook = chosen.optimizer.register_step_post_hook(count)
    agent.train = timed  # type: ignore[attr-defined]
    try:
        yield
    finally:
        hook.remove()
        del agent.train  # type: ignore[attr-defined]


def _algorithm(agent: Any) -> str:
    """Stable-Baselines3's own class, which reads back what a subclass of it saved."""
    return next(c.__name__ for c in type(agent).__mro__ if c.__module__.startswith("stable_base"))


def parameter_counts(agent: Any) -> dict[str, int]:
    """Trainable parameters by module; of a reference policy none."""
    if isinstance(agent, Agent):
        return agent.policy.parameter_counts()
    if not isinstance(agent, BaseAlgorithm):
        return {}
    counts = {
        name: sum(p.numel() for p in module.parameters() if p.requires_grad)
        for name, module in agent.policy.named_children()
    }
    own = sum(p.numel() for p in agent.policy.parameters(recurse=False) if p.requires_grad)
    return {name: count for name, count in {**counts, "other": own}.items() if count}


def nested_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["planner.horizon=10"]`` as ``{"planner": {"horizon": 10}}``."""
    from omegaconf import OmegaConf

    # "planner=cem" beside "planner.horizon=10" would be lost.
    named = [o.replace("=", ".name=", 1) if o.partition("=")[0] in SEARCH else o for o in overrides]
    nested: Any = OmegaConf.to_container(dotlist(named))
    return dict(nested)


__all__ = [
    "Progress",
    "Work",
    "nested_overrides",
    "parameter_counts",
    "train_agent",
    "train_baseline",
]
