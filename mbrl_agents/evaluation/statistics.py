"""What a table says about a set of episodes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from mbrl_agents.data.conditions import merged
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


def difference_interval(
    successes: int, trials: int, other_successes: int, other_trials: int
) -> tuple[float, float]:
    """95 % interval of a difference of two proportions, the first minus the other.

    Newcombe's hybrid of two Wilson intervals (1998, Statistics in Medicine 17:873, method 10), as
    if both were of independent trials: for tests of the same initial states it is too wide rather
    than too narrow.

    Raises:
        ValueError: for no trials of either.
    """
    if min(trials, other_trials) < 1:
        raise ValueError("a difference of proportions needs trials of both")
    first, second = successes / trials, other_successes / other_trials
    (low, high), (other_low, other_high) = (
        wilson_interval(successes, trials),
        wilson_interval(other_successes, other_trials),
    )
    difference = first - second
    return (
        difference - math.hypot(first - low, other_high - second),
        difference + math.hypot(high - first, second - other_low),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of a mean, of values that are taken as independent.

    Of fewer than two values nothing is known: both ends are the value.
    """
    count = len(values)
    if count == 0:
        raise ValueError("no values to give an interval of their mean")
    mean = float(np.mean(values))
    if count == 1:
        return mean, mean
    half = float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1)) / math.sqrt(count)
    return mean - half, mean + half


def summarise(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """The figures of one method: success with interval, returns, rewards, planning time.

    Where no episode reports whether it succeeded, as in environments that know no success,
    ``successes``, ``success_rate`` and ``ci95`` are None and the return is the figure.  Where only
    some do, the others did not succeed.  ``return_std`` is over the episodes, and ``return_ci95``
    the 95 % interval of their mean, as if all were independent: it knows nothing of how seeds
    differ.

    ``plan_ms_p50`` and ``plan_ms_p95`` are over all timed calls of all episodes, the first ones
    included (see `EpisodeRecord`).  ``return_best`` is the best episode's return, and
    ``optimism`` holds means of what a planner's model promised beyond what came of it.
    ``reward_per_step_best`` the best episode's mean reward per step.
    """
    if not records:
        raise ValueError("no episodes to summarise")
    known = any(r.success is not None for r in records)
    times = np.concatenate([np.asarray(r.plan_ms) for r in records])
    rewards = [r.reward_per_step for r in records]
    by_task: dict[int | None, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    assets = sorted({r.assets for r in records if r.assets is not None})
    returns = [r.episode_return for r in records]
    outcome = _outcome(records, known)
    return {
        **outcome,
        "ci95": _interval(outcome),
        "per_task": {
            str(task): _outcome(group, known)
            for task, group in sorted(by_task.items(), key=lambda item: str(item[0]))
        },
        "return_mean": round(float(np.mean(returns)), 4),
        "return_std": round(float(np.std(returns)), 4),
        "return_ci95": [round(end, 4) for end in mean_interval(returns)],
        "return_best": round(float(np.max(returns)), 4),
        "reward_per_step_mean": round(float(np.mean(rewards)), 4),
        "reward_per_step_best": round(float(np.max(rewards)), 4),
        "steps_mean": round(float(np.mean([r.steps for r in records])), 1),
        "plan_ms_p50": round(float(np.percentile(times, 50)), 2),
        "plan_ms_p95": round(float(np.percentile(times, 95)), 2),
        "optimism": _optimism(records),
        "assets": "+".join(assets) or None,
        "conditions": merged(r.conditions for r in records),
    }


def _outcome(records: Sequence[EpisodeRecord], known: bool) -> dict[str, Any]:
    """Episodes and successes; None for successes where the environment knows none."""
    successes = sum(bool(r.success) for r in records) if known else None
    return {
        "episodes": len(records),
        "successes": successes,
        "success_rate": None if successes is None else successes / len(records),
    }


def _optimism(records: Sequence[EpisodeRecord]) -> dict[str, float] | None:
    """Means over the episodes of a planner; the horizon is the longest, None for other rows."""
    known = [r.optimism for r in records if r.optimism is not None]
    if not known:
        return None
    means = {
        name: round(float(np.mean([found[name] for found in known])), 4)
        for name in ("progress", "reward")
        if all(name in found for found in known)
    }
    return {"horizon": max(found["horizon"] for found in known), **means}


def _interval(outcome: dict[str, Any]) -> list[float] | None:
    if outcome["successes"] is None:
        return None
    return [round(x, 4) for x in wilson_interval(outcome["successes"], outcome["episodes"])]


__all__ = ["difference_interval", "mean_interval", "summarise", "wilson_interval"]
