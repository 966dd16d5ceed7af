"""``mbrl imagine``: what a run's world model learned, in images."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.options import Device

POLICY = "policy"


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
    play: Annotated[
        bool,
        typer.Option("--play", help="Step through what it imagines: by keys, or by --actions."),
    ] = False,
    actions: Annotated[
        str | None,
        typer.Option(
            help="Of --play: a list such as 0,1,1 or '0.5 -1; 1 0', a file of them, or 'policy' "
            "for the run's own [default: keys in a terminal, policy elsewhere]."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --play: beginning and latents.")] = 0,
    device: Device = "auto",
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

    With --play it is an environment instead: the model sees --context frames of an episode and
    imagines every further one, for at most --horizon steps. Frames, actions and rewards are written
    to imagination/played.* in the run folder.

    \b
    mbrl imagine runs/images --play
    mbrl imagine runs/images --play --actions 0,1,1,2 --seed 3
    mbrl imagine runs/images --play --actions policy --horizon 100
    """
    from mbrl_agents.evaluation.imagination_files import FOLDER, show_imagination
    from mbrl_agents.registry import METHODS
    from mbrl_agents.runs.data import fresh_episodes, read_run_episodes
    from mbrl_agents.runs.loading import load_run
    from mbrl_agents.runs.spec import RunInfo

    with console.usage():
        if actions is not None and not play:
            raise ValueError("--actions is about --play: give both")
        info = RunInfo.read(run)
        if METHODS[info.spec.method].kind != "agent":
            raise ValueError(f"{info.spec.method} has no world model")
        folders = info.spec.folders if data is None else (str(data),)
        own = _same(folders, info.spec.folders)
    console.check_device(device)
    with console.failures():
        agent: Any = load_run(run, device=device)
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
        if play:
            record = _play(
                agent,
                run if out is None else out,
                found,
                actions,
                context=context,
                horizon=horizon,
                episodes=episodes,
                seed=seed,
            )
            _tell(record, as_json=as_json)
            return
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


def _play(
    agent: Any,
    folder: Path,
    found: Sequence[Any],
    actions: str | None,
    *,
    context: int,
    horizon: int,
    episodes: int,
    seed: int,
) -> dict[str, Any]:
    """Play in an agent's imagination and write the files; returns what they say, and where."""
    from mbrl_agents.evaluation.imagination_files import FOLDER, FPS, evaluating
    from mbrl_agents.evaluation.imagined_env import ImaginedEnv
    from mbrl_agents.evaluation.playing import play, write_played

    algorithm = agent.algorithm
    with evaluating(algorithm.modules.values()):
        env = ImaginedEnv(
            algorithm.world_model,
            agent.observation_space,
            agent.action_space,
            agent.recordings(found, count=episodes),
            context=context,
            max_steps=horizon,
        )
        with _choosing(agent, env, actions) as (choose, on_step):
            played = play(env, choose, seed=seed, on_step=on_step)
    files = write_played(folder / FOLDER, played, FPS)
    return {**played.to_json(), "files": files}


@contextmanager
def _choosing(agent: Any, env: Any, actions: str | None) -> Iterator[tuple[Any, Any]]:
    """A context with what gives the actions, and what is told of each step."""
    from mbrl_agents.cli import keys
    from mbrl_agents.evaluation.playing import by_policy, in_order, parse_actions

    if actions is None and not sys.stdin.isatty():
        actions = POLICY
    if actions == POLICY:
        yield by_policy(agent), None
        return
    if actions is not None:
        # A list may be longer than the name of a file can be.
        named = len(actions) < 256 and Path(actions).is_file()
        text = Path(actions).read_text(encoding="utf-8") if named else actions
        yield in_order(parse_actions(text, env.action_space)), None
        return
    keys.check_playable(env.action_space)

    def show(played: Any) -> None:
        last = f", reward {played.rewards[-1]:.3g}" if played.rewards else ""
        sys.stderr.write(
            "\x1b[2J\x1b[H" + keys.as_characters(played.frames[-1]) + "\n"
            f"step {len(played.actions)}{last}, return {sum(played.rewards):.3g}; "
            f"{keys.help_text(env.action_space)}\n"
        )
        sys.stderr.flush()

    with keys.single_keys() as read:
        yield keys.chooser(read, env.action_space), show


def _tell(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.show_json(record)
        return
    typer.echo(
        f"{record['steps']} imagined steps, return {record['return']:.3g}, {record['ended']}"
    )
    for kind, path in record["files"].items():
        typer.echo(f"{kind}: {path}")


def _same(folders: Sequence[str], others: Sequence[str]) -> bool:
    return [Path(f).resolve() for f in folders] == [Path(f).resolve() for f in others]
