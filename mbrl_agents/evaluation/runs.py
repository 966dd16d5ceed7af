"""A run: one method trained into a folder, and read back for evaluation.

Agents, baselines and bounds go through the same three calls here, so that the command line and
the benchmarks treat every method alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from mbrl_agents.data.collect import Predictor
from mbrl_agents.data.dataset import read_episodes, read_infos
from mbrl_agents.data.parallel import make_env
from mbrl_agents.registry import METHODS, lookup

RUN_FILE = "run.json"
BASELINE_FILE = "model.zip"
Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with the phase, steps done, steps in all, and metrics."""


@dataclass(frozen=True)
class RunSpec:
    """What decides a run.

    Attributes:
        method: name from the registry.
        env_id, env_kwargs: of ``gym.make``.
        overrides: dotted, such as "planner.horizon=10".
        seed: of weights, batches and own experience.
        data: episode folder to learn from, or None.
        steps: environment steps of own experience; 0 learns from ``data`` alone.
        limit: use only the first so many episodes of ``data``.
    """

    method: str
    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    seed: int = 0
    data: str | None = None
    steps: int = 0
    limit: int | None = None

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps({**asdict(self), "env_kwargs": dict(self.env_kwargs)}))


@dataclass(frozen=True)
class RunInfo:
    """What a finished run tells about itself; stored as ``run.json``.

    Attributes:
        parameters: trainable ones by component.
        train_seconds: wall time of learning, all its own environment steps included.
        env_steps: environment steps learned from: those of the data and its own.
        metrics: the last metrics of training by name.
        algorithm: Stable-Baselines3's class of a baseline.
    """

    spec: RunSpec
    parameters: dict[str, int]
    train_seconds: float
    env_steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    algorithm: str = ""

    def write(self, folder: Path) -> None:
        text = json.dumps({**asdict(self), "spec": self.spec.to_json()}, indent=2, sort_keys=True)
        temporary = folder / f".{RUN_FILE}.tmp"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / RUN_FILE)

    @staticmethod
    def read(folder: str | Path) -> RunInfo:
        """The info of a finished run.

        Raises:
            FileNotFoundError: there is none; the message says whether the folder exists.
        """
        path = Path(folder) / RUN_FILE
        if not path.is_file():
            what = "is not a finished run" if Path(folder).is_dir() else "does not exist"
            raise FileNotFoundError(f"{folder} {what}: no {RUN_FILE}; `mbrl train` writes it")
        stored = json.loads(path.read_text(encoding="utf-8"))
        spec = stored.pop("spec")
        spec["overrides"] = tuple(spec["overrides"])
        return RunInfo(spec=RunSpec(**spec), **stored)


