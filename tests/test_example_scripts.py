"""The scripts in `examples` run as they are, on small budgets, and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.examples

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.libero
def test_first_steps() -> None:
    told = run(
        "first_steps.py", "--demonstrations", 2, "--model-steps", 20, "--policy-steps", 20,
        "--tests", 1,
    )  # fmt: skip
    assert "world_model: 20 updates" in told
    assert re.search(r"simple-policy: [01] of 1 solved .* ms a decision", told)
    assert re.search(r"simple-policy-cem: [01] of 1 solved", told)


def test_own_environment() -> None:
    told = run("own_environment.py", "--steps", 160, "--tests", 2)
    returns = dict(re.findall(r"(\w+): return (-[\d.]+) \+-", told))
    assert returns.keys() == {"mbpo", "sac"}
    assert "saved and loaded: the same action" in told


def test_plan_in_a_model() -> None:
    told = run("plan_in_a_model.py", "--episodes", 4, "--model-steps", 150)
    imagined, real = map(float, re.findall(r"return (-[\d.]+)", told))
    assert len(re.findall(r"^ +\d+ ", told, re.MULTILINE)) == 12
    assert abs(imagined - real) < 0.5 * abs(real)
