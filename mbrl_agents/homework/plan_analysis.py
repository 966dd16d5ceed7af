"""What a planner wanted in test episodes, beside what was executed and what its policy proposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mbrl_agents.data.rollout import Acting, play
from mbrl_agents.evaluation.imagined import evenly
from mbrl_agents.homework.analysis import Finished, Numbers, agent_of, env_of, kept, options_of
from mbrl_agents.runs.loading import load_run

EPISODES = 3
"""Test episodes whose plans are looked at."""
SEARCHES = 50
"""Searches of each that are looked at, evenly spread."""


def plans(finished: Finished) -> Numbers:
    """What the planner wanted in some of its test episodes, beside what was executed.

    Returns:
        ``path``: of the first episode, ``executed`` ``(T, 3)`` positions of the gripper (m) and
        ``planned``, by the step of each search that is looked at ``(H, 3)``; ``gap_mm``: by
        planned step, the mean distance between where the plan was to lead and where the gripper
        came to be; ``episodes``: which.  Of a planner that starts from a policy also ``moved``, see
        `_moved`.
    """
    return kept(finished, "plans", lambda: _plans(finished))


@torch.inference_mode()
def _plans(finished: Finished) -> Numbers:
    agent = agent_of(load_run(finished.folder))
    records = finished.episodes
    chosen = [records[i] for i in evenly(len(records), EPISODES)] if records else []
    paths: list[Numbers] = []
    gaps: list[list[float]] = []
    moves: list[Numbers] = []
    for record in chosen:
        env = env_of(finished, {})
        positions, states = _played(env, agent, record)
        env.close()
        planned: dict[str, list[list[float]]] = {}
        searched = [
            (step, state)
            for step, state in enumerate(states)
            if state.searched and state.plan is not None and state.plan.actions.shape[1] >= 2
        ]
        for number in evenly(len(searched), SEARCHES):
            step, state = searched[number]
            path = _imagined_path(agent, state)
            planned[str(step)] = path.round(4).tolist()
            came = positions[step + 1 : step + 1 + len(path)]
            gaps.append(np.linalg.norm(path[: len(came)] - came, axis=1).tolist())
            if (move := _move(agent, state)) is not None:
                moves.append(move)
        executed = positions.round(4).tolist()
        paths.append({"executed": executed, "planned": planned, "success": record["success"]})
    longest = max(map(len, gaps), default=0)
    by_step = [[gap[h] for gap in gaps if len(gap) > h] for h in range(longest)]
    return {
        "episodes": [record["init_state"] for record in chosen],
        "path": paths[0] if paths else None,
        "gap_mm": [round(1e3 * float(np.mean(values)), 2) for values in by_step],
        "moved": _moved(moves) if moves else None,
    }


def _played(env: Any, agent: Any, record: Numbers) -> tuple[np.ndarray, list[Any]]:
    """A test once more: positions ``(T + 1, 3)`` of the gripper, and the ``T`` acting states."""
    acting = Acting(agent, record["seed"], deterministic=True)
    positions: list[np.ndarray] = []
    states: list[Any] = []
    for step in play(env, acting, seed=record["seed"], options=options_of(record)):
        if positions:
            states.append(acting.state)
        positions.append(np.asarray(step.observation["pose"][:3], dtype=np.float64))
    return np.stack(positions), states


def _imagined_path(agent: Any, state: Any) -> np.ndarray:
    """``(H, 3)`` positions of the gripper that a state's plan leads to, as the model has it."""
    model, carry, path = agent.algorithm.world_model, state.carry, []
    for action in state.plan.actions.unbind(1):
        carry = model.imagine_step(carry, action)
        path.append(model.decode(carry)["pose"][0, :3].cpu().numpy())
    return np.stack(path).astype(np.float64)


def _move(agent: Any, state: Any) -> Numbers | None:
    """How far a search went from its policy's proposal; None of one without a policy."""
    policy, prior = agent.policy, agent.algorithm.prior
    if prior is None or not hasattr(policy.planner.config, "policy_samples"):
        return None
    model, plan = policy.searched_model, state.plan
    # A gripper command is -1 or 1 in every plan: the mean of a proposal lies between.
    free = (~model.actions.binary).nonzero()[:, 0]
    proposal = prior.propose(model, state.carry, plan.actions.shape[1])
    config = policy.planner.config
    mean = proposal.mean.clamp(config.low, config.high)
    scores = [
        float(policy.objective.score(model.imagine(state.carry, actions))[0])
        for actions in (mean, plan.actions)
    ]
    return {
        "proposed": mean[0, :, free].tolist(),
        "std": proposal.std[0, :, free].tolist(),
        "plan": plan.actions[0, :, free].tolist(),
        "gain": scores[1] - scores[0],
    }


def _moved(moves: Sequence[Numbers]) -> Numbers:
    """Those of the searches looked at that started from a policy's proposal.

    Returns:
        ``searches``; ``replaced``, the share in which the plan is not the policy's; ``change``
        ``(H, A)``, the mean distance of plan and proposal in normalised action units, of the
        actions that are not binary; ``gain``, the mean of what those plans promise beyond the
        proposal, in units of the objective; ``changes``, each search's mean distance;
        ``example``, the search that went farthest.
    """
    proposed, plan = (np.array([move[key] for move in moves]) for key in ("proposed", "plan"))
    change = np.abs(plan - proposed)
    far = change.max((1, 2))
    replaced = far > 1e-3
    gains = [move["gain"] for move, other in zip(moves, replaced, strict=True) if other]
    return {
        "searches": len(moves),
        "replaced": round(float(replaced.mean()), 4),
        "change": change.mean(0).round(4).tolist(),
        "changes": change.mean((1, 2)).round(4).tolist(),
        "gain": round(float(np.mean(gains)), 4) if gains else None,
        "example": moves[int(change.mean((1, 2)).argmax())],
    }


__all__ = ["plans"]
