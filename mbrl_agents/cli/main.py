"""The ``mbrl`` command.

Verbs import what they need when they run: ``mbrl --help`` must not wait for torch.
"""

from __future__ import annotations

import typer

from mbrl_agents.allocator import keep_freed_memory
from mbrl_agents.cli.assets import app as assets
from mbrl_agents.cli.bench import bench
from mbrl_agents.cli.collect import collect
from mbrl_agents.cli.console import Verb
from mbrl_agents.cli.data import app as data
from mbrl_agents.cli.doctor import doctor
from mbrl_agents.cli.evaluate import evaluate
from mbrl_agents.cli.export import app as export
from mbrl_agents.cli.homework import homework
from mbrl_agents.cli.imagine import imagine
from mbrl_agents.cli.inspect import inspect
from mbrl_agents.cli.methods import methods
from mbrl_agents.cli.train import train

app = typer.Typer(
    name="mbrl",
    help="Model-based reinforcement learning for robot manipulation: collect, train, evaluate, "
    "compare.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("mbrl-agents"))
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    keep_freed_memory()


app.command("collect", cls=Verb)(collect)
app.command("train", cls=Verb)(train)
app.command("eval", cls=Verb)(evaluate)
app.command("bench", cls=Verb)(bench)
app.command("imagine", cls=Verb)(imagine)
app.command("inspect", cls=Verb)(inspect)
app.command("methods", cls=Verb)(methods)
app.command("homework", cls=Verb)(homework)
app.command("doctor", cls=Verb)(doctor)
app.add_typer(assets, name="assets")
app.add_typer(data, name="data")
app.add_typer(export, name="export")

if __name__ == "__main__":
    app()
