"""``mbrl imagine``: what a run's world model learned, in images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console


def imagine(
    run: Annotated[Path, typer.Argument(help="Run folder (`mbrl train`).")],
    data: Annotated[
        Path | None,
        typer.Option(help="Episode folder to look at [default: the run's, held-out or newest]."),
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="Frames shown before imagining.")] = 5,
    horizon: Annotated[int, typer.Option(min=1, help="Control steps imagined.")] = 45,
    episodes: Annotated[int, typer.Option(min=1, help="How many to look at.")] = 8,
    out: Annotated[
        Path | None, typer.Option(help="Folder to put imagination/ into [default: RUN].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the errors as JSON.")] = False,
) -> None:
    """Show what RUN's world model makes of recorded episodes: reconstructions, and imagination.

    For the best and the worst stretch it writes filmstrips and videos of truth, imagined
    observations and error, curves of rewards, steps to go and vectors (of an ensemble with the
    range between its members), and all errors. Training does the same at its end. A run that
    learned from its own experience alone is shown the newest of that, and one that keeps none what
    its agent meets in new episodes.

    \b
    mbrl imagine runs/dreamer --data data/other --horizon 30
    """
    from mbrl_agents.evaluation.imagination_files import FOLDER, show_imagination
    from mbrl_agents.registry import METHODS
    from mbrl_agents.runs.data import fresh_episodes, read_run_episodes
    from mbrl_agents.runs.loading import load_run
    from mbrl_agents.runs.spec import RunInfo

    with console.usage():
        info = RunInfo.read(run)
        if METHODS[info.spec.method].kind != "agent":
            raise ValueError(f"{info.spec.method} has no world model")
        folders = info.spec.folders if data is None else (str(data),)
        own = _same(folders, info.spec.folders)
    with console.failures():
        agent: Any = load_run(run)
        limit = info.spec.limit if own else None
        found: Any = []
        if folders:
            kwargs = info.spec.env_kwargs
            found = read_run_episodes(folders, kwargs, limit, agent.observation_space)
        elif info.spec.steps:
            agent.load_experience(run)
        else:
            console.note(f"{run} keeps no episodes: its agent plays {episodes}")
            found, own = fresh_episodes(run, info, episodes), False
        summary = show_imagination(
            agent,
            run if out is None else out,
            found,
            unseen=not own,
            context=context,
            horizon=horizon,
            limit=episodes,
        )
        if summary is None:
            where = ", ".join(folders) or f"those that {run} met by itself"
            raise ValueError(f"no episode in {where} has more than {context} frames")
    if as_json:
        console.show_json(summary)
        return
    rows = [
        (key, f"{summary['reconstruction'][key]:.4g}", f"{summary['open_loop'][key]['mean']:.4g}",
         f"{summary['still'][key]['mean']:.4g}")
        for key in summary["reconstruction"]
    ]  # fmt: skip
    header = ("mean squared error", "reconstructed", "imagined", "last frame kept")
    typer.echo(console.table(header, rows))
    typer.echo(
        f"{summary['windows']} stretches of {summary['episodes']} {summary['source']}, "
        f"{summary['context']} frames seen, {summary['horizon']} imagined"
    )
    typer.echo(f"images: {(run if out is None else out) / FOLDER}")


def _same(folders: Sequence[str], others: Sequence[str]) -> bool:
    return [Path(f).resolve() for f in folders] == [Path(f).resolve() for f in others]
