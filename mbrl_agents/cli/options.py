"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]

TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Read a baseline from a zip of Stable-Baselines3, which runs code in it.",
    ),
]

__all__ = ["Device", "TrustPickle"]
