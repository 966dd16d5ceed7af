"""``mbrl train``: one method into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console, course
from mbrl_agents.cli.options import Device, Objective, Planner


def train(
    method: Annotated[str, typer.Argument(help="`mbrl methods` lists them.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings such as planner.horizon=10; env.KEY=VALUE for the environment.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Episodes to learn from: a folder of `mbrl collect`, anything that `mbrl data "
            "inspect` reads, or a dataset of the Hugging Face Hub, hf://OWNER/NAME."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder [default: runs/METHOD-SEED].")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(help="Gymnasium id [default: that of the run in --from, else of the data]."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Task number or name; several (0,3 or 0-4) or 'all' train one model on them "
            "[default: that of the data]."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Environment steps of own experience.")] = 0,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Run folder whose weights and settings it goes on from with its own experience; "
            "what that run learned from stays in the data only if --data names it again.",
        ),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many of the data, per task.")
    ] = None,
    eval_every: Annotated[
        int,
        typer.Option(
            min=0,
            help="Test it on fresh random placements whenever so many environment steps were taken "
            "(without --steps: updates) and write the curve; 0 for never.",
        ),
    ] = 0,
    eval_episodes: Annotated[
        int, typer.Option(min=1, help="Episodes of each of these tests, played at once.")
    ] = 20,
    seed: Annotated[
        int | None,
        typer.Option(help="Of weights, batches and experience [default: training.seed, else 0]."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes for methods that act in environments of their own, such as a search "
            "among controllers; 0 uses this process. The result is the same [default: 1, or all "
            "processors of a cluster].",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="Where such environments are: local, or ray for a cluster."),
    ] = "local",
    planner: Planner = None,
    objective: Objective = None,
    device: Device = "auto",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again whatever the folder holds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train METHOD and write its run folder.

    An interrupted command goes on from its last checkpoint when it is given again; a finished
    run is left as it is.

    \b
    mbrl train simple-policy-cem --data data/bowl --out runs/first
    mbrl train simple-policy-cem --data data/bowl training.model_steps=500 planner.horizon=10
    mbrl train simple-policy-cem --data data/all --task all
    mbrl train simple-cem --env Pendulum-v1 --steps 5000
    mbrl train dreamer --env CartPole-v1 --steps 5000 --planner cem --objective return
    mbrl train world-models --env CarRacing-v3 --workers 2
    mbrl train sb3-sac --env mbrl/LiberoSpatial-v0 --task 2 --steps 10000 --eval-every 500
    mbrl train simple-cem --from runs/first --data data/bowl --steps 20000
    mbrl train model_type=simple planner.type=cem exp_name=q1  (the course homework's words)

    Several GPUs, or processes, train together on recorded episodes (docs/distributed.md):

    \b
    torchrun --nproc-per-node 2 -m mbrl_agents.cli.main train dreamer --data data/all --task all
    """
    if "=" in method:
        given: dict[str, Any] = {"--out": out, "--env": env, "--task": task, "--from": start,
                                 "--episodes": episodes, "--steps": steps or None,
                                 "--eval-every": eval_every or None}  # fmt: skip
        course.refuse(name for name, value in given.items() if value is not None)
        course.train([method, *(overrides or [])], data, seed, workers, fresh, as_json)
        return
    recipe = console.check_method(method)
    others, taken = console.split_overrides(overrides, "env")
    if not recipe.train:
        console.fail(f"{method} is a reference policy: there is nothing to train", console.USAGE)
    if env is None and data is None and start is None:
        console.fail("say what to train on: --data FOLDER, or --env ID", console.USAGE)
    alone = recipe.steps_do and steps > 0
    if recipe.demonstrations and data is None and start is None and not alone:
        instead = ", or --steps N of its own experience" if recipe.steps_do else ""
        console.fail(
            f"{method} learns from recorded episodes: give --data FOLDER "
            f"(`mbrl collect FOLDER` records some){instead}",
            console.USAGE,
        )
    if recipe.own_steps and steps == 0:
        console.fail(f"{method} learns from its own experience: give --steps", console.USAGE)
    if env is not None:
        console.check_env(env)

    console.check_engine(engine)
    processes = workers if workers is not None else int(engine == "local")

    from mbrl_agents.config import check_config

    if start is not None and steps == 0:
        console.fail("--from goes on with the run's own experience: give --steps", console.USAGE)
    with console.usage():
        if start is not None:
            from mbrl_agents.runs.starting import settings_of_start

            others = [*settings_of_start(start, method), *others]
        others = [*others, *console.search_overrides(planner, objective)]
        settings_seed = check_config(method, others)
        if data is not None:
            _read_once(data)
        env_id, env_kwargs = _environment(data, env, task, taken["env"], start)

    from mbrl_agents.runs.spec import RunSpec
    from mbrl_agents.runs.training import interrupted_at, train_run

    if seed is None:
        seed = settings_seed
    folder = out or Path("runs") / f"{method}-{seed}"
    spec = RunSpec(
        method=method,
        env_id=env_id,
        env_kwargs=env_kwargs,
        overrides=tuple(others),
        seed=seed,
        data=data,
        steps=steps,
        limit=episodes,
        check_every=eval_every,
        check_episodes=eval_episodes if eval_every else RunSpec.check_episodes,
        start=None if start is None else str(start),
    )
    from mbrl_agents.nn.sharing import joined, rank

    console.check_device(device)

    def kept() -> str:
        found = interrupted_at(folder)
        if found is None:
            return f"{folder} holds no checkpoint; the same command begins anew"
        return f"{folder} keeps a checkpoint ({found}); the same command goes on from it"

    with (
        console.interruptible(kept),
        console.failures(),
        joined(),
        console.progress(method) as update,
    ):
        leads = rank() == 0
        tell = console.training_log(update) if leads else None
        info = train_run(
            spec,
            folder,
            progress=tell,
            fresh=fresh,
            workers=processes,
            engine=engine,
            device=device,
        )
    if not leads:
        return
    if as_json:
        console.show_json(
            {
                "run": str(folder),
                "method": method,
                "parameters": info.parameters,
                "train_seconds": info.train_seconds,
                "env_steps": info.env_steps,
                "metrics": info.metrics,
            }
        )
        return
    typer.echo(
        f"{method}: {sum(info.parameters.values()):,} parameters, "
        f"{info.env_steps:,} environment steps, {info.train_seconds:.0f} s, in {folder}"
    )
    typer.echo(f"evaluate it: mbrl eval {folder}")


