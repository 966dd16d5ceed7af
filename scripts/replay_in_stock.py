"""Replays episodes recorded here in LIBERO's own environment under MuJoCo 3.3.0.

The scripted demonstrator picks in this project's environment; its actions are then executed in
stock LIBERO from the same official init states, with fixtures at the same poses::

    pip install --no-deps --target mujoco330 mujoco==3.3.0
    python scripts/replay_in_stock.py record picks.npz --assets FOLDER
    PYTHONPATH=mujoco330 python scripts/replay_in_stock.py replay picks.npz --assets FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mbrl_agents.envs.libero.suites import SUITES

GRACE = 10
"""Steps for which the last action is repeated where the goal is not reached with it."""


def record(out: Path, assets: Path, suite: str, tasks: list[int], states: int) -> None:
    """Record the demonstrator's actions from the first official init states of each task."""
    import gymnasium
    import mujoco

    import mbrl_agents.envs  # noqa: F401  registers

    arrays: dict[str, np.ndarray] = {}
    episodes = []
    for task in tasks:
        env = gymnasium.make(
            SUITES[suite].env_id,
            task=task,
            obs="robot_pose",
            assets="official",
            assets_folder=assets,
            disable_env_checker=True,
        )
        simulation = env.unwrapped.simulation  # type: ignore[attr-defined]
        for state in range(states):
            env.reset(seed=0, options={"init_state": state})
            actions, over, success = [], False, False
            while not over:
                actions.append(env.unwrapped.expert_action())  # type: ignore[attr-defined]
                _, _, terminated, truncated, info = env.step(actions[-1])
                over, success = terminated or truncated, bool(info["is_success"])
            number = len(episodes)
            episodes.append((task, state, success))
            fixtures = simulation.inner.fixtures_dict.values()
            names = sorted(f.root_body for f in fixtures if f.name in simulation.inner.obj_body_id)
            model = simulation.model
            poses = [
                np.concatenate([model.body(name).pos, model.body(name).quat]) for name in names
            ]
            arrays[f"actions_{number}"] = np.stack(actions)
            arrays[f"fixtures_{number}"] = np.array(names)
            arrays[f"poses_{number}"] = np.array(poses)
            print(f"task {task} state {state}: {len(actions)} steps, success {success}", flush=True)
        env.close()
    np.savez_compressed(out, suite=suite, episodes=np.array(episodes, dtype=np.int64), **arrays)
    successes = sum(success for *_, success in episodes)
    print(f"MuJoCo {mujoco.__version__}: {successes} of {len(episodes)} succeed here")


def replay(picks: Path, assets: Path) -> None:
    """Execute recorded actions in stock LIBERO and count successes."""
    from stock_libero import StockTask, require_reference

    require_reference()
    successes, stock, built = 0, None, None
    with np.load(picks) as recorded:
        suite, episodes = SUITES[str(recorded["suite"])], recorded["episodes"]
        for number, (task, state, _) in enumerate(episodes.tolist()):
            if stock is None or built != task:
                if stock is not None:
                    stock.close()
                stock, built = StockTask(suite, task, assets), task
            names, poses = recorded[f"fixtures_{number}"], recorded[f"poses_{number}"]
            fixtures = {str(name): pose for name, pose in zip(names, poses, strict=True)}
            stock.start(state, fixtures=fixtures)
            actions = recorded[f"actions_{number}"].astype(np.float64)
            success, steps = False, 0
            for action in [*actions, *[actions[-1]] * GRACE]:
                stock.env.step(action.tolist())
                steps += 1
                success = bool(stock.env.check_success())
                if success:
                    break
            successes += success
            recorded_steps = len(actions)
            print(
                f"task {task} state {state}: success {success} "
                f"after {steps} steps, {recorded_steps} recorded",
                flush=True,
            )
    print(f"{successes} of {len(episodes)} succeed in stock LIBERO")


def main() -> None:
    """Record or replay."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("verb", choices=("record", "replay"))
    parser.add_argument("picks", type=Path, help="file to write or to read")
    parser.add_argument("--assets", type=Path, required=True, help="LIBERO's own models")
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--states", type=int, default=3, help="init states of each task")
    arguments = parser.parse_args()
    if arguments.verb == "record":
        record(
            arguments.picks,
            arguments.assets,
            arguments.suite,
            arguments.tasks,
            arguments.states,
        )
    else:
        replay(arguments.picks, arguments.assets)


if __name__ == "__main__":
    main()
