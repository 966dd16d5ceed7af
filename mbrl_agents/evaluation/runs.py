"""A run: one method trained into a folder, and read back for evaluation.

Agents, baselines and bounds go through the same three calls here, so that the command line and
the benchmarks treat every method alike.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbrl_agents.agents.dreamer_checkpoints import remove_replays
from mbrl_agents.agents.run_files import CONFIG_FILE, OVERRIDES_FILE, VERSIONS_FILE, versions
from mbrl_agents.config import resolve_config
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.parallel import make_env
from mbrl_agents.evaluation.imagination_files import FOLDER as IMAGINATION_FOLDER
from mbrl_agents.evaluation.imagination_files import try_to_show_imagination
from mbrl_agents.evaluation.learning_curve import LearningCurve
from mbrl_agents.evaluation.run_data import count_run_episodes, env_of_data, read_run_episodes
from mbrl_agents.evaluation.run_info import (
    BASELINE_FILE,
    RUN_FILE,
    RunInfo,
    RunSpec,
    difference,
)
from mbrl_agents.evaluation.run_loading import (
    BoundPredictor,
    RunPredictor,
    check_acting_overrides,
    load_run,
    predictor_factory,
)
from mbrl_agents.registry import METHODS, lookup
from mbrl_agents.training.checkpoints import atomic, write_text

ELAPSED_FILE = "elapsed.json"
Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with the phase, steps done, steps in all, and metrics."""


def train_run(
    spec: RunSpec, folder: str | Path, *, progress: Progress | None = None, fresh: bool = False
) -> RunInfo:
    """Train ``spec`` into ``folder`` and return the finished run's info.

    A finished run of the same spec is not trained again, an interrupted one goes on from its
    last checkpoint where the method has checkpoints.

    Args:
        fresh: ignore what the folder holds.

    Raises:
        ValueError: the folder holds a run of another spec, or of a folder of episodes that has
            grown since; bounds, which have nothing to train; a method that learns from data
            without data; episodes of another task or of several; the official initial states.
    """
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.monitor import Monitor

    import mbrl_agents

    folder = Path(folder)
    recipe = lookup(METHODS, spec.method, "method")
    if recipe.kind == "bound":
        raise ValueError(f"{spec.method} is a bound: there is nothing to train")
    refuse_test_states(spec.env_kwargs)
    if spec.data is not None:
        task = spec.env_kwargs.get("task")
        spec = replace(spec, data_episodes=count_run_episodes(spec.data, task, spec.limit))
    if (folder / RUN_FILE).is_file() and not fresh:
        info = RunInfo.read(folder)
        if different := difference(info.spec, spec):
            raise ValueError(
                f"{folder} holds another run ({different}); use another folder or train afresh"
            )
        return info
    if spec.data is None and spec.steps == 0:
        raise ValueError(f"{spec.method} needs episodes to learn from or environment steps")
    episodes = (
        [] if spec.data is None else read_run_episodes(spec.data, spec.env_kwargs, spec.limit)
    )
    if recipe.demonstrations and not episodes:
        raise ValueError(f"{spec.method} learns from recorded episodes: give their folder")
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        _forget(folder)
    _describe(spec, folder)
    env = Monitor(make_env(spec.env_id, spec.env_kwargs))
    try:
        overrides = nested_overrides(spec.overrides)
        if recipe.kind == "baseline" and recipe.demonstrations:
            overrides["episodes"] = episodes
        agent: Any = mbrl_agents.make_agent(spec.method, env, seed=spec.seed, **overrides)
        agent.set_logger(configure(str(folder), ["csv", "tensorboard"]))
        with _Clock(folder) as clock:
            _learn(agent, spec, episodes, folder, clock.wrap(progress))
        agent.logger.close()
    finally:
        env.close()
    info = RunInfo(
        spec=spec,
        parameters=parameter_counts(agent),
        train_seconds=round(clock.seconds, 1),
        # Not `spec.steps`: PPO goes on to the end of a rollout.
        env_steps=agent.num_timesteps
        + sum(map(len, episodes)) * (recipe.kind == "agent" or recipe.demonstrations),
        metrics=dict(getattr(agent, "metrics", {})),
        algorithm=_algorithm(agent) if recipe.kind == "baseline" else "",
    )
    info.write(folder)
    clock.file.unlink(missing_ok=True)
    if recipe.kind == "agent":
        try_to_show_imagination(agent, folder, episodes)
    return info


