"""``mbrl bench``: compare methods side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.options import Device

if TYPE_CHECKING:
    from mbrl_agents.benchmarks.runner import Event
    from mbrl_agents.benchmarks.speed.rows import SpeedRow

_SIGNS = {"started": ">", "finished": "+", "failed": "!"}


def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="quick, spatial, object, goal, few, disturbed, robust, curves, classic, "
            "hybrid, hybrid_more, family, blank, carracing, expert, budget, speed, or your own "
            "YAML."
        ),
    ] = "quick",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Changes to the suite, such as data.episodes=20 or env_kwargs.assets=official.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Benchmark folder [default: runs/SUITE].")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Only these rows, separated by commas.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one per core].")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray for a cluster (docs/distributed.md).")
    ] = "local",
    device: Device = "auto",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget finished jobs in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json.")] = False,
) -> None:
    """Collect, train and evaluate every row of SUITE, and print the table.

    Finished jobs are kept: an interrupted benchmark goes on, and a changed setting reruns only
    what depends on it.  Exit code 1 when a row failed; the others are in the table all the same.

    \b
    mbrl bench quick
    mbrl bench quick --methods simple-policy-cem,random data.episodes=20
    mbrl bench my-suite.yaml --out runs/mine --workers 4

    SUITE "speed" measures speed beside LIBERO's own and other projects' instead.  --methods
    chooses its rows; the others of the same machine stay in summary.json.  It has no settings to
    change.  --workers and --fresh are about the jobs of its row success_ms.

    \b
    mbrl bench speed --methods cem_mlp,act
    """
    console.check_engine(engine)
    wanted = None if methods is None else [m.strip() for m in methods.split(",") if m.strip()]
    if suite == "speed":
        if overrides:
            console.fail(
                f"speed has no settings to change by {overrides[0]!r}; what its row success_ms "
                "runs has: mbrl bench budget KEY=VALUE",
                console.USAGE,
            )
        if engine != "local":
            console.fail("speed is measured on this machine: leave --engine out", console.USAGE)
        _speed(out or Path("runs") / suite, wanted, workers, fresh, as_json)
        return
    from mbrl_agents.benchmarks.suite_files import check_keywords, load_suite

    with console.usage():
        loaded = load_suite(suite, overrides or [], wanted)
    for env in loaded.environments:
        console.check_env(env)
    with console.usage():
        check_keywords(loaded)
    folder = out or Path("runs") / loaded.name
    processes = workers or (console.default_workers() if engine == "local" else 0)
    many = f"{processes} processes" if processes else "all processors of the cluster"
    console.note(f"{loaded.name}: {len(loaded.methods)} rows, {many}, in {folder}")

    from mbrl_agents.benchmarks.runner import run_suite

    console.check_device(device)

    def kept() -> str:
        return f"finished jobs are kept in {folder}; the same command goes on with the others"

    with console.interruptible(kept), console.failures():
        outcome = run_suite(
            loaded,
            folder,
            workers=processes,
            engine=engine,
            fresh=fresh,
            device=device,
            on_event=_teller(),
        )

        from mbrl_agents.benchmarks.report import write_report

        summary: dict[str, Any] = write_report(loaded, outcome, folder)
    if as_json:
        console.show_json(summary)
    else:
        typer.echo((folder / "summary.md").read_text(encoding="utf-8").rstrip())
    console.note(f"{outcome.seconds:.0f} s; everything is in {folder}")
    console.note(f"curves: tensorboard --logdir {folder / 'tensorboard'}")
    failed = [row["method"] for row in summary["methods"] if row["status"] != "ok"]
    if failed:
        console.fail(f"failed: {', '.join(dict.fromkeys(failed))}; logs are in {folder / 'logs'}")


def _teller() -> Callable[[Event], None]:
    """What says how the jobs of a suite go; those finished before are counted together."""
    found = 0

    def tell(event: Event) -> None:
        nonlocal found
        if event.kind == "found":
            found += 1
            return
        if found:
            console.note(f"{found} jobs were finished before (--fresh forgets them)")
            found = 0
        where = f"[{event.elapsed:4.0f} s, {event.done}/{event.total}]"
        detail = f": {event.detail}" if event.detail else ""
        console.note(f"{where} {_SIGNS[event.kind]} {event.job.title}{detail}")

    return tell


def _speed(
    folder: Path, only: Sequence[str] | None, workers: int | None, fresh: bool, as_json: bool
) -> None:
    """Measure, write ``summary.json`` after every row and print the table."""
    from mbrl_agents.data.locks import locked

    with console.usage():
        from mbrl_agents.benchmarks.speed import runner, success

        runner.check_rows(only, runner.measures(folder))
    if only is not None and success.NAME not in only and (fresh or workers):
        console.fail(
            f"--workers and --fresh are about {success.NAME}, which --methods leaves out",
            console.USAGE,
        )

    def keep(row: SpeedRow) -> None:
        runner.write_speed(folder, [row])
        console.note(f"measured {row.id}")

    with console.failures(), locked(folder):
        rows = runner.run_speed(
            keep,
            only,
            folder,
            workers=workers or console.default_workers(),
            fresh=fresh,
            on_event=_teller(),
        )
    path = folder / "summary.json"
    if as_json:
        typer.echo(path.read_text(encoding="utf-8").rstrip())
    else:
        typer.echo(runner.speed_table(rows))
    console.note(f"written to {path}")