def _read_once(data: str) -> None:
    """Convert data of another format into the cache, with progress, unless it is there already."""
    from mbrl_agents.data.formats import as_folder

    with console.progress(f"reading {data}") as update:
        as_folder(data, on_episode=lambda _: update())


def _environment(
    data: str | None,
    env: str | None,
    task: str | None,
    own: dict[str, Any],
    start: Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """The environment asked for, that of the run it starts from, or the one the data come from.

    Args:
        own: keywords given for it.
    """
    from mbrl_agents.envs.registration import defaults
    from mbrl_agents.runs.data import check_tasks, env_of_data, source_infos
    from mbrl_agents.runs.spec import RunInfo
    from mbrl_agents.runs.tasks import ALL_TASKS
    from mbrl_agents.runs.training import refuse_test_states

    env_id = env
    kwargs: dict[str, Any] = {}
    if data is None and env is not None:
        kwargs = dict(defaults(env).kwargs)
    if start is not None and env is None:
        known = RunInfo.read(start).spec
        env_id, kwargs = known.env_id, dict(known.env_kwargs)
    elif data is not None and env is None:
        chosen = task
        if task is None and "task" in own:
            chosen = ALL_TASKS if own["task"] is None else own["task"]
        env_id, kwargs = env_of_data(data, chosen)
    assert env_id is not None
    console.check_env_keywords(env_id, own)
    if task == ALL_TASKS:
        kwargs["task"] = None  # whether or not anybody knows how many there are
    elif tasks := console.parse_tasks(task, env_id):
        kwargs["task"] = tasks[0] if len(tasks) == 1 else tasks
    kwargs.update(own)
    refuse_test_states(kwargs)
    if data is not None:
        check_tasks(data, source_infos(data), kwargs)
    return env_id, kwargs
