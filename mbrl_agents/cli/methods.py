"""``mbrl methods``: what can be trained and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mbrl_agents.cli import console

if TYPE_CHECKING:
    from mbrl_agents.registry import Method


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the methods: agents, baselines, and the reference policies they lie between.

    "images!": one at least has to be there.  A Discrete observation is read as a one-hot vector.
    """
    from mbrl_agents.registry import METHODS
    from mbrl_agents.registry import methods as names

    rows = [
        (name, METHODS[name].kind, *_spaces(METHODS[name]), METHODS[name].summary)
        for name in names()
    ]
    if as_json:
        keys = ("name", "kind", "observations", "actions", "summary")
        console.show_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        header = ["method", "kind", "observations", "actions", "what it is"]
        typer.echo(console.table(header, rows))


def _spaces(method: Method) -> tuple[str, str]:
    """What a method reads and how it acts."""
    kinds = [f"{kind}!" if kind == "images" and method.needs_images else kind
             for kind in method.observations]  # fmt: skip
    return ", ".join(kinds), ", ".join(method.actions)
