"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]

Planner = Annotated[
    str | None,
    typer.Option(help="Take another planner than the method's own; the same as planner.name=NAME."),
]

Objective = Annotated[
    str | None,
    typer.Option(help="Take another objective; the same as objective.name=NAME."),
]

TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Read a baseline from a zip of Stable-Baselines3, which runs code in it.",
    ),
]

__all__ = ["Device", "Objective", "Planner", "TrustPickle"]
