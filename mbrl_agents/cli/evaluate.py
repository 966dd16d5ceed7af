"""``mbrl eval``: success of a trained run, of a reference policy, or of another project's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.options import Device, Objective, Planner, TrustPickle


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(help="Run folder, or 'random' or 'expert'; nothing with --policy."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Planner or objective settings to change; env.KEY=VALUE for the environment, "
            "policy.KEY=VALUE for the class that --policy names.",
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
        str | None,
        typer.Option(
            help="Task number, name, list, range or 'all' [default: the run's; of a run on several "
            "tasks each of them]."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Another method on the same weights.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="Evaluate a policy of your own or of another project; its module is installed "
            "or in the current folder.",
        ),
    ] = None,
    observation_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="What that policy is shown: mbrl, lerobot or openvla [default: what its class "
            "says in observation_format, else mbrl].",
        ),
    ] = None,
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
        typer.Option(help="Also film episodes of the evaluation, into a folder."),
    ] = None,
    video_episodes: Annotated[
        str | None,
        typer.Option(
            help="Which of each task: failed, best, worst, or numbers such as 0,3 [default: 0]."
        ),
    ] = None,
    planner: Planner = None,
    objective: Objective = None,
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Evaluate RUN and print its success rate with the 95 % Wilson interval.

    \b
    mbrl eval runs/first --episodes 20
    mbrl eval runs/first planner.samples=200 --workers 2
    mbrl eval expert --env mbrl/LiberoSpatial-v0 --task all
    mbrl eval --policy my_policy:Policy policy.path=weights --format lerobot --task all
    """
    from mbrl_agents.cli import evaluated

    if policy is not None and run is not None:
        if "=" not in run:
            console.fail(
                f"give either {run!r} to evaluate or --policy {policy}, not both", console.USAGE
            )
        overrides, run = [run, *(overrides or [])], None  # the first argument is a setting
    others, taken = console.split_overrides(overrides, "env", "policy")
    others += console.search_overrides(planner, objective)
    with console.usage():
        if init not in (None, "benchmark", "random"):
            raise ValueError(f"--init must be benchmark or random, not {init!r}")
        if policy is not None:
            if method is not None:
                raise ValueError("--method chooses among this project's, --policy another's")
            if others:
                raise ValueError(f"{others[0]!r}: settings of a policy begin with policy. or env.")
            chosen = evaluated.third_party(policy, taken["policy"], observation_format, env)
        elif run is None:
            raise ValueError("give a run folder, 'random' or 'expert', or --policy MODULE:CLASS")
        elif observation_format is not None or taken["policy"]:
            raise ValueError("--format and policy.KEY=VALUE go with --policy MODULE:CLASS")
        else:
            chosen = evaluated.method_or_run(
                run, method, env, others, device=device, trust_pickle=trust_pickle
            )
    name, env_id, factory = chosen.name, chosen.env_id, chosen.factory
    console.check_env_keywords(env_id, taken["env"])
    tasks = console.parse_tasks(task, env_id)
    with console.usage():
        env_kwargs, tasks = evaluated.task_by_task(chosen, taken["env"], tasks)

    from mbrl_agents.evaluation import films, rollouts
    from mbrl_agents.evaluation.statistics import summarise

    with console.usage():
        if video_episodes is not None and video is None:
            raise ValueError("--video-episodes is about --video FOLDER: give both")
        filmed = films.Choice.of(video_episodes or "0", episodes)
        if video is not None:
            films.check_can_film(video / "episode.mp4")
    console.check_device(device)
    for results in (out, video):
        if results is not None:
            console.make_folder(results)
    total = episodes * len(tasks or [None])
    outcomes: list[bool | None] = []

    def kept() -> str:
        wins = sum(map(bool, outcomes))
        told = f", {wins} of them successful" if outcomes and None not in outcomes else ""
        return (
            f"{len(outcomes)} of {total} episodes were evaluated{told}; nothing is kept of an "
            "unfinished evaluation: the same command begins anew"
        )

    with (
        console.interruptible(kept),
        console.failures(),
        console.progress("evaluating", total) as update,
    ):
        update(0)
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
    shown = {} if policy is None else {"observation_format": chosen.observation_format}
    summary = {
        "method": name, **shown, "env": env_id, "seed": seed, "init": init, **summarise(records),
    }  # fmt: skip
    if out is not None:
        lines = [
            json.dumps({"method": name, "obs": env_kwargs.get("obs"), **r.to_json()})
            for r in records
        ]
        (out / "episodes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (out / "evaluation.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    if video is not None:
        with console.failures():
            written = films.film(
                video,
                factory,
                env_id,
                env_kwargs,
                records,
                filmed,
                tasks=tasks,
                init=init,
                deterministic=not stochastic,
            )
            for file in written:
                console.note(f"video: {file}")
            if not written:
                console.note(f"no video: no episode is known to be {video_episodes}")
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
