"""Training a method into a run folder; agents and baselines alike."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.experience import remove_experience
from mbrl_agents.agents.origins import tells_success
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
from mbrl_agents.data.locks import locked
from mbrl_agents.data.parallel import make_env
from mbrl_agents.evaluation.check_plots import STEPS, UPDATES, write_checks
from mbrl_agents.evaluation.checks import (
    CHECKS_FILE,
    FIT_CHECKS_FILE,
    Checks,
    CheckSeries,
    FitChecks,
    read_checks,
)
from mbrl_agents.evaluation.imagination_files import FOLDER as IMAGINATION_FOLDER
from mbrl_agents.evaluation.imagination_files import try_to_show_imagination
from mbrl_agents.evaluation.learning_curve import LearningCurve
from mbrl_agents.names import lookup, resolve
from mbrl_agents.nn.sharing import processes, rank, wait_for_all
from mbrl_agents.registry import METHODS, Method
from mbrl_agents.runs.clock import Clock
from mbrl_agents.runs.data import count_run_episodes, read_run_episodes
from mbrl_agents.runs.spec import RUN_FILE, RunInfo, RunSpec, difference
from mbrl_agents.runs.starting import check_start
from mbrl_agents.runs.work import Progress, Work
from mbrl_agents.training.checkpoints import load_meta, write_text
from mbrl_agents.training.trainer import LEARN


def train_run(
    spec: RunSpec,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    fresh: bool = False,
    workers: int = 0,
    engine: str = "local",
    device: str = "auto",
) -> RunInfo:
    """Train ``spec`` into ``folder`` and return the finished run's info.

    A finished run of the same spec is not trained again, an interrupted one goes on from its
    last checkpoint where the method has checkpoints.

    Args:
        fresh: ignore what the folder holds.
        workers, engine: for methods that act in environments of their own, see `Agent.fit`; they
            change nothing but the time it takes.
        device: torch device; "auto" is a GPU where there is one.

    Where several processes train together (`mbrl_agents.nn.sharing.joined`), all of them call this;
    the first alone writes the folder, which all must see, and only a fit to episodes is possible.

    Raises:
        FolderInUse: another process trains into the folder.
        ValueError: the folder holds a run of another spec, or of a folder of episodes that has
            grown since; bounds, which have nothing to train; a method that learns from data
            without data; episodes of another task or of several; the official initial states.
    """
    recipe = lookup(METHODS, spec.method, "method")
    _check_processes(spec, recipe)
    with _own_folder(Path(folder), fresh=fresh) as own, locked(own):
        return _train_run(
            spec,
            recipe,
            own,
            progress=progress,
            fresh=fresh,
            workers=workers,
            engine=engine,
            device=device,
        )


def interrupted_at(folder: str | Path) -> str | None:
    """How far the checkpoint of a run folder goes, in words; None where there is none."""
    file = Path(folder) / CHECKPOINT
    if not file.is_file():
        return None
    meta = load_meta(file)
    if meta["stage"] == LEARN:
        return f"{meta['facts']['num_timesteps']} environment steps"
    return f"{meta['done']} updates of phase {meta['phase'] + 1} of {len(meta['turns'])}"


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
    device: str,
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
        alone = recipe.steps_do and spec.steps > 0
        if recipe.demonstrations and not episodes and spec.start is None and not alone:
            raise ValueError(f"{spec.method} learns from recorded episodes: give their folder")
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            _forget(folder)
        _describe(spec, folder, success=tells_success(env))
        with Clock(folder) as clock:
            told = clock.wrap(progress)
            curve = LearningCurve(folder, clock.now)
            callbacks = [_callback(told, spec.steps), curve, *_checks(spec, folder)]
            fit_checks = _fit_checks(spec, folder)
            work = Work(
                recipe,
                spec,
                episodes,
                env,
                folder,
                told,
                callbacks,
                clock.now,
                workers=workers,
                engine=engine,
                device=device,
                fit_checks=fit_checks,
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
    if not spec.steps or recipe.kind == "baseline":
        # An agent's own experience may be gone on with; what else is trained is trained.
        (folder / CHECKPOINT).unlink(missing_ok=True)
    if isinstance(agent, Agent) and rank() == 0:
        try_to_show_imagination(agent, folder, episodes)
    if not spec.steps:
        remove_experience(folder)
    _draw_checks(folder, spec.method)
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
    return [Checks(_series(spec, folder / CHECKS_FILE))]


def _fit_checks(spec: RunSpec, folder: Path) -> FitChecks | None:
    """What tests while recorded episodes are fitted, where the run does nothing else."""
    if spec.steps or not spec.check_every or rank():
        return None
    return FitChecks(_series(spec, folder / FIT_CHECKS_FILE))


def _draw_checks(folder: Path, name: str) -> None:
    """``checks.png`` and ``fit_checks.png`` beside the files that hold these figures."""
    for file, axis in ((CHECKS_FILE, STEPS), (FIT_CHECKS_FILE, UPDATES)):
        path = folder / file
        if path.is_file():
            write_checks(path.with_suffix(".png"), {name: [read_checks(path)]}, axis=axis)


def _series(spec: RunSpec, file: Path) -> CheckSeries:
    def make() -> Any:
        return make_env(spec.env_id, spec.env_kwargs)

    every, episodes = spec.check_every, spec.check_episodes
    return CheckSeries(file, make, every=every, episodes=episodes, seed=spec.seed)


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


def refuse_test_states(env_kwargs: Mapping[str, Any]) -> None:
    """Raise ValueError for an environment that starts from the official initial states."""
    if env_kwargs.get("init", "random") != "random":
        raise ValueError(
            "runs are trained from random placements only (init='random'): "
            "the official initial states are the test set"
        )


def _describe(spec: RunSpec, folder: Path, *, success: bool) -> None:
    """Write the settings and versions, which every kind of run has from its beginning."""
    names = list(spec.overrides)
    config = resolve_config(spec.method, names, success=success)
    write_text(folder / CONFIG_FILE, config.to_yaml())
    lines = "".join(f"- {json.dumps(name)}\n" for name in names) or "[]\n"
    write_text(folder / OVERRIDES_FILE, lines)
    write_text(folder / VERSIONS_FILE, json.dumps(versions(), indent=2) + "\n")


def _callback(progress: Progress, total: int) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class _Tell(BaseCallback):
        def _on_training_start(self) -> None:
            self._tell()

        def _on_step(self) -> bool:
            if self.num_timesteps % 100 == 0:
                self._tell()
            return True

        def _on_training_end(self) -> None:
            self._tell()

        def _tell(self) -> None:
            # PPO goes on to the end of a rollout.
            progress("environment steps", min(self.num_timesteps, total), total, {})

    return _Tell()


def _forget(folder: Path) -> None:
    """Remove a run's own files; anything else in the folder stays."""
    own = ("*.safetensors", "*.json", "*.yaml", "*.csv", "*.zip", "*checks.png")
    for pattern in (*own, "events.out.tfevents.*"):
        for path in folder.glob(pattern):
            path.unlink()
    shutil.rmtree(folder / IMAGINATION_FOLDER, ignore_errors=True)
    remove_experience(folder)


__all__ = ["interrupted_at", "refuse_test_states", "train_run"]
