"""The commands and code that README, CONTRIBUTING and docs/ show do run (with smaller numbers)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mbrl_agents.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md"))
SMALLER = [
    (r"--episodes \d+", "--episodes 2"),
    (r"(mbrl train .*)", r"\1 training.model_steps=20 training.policy_steps=20"),
    (r"(mbrl eval .*)", r"\1 env.max_episode_steps=10"),
    (r"(mbrl bench .*)", r"\1 evaluation.episodes=1 env_kwargs.max_episode_steps=10"),
    (r"episodes=60", "episodes=2"),
    (r"n_eval_episodes=5", "n_eval_episodes=1"),
    (r"total_timesteps=5_000", "total_timesteps=210"),
    (r"make_agent\((.*)\)", r"make_agent(\1, training={'model_steps': 20, 'policy_steps': 20, "
     r"'random_steps': 200, 'round_steps': 200, 'refit_steps': 5})"),
    (r'(env = gym.make\("mbrl.*)\)', r"\1, max_episode_steps=10)"),
    (r'(env = gym.make\("Pendulum-v1")', r"\1, max_episode_steps=20"),
]  # fmt: skip


def blocks(file: str, language: str) -> list[str]:
    found = marked(file, language)
    assert found, f"{file} has no tested {language} block"
    return found


def marked(file: str, language: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"<!-- tested -->\n```{language}\n(.*?)```", text, flags=re.DOTALL)


CODE = [
    pytest.param(file, number, marks=pytest.mark.docs if file in PAGES else pytest.mark.slow)
    for file in ("README.md", *PAGES)
    for number in range(len(marked(file, "python")))
]


def smaller(text: str) -> str:
    for pattern, replacement in SMALLER:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.libero
@pytest.mark.docs
def test_commands_of_readme_and_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Pages go on with what README's commands left.
    pages = [block for page in PAGES for block in marked(page, "bash")]
    assert pages
    run_all([*blocks("README.md", "bash"), *pages])


def run_all(shown: Sequence[str]) -> None:
    """Run the commands of blocks in the current folder; those shown twice once."""
    verbs: set[str] = set()
    for line in dict.fromkeys("".join(shown).splitlines()):
        command = shlex.split(smaller(line))
        assert command[0] == "mbrl"
        # A verb's first command as a user starts it; the others without waiting for torch again.
        run = _in_this_process if command[1] in verbs else _as_a_user
        verbs.add(command[1])
        code, stdout, stderr = run(command[1:])
        assert code == 0, f"{line}\n{stdout}\n{stderr}"
        assert stdout.strip(), line


def _as_a_user(arguments: list[str]) -> tuple[int, str, str]:
    mbrl = Path(sys.executable).with_name("mbrl")
    done = subprocess.run([str(mbrl), *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def _in_this_process(arguments: list[str]) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, f"{done.stderr}\n{done.exception!r}"


@pytest.mark.libero
@pytest.mark.parametrize(("file", "number"), CODE)
def test_code(tmp_path: Path, file: str, number: int) -> None:
    code = smaller(marked(file, "python")[number])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_suite_of_contributing_is_valid() -> None:
    from mbrl_agents.benchmarks.plan import make_plan
    from mbrl_agents.benchmarks.suite_files import suite_from_dict

    suite = suite_from_dict(yaml.safe_load(blocks("CONTRIBUTING.md", "yaml")[0]))
    assert make_plan(suite).jobs
