"""``mbrl homework``: the course homework's experiments, and a report on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console


def homework(
    part: Annotated[str, typer.Argument(help="part1, part2, part3, part4 or all.")],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Fewer tests, and fewer epochs of images: all parts within 20 minutes.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report [default: outputs/report_...].")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of weights, batches, recorded episodes and tests.")
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that record, train and test.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run everything again, finished or not.")
    ] = False,
) -> None:
    """Run the homework's experiments into outputs/ and write one HTML report.

    Each is an experiment of `mbrl train` in the text's words.  Finished ones are left as they are
    and an interrupted one goes on, so the command may be given again at any time.

    \b
    mbrl homework part1 --quick
    mbrl homework all
    """
    from mbrl_agents.homework.plan import ESTIMATES, PARTS

    known = {**{f"part{number}": (number,) for number in PARTS}, "all": PARTS}
    if part not in known:
        from mbrl_agents.names import did_you_mean

        console.fail(
            f"there is no {part!r}{did_you_mean(part, list(known))} (valid: {', '.join(known)})",
            console.USAGE,
        )
    parts = known[part]
    if quick:
        minutes = ", ".join(f"part {number} about {ESTIMATES[number]}" for number in parts)
        typer.echo(f"minutes on two free cores (estimates), less for what is finished: {minutes}")

    from mbrl_agents.homework.running import run_homework

    if out is not None:
        console.make_folder(out)
    kept = "finished experiments are kept, and the same command goes on from here"
    with (
        console.interruptible(lambda: kept),
        console.failures(),
        console.progress(part) as update,
    ):

        def told(command: Any) -> tuple[Any, Any]:
            outcomes: list[bool] = []

            def tested(record: Any) -> None:
                outcomes.append(bool(record.success))
                text = f"success {sum(outcomes)}/{len(outcomes)}"
                total = command.experiment.episodes
                update(completed=len(outcomes), total=total, label="testing", text=text)

            return console.training_log(update), tested

        report = run_homework(
            parts,
            quick=quick,
            seed=seed,
            out=out,
            workers=workers or console.default_workers(),
            fresh=fresh,
            tell=typer.echo,
            progress=told,
        )
    typer.echo(f"report: {report}")
