"""Every command that any page shows is one: its options, its method, environment and settings.

Nothing is run here; `tests/test_readme.py` runs those of README and of blocks marked as tested.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.main import app

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("mbrl_agents/algorithms/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
        *ROOT.glob("benchmarks/results/*/README.md"),
    ]
)
# A block in a fence or an indented one; a command may go on behind a backslash.
BLOCK = re.compile(r"^```(?:bash)?\n(.*?)^```|((?:^    .*\n)+)", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:mbrl|(?:srun )?torchrun .*?-m mbrl_agents\.cli\.main) (.*)")


def commands() -> Iterator[tuple[str, str]]:
    for file in FILES:
        for fenced, indented in BLOCK.findall(file.read_text(encoding="utf-8")):
            text = re.sub(r"\s*\\\n\s*", " ", fenced or indented)
            for line in text.splitlines():
                if found := COMMAND.match(line.strip()):
                    yield str(file.relative_to(ROOT)), found[1]


COMMANDS = list(dict.fromkeys(commands()))


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 100
    assert len({file for file, _ in COMMANDS}) > 20


@pytest.mark.parametrize(("file", "line"), COMMANDS)
def test_it_is_one(file: str, line: str) -> None:
    verb, given = parsed(shlex.split(line, comments=True))
    if verb in ("train", "inspect"):
        check_method(given)
    elif verb == "bench" and not given["suite"].endswith((".yaml", "speed")):
        from mbrl_agents.benchmarks.suite_files import load_suite

        suite = load_suite(given["suite"], given["overrides"] or [])
        known = {row.name for row in suite.methods} | {row.method for row in suite.methods}
        assert set((given["methods"] or "").split(",")) <= known | {""}


def parsed(words: list[str]) -> tuple[str, dict[str, object]]:
    """The verb and its parameters, read as the command itself reads them."""
    command: Any = typer.main.get_command(app)
    verb = ""
    while hasattr(command, "commands"):  # a group
        name, *words = words
        verb, command = f"{verb} {name}".strip(), command.commands[name]
    assert verb
    return verb, command.make_context(verb, words).params


def check_method(given: dict[str, object]) -> None:
    """The method, its settings, and the keywords of its environment."""
    from mbrl_agents.config import resolve_config
    from mbrl_agents.homework.translation import translate

    method, overrides = str(given["method"]), list(given["overrides"] or [])  # type: ignore[call-overload]
    if "=" in method:
        translate([method, *overrides])
        return
    if method == "linear-cem":  # of a package that tests/test_examples.py installs
        return
    console.check_method(method)
    others, taken = console.split_overrides(overrides, "env")
    resolve_config(method, others)
    env = str(given["env"] or "mbrl/LiberoSpatial-v0")
    if env.startswith("ALE/"):  # of an extra
        return
    console.check_env(env)
    if ":" not in env and not env.startswith("mbrl/MiniGrid"):
        console.check_env_keywords(env, taken["env"])
