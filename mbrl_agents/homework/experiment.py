"""One experiment of the homework: its data, its training, its evaluation, and its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mbrl_agents.agents.saving import read_saved
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.dataset import count_episodes
from mbrl_agents.evaluation.rollouts import EpisodeRecord, evaluate
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.homework import files
from mbrl_agents.homework.translation import DATA_EPISODES, Experiment
from mbrl_agents.runs.data import env_of_data, read_run_episodes
from mbrl_agents.runs.loading import RunPredictor
from mbrl_agents.runs.spec import RunInfo, RunSpec
from mbrl_agents.runs.tasks import several_tasks, tasks_of
from mbrl_agents.runs.training import train_run
from mbrl_agents.runs.work import Progress
from mbrl_agents.training.checkpoints import write_text

ENV_ID = "mbrl/LiberoSpatial-v0"
OUTPUTS = Path("outputs")
DATA = Path("data/homework")
RESULTS_FILE = "evaluation_results.json"
EPISODES_FILE = "episodes.jsonl"
TASK = 0
"""What the homework's own episodes are of, unless the command says ``env.task``."""

Tell = Callable[[str], None]
"""Called with a sentence about what comes next."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to.

    Attributes:
        folder: in ``outputs``.
        info: of the training.
        summary: of the evaluation, see `mbrl_agents.evaluation.statistics.summarise`.
    """

    folder: Path
    info: RunInfo
    summary: dict[str, Any]


def run_experiment(
    experiment: Experiment,
    *,
    workers: int = 1,
    fresh: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
) -> Outcome:
    """Collect, train and evaluate what an experiment asks for, into ``outputs/NAME``.

    Run again, it goes on where it was interrupted; what is finished is left as it is.

    Args:
        workers: processes that collect and evaluate.
        fresh: train again whatever the folder holds.
        tell, progress, on_episode: told of what happens.

    Raises:
        FileNotFoundError: a file to load, or the run that it belongs to, is not there.
        ValueError: the folder holds another experiment, or what is to be loaded does not fit.
    """
    say = tell or (lambda text: None)
    folder = OUTPUTS / experiment.name
    if not fresh and (done := finished(experiment)) is not None:
        return done
    if experiment.load_policy or experiment.load_world_model:
        info = _loaded(experiment, folder)
    else:
        data = recorded(experiment, workers=workers, tell=tell)
        say(f"training {experiment.method} on {data} into {folder}")
        info = train(experiment, data, fresh=fresh, progress=progress)
    say(f"evaluating {experiment.method}")
    summary = _evaluate(experiment, folder, info, workers, on_episode)
    files.write(experiment, folder)
    results = {"exp_name": experiment.name, "seed": experiment.seed, **summary}
    write_text(folder / RESULTS_FILE, json.dumps(results, indent=2) + "\n")
    return Outcome(folder, info, summary)


def train(
    experiment: Experiment, data: Path, *, fresh: bool = False, progress: Progress | None = None
) -> RunInfo:
    """Train an experiment on the episodes in ``data`` into its folder, see `train_run`."""
    folder = OUTPUTS / experiment.name
    if fresh:
        # What was measured was of the weights that are now replaced.
        (folder / RESULTS_FILE).unlink(missing_ok=True)
    return train_run(_spec(experiment, data), folder, progress=progress, fresh=fresh)


def finished(experiment: Experiment) -> Outcome | None:
    """What the same command came to before; None where there is nothing yet.

    Raises:
        ValueError: the folder holds another experiment.
    """
    folder = OUTPUTS / experiment.name
    words, results = files.words_of(folder), folder / RESULTS_FILE
    if words is not None and words != list(experiment.given):
        raise ValueError(
            f"{folder} holds another experiment ({' '.join(words)}); "
            "choose another exp_name, or --fresh"
        )
    if words is None or not results.is_file():
        return None
    return Outcome(folder, RunInfo.read(folder), json.loads(results.read_text(encoding="utf-8")))


# ---------------------------------------------------------------------------------------------
# Data


def recorded(experiment: Experiment, *, workers: int = 1, tell: Tell | None = None) -> Path:
    """The folder of recorded episodes; the homework's own is collected as far as it is missing."""
    if experiment.data is not None and count_episodes(experiment.data):
        return Path(experiment.data)
    kwargs = {"obs": experiment.obs, "reward": "progress", **experiment.env}
    task = kwargs.pop("task", TASK)
    tasks = tasks_of(ENV_ID, {"task": task}) if several_tasks({"task": task}) else [task]
    kind = f"{experiment.obs}-{experiment.seed}"
    if experiment.data_episodes != DATA_EPISODES:
        kind += f"-{experiment.data_episodes}"  # a folder that others fill further is other data
    folder = Path(experiment.data) if experiment.data is not None else DATA / kind
    collection = Collection(
        env_id=ENV_ID,
        env_kwargs=kwargs,
        source="noisy_expert",
        episodes=experiment.data_episodes,
        tasks=tasks,
        seed=experiment.seed,
    )
    missing = count_episodes(folder) < experiment.data_episodes * len(tasks or [None])
    if missing and tell is not None:
        tell(f"recording episodes of the demonstrator into {folder}")
    collect_to_folder(folder, collection, workers=workers)
    return folder