def refuse_test_states(env_kwargs: Mapping[str, Any]) -> None:
    """Raise ValueError for an environment that starts from the official initial states."""
    if env_kwargs.get("init", "random") != "random":
        raise ValueError(
            "runs are trained from random placements only (init='random'): "
            "the official initial states are the test set"
        )


def _learn(
    agent: Any, spec: RunSpec, episodes: Sequence[Episode], folder: Path, progress: Progress
) -> None:
    callback = [_callback(progress, spec.steps), LearningCurve(folder)]
    if METHODS[spec.method].kind != "agent":
        agent.learn(spec.steps, callback=callback)
        with atomic(folder / BASELINE_FILE) as temporary, temporary.open("wb") as stream:
            agent.save(stream)
        return
    names = list(spec.overrides)
    if episodes:
        agent.fit(episodes, folder=folder, progress=progress, overrides=names)
    if spec.steps:
        resumed = {"folder": folder} if agent.resumes else {}
        agent.learn(spec.steps, callback=callback, **resumed)
        agent.save_run(folder, names)


class _Clock:
    """Measures training, counting earlier attempts that left a checkpoint to go on from."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / ELAPSED_FILE
        self.seconds = self._before = 0.0
        if any(folder.glob("*checkpoint.safetensors")) and self.file.is_file():
            self.seconds = self._before = float(json.loads(self.file.read_text("utf-8")))

    def __enter__(self) -> _Clock:
        self._began = self._written = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._write(time.perf_counter())

    def wrap(self, progress: Progress | None) -> Progress:
        """``progress``, which also writes the time down: a kill gives no notice."""

        def tell(phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
            now = time.perf_counter()
            if now - self._written >= 1.0:
                self._write(now)
            if progress is not None:
                progress(phase, done, total, metrics)

        return tell

    def _write(self, now: float) -> None:
        self._written, self.seconds = now, self._before + now - self._began
        write_text(self.file, json.dumps(self.seconds))


def _describe(spec: RunSpec, folder: Path) -> None:
    """Write the settings and versions, which every kind of run has from its beginning."""
    names = list(spec.overrides)
    write_text(folder / CONFIG_FILE, resolve_config(spec.method, names).to_yaml())
    lines = "".join(f"- {json.dumps(name)}\n" for name in names) or "[]\n"
    write_text(folder / OVERRIDES_FILE, lines)
    write_text(folder / VERSIONS_FILE, json.dumps(versions(), indent=2) + "\n")


def _algorithm(agent: Any) -> str:
    """Stable-Baselines3's own class, which reads back what a subclass of it saved."""
    return next(c.__name__ for c in type(agent).__mro__ if c.__module__.startswith("stable_base"))


def parameter_counts(agent: Any) -> dict[str, int]:
    """Trainable parameters by component; of an SB3 baseline by its policy's modules."""
    if hasattr(agent.policy, "parameter_counts"):
        return dict(agent.policy.parameter_counts())
    counts = {
        name: sum(p.numel() for p in module.parameters() if p.requires_grad)
        for name, module in agent.policy.named_children()
    }
    own = sum(p.numel() for p in agent.policy.parameters(recurse=False) if p.requires_grad)
    return {name: count for name, count in {**counts, "other": own}.items() if count}


def nested_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["planner.horizon=10"]`` as ``{"planner": {"horizon": 10}}``."""
    from omegaconf import OmegaConf

    nested: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    return dict(nested)


def _callback(progress: Progress, total: int) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class _Tell(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % 100 == 0:
                progress("environment steps", self.num_timesteps, total, {})
            return True

    return _Tell()


def _forget(folder: Path) -> None:
    """Remove a run's own files; anything else in the folder stays."""
    for pattern in ("*.safetensors", "*.json", "*.yaml", "*.csv", "*.zip", "events.out.tfevents.*"):
        for path in folder.glob(pattern):
            path.unlink()
    shutil.rmtree(folder / IMAGINATION_FOLDER, ignore_errors=True)
    remove_replays(folder)


__all__ = [
    "BoundPredictor",
    "RunInfo",
    "RunPredictor",
    "RunSpec",
    "check_acting_overrides",
    "env_of_data",
    "load_run",
    "nested_overrides",
    "parameter_counts",
    "predictor_factory",
    "refuse_test_states",
    "train_run",
]
