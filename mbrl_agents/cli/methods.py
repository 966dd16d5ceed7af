"""``mbrl methods``: what can be trained and compared."""

from __future__ import annotations

from typing import Annotated

import typer

from mbrl_agents.cli import console


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the methods: agents, baselines, and the reference policies they lie between."""
    from mbrl_agents.registry import METHODS
    from mbrl_agents.registry import methods as names

    rows = [(name, METHODS[name].kind, METHODS[name].summary) for name in names()]
    if as_json:
        keys = ("name", "kind", "summary")
        console.show_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        typer.echo(console.table(["method", "kind", "what it is"], rows))