def _spec(experiment: Experiment, data: Path) -> RunSpec:
    env_id, env_kwargs = env_of_data(data, experiment.env.get("task", _own_task(experiment)))
    env_kwargs |= experiment.env
    episodes = read_run_episodes(str(data), env_kwargs, None)
    # What is held out is not trained on, but a text that counts epochs counts the whole data.
    updates = experiment.updates(sum(map(len, episodes)))
    return RunSpec(
        method=experiment.method,
        env_id=env_id,
        env_kwargs=env_kwargs,
        overrides=(*experiment.overrides, *updates),
        seed=experiment.seed,
        data=str(data),
    )


def _own_task(experiment: Experiment) -> int | None:
    return TASK if experiment.data is None else None


# ---------------------------------------------------------------------------------------------
# What earlier experiments trained


def _loaded(experiment: Experiment, folder: Path) -> RunInfo:
    """Write the run of an experiment that acts on what earlier ones trained."""
    from mbrl_agents.agents.agent import Agent
    from mbrl_agents.runs.loading import load_run

    policy, model = experiment.load_policy, experiment.load_world_model
    source = _run_of(policy or model or "")
    info = RunInfo.read(source)
    agent = load_run(source, experiment.method, experiment.overrides)
    assert isinstance(agent, Agent)
    modules = agent.algorithm.modules
    if policy is not None:
        _load(Path(policy), modules["policy"])
        if model is not None:
            _check_latents(Path(model), source)
    else:
        _load(Path(model or ""), modules["world_model"])
    folder.mkdir(parents=True, exist_ok=True)
    agent.save_run(folder, list(experiment.overrides))
    spec = replace(info.spec, method=experiment.method, overrides=experiment.overrides)
    own = {name: count for name, count in info.parameters.items() if name in modules}
    info = replace(info, spec=spec, parameters=own)
    files.copy_logs(source, folder)
    info.write(folder)
    return info


def _run_of(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{file} does not exist: run the experiment that trains it first")
    if not (path.parent / "run.json").is_file():
        raise FileNotFoundError(
            f"{file} lies in no finished experiment: give outputs/NAME/{path.name} of the "
            "experiment that trained it, whose folder says how it was made"
        )
    return path.parent


def _load(file: Path, module: torch.nn.Module) -> None:
    weights = files.read_weights(file)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit the settings beside it: {error}") from error


def _check_latents(file: Path, source: Path) -> None:
    """A policy reads the features of the model that it was trained on, and of no other."""
    asked = files.read_weights(file)
    own = read_saved(source).weights["world_model"]
    if asked.keys() != own.keys() or not all(torch.equal(asked[k], own[k]) for k in own):
        raise ValueError(
            f"the policy in {source} was trained on another world model than {file}: a policy "
            "reads its own model's latents. Train both with the same data, seed and settings "
            "(training.num_epochs too), or leave load_world_model out"
        )


# ---------------------------------------------------------------------------------------------
# Evaluation


def _evaluate(
    experiment: Experiment,
    folder: Path,
    info: RunInfo,
    workers: int,
    on_episode: Callable[[EpisodeRecord], None] | None,
) -> dict[str, Any]:
    kwargs: Mapping[str, Any] = {**info.spec.env_kwargs, **experiment.env}
    tasks: Sequence[int | str] | None = None
    if several_tasks(kwargs):
        from mbrl_agents.runs.tasks import one_at_a_time

        tasks, kwargs = tasks_of(info.spec.env_id, kwargs), one_at_a_time(kwargs)
    records = evaluate(
        RunPredictor(str(folder)),
        info.spec.env_id,
        kwargs,
        episodes=experiment.episodes,
        tasks=tasks,
        seed=experiment.seed,
        workers=workers,
        on_episode=on_episode,
    )
    lines = (json.dumps({"method": experiment.method, **r.to_json()}) + "\n" for r in records)
    write_text(folder / EPISODES_FILE, "".join(lines))
    return {"method": experiment.method, "env": info.spec.env_id, **summarise(records)}


__all__ = ["EPISODES_FILE", "OUTPUTS", "RESULTS_FILE", "Outcome", "run_experiment"]
