"""``mbrl assets``: the models of objects and furniture that LIBERO's scenes are built from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mbrl_agents.cli import console

app = typer.Typer(
    help="Where LIBERO's object models come from: made here (primitive), or LIBERO's own.",
    no_args_is_help=True,
)


@app.command()
def fetch(
    target: Annotated[
        Path | None, typer.Option("--to", help="Folder to fill [default: LIBERO's cache].")
    ] = None,
) -> None:
    """Download LIBERO's own assets (about 1 GB) from the Hugging Face Hub."""
    from mbrl_agents.envs.libero.assets import fetch_official_assets

    with console.failures():
        try:
            folder = fetch_official_assets(target, console.note)
        except ConnectionError as error:
            console.fail(str(error))
    typer.echo(folder)


@app.command()
def primitive() -> None:
    """Write the primitive assets, if they are not there yet, and print their folder."""
    from mbrl_agents.envs.libero.assets import primitive_assets_dir

    with console.failures():
        typer.echo(primitive_assets_dir())


@app.command()
def which(
    suite: Annotated[str, typer.Option(help="Such as libero_spatial.")] = "libero_spatial",
) -> None:
    """Print which assets `assets="auto"` means for a suite, and their folder."""
    from mbrl_agents.envs.libero.assets import resolve_assets

    with console.failures():
        found = resolve_assets("auto", suite=suite)
        typer.echo(f"{found.kind} {found.path}")
