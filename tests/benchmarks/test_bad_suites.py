"""Suites somebody wrote wrongly: a sentence about what was expected, and exit code 2."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbrl_agents.benchmarks.suite_files import load_suite
from mbrl_agents.cli.main import app
from mbrl_agents.yaml_text import read_yaml

START = """name: t
env: toy_reach:ToyReach-v0
data: {source: expert, episodes: 2}
evaluation: {episodes: 1, init: random}
"""
RANDOM = START + "methods: [random]\n"
BOMB = "".join(
    f"{name}: &{name} [{', '.join([value] * 9)}]\n"
    for name, value in zip("abcdefghi", ["x", *(f"*{name}" for name in "abcdefgh")], strict=True)
)
INDENTED = "".join(f"  {line}\n" for line in BOMB.splitlines())

WRONG = {
    "method instead of a list": (START + "methods: randm\n", "methods must be a list of names"),
    "no list of seeds": (RANDOM + "seeds: 3\n", "seeds must be a list of whole numbers, not 3"),
    "seed that is no number": (RANDOM + "seeds: [a]\n", "each seed must be a whole number"),
    "negative seed": (RANDOM + "seeds: [-1]\n", "each seed must be at least 0, not -1"),
    "no list of tasks": (RANDOM + "tasks: 3\n", "tasks must be a list of numbers and names"),
    "task that is neither": (RANDOM + "tasks: [1.5]\n", "a task that is not a name must be"),
    "episodes to collect in words": (
        RANDOM.replace("episodes: 2", "episodes: two"),
        "data.episodes must be a whole number, not 'two'",
    ),
    "unknown source": (RANDOM.replace("expert", "exprt"), "did you mean 'expert'"),
    "unknown noise": (
        RANDOM.replace("episodes: 2", "noise: {sdt: [0, 1]}"),
        "did you mean 'std'",
    ),
    "noise in words": (
        RANDOM.replace("episodes: 2", "noise: {std: [low, high]}"),
        "noise.std must be a number, not 'low'",
    ),
    "episodes to evaluate in words": (
        RANDOM.replace("episodes: 1", "episodes: one"),
        "evaluation.episodes must be a whole number, not 'one'",
    ),
    "unknown initial states": (
        RANDOM.replace("init: random", "init: bnchmark"),
        "did you mean 'benchmark'",
    ),
    "number as a truth value": (
        RANDOM.replace("init: random", "deterministic: 1"),
        "deterministic must be true or false",
    ),
    "steps below zero": (
        START + "methods: [{method: sb3-sac, steps: -5}]\n",
        "sb3-sac: steps must be at least 0, not -5",
    ),
    "one override instead of a list": (
        START + "methods: [{method: simple-cem, overrides: planner.horizon=3}]\n",
        "overrides of simple-cem must be a list of settings such as planner.horizon=10",
    ),
    "overrides by name": (
        START + "methods: [{method: simple-cem, overrides: {planner.horizon: 3}}]\n",
        "overrides of simple-cem must be a list of settings such as planner.horizon=10",
    ),
    "list of keywords": (RANDOM + "env_kwargs: [a]\n", "env_kwargs must hold keywords of gym.make"),
    "row with a list of keywords": (
        START + "methods: [{method: random, env_kwargs: [a]}]\n",
        "env_kwargs of random must hold keywords of gym.make",
    ),
    "name that is a number": (RANDOM.replace("name: t", "name: 3"), "name must be a name, not 3"),
    "interpolation of nothing": (RANDOM + "env_kwargs: {a: '${b}'}\n", "Interpolation key 'b'"),
    "unfinished": (RANDOM + "tasks: [1,\n", "is not valid YAML"),
    "aliases of aliases": (BOMB, "once its aliases"),
    "aliases of aliases in a field": (RANDOM + "env_kwargs:\n" + INDENTED, "once its aliases"),
    "alias of itself": (RANDOM + "env_kwargs: &a {x: *a}\n", "once its aliases"),
    "merged again and again": (
        "a: &a {x: 1}\n"
        + "".join(
            f"{after}: &{after} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
            for before, after in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "once its aliases",
    ),
    "a thousand brackets": ("env: " + "[" * 5000 + "\n", "nested too deeply"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_what_was_expected_is_said(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    began = time.perf_counter()
    result = CliRunner().invoke(app, ["bench", str(file), "--out", str(tmp_path / "out")])
    assert time.perf_counter() - began < 10
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert "MBRL_DEBUG" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_bytes(b"\xff\xfe garbage")
    result = CliRunner().invoke(app, ["bench", str(file)])
    assert result.exit_code == 2
    assert f"{file} is not a text file in UTF-8" in result.stderr


def test_an_override_that_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parsing a flow node"):
        load_suite("quick", ["seeds=[1,"])


def test_a_few_aliases_are_welcome(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    rows = "".join(
        f"  - {{method: simple-cem, label: s{i}, overrides: *same}}\n" for i in range(20)
    )
    file.write_text(
        f"{START}methods:\n  - method: simple-cem\n    overrides: &same [planner.horizon=3]\n{rows}"
    )
    assert {row.overrides for row in load_suite(str(file)).methods} == {("planner.horizon=3",)}


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("")
    assert read_yaml(file) is None
    with pytest.raises(ValueError, match="must hold the fields of a suite"):
        load_suite(str(file))
