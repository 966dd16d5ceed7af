"""What a table says about a set of episodes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl_agents.evaluation.rollouts import EpisodeRecord


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22:209), by default at 95 %.

    Unlike the normal approximation it stays inside [0, 1] and has width at 0 and at ``trials``
    successes.  No trials: (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and {trials}, got {successes}")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At 0 and at `trials` successes the bound is exactly 0 or 1, but not in floating point.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def summarise(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """The figures of one method: success with interval, rewards, planning time.

    ``plan_ms_p50`` and ``plan_ms_p95`` are over all timed calls of all episodes, the first ones
    included (see `EpisodeRecord`).  ``reward_per_step_best`` is the best episode's mean reward
    per step; with the dense LIBERO reward of a task with one goal predicate a value above 1 needs
    the object in the gripper.
    """
    if not records:
        raise ValueError("no episodes to summarise")
    successes = sum(r.success for r in records)
    low, high = wilson_interval(successes, len(records))
    times = np.concatenate([np.asarray(r.plan_ms) for r in records])
    rewards = [r.reward_per_step for r in records]
    by_task: dict[int | None, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    assets = sorted({r.assets for r in records if r.assets is not None})
    return {
        "episodes": len(records),
        "successes": successes,
        "success_rate": successes / len(records),
        "ci95": [round(low, 4), round(high, 4)],
        "per_task": {
            str(task): _task_summary(group)
            for task, group in sorted(by_task.items(), key=lambda item: str(item[0]))
        },
        "return_mean": round(float(np.mean([r.episode_return for r in records])), 4),
        "reward_per_step_mean": round(float(np.mean(rewards)), 4),
        "reward_per_step_best": round(float(np.max(rewards)), 4),
        "steps_mean": round(float(np.mean([r.steps for r in records])), 1),
        "plan_ms_p50": round(float(np.percentile(times, 50)), 2),
        "plan_ms_p95": round(float(np.percentile(times, 95)), 2),
        "assets": "+".join(assets) or None,
    }


def _task_summary(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    successes = sum(r.success for r in records)
    return {
        "episodes": len(records),
        "successes": successes,
        "success_rate": successes / len(records),
    }


__all__ = ["summarise", "wilson_interval"]