@dataclass(frozen=True)
class RunPredictor:
    """Factory that reads a run's agent; picklable, so worker processes can use it.

    Attributes:
        folder: of a finished run.
        method: another method on the same weights, such as "simple-cem" on those which
            "simple-policy-cem" learned; None for the run's own.
        overrides: planner and objective settings to change.
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


def train_run(
    spec: RunSpec, folder: str | Path, *, progress: Progress | None = None, fresh: bool = False
) -> RunInfo:
    """Train ``spec`` into ``folder`` and return the finished run's info.

    A finished run of the same spec is not trained again, an interrupted one goes on from its
    last checkpoint where the method has checkpoints.

    Args:
        fresh: ignore what the folder holds.

    Raises:
        ValueError: the folder holds a run of another spec; bounds, which have nothing to train;
            a method that learns from data without data.
    """
    import mbrl_agents

    folder = Path(folder)
    recipe = lookup(METHODS, spec.method, "method")
    if recipe.kind == "bound":
        raise ValueError(f"{spec.method} is a bound: there is nothing to train")
    if (folder / RUN_FILE).is_file() and not fresh:
        info = RunInfo.read(folder)
        if info.spec.to_json() != spec.to_json():
            raise ValueError(
                f"{folder} holds another run ({_difference(info.spec, spec)}); "
                "use another folder or train afresh"
            )
        return info
    if spec.data is None and spec.steps == 0:
        raise ValueError(f"{spec.method} needs episodes to learn from or environment steps")

    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.monitor import Monitor

    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        _forget(folder)
    episodes = [] if spec.data is None else read_episodes(spec.data, spec.limit)
    if recipe.demonstrations and not episodes:
        raise ValueError(f"{spec.method} learns from recorded episodes: give their folder")
    overrides = nested_overrides(spec.overrides)
    env = Monitor(make_env(spec.env_id, spec.env_kwargs))
    try:
        if recipe.kind == "baseline" and recipe.demonstrations:
            overrides["episodes"] = episodes
        agent: Any = mbrl_agents.make_agent(spec.method, env, seed=spec.seed, **overrides)
        agent.set_logger(configure(str(folder), ["csv", "tensorboard"]))
        began = time.perf_counter()
        if recipe.kind == "agent":
            names = list(spec.overrides)
            if episodes:
                agent.fit(episodes, folder=folder, progress=progress, overrides=names)
            if spec.steps:
                resumed = {"folder": folder} if agent.resumes else {}
                agent.learn(spec.steps, callback=_callback(progress, spec.steps), **resumed)
                agent.save_run(folder, names)
        else:
            agent.learn(spec.steps, callback=_callback(progress, spec.steps))
            _save_baseline(agent, folder)
        seconds = time.perf_counter() - began
        agent.logger.close()
    finally:
        env.close()
    info = RunInfo(
        spec=spec,
        parameters=parameter_counts(agent),
        train_seconds=round(seconds, 1),
        env_steps=spec.steps
        + sum(map(len, episodes)) * (recipe.kind == "agent" or recipe.demonstrations),
        metrics=dict(getattr(agent, "metrics", {})),
        algorithm=type(agent).__name__ if recipe.kind == "baseline" else "",
    )
    info.write(folder)
    return info


def load_run(
    folder: str | Path, method: str | None = None, overrides: Sequence[str] = ()
) -> Predictor:
    """The trained agent or baseline of a run folder.

    Args:
        method: build this method on the run's weights, as far as it uses them; None for the
            run's own method with the run's own settings.
        overrides: settings of ``method``.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: the run holds no weights for the method, or they do not fit its settings.
    """
    import mbrl_agents

    info = RunInfo.read(folder)
    own = METHODS[info.spec.method]
    if own.kind == "baseline":
        if method not in (None, own.name):
            raise ValueError(f"{folder} is a run of {own.name}; {method} cannot use its weights")
        import stable_baselines3

        model: Predictor = getattr(stable_baselines3, info.algorithm).load(
            Path(folder) / BASELINE_FILE, device="cpu"
        )
        return model
    agent: Any = mbrl_agents.load(folder)
    if method is not None:
        agent = _rebuilt(agent, method, overrides)
    found: Predictor = agent
    return found


def _rebuilt(trained: Any, method: str, overrides: Sequence[str]) -> Any:
    """The agent of ``method`` on the weights of ``trained``."""
    from mbrl_agents.agents.mbrl_agent import MBRLAgent
    from mbrl_agents.config import resolve_config

    agent = MBRLAgent(
        resolve_config(method, list(overrides)),
        None,
        seed=trained.seed,
        observation_space=trained.observation_space,
        action_space=trained.action_space,
    )
    for part in ("world_model", "prior"):
        module, source = getattr(agent.policy, part), getattr(trained.policy, part)
        if module is None:
            continue
        if source is None:
            raise ValueError(f"{method} needs a policy, and {trained.config.method} trains none")
        try:
            module.load_state_dict(source.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"the weights of {trained.config.method} do not fit {method}: {error}"
            ) from error
    agent.policy.eval()
    agent.fitted = trained.fitted
    return agent


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


def _save_baseline(agent: Any, folder: Path) -> None:
    temporary = folder / f".{BASELINE_FILE}"
    agent.save(temporary)
    temporary.replace(folder / BASELINE_FILE)


def nested_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["planner.horizon=10"]`` as ``{"planner": {"horizon": 10}}``."""
    from omegaconf import OmegaConf

    nested: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    return dict(nested)


def env_of_data(folder: str | Path) -> tuple[str, dict[str, Any]]:
    """The environment that a folder's episodes come from: id and keywords of ``gym.make``.

    Raises:
        FileNotFoundError: no episodes there.
        ValueError: the episodes do not say.
    """
    infos = read_infos(folder)
    if not infos:
        raise FileNotFoundError(f"no episodes in {folder}; `mbrl collect` writes them")
    if "collection" not in infos[0]:
        raise ValueError(f"the episodes in {folder} do not name their environment; give --env")
    described = json.loads(str(infos[0]["collection"]))
    kwargs = dict(described["env_kwargs"])
    tasks = {info.get("task_key", "") for info in infos}
    if len(tasks) == 1 and (task := tasks.pop()):
        kwargs["task"] = int(task) if task.isdigit() else task
    return described["env_id"], kwargs


def _callback(progress: Progress | None, total: int) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class _Tell(BaseCallback):
        def _on_step(self) -> bool:
            if progress is not None and self.num_timesteps % 100 == 0:
                progress("environment steps", self.num_timesteps, total, {})
            return True

    return _Tell()


def _difference(first: RunSpec, second: RunSpec) -> str:
    a, b = first.to_json(), second.to_json()
    return ", ".join(f"{k}: {a[k]!r}, not {b[k]!r}" for k in a if a[k] != b[k])


def _forget(folder: Path) -> None:
    """Remove a run's own files; anything else in the folder stays."""
    for pattern in ("*.safetensors", "*.json", "*.yaml", "*.csv", "*.zip", "events.out.tfevents.*"):
        for path in folder.glob(pattern):
            path.unlink()


__all__ = [
    "RunInfo",
    "RunPredictor",
    "RunSpec",
    "env_of_data",
    "load_run",
    "nested_overrides",
    "parameter_counts",
    "predictor_factory",
    "train_run",
]
