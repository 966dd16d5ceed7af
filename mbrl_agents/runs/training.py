"""Training a method into a run folder; agents and baselines alike."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.experience import remove_experience
from mbrl_agents.agents.saving import (
    CHECKPOINT,
    CONFIG_FILE,
    OVERRIDES_FILE,
    VERSIONS_FILE,
    versions,
)
from mbrl_agents.config import resolve_config
from mbrl_agents.data.conditions import conditions_of
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.parallel import make_env
from mbrl_agents.evaluation.checks import Checks
from mbrl_agents.evaluation.imagination_files import FOLDER as IMAGINATION_FOLDER
from mbrl_agents.evaluation.imagination_files import try_to_show_imagination
from mbrl_agents.evaluation.learning_curve import ActedCurve, LearningCurve
from mbrl_agents.names import lookup, resolve
from mbrl_agents.nn.sharing import processes, rank, wait_for_all
from mbrl_agents.protocols import ActingPhase
from mbrl_agents.registry import METHODS, Method
from mbrl_agents.runs.data import count_run_episodes, read_run_episodes
from mbrl_agents.runs.spec import BASELINE_FILE, RUN_FILE, RunInfo, RunSpec, difference
from mbrl_agents.runs.starting import check_start
from mbrl_agents.training.checkpoints import atomic, write_text

ELAPSED_FILE = "elapsed.json"
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

    def make(self, **arguments: Any) -> Any:
        """The untrained agent, logging into the folder."""
        from stable_baselines3.common.logger import configure

        overrides = nested_overrides(self.spec.overrides)
        agent = resolve(self.recipe.make)(
            self.recipe, self.env, seed=self.spec.seed, overrides=overrides, **arguments
        )
        agent.set_logger(configure(str(self.folder), ["csv", "tensorboard"]))
        return agent


def train_run(
    spec: RunSpec,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    fresh: bool = False,
    workers: int = 0,
    engine: str = "local",
) -> RunInfo:
    """Train ``spec`` into ``folder`` and return the finished run's info.

    A finished run of the same spec is not trained again, an interrupted one goes on from its
    last checkpoint where the method has checkpoints.

    Args:
        fresh: ignore what the folder holds.
        workers, engine: for methods that act in environments of their own, see `Agent.fit`; they
            change nothing but the time it takes.

    Where several processes train together (`mbrl_agents.nn.sharing.joined`), all of them call this;
    the first alone writes the folder, which all must see, and only a fit to episodes is possible.

    Raises:
        ValueError: the folder holds a run of another spec, or of a folder of episodes that has
            grown since; bounds, which have nothing to train; a method that learns from data
            without data; episodes of another task or of several; the official initial states.
    """
    recipe = lookup(METHODS, spec.method, "method")
    _check_processes(spec, recipe)
    with _own_folder(Path(folder), fresh=fresh) as own:
        return _train_run(
            spec, recipe, own, progress=progress, fresh=fresh, workers=workers, engine=engine
        )


def _check_processes(spec: RunSpec, recipe: Method) -> None:
    """Raise ValueError for what several processes cannot train together."""
    count = processes()
    if count == 1:
        return
    if recipe.kind != "agent":
        raise ValueError(f"{spec.method} trains in one process: start it without torchrun")
    if spec.steps or recipe.gathers:
        raise ValueError(
            f"{count} processes train together on recorded episodes only, and {spec.method} would "
            "gather its own here: give --data and no --steps, or start it without torchrun "
            "(--engine ray and --workers spread environments)"
        )


@contextmanager
def _own_folder(folder: Path, *, fresh: bool) -> Iterator[Path]:
    """The run folder; of all but the first of several processes a temporary copy to go on from."""
    if processes() == 1:
        yield folder
        return
    if rank() == 0:
        wait_for_all()
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mbrl-") as temporary:
        for name in () if fresh else (RUN_FILE, CHECKPOINT):
            if (folder / name).is_file():
                shutil.copy2(folder / name, temporary)
        wait_for_all()
        yield Path(temporary)


def _train_run(
    spec: RunSpec,
    recipe: Method,
    folder: Path,
    *,
    progress: Progress | None,
    fresh: bool,
    workers: int,
    engine: str,
) -> RunInfo:
    """`train_run` in a folder of this process' own."""
    from stable_baselines3.common.monitor import Monitor

    if not recipe.train:
        raise ValueError(f"{spec.method} is a reference policy: there is nothing to train")
    refuse_test_states(spec.env_kwargs)
    if spec.data is not None:
        count = count_run_episodes(spec.data, spec.env_kwargs, spec.limit)
        spec = replace(spec, data_episodes=count)
    if (folder / RUN_FILE).is_file() and not fresh:
        info = RunInfo.read(folder)
        if different := difference(info.spec, spec):
            raise ValueError(
                f"{folder} holds another run ({different}); use another folder or train afresh"
            )
        return info
    if spec.start is not None:
        check_start(spec.start, spec.method)
        if spec.steps == 0:
            raise ValueError("a run that starts from another one learns from own steps: give some")
    if spec.data is None and spec.steps == 0 and not recipe.gathers:
        raise ValueError(f"{spec.method} needs episodes to learn from or environment steps")
    env = Monitor(make_env(spec.env_id, spec.env_kwargs))
    try:
        episodes = _episodes(spec, env)
        if recipe.demonstrations and not episodes and spec.start is None:
            raise ValueError(f"{spec.method} learns from recorded episodes: give their folder")
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            _forget(folder)
        _describe(spec, folder)
        with _Clock(folder) as clock:
            told = clock.wrap(progress)
            curve = LearningCurve(folder, clock.now)
            callbacks = [_callback(told, spec.steps), curve, *_checks(spec, folder)]
            work = Work(
                recipe, spec, episodes, env, folder, told, callbacks, clock.now, workers, engine
            )
            agent, found = resolve(recipe.train)(work)
        agent.logger.close()
        conditions = conditions_of(env)
    finally:
        env.close()
    seconds = round(clock.seconds, 1)
    info = _with_start(RunInfo(spec=spec, train_seconds=seconds, conditions=conditions, **found))
    info.write(folder)
    clock.file.unlink(missing_ok=True)
    if not spec.steps:
        # Own experience may be gone on with; what is fitted is fitted.
        (folder / CHECKPOINT).unlink(missing_ok=True)
    if isinstance(agent, Agent) and rank() == 0:
        try_to_show_imagination(agent, folder, episodes)
    if not spec.steps:
        remove_experience(folder)
    return info


