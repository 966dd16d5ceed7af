"""What is filmed is what was counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mbrl_agents.evaluation import films
from mbrl_agents.evaluation.rollouts import EpisodeRecord, evaluate
from mbrl_agents.runs.loading import ReferencePredictor

TOY = "toy_reach:ToyReach-v0"
RANDOM = ReferencePredictor("random")


def record(success: bool | None, value: float) -> EpisodeRecord:
    return EpisodeRecord(None, None, 0, success, value, 1, (1.0,))


RECORDS = [record(False, 3.0), record(True, 1.0), record(False, 2.0), record(True, 2.0)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("failed", [0, 2]), ("best", [3]), ("worst", [2]), ("0,3", [0, 3]), ("1", [1])],
)
def test_which_episodes_are_filmed(text: str, numbers: list[int]) -> None:
    assert films.Choice.of(text, 4).among(RECORDS) == numbers


def test_without_success_the_return_decides() -> None:
    found = [record(None, value) for value in (3.0, 1.0, 2.0)]
    chosen = {text: films.Choice.of(text, 3).among(found) for text in ("best", "worst", "failed")}
    assert chosen == {"best": [0], "worst": [1], "failed": []}


@pytest.mark.parametrize("init", ["benchmark", "random"])
def test_the_counted_episodes_are_filmed(
    init: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = evaluate(RANDOM, TOY, {}, episodes=3, init=init, tasks=[0, 1], seed=7)
    returns = [one.episode_return for one in records]
    assert len(set(returns)) == 6  # or any episode might stand for another
    filmed: list[EpisodeRecord] = []
    play = films.record_video

    def keep(*arguments: Any, **named: Any) -> EpisodeRecord:
        filmed.append(play(*arguments, **named))
        return filmed[-1]

    monkeypatch.setattr(films, "record_video", keep)
    chosen = films.Choice.of("1,2", 3)
    written = films.film(
        tmp_path, RANDOM, TOY, {}, records, chosen, tasks=[0, 1], init=init, suffix=".gif"
    )
    assert [one.episode_return for one in filmed] == [returns[i] for i in (1, 2, 4, 5)]
    assert [file.name for file in written] == [
        f"task-{task}-episode-{number}.gif" for task in (0, 1) for number in (1, 2)
    ]
    assert all(file.stat().st_size for file in written)


class Unseeded:
    """A policy that no seed decides."""

    def __init__(self, env: Any) -> None:
        self.space, self.rng = env.action_space, np.random.default_rng()

    def predict(self, *arguments: Any, **named: Any) -> tuple[Any, None]:
        return self.rng.uniform(self.space.low, self.space.high).astype(np.float32), None


def test_another_episode_is_not_passed_off_as_the_counted_one(tmp_path: Path) -> None:
    records = evaluate(Unseeded, TOY, {}, episodes=1, init="random")
    chosen = films.Choice.of("best", 1)
    with pytest.raises(RuntimeError, match="cannot show the episode that was counted"):
        films.film(
            tmp_path, Unseeded, TOY, {}, records, chosen, tasks=None, init="random", suffix=".gif"
        )
    assert not list(tmp_path.iterdir())
