"""Films of evaluated episodes: which, and the same ones that were counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbrl_agents.data.parallel import make_env
from mbrl_agents.data.rollout import PredictorFactory
from mbrl_agents.evaluation.rollouts import EpisodeRecord, keywords_of_init
from mbrl_agents.evaluation.video import check_can_film, record_video

FAILED, BEST, WORST = "failed", "best", "worst"


@dataclass(frozen=True)
class Choice:
    """Which episodes of each task are filmed.

    Attributes:
        kind: "failed", "best" or "worst"; empty for those of ``numbers``.
        numbers: from 0, in the order of the evaluation.
    """

    kind: str = ""
    numbers: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str, episodes: int) -> Choice:
        """The choice in words, "best" or "0,3", among so many episodes of each task.

        Raises:
            ValueError: for other words, or a number that there is not.
        """
        if text in (FAILED, BEST, WORST):
            return cls(text)
        words = [word.strip() for word in text.split(",")]
        if not all(word.isdecimal() for word in words):
            raise ValueError(
                f"episodes to film are {FAILED}, {BEST}, {WORST}, or numbers such as 0,3, not "
                f"{text!r}"
            )
        numbers = tuple(dict.fromkeys(map(int, words)))
        if max(numbers) >= episodes:
            raise ValueError(
                f"there is no episode {max(numbers)} to film: {episodes} of each task are numbered "
                f"from 0 to {episodes - 1}"
            )
        return cls("", numbers)

    def among(self, records: Sequence[EpisodeRecord]) -> list[int]:
        """The numbers of the chosen episodes of one task.

        Where the environment knows no success, none counts as failed.
        """
        if not self.kind:
            return list(self.numbers)
        order = sorted(range(len(records)), key=lambda i: _merit(records[i]))
        if self.kind == FAILED:
            return [i for i, record in enumerate(records) if record.success is False]
        return [order[-1] if self.kind == BEST else order[0]]


def _merit(record: EpisodeRecord) -> tuple[bool, float]:
    return bool(record.success), record.episode_return


def film(
    folder: Path,
    factory: PredictorFactory,
    env_id: str,
    env_kwargs: Mapping[str, Any],
    records: Sequence[EpisodeRecord],
    choice: Choice,
    *,
    tasks: Sequence[int | str] | None,
    init: str,
    deterministic: bool = True,
    suffix: str = ".mp4",
) -> list[Path]:
    """Play chosen episodes of an evaluation again, with a camera.

    Arguments are those of `mbrl_agents.evaluation.rollouts.evaluate`, whose result ``records`` is.
    Seed, initial state and task decide an episode, so what is filmed is what was counted.

    Returns:
        The files: ``episode-N.mp4``, or ``task-TASK-episode-N.mp4``.

    Raises:
        RuntimeError: an episode came out otherwise the second time, as the environment or the
            policy is not decided by its seed.
    """
    asked: list[int | str | None] = [None] if tasks is None else [*tasks]
    share = len(records) // len(asked)
    written = []
    for number, task in enumerate(asked):
        own = records[number * share : (number + 1) * share]
        chosen = choice.among(own)
        if not chosen:
            continue
        kwargs = {**keywords_of_init(env_kwargs, init), "render_mode": "rgb_array"}
        if task is not None:
            kwargs["task"] = task
        env = make_env(env_id, kwargs)
        try:
            predictor = factory(env)
            for episode in chosen:
                name = f"episode-{episode}{suffix}"
                path = folder / (name if task is None else f"task-{task}-{name}")
                counted = own[episode]
                filmed = record_video(
                    path,
                    env,
                    predictor,
                    seed=counted.seed,
                    init_state=counted.init_state,
                    deterministic=deterministic,
                )
                _check_same(filmed, counted, path)
                written.append(path)
        finally:
            env.close()
    return written


def _check_same(filmed: EpisodeRecord, counted: EpisodeRecord, path: Path) -> None:
    found, expected = (
        (one.success, one.steps, round(one.episode_return, 3)) for one in (filmed, counted)
    )
    if found != expected:
        path.unlink(missing_ok=True)
        raise RuntimeError(
            f"{path.name} cannot show the episode that was counted: played again with its seed it "
            f"came to success, steps and return {found} instead of {expected}"
        )


__all__ = ["BEST", "FAILED", "WORST", "Choice", "check_can_film", "film"]
