"""``mbrl eval``: success of a trained run, or of a reference policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console


def evaluate(
    run: Annotated[str, typer.Argument(help="Run folder, or 'random' or 'expert'.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Planner or objective settings to change; env.KEY=VALUE for the environment.",
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Per task.")] = 20,
    init: Annotated[
        str | None,
        typer.Option(
            help="benchmark: the official initial states; random: placements "
            "[default: benchmark where the environment has such states]."
        ),
    ] = None,
    env: Annotated[str | None, typer.Option(help="Gymnasium id [default: the run's].")] = None,
    task: Annotated[
        str | None, typer.Option(help="Task number, name, list, range or 'all'.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Another method on the same weights.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every episode.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Act with noise (deterministic=False).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for episodes.jsonl and evaluation.json.")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="Also record the first episode of each task as a video into a folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Evaluate RUN and print its success rate with the 95 % Wilson interval.

    \b
    mbrl eval runs/first --episodes 20
    mbrl eval runs/first planner.samples=200 --workers 2
    mbrl eval expert --env mbrl/LiberoSpatial-v0 --task all
    """
    from mbrl_agents.envs.registration import defaults
    from mbrl_agents.registry import METHODS

    others, taken = console.split_overrides(overrides, "env")
    env_kwargs: dict[str, Any] = {}
    with console.usage():
        if run in METHODS and not METHODS[run].train:
            name, folder = run, None
            env_id = env or "mbrl/LiberoSpatial-v0"
            env_kwargs = dict(defaults(env_id).kwargs)
        else:
            from mbrl_agents.runs.loading import check_acting_overrides
            from mbrl_agents.runs.spec import RunInfo

            if run in METHODS and not Path(run).exists():
                raise ValueError(f"{run!r} is a method; give the folder of its run (`mbrl train`)")
            info = RunInfo.read(run)
            name, folder = method or info.spec.method, run
            console.check_method(name)
            check_acting_overrides(info.spec.method, others)
            env_id = env or info.spec.env_id
            if env is None:
                env_kwargs = dict(info.spec.env_kwargs)
    console.check_env(env_id)
    env_kwargs.update(taken["env"])
    tasks = console.parse_tasks(task, env_id)

    from mbrl_agents.config import resolve_config
    from mbrl_agents.evaluation import rollouts
    from mbrl_agents.evaluation.statistics import summarise
    from mbrl_agents.runs.loading import predictor_factory

    with console.usage():
        resolve_config(name, others)
        if init not in (None, "benchmark", "random"):
            raise ValueError(f"--init must be benchmark or random, not {init!r}")
    for results in (out, video):
        if results is not None:
            console.make_folder(results)
    factory = predictor_factory(name, folder, others)
    total = episodes * len(tasks or [None])
    with console.failures(), console.progress("evaluating", total) as update:
        outcomes: list[bool | None] = []
        if init is None:
            init = rollouts.default_init(env_id, {**env_kwargs, **_task_of(tasks)})

        def finished(record: rollouts.EpisodeRecord) -> None:
            outcomes.append(record.success)
            if record.success is not None:
                update(text=f"success {sum(map(bool, outcomes))}/{len(outcomes)}")
            else:
                update(text=f"return {record.episode_return:.1f}")

        records = rollouts.evaluate(
            factory,
            env_id,
            env_kwargs,
            episodes=episodes,
            init=init,
            tasks=tasks,
            seed=seed,
            workers=workers,
            deterministic=not stochastic,
            on_episode=finished,
        )
        if video is not None:
            _record_videos(video, factory, env_id, env_kwargs, tasks, init, seed)
    summary = {"method": name, "env": env_id, "seed": seed, "init": init, **summarise(records)}
    if out is not None:
        lines = [
            json.dumps({"method": name, "obs": env_kwargs.get("obs"), **r.to_json()})
            for r in records
        ]
        (out / "episodes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (out / "evaluation.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    if as_json:
        console.show_json(summary)
    else:
        _show(summary)


def _task_of(tasks: list[int | str] | None) -> dict[str, Any]:
    """The keyword of the first task; none where there are no tasks."""
    return {"task": tasks[0]} if tasks else {}


def _show(summary: dict[str, Any]) -> None:
    if summary["successes"] is None:
        outcome = (
            f"return {summary['return_mean']:.1f} ± {summary['return_std']:.1f} "
            f"over {summary['episodes']} episodes"
        )
    else:
        low, high = summary["ci95"]
        outcome = (
            f"{summary['successes']}/{summary['episodes']} "
            f"= {100 * summary['success_rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        )
    typer.echo(
        f"{summary['method']} on {summary['env']}: {outcome}, "
        f"{_returns(summary)}"
        f"planning {summary['plan_ms_p50']:.1f} ms (p95 {summary['plan_ms_p95']:.1f})"
    )
    if len(summary["per_task"]) > 1 and summary["successes"] is not None:
        rows = [
            (task, f"{s['successes']}/{s['episodes']}") for task, s in summary["per_task"].items()
        ]
        typer.echo(console.table(["task", "success"], rows))


def _returns(summary: dict[str, Any]) -> str:
    """The returns, where the outcome is not a return already."""
    if summary["successes"] is None:
        return ""
    return f"return {summary['return_mean']:.2f} (best {summary['return_best']:.2f}), "


def _record_videos(
    folder: Path,
    factory: Any,
    env_id: str,
    env_kwargs: dict[str, Any],
    tasks: list[int | str] | None,
    init: str,
    seed: int,
) -> None:
    from mbrl_agents.data.parallel import make_env
    from mbrl_agents.evaluation.video import record_video

    wanted: list[int | str | None] = [None] if tasks is None else [*tasks]
    for task in wanted:
        kwargs = {**env_kwargs, "render_mode": "rgb_array"}
        if task is not None:
            kwargs["task"] = task
        env = make_env(env_id, kwargs)
        name = "episode.mp4" if task is None else f"task-{task}.mp4"
        state = 0 if init == "benchmark" else None
        record_video(folder / name, env, factory(env), seed=seed, init_state=state)
        env.close()
        console.note(f"video: {folder / name}")
