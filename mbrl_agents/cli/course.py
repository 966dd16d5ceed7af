"""``mbrl train`` in the words of the course homework: settings alone, and no method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from mbrl_agents.cli import console


def train(
    words: Sequence[str],
    data: str | None,
    seed: int | None,
    workers: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Run one experiment of the homework into ``outputs/NAME`` and print its result.

    Args:
        words: ``KEY=VALUE``, see `mbrl_agents.homework.translation`.
        data, seed, workers, fresh, as_json: options of ``mbrl train`` that mean the same here.
    """
    from mbrl_agents.homework.translation import is_course, translate

    given = list(words)
    if not is_course(given):
        console.fail(
            f"{given[0]!r} is a setting: name the method before it (`mbrl methods` lists them), or "
            "use the course homework's words, model_type=simple planner.type=cem",
            console.USAGE,
        )
    if data is not None:
        given.append(f"dataset.path={data}")
    if seed is not None:
        given.append(f"seed={seed}")
    with console.usage():
        experiment = translate(given)

    from mbrl_agents.homework.experiment import ENV_ID, run_experiment

    console.check_env_keywords(ENV_ID, experiment.env)
    outcomes: list[bool] = []
    with console.failures(), console.progress(experiment.name) as update:

        def finished(record: Any) -> None:
            outcomes.append(bool(record.success))
            total = experiment.episodes
            text = f"success {sum(outcomes)}/{len(outcomes)}"
            update(completed=len(outcomes), total=total, label="evaluating", text=text)

        outcome = run_experiment(
            experiment,
            workers=workers or console.default_workers(),
            fresh=fresh,
            tell=console.note,
            progress=console.training_log(update),
            on_episode=finished,
        )
    summary = outcome.summary
    if as_json:
        console.show_json({"folder": str(outcome.folder), **summary})
        return
    low, high = summary["ci95"]
    typer.echo(
        f"{experiment.name}: {experiment.method}, {summary['successes']}/{summary['episodes']} "
        f"= {100 * summary['success_rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}], planning "
        f"{summary['plan_ms_p50']:.1f} ms (p95 {summary['plan_ms_p95']:.1f}), in {outcome.folder}"
    )


INSTEAD = {
    "--out": "exp_name=NAME",
    "--env": "model_type and env.KEY",
    "--task": "env.task=K",
    "--from": "load_world_model or load_policy",
    "--episodes": "dataset.episodes=N",
    "--steps": "training.num_epochs=N",
    "--eval-every": "mbrl eval outputs/NAME",
}
"""Options of ``mbrl train`` that the homework says otherwise."""


def refuse(options: Iterable[str]) -> None:
    """Fail for options that mean nothing beside the homework's words."""
    for name in options:
        console.fail(
            f"{name} goes with a method's name; the homework's word for it is {INSTEAD[name]}",
            console.USAGE,
        )


__all__ = ["refuse", "train"]
