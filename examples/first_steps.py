"""From demonstrations to a tested agent: one LIBERO task, a world model, a policy, a planner.

Records disturbed demonstrations, learns a model and a policy from them, and tests the policy alone
and the planner on official initial states, which neither has seen::

    python examples/first_steps.py
    python examples/first_steps.py --task 7 --demonstrations 60 --model-steps 3000
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.evaluation.rollouts import evaluate
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.runs.loading import predictor_factory
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

ENV = "mbrl/LiberoSpatial-v0"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", type=int, default=2, help="of libero_spatial, 0 to 9")
    parser.add_argument("--demonstrations", type=int, default=30)
    parser.add_argument("--model-steps", type=int, default=1500, help="gradient steps of the model")
    parser.add_argument("--policy-steps", type=int, default=3000, help="of the policy")
    parser.add_argument("--tests", type=int, default=5, help="official initial states")
    parser.add_argument("--out", type=Path, help="folder to keep [default: a temporary one]")
    arguments = parser.parse_args()
    if arguments.out is not None:
        run(arguments.out, arguments)
        return
    with tempfile.TemporaryDirectory(prefix="mbrl-") as folder:
        run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    kwargs = {"task": arguments.task, "obs": "pose", "reward": "progress", "assets": "primitive"}
    count = arguments.demonstrations
    collection = Collection(ENV, kwargs, source="noisy_expert", episodes=count)
    collect_to_folder(folder / "data", collection)
    print(f"{count} demonstrations in {folder / 'data'}")

    settings = (
        f"training.model_steps={arguments.model_steps}",
        f"training.policy_steps={arguments.policy_steps}",
    )
    spec = RunSpec("simple-policy-cem", ENV, kwargs, settings, data=str(folder / "data"))
    info = train_run(spec, folder / "run", progress=told)
    print(f"{sum(info.parameters.values()):,} parameters after {info.train_seconds:.0f} s")

    # The same weights act by the policy alone and by a search that starts from its plan.
    for method in ("simple-policy", "simple-policy-cem"):
        factory = predictor_factory(method, folder / "run")
        records = evaluate(factory, ENV, kwargs, episodes=arguments.tests, init="benchmark")
        found = summarise(records)
        low, high = found["ci95"]
        print(
            f"{method}: {found['successes']} of {found['episodes']} solved "
            f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %), "
            f"{found['plan_ms_p50']:.1f} ms a decision"
        )


def told(phase: str, done: int, total: int, metrics: object) -> None:
    if done == total:
        print(f"{phase}: {total} updates")


if __name__ == "__main__":
    main()
