"""``mbrl collect``: record episodes into a folder."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.options import Device, TrustPickle


def collect(
    folder: Annotated[Path, typer.Argument(help="Episode folder; created or added to.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="env.KEY=VALUE for the environment, noise.KEY=VALUE for noisy_expert.",
        ),
    ] = None,
    env: Annotated[str, typer.Option(help="Gymnasium id.")] = "mbrl/LiberoSpatial-v0",
    task: Annotated[
        str | None, typer.Option(help="Task number, name, list (0,3), range (0-4) or 'all'.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="expert, noisy_expert, random, or agent (with --agent).")
    ] = "noisy_expert",
    agent: Annotated[
        Path | None, typer.Option(help="Run folder whose agent acts; implies --source agent.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes per task.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Decides every episode.")] = 0,
    attempts: Annotated[int, typer.Option(min=1, help="Tries per episode until it succeeds.")] = 1,
    label: Annotated[
        bool, typer.Option("--label", help="Record the expert's action for random and agent too.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OBS=FOLDER",
            help="Record the same episodes as another env.obs shows them; may be given repeatedly.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one per core].")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray for a cluster (docs/distributed.md).")
    ] = "local",
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Record episodes from random placements into FOLDER.

    Only what is missing is collected, so an interrupted command goes on where it stopped.  The
    official initial states are never used: they are the test set.

    \b
    mbrl collect data/bowl --task 2 --episodes 60
    mbrl collect data/all --task all --source expert --attempts 3
    mbrl collect data/own --agent runs/first --label --episodes 20
    mbrl collect data/images --task 2 env.obs=image --also pose=data/poses
    """
    console.check_env(env)
    others, taken = console.split_overrides(overrides, "env", "noise")
    if others:
        console.fail(
            f"unknown override {others[0]!r}: here they begin with env. or noise.", console.USAGE
        )
    console.check_env_keywords(env, taken["env"])
    tasks = console.parse_tasks(task, env)
    console.check_engine(engine)

    from mbrl_agents.data import collect as collecting
    from mbrl_agents.data.dataset import count_episodes, read_infos
    from mbrl_agents.data.noise import NoiseConfig
    from mbrl_agents.envs.registration import defaults

    env_kwargs: dict[str, Any] = {**defaults(env).kwargs, **taken["env"]}

    views = _views(also or [], env, env_kwargs, folder)
    factory, weights = None, None
    if agent is not None:
        from mbrl_agents.runs.loading import RunPredictor

        with console.failures():
            weights = run_digest(agent)
        console.check_device(device)
        source = "agent"
        factory = RunPredictor(str(agent), device=device, trust_pickle=trust_pickle)
    elif source == "agent":
        console.fail("--source agent needs --agent RUN", console.USAGE)
    with console.usage():
        try:
            noise = NoiseConfig(**taken["noise"])
        except TypeError as error:
            known = ", ".join(NoiseConfig.__dataclass_fields__)
            raise ValueError(f"{error}; noise settings are {known}") from error
        collection = collecting.Collection(
            env_id=env,
            env_kwargs=env_kwargs,
            source=source,
            episodes=episodes,
            tasks=tasks,
            seed=seed,
            noise=noise,
            attempts=attempts,
            label=label,
            agent=weights,
        )
    places = {str(folder): count_episodes(folder)}
    places |= {str(place): count_episodes(place) for place in views.values()}
    total = episodes * len(tasks or [None])
    outcomes: list[bool] = []

    def kept() -> str:
        counts = " and ".join(f"{count_episodes(place)} in {place}" for place in places)
        first, _, others = counts.partition(" ")
        return f"{first} episodes are kept {others}; the same command collects what is missing"

    with (
        console.interruptible(kept),
        console.failures(),
        console.progress("collecting", total) as update,
    ):
        update(0, completed=min(total, *places.values()))

        def finished(episode: Any) -> None:
            outcomes.append(episode.success)
            update(text=f"success {sum(outcomes)}/{len(outcomes)}")

        collecting.collect_to_folder(
            folder,
            collection,
            views=views,
            workers=workers or (console.default_workers() if engine == "local" else 0),
            engine=engine,
            factory=factory,
            on_episode=finished,
        )

    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for info in read_infos(folder):
        groups[str(info.get("task_name", env))].append(info)
    summary: dict[str, Any] = {
        "folder": str(folder),
        "added": count_episodes(folder) - places[str(folder)],
        "added_successes": sum(outcomes),
        "episodes": sum(len(g) for g in groups.values()),
        "per_task": {name: len(group) for name, group in groups.items()},
    }
    if views:
        summary["also"] = {
            view: {"folder": str(place), "added": count_episodes(place) - places[str(place)]}
            for view, place in views.items()
        }
    if as_json:
        console.show_json(summary)
        return
    typer.echo(console.table(["task", "episodes"], summary["per_task"].items()))
    added = summary["added"]
    typer.echo(f"{added} added ({sum(outcomes)} successful), {summary['episodes']} in {folder}")
    for view, found in summary.get("also", {}).items():
        count = count_episodes(found["folder"])
        typer.echo(f"{found['added']} added as {view}, {count} in {found['folder']}")


def _views(
    also: list[str], env: str, env_kwargs: dict[str, Any], folder: Path
) -> dict[str, str | Path]:
    """The folders of ``--also``, by the observation that is recorded there."""
    from mbrl_agents.data.recording import views_of

    found: dict[str, str | Path] = {}
    for word in also:
        obs, _, place = word.partition("=")
        if not obs or not place:
            console.fail(
                f"--also takes OBS=FOLDER, such as pose=data/poses, got {word!r}", console.USAGE
            )
        known = views_of(env)
        if obs not in known:
            valid = f"valid: {', '.join(known)}" if known else "it shows one kind of observation"
            console.fail(f"--also: {env} has no obs={obs!r} ({valid})", console.USAGE)
        if obs in found or obs == env_kwargs.get("obs"):
            console.fail(f"--also: {obs!r} is recorded already", console.USAGE)
        if Path(place).resolve() in {Path(p).resolve() for p in (folder, *found.values())}:
            console.fail(f"--also: {place} is given twice; each takes a folder", console.USAGE)
        found[obs] = Path(place)
    return found


def run_digest(folder: Path) -> str:
    """Names a run's agent by what decides its actions: settings and weights, not the path.

    Raises:
        FileNotFoundError: when there is no finished run.
    """
    from mbrl_agents.agents.saving import decisive_files
    from mbrl_agents.runs.spec import PICKLED_FILE, RunInfo

    RunInfo.read(folder)
    digest = hashlib.sha256()
    for path in [*decisive_files(folder), folder / PICKLED_FILE]:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