def _episodes(spec: RunSpec, env: Any) -> list[Episode]:
    """The recorded episodes of a run, as its environment would have shown them."""
    if spec.data is None:
        return []
    return read_run_episodes(spec.data, spec.env_kwargs, spec.limit, env.observation_space)


def _checks(spec: RunSpec, folder: Path) -> list[Checks]:
    """The callback that tests while own experience is gathered, where the run asks for it."""
    if not (spec.steps and spec.check_every):
        return []

    def make() -> Any:
        return make_env(spec.env_id, spec.env_kwargs)

    every, episodes = spec.check_every, spec.check_episodes
    return [Checks(folder, make, every=every, episodes=episodes, seed=spec.seed)]


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
            progress=_acted(work, agent),
            overrides=names,
            workers=work.workers,
            engine=work.engine,
        )
    if steps:
        agent.learn(steps, callback=work.callbacks, folder=work.folder)
        agent.save_run(work.folder, names)
    return agent, {
        "parameters": parameter_counts(agent),
        "env_steps": agent.num_timesteps + sum(map(len, work.episodes)),
        "metrics": agent.metrics,
        "updates": {} if agent.trainer is None else dict(agent.trainer.work),
    }


def _acted(work: Work, agent: Agent) -> Progress:
    """The progress of a fit, which also records what acting phases meet as a learning curve."""
    acting = {p.name: p for p in agent.algorithm.phases if isinstance(p, ActingPhase)}
    curve = ActedCurve(work.folder, work.clock)

    def tell(phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if phase in acting and "train/return" in metrics:
            steps = sum(one.env_steps for one in acting.values())
            curve.add(steps, metrics["train/return"], metrics.get("train/length", 0.0))
        work.progress(phase, done, total, metrics)

    return tell


def _with_start(info: RunInfo) -> RunInfo:
    """Steps and time of the run that this one started from, which they learned from as well."""
    if info.spec.start is None:
        return info
    start = RunInfo.read(info.spec.start)
    again = 0
    if info.spec.folders == start.spec.folders and info.spec.limit == start.spec.limit:
        again = info.env_steps - info.spec.steps  # the same recorded episodes
    return replace(
        info,
        env_steps=info.env_steps + start.env_steps - again,
        train_seconds=round(info.train_seconds + start.train_seconds, 1),
    )


def train_baseline(work: Work) -> tuple[Any, dict[str, Any]]:
    """Train an algorithm of Stable-Baselines3; see `train_agent`."""
    shown = work.episodes if work.recipe.demonstrations else ()
    agent = work.make(episodes=shown)
    with _timed(agent) as updates:
        agent.learn(work.spec.steps, callback=work.callbacks)
    with atomic(work.folder / BASELINE_FILE) as temporary, temporary.open("wb") as stream:
        agent.save(stream)
    return agent, {
        "parameters": parameter_counts(agent),
        # Not `spec.steps`: PPO goes on to the end of a rollout.
        "env_steps": agent.num_timesteps + sum(map(len, shown)),
        "algorithm": _algorithm(agent),
        "updates": updates,
    }


@contextmanager
def _timed(agent: BaseAlgorithm) -> Iterator[dict[str, tuple[int, float]]]:
    """A context that counts the gradient steps of SB3's ``train`` and takes its time."""
    found = {"train": (0, 0.0)}
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
        yield found
    finally:
        hook.remove()
        del agent.train  # type: ignore[attr-defined]


def refuse_test_states(env_kwargs: Mapping[str, Any]) -> None:
    """Raise ValueError for an environment that starts from the official initial states."""
    if env_kwargs.get("init", "random") != "random":
        raise ValueError(
            "runs are trained from random placements only (init='random'): "
            "the official initial states are the test set"
        )


class _Clock:
    """Measures training, counting earlier attempts that left a checkpoint to go on from."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / ELAPSED_FILE
        self.seconds = self._before = 0.0
        self._began = self._written = time.perf_counter()
        if any(folder.glob("*checkpoint.safetensors")) and self.file.is_file():
            self.seconds = self._before = float(json.loads(self.file.read_text("utf-8")))

    def __enter__(self) -> _Clock:
        self._began = self._written = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._write(time.perf_counter())

    def now(self) -> float:
        """Seconds of training so far."""
        return self._before + time.perf_counter() - self._began

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
    remove_experience(folder)


__all__ = [
    "Work",
    "nested_overrides",
    "parameter_counts",
    "refuse_test_states",
    "train_agent",
    "train_baseline",
    "train_run",
]
