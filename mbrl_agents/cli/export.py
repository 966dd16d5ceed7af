"""``mbrl export``: finished runs in the forms that others load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mbrl_agents.cli import console

app = typer.Typer(
    help="Finished runs in the forms that others load.",
    no_args_is_help=True,
)

Run = Annotated[Path, typer.Argument(help="Folder of a finished run (`mbrl train`).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def leaderboard(
    run: Run,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write [default: RUN/leaderboard].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the folder that the course's evaluation loads.

    miniGRP.pth and policy.pth, the architecture as one file that needs torch alone, .hydra/.
    """
    from mbrl_agents.export.leaderboard import export_leaderboard

    _check_run(run)
    target = out or run / "leaderboard"
    with console.failures():
        files = _written(lambda: export_leaderboard(run, target))
    _tell(target, files, as_json)


@app.command()
def hub(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Folder to write [default: RUN/hub].")] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="What `mbrl eval RUN --out FOLDER` wrote: the folder, or its evaluation.json "
            "[default: that of RUN]."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write weights, config.json and a model card, ready for the Hugging Face Hub.

    \b
    mbrl eval runs/first --out runs/first
    mbrl export hub runs/first --out hub/first
    hf upload OWNER/NAME hub/first
    """
    from mbrl_agents.export.hub import export_hub

    _check_run(run)
    target = out or run / "hub"
    with console.failures():
        files = _written(lambda: export_hub(run, target, evaluation))
    _tell(target, files, as_json)


@app.command()
def submission(
    run: Annotated[
        Path, typer.Argument(help="Folder with the named experiments, or one of them.")
    ] = Path("outputs"),
    out: Annotated[Path, typer.Option(help="The zip.")] = Path("submit.zip"),
    code: Annotated[
        Path | None,
        typer.Option(help="Folder with the files of hw2/ [default: hw2 beside the outputs]."),
    ] = None,
    readme: Annotated[Path | None, typer.Option(help="README.md of the submission.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write the zip although something is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Zip submit/ as the course's text lays it out; refused at 50 MB or more."""
    from mbrl_agents.export.submission import export_submission

    if not run.is_dir():
        console.fail(f"{run} is no folder; `mbrl train` with exp_name=... writes it", console.USAGE)
    with console.failures():
        found = export_submission(run, out, code=code, readme=readme, partial=partial)
    if as_json:
        console.show_json({"zip": str(out), "bytes": found.size, "files": found.files,
                           "missing": found.missing})  # fmt: skip
        return
    for name in found.missing:
        console.note(f"missing: {name}")
    typer.echo(f"{out}: {len(found.files)} files, {found.size / 1e6:.1f} MB")


def _check_run(folder: Path) -> None:
    from mbrl_agents.runs.spec import RunInfo

    with console.usage():
        RunInfo.read(folder)


def _written(write: Callable[[], list[str]]) -> list[str]:
    try:
        return write()
    except FileExistsError as error:
        console.fail(str(error), console.USAGE)


def _tell(folder: Path, files: list[str], as_json: bool) -> None:
    if as_json:
        console.show_json({"folder": str(folder), "files": files})
        return
    typer.echo(f"{folder}: {', '.join(files)}")
