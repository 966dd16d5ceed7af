"""What a finished experiment shows beside its success: numbers, and images as PNG files.

Everything is kept in the experiment's folder, so that a report is made again without running
anything.  Nothing is trained here; a few test episodes are played once more, to see them.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mbrl_agents.agents.saving import LOG_FILE
from mbrl_agents.data.files import atomic
from mbrl_agents.data.parallel import make_env
from mbrl_agents.data.recorded import split_episodes
from mbrl_agents.evaluation.filmstrips import filmstrip, panels
from mbrl_agents.evaluation.imagination_files import evaluating
from mbrl_agents.evaluation.imagined import (
    Windows,
    evenly,
    imagine_windows,
    summarise_windows,
    unexplained,
)
from mbrl_agents.evaluation.rollouts import run_episode
from mbrl_agents.homework.experiment import EPISODES_FILE, RESULTS_FILE
from mbrl_agents.homework.plan import Planned
from mbrl_agents.runs.data import read_run_episodes
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunInfo
from mbrl_agents.training.checkpoints import write_text

FOLDER = "analysis"
VERSION = 1
"""Raised when what is kept changes its form: it is then computed anew."""
HORIZON, CONTEXT = 15, 5
"""Imagined steps of held-out episodes, as many as the longest plan, and observations before."""
WINDOWS = 16
FRAMES, FRAME_SIZE = 8, 96

Numbers = dict[str, Any]
"""Plain JSON values by name."""


@dataclass(frozen=True)
class Finished:
    """A finished experiment.

    Attributes:
        planned: its row of the plan.
        name: ``exp_name``.
        seed: of the command.
        env: keywords of the environment that the command changes for its tests.
        folder: in ``outputs``.
    """

    planned: Planned
    name: str
    seed: int
    env: dict[str, Any]
    folder: Path

    @property
    def info(self) -> RunInfo:
        return RunInfo.read(self.folder)

    @property
    def summary(self) -> Numbers:
        found: Numbers = json.loads((self.folder / RESULTS_FILE).read_text(encoding="utf-8"))
        return found

    @property
    def episodes(self) -> list[Numbers]:
        """The tests, see `mbrl_agents.evaluation.rollouts.EpisodeRecord.to_json`.

        None of an experiment that an earlier version of this library finished.
        """
        file = self.folder / EPISODES_FILE
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def kept(finished: Finished, name: str, compute: Callable[[], Numbers]) -> Numbers:
    """What ``compute`` found for these results; computed where that is not known yet."""
    file = finished.folder / FOLDER / f"{name}.json"
    results = (finished.folder / RESULTS_FILE).read_bytes()
    digest = f"{VERSION}-{hashlib.sha256(results).hexdigest()[:16]}"
    if file.is_file():
        known: Numbers = json.loads(file.read_text(encoding="utf-8"))
        if known["results"] == digest:
            return known
    file.parent.mkdir(exist_ok=True)
    found = {"results": digest, **compute()}
    write_text(file, json.dumps(found, indent=1) + "\n")
    return found


def curves(folder: Path) -> dict[str, dict[str, list[list[float]]]]:
    """The training log: by phase and metric, pairs of gradient steps and value."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    with (folder / LOG_FILE).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            metrics = found.setdefault(row["phase"], {})
            metrics.setdefault(row["metric"], []).append([int(row["step"]), float(row["value"])])
    return found


# ---------------------------------------------------------------------------------------------
# The world model on held-out episodes


def model_on_held_out(finished: Finished) -> Numbers:
    """Errors of reconstruction and of prediction by imagined step, and film strips of images.

    Returns:
        ``windows``, see `summarise_windows`; ``unexplained``, see
        `mbrl_agents.evaluation.imagined.unexplained`; of images ``reconstruction``, see
        `_explained`; ``strips``: names of PNG files.  ``held_out`` is false where there was too
        little data to hold any out.
    """
    return kept(finished, "model", lambda: _model_on_held_out(finished))


def _model_on_held_out(finished: Finished) -> Numbers:
    info, agent = finished.info, load_run(finished.folder)
    spec, learner = info.spec, agent_of(agent)
    assert spec.data is not None
    space = learner.observation_space
    episodes = read_run_episodes(spec.data, spec.env_kwargs, spec.limit, space)
    _, held = split_episodes(episodes, learner.config.training.holdout, spec.seed)
    recordings = learner.recordings(held or episodes, count=WINDOWS)
    with evaluating(learner.algorithm.modules.values()):
        model = learner.algorithm.world_model
        windows = imagine_windows(
            model, recordings, context=CONTEXT, horizon=HORIZON, limit=WINDOWS
        )
    if windows is None:
        return {"held_out": bool(held), "windows": None, "unexplained": None, "strips": {}}
    strips = {}
    if windows.images:
        errors = _mean_over(windows.errors()["reconstruction"], windows.images)
        for name, row in (("good", int(np.nanargmin(errors))), ("bad", int(np.nanargmax(errors)))):
            columns = panels(windows, row, imagined=False)
            strips[name] = f"reconstruction-{name}.png"
            names = ["recorded", "decoded", "error"]
            shown = filmstrip(columns, names, most=8, context=windows.context)
            _write_png(finished.folder / FOLDER / strips[name], shown)
    return {
        "held_out": bool(held),
        "episodes": len(recordings),
        "windows": summarise_windows(windows),
        "unexplained": unexplained(windows),
        "reconstruction": {key: _explained(windows, key) for key in windows.images},
        "strips": strips,
    }


