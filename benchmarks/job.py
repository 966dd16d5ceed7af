"""What the process behind one job does; `job_server` makes such processes.

Reads ``FOLDER/jobs/KEY.spec.json``, works, writes ``FOLDER/jobs/KEY.json`` as a whole.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mbrl_agents.allocator import keep_freed_memory
from mbrl_agents.data.files import write_text

from .suite import STEPS_OF_DATA
from .suite_files import noise_config


def main(arguments: list[str]) -> int:
    # As an exception, so that finished episodes are written and worker processes end.
    signal.signal(signal.SIGTERM, stop)
    keep_freed_memory()
    folder, key = Path(arguments[0]), arguments[1]
    given = json.loads((folder / "jobs" / f"{key}.spec.json").read_text(encoding="utf-8"))
    work = {"collect": _collect, "train": _train, "evaluate": _evaluate, "imagine": _imagine}[
        given["kind"]
    ]
    began = time.perf_counter()
    if given["kind"] != "collect":
        import torch

        # Several jobs share the processors; times are comparable with one thread each.
        torch.set_num_threads(1)
    result = work(folder, key, given)
    result["seconds"] = round(time.perf_counter() - began, 2)
    write_json(folder / "jobs" / f"{key}.json", result)
    return 0


def stop(number: int, frame: object) -> None:
    """Signal handler: end with the exit code that a shell gives, cleaning up on the way."""
    raise SystemExit(128 + number)


def read_result(folder: Path, key: str) -> dict[str, Any] | None:
    """What a finished job wrote, or None."""
    path = folder / "jobs" / f"{key}.json"
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    write_text(path, json.dumps(value, sort_keys=True) + "\n")


def _collect(folder: Path, key: str, given: dict[str, Any]) -> dict[str, Any]:
    from mbrl_agents.data.collect import Collection, collect_to_folder
    from mbrl_agents.data.dataset import read_episodes

    spec = dict(given["spec"])
    # Other jobs' folders, which get the same episodes under another ``obs``.
    views = {obs: folder / "data" / other for obs, other in spec.pop("views", {}).items()}
    collection = Collection(**{**spec, "noise": noise_config(spec["noise"])})
    data = folder / "data" / key
    recorded = collect_to_folder(data, collection, views=views, workers=given["workers"])
    episodes = read_episodes(data)
    return {
        "recorded": recorded,
        "episodes": len(episodes),
        "steps": sum(len(e) for e in episodes),
        "successes": sum(e.success for e in episodes),
        "summary": f"{sum(e.success for e in episodes)}/{len(episodes)} successful",
    }


def _train(folder: Path, key: str, given: dict[str, Any]) -> dict[str, Any]:
    from mbrl_agents.evaluation.checks import CHECKS_FILE, FIT_CHECKS_FILE, read_checks
    from mbrl_agents.runs.data import read_run_episodes
    from mbrl_agents.runs.spec import RunSpec
    from mbrl_agents.runs.training import train_run

    spec = given["spec"]
    # Collections: one, or of a training on several tasks one per task.
    start, steps = spec.get("start"), spec["steps"]
    collections = [need for need in given["needs"] if need != start]
    data = tuple(str(folder / "data" / need) for need in collections)
    limit = spec.get("limit")
    if steps == STEPS_OF_DATA and limit is not None:
        steps = sum(map(len, read_run_episodes(data, spec["env_kwargs"], limit)))
    elif steps == STEPS_OF_DATA:
        collected = [read_result(folder, need) for need in collections]
        assert all(collected), "the runner starts a job after those it needs"
        steps = sum(found["steps"] for found in collected if found is not None)
    every, episodes = spec.get("checks", (0, 100))
    run = RunSpec(
        method=spec["method"],
        env_id=spec["env_id"],
        env_kwargs=spec["env_kwargs"],
        overrides=tuple(spec["overrides"]),
        seed=spec["seed"],
        data=(data[0] if len(data) == 1 else data or None) if spec["demonstrations"] else None,
        steps=steps,
        limit=limit if spec["demonstrations"] else None,
        check_every=every,
        check_episodes=episodes,
        start=None if start is None else str(folder / "models" / start),
    )
    info = train_run(run, folder / "models" / key, device=given["device"])
    checks = folder / "models" / key / (CHECKS_FILE if steps else FIT_CHECKS_FILE)
    return {
        "checks": [list(point) for point in read_checks(checks)] if checks.is_file() else [],
        "parameters": info.parameters,
        "train_seconds": info.train_seconds,
        "env_steps": info.env_steps,
        "metrics": info.metrics,
        "updates": info.updates,
        "summary": f"{info.env_steps} environment steps in {info.train_seconds:.0f} s",
    }


def _evaluate(folder: Path, key: str, given: dict[str, Any]) -> dict[str, Any]:
    from mbrl_agents.evaluation.rollouts import evaluate
    from mbrl_agents.evaluation.statistics import summarise
    from mbrl_agents.runs.loading import predictor_factory

    spec = given["spec"]
    model = folder / "models" / given["needs"][0] if given["needs"] else None

    def tell(record: Any) -> None:
        outcome = "success" if record.success else "no success"
        if record.success is None:
            outcome = f"return {record.episode_return:.1f}"
        sys.stderr.write(f"episode {record.init_state}: {outcome} in {record.steps} steps\n")
        sys.stderr.flush()

    records = evaluate(
        predictor_factory(spec["method"], model, spec["overrides"], device=given["device"]),
        spec["env_id"],
        spec["env_kwargs"],
        episodes=range(spec["first"], spec["last"]),
        init=spec["init"],
        seed=spec["seed"],
        deterministic=spec["deterministic"],
        on_episode=tell,
    )
    rows = [asdict(record) for record in records]
    for row in rows:
        row["plan_ms"] = [round(ms, 3) for ms in row["plan_ms"]]
    figures = summarise(records)
    if figures["successes"] is None:
        text = f"mean return {figures['return_mean']:.1f}"
    else:
        text = f"{figures['successes']}/{figures['episodes']} successful"
    return {"records": rows, "summary": text}


def _imagine(folder: Path, key: str, given: dict[str, Any]) -> dict[str, Any]:
    from mbrl_agents.evaluation.imagination_files import evaluating
    from mbrl_agents.evaluation.imagined import imagine_windows, unexplained
    from mbrl_agents.runs.data import read_run_episodes
    from mbrl_agents.runs.loading import load_run

    spec, (training, collection) = given["spec"], given["needs"]
    agent: Any = load_run(folder / "models" / training, device=given["device"])
    data = folder / "data" / collection
    episodes = read_run_episodes(str(data), spec["env_kwargs"], None, agent.observation_space)
    with evaluating(agent.algorithm.modules.values()):
        windows = imagine_windows(
            agent.algorithm.world_model,
            agent.recordings(episodes, count=len(episodes)),
            context=spec["context"],
            horizon=spec["horizon"],
            limit=spec["windows"],
        )
    if windows is None:
        raise ValueError(
            f"no held-out episode has more than {spec['context']} observations: set "
            "imagination.context to less"
        )
    found = unexplained(windows)
    return {"imagination": found, "summary": f"{found['mean']:.3f} of the variance unexplained"}