def _mean_over(errors: dict[str, np.ndarray], keys: Sequence[str]) -> np.ndarray:
    """``(W,)`` mean error of the windows' images."""
    found: np.ndarray = np.mean([np.nanmean(errors[key], 1) for key in keys], 0)
    return found


def _explained(windows: Windows, key: str) -> Numbers:
    """Shares of an image's variance over time that decoding what was seen explains.

    Returns:
        ``all``; ``moving``, of the twentieth of the pixels that vary most; ``moving_variance`` and
        ``moving_error``, the shares of the variance and of the squared error that lie in those.
    """
    truth, guess = (
        x[key].reshape(-1, x[key][0, 0].size).astype(np.float64)
        for x in (windows.truth, windows.reconstructed)
    )
    known = ~np.isnan(truth[:, 0])
    truth, guess = truth[known], guess[known]
    variance = truth.var(0)
    missed = np.square(truth - guess).mean(0)
    most = np.argsort(variance)[-max(1, len(variance) // 20) :]

    def share(rows: Any) -> float:
        return round(1.0 - float(missed[rows].sum() / max(variance[rows].sum(), 1e-12)), 4)

    def part(values: np.ndarray) -> float:
        return round(float(values[most].sum() / max(values.sum(), 1e-12)), 4)

    return {
        "all": share(slice(None)),
        "moving": share(most),
        "moving_variance": part(variance),
        "moving_error": part(missed),
    }


# ---------------------------------------------------------------------------------------------
# Episodes to look at


def compared(policy: Finished, searched: Finished) -> Numbers:
    """The same tests with the policy alone and with a search that starts from it.

    Returns:
        numbers of the official initial states: ``saved``, that the search alone solved, ``lost``,
        that the policy alone solved, ``both`` and ``neither``.
    """
    outcomes = [{e["init_state"]: bool(e["success"]) for e in x.episodes}
                for x in (policy, searched)]  # fmt: skip
    found: Numbers = {"saved": [], "lost": [], "both": [], "neither": []}
    for state in sorted(outcomes[0].keys() & outcomes[1].keys()):
        alone, helped = outcomes[0][state], outcomes[1][state]
        kind = ("both" if alone else "saved") if helped else ("lost" if alone else "neither")
        found[kind].append(state)
    return found


def frames(finished: Finished, init_state: int) -> Path:
    """A strip of frames of one test, played once more, as a PNG file."""
    name = f"frames-{init_state}"
    file = finished.folder / FOLDER / f"{name}.png"

    def play_again() -> Numbers:
        record = next(e for e in finished.episodes if e["init_state"] == init_state)
        wanted = set(evenly(int(record["steps"]) + 1, FRAMES))
        seen, shown = 0, []
        env = env_of(finished, {"render_mode": "rgb_array", "render_size": FRAME_SIZE})

        def keep(env: Any) -> None:
            nonlocal seen
            if seen in wanted:
                shown.append(np.asarray(env.render()))
            seen += 1

        again = run_episode(
            env,
            load_run(finished.folder),
            seed=record["seed"],
            init_state=init_state,
            on_step=keep,
        )
        env.close()
        _write_png(file, np.concatenate(shown, 1))
        return {"steps": again.steps, "success": again.success}

    kept(finished, name, play_again)
    return file


def env_of(finished: Finished, more: dict[str, Any]) -> Any:
    spec = finished.info.spec
    kwargs = {**spec.env_kwargs, **finished.env, **more}
    if any(record["init_state"] is not None for record in finished.episodes):
        kwargs["init"] = "benchmark"
    return make_env(spec.env_id, kwargs)


def options_of(record: Numbers) -> dict[str, Any] | None:
    state = record["init_state"]
    return None if state is None else {"init_state": state}


def agent_of(predictor: Any) -> Any:
    """An agent of this library; the homework has no others."""
    return predictor


def _write_png(file: Path, image: np.ndarray) -> None:
    with atomic(file) as temporary:
        Image.fromarray(image).save(temporary, "PNG", optimize=True)


__all__ = [
    "Finished",
    "Numbers",
    "agent_of",
    "compared",
    "curves",
    "env_of",
    "frames",
    "kept",
    "model_on_held_out",
    "options_of",
]
