"""Which experiments answer the homework's questions: a table, in the homework's own words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mbrl_agents.homework.translation import Experiment, translate

PARTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Planned:
    """One experiment of the plan.

    Attributes:
        name: its ``exp_name`` at full size and seed 0; `exp_name` gives the others.
        part: of the text, 1 to 4.
        text: the command.  ``{NAME}`` stands for the ``exp_name`` of another row.
        label: what it is, as a row of a table.
        sweep: which setting of its base it changes, "horizon" or "samples", and to what.
        base: the row that it is compared with; None where it is not a variation of another.
        seed: added to the seed of the plan.
        quick: whether ``--quick`` runs it.
    """

    name: str
    part: int
    text: str
    label: str
    sweep: tuple[str, int] | None = None
    base: str | None = None
    seed: int = 0
    quick: bool = True

    @property
    def needs(self) -> list[str]:
        """Rows whose weights it loads."""
        files = [w.split("=")[1] for w in self.text.split() if w.startswith("load_")]
        return list(dict.fromkeys(file.split("/")[1].strip("{}") for file in files))

    @property
    def trains(self) -> bool:
        return not self.needs


def _simple(planner: str, more: str) -> str:
    return f"model_type=simple planner.type={planner} planner.horizon=10 {more}"


def _dreamer(planner: str, more: str) -> str:
    return f"model_type=dreamer planner.type={planner} planner.horizon=10 {more}"


_CEM = "planner.num_samples=100 planner.num_elites=10"
_GUIDED = "planner.num_samples=50 planner.num_elites=5"
_MODEL1 = "load_world_model=outputs/{q1_simple_cem}/world_model.pth"
_POLICY2 = "load_policy=outputs/{q2_policy_training}/policy.pth"
_POLICY4 = "load_policy=outputs/{q4_dreamer_policy}/policy.pth"
_MODEL3 = "load_world_model=outputs/{q3_dreamer_cem}/world_model.pth"


def _searched(horizon: int, samples: int) -> str:
    """Random CEM on the trained model of poses: a sweep over the planner trains nothing."""
    return (
        f"model_type=simple planner.type=cem planner.horizon={horizon} "
        f"planner.num_samples={samples} planner.num_elites=10 {_MODEL1}"
    )


PLAN: Sequence[Planned] = (
    Planned(
        "q1_simple_cem", 1, _simple("cem", f"{_CEM} training.num_epochs=50"),
        "poses, random CEM (100 samples)",
    ),
    Planned(
        "q1_horizon_5", 1, _searched(5, 100), "horizon 5",
        sweep=("horizon", 5), base="q1_simple_cem",
    ),
    Planned(
        "q1_horizon_15", 1, _searched(15, 100), "horizon 15",
        sweep=("horizon", 15), base="q1_simple_cem",
    ),
    Planned(
        "q1_samples_50", 1, _searched(10, 50), "50 samples",
        sweep=("samples", 50), base="q1_simple_cem",
    ),
    Planned(
        "q1_samples_200", 1, _searched(10, 200), "200 samples",
        sweep=("samples", 200), base="q1_simple_cem",
    ),
    Planned(
        "q1_no_disagreement", 1, f"{_searched(10, 100)} objective.disagreement=0",
        "without the penalty on what the ensemble disagrees on", base="q1_simple_cem",
    ),
    Planned(
        "q2_policy_training", 2, _simple("policy", "training.num_epochs=50"),
        "poses, policy alone",
    ),
    Planned(
        "q2_policy_cem", 2, _simple("policy_guided_cem", f"{_GUIDED} {_POLICY2}"),
        "poses, policy-guided CEM (50 samples)",
    ),
    Planned(
        "q2_one_network", 2, _simple("policy", "training.num_epochs=50 policy.ensemble=1"),
        "one network in place of the policy's three", base="q2_policy_training",
    ),
    Planned(
        "q3_dreamer_cem", 3,
        _dreamer("cem", "planner.num_samples=100 training.num_epochs=100"),
        "images, random CEM (100 samples)",
    ),
    Planned(
        "q3_no_imitation", 3,
        _dreamer(
            "cem",
            "planner.num_samples=100 training.num_epochs=100 world_model.imitation_weight=0",
        ),
        "latents that are not trained to predict the demonstrator", base="q3_dreamer_cem",
    ),
    Planned(
        "q4_dreamer_policy", 4, _dreamer("policy", "training.num_epochs=100"),
        "images, policy alone",
    ),
    Planned(
        "q4_dreamer_policy_cem", 4,
        _dreamer("policy_guided_cem", f"planner.num_samples=50 {_POLICY4} {_MODEL3}"),
        "images, policy-guided CEM (50 samples)",
    ),
    Planned(
        "q4_no_margin", 4,
        _dreamer(
            "policy_guided_cem", f"planner.num_samples=50 {_POLICY4} {_MODEL3} planner.margin=0"
        ),
        "any plan that promises more replaces the policy's", base="q4_dreamer_policy_cem",
    ),
    Planned(
        "q4_heavy_simple", 4,
        _simple("policy_guided_cem", f"{_GUIDED} {_POLICY2} env.disturbance=heavy"),
        "poses, the bowl five times as heavy", base="q2_policy_cem",
    ),
    Planned(
        "q4_heavy_dreamer", 4,
        _dreamer(
            "policy_guided_cem",
            f"planner.num_samples=50 {_POLICY4} {_MODEL3} env.disturbance=heavy",
        ),
        "images, the bowl five times as heavy", base="q4_dreamer_policy_cem",
    ),
    Planned(
        "q4_next_seed_simple", 4,
        _simple("policy_guided_cem", f"{_GUIDED} training.num_epochs=50"),
        "poses, other episodes, weights and tests", base="q2_policy_cem", seed=1,
    ),
    Planned(
        "q4_next_seed_dreamer", 4,
        _dreamer("policy_guided_cem", "planner.num_samples=50 training.num_epochs=100"),
        "images, other episodes, weights and tests", base="q4_dreamer_policy_cem", seed=1,
        quick=False,
    ),
)  # fmt: skip
"""In an order in which what a row loads comes before it."""

FOUR = ("q1_simple_cem", "q2_policy_cem", "q3_dreamer_cem", "q4_dreamer_policy_cem")
"""The methods that part 4 compares."""

COMPARED: dict[int, Sequence[str]] = {
    2: ("q1_simple_cem", "q2_policy_cem", "q2_policy_training"),
    3: ("q1_simple_cem", "q3_dreamer_cem"),
    4: (*FOUR, "q2_policy_training", "q4_dreamer_policy"),
}
"""Rows of other parts that a part's tables need."""

QUICK_EPOCHS = {"simple": 120, "dreamer": 20}
"""Passes over the recorded steps with ``--quick``.  Poses take more than the text's own 50, which
costs two minutes a training: random CEM then solves half of random placements, after 50 an eighth.

It records as many episodes as the text's own experiments learn from, since that takes a minute:
from 12 of them, in twice as many passes, the model of images explained nothing of new ones, and a
search in it led a policy that solves 6 of 8 to 0."""
QUICK_TESTS = 8

ESTIMATES = {1: 5, 2: 4, 3: 4, 4: 5}
"""Minutes that each part takes with ``--quick`` on two free cores, once the parts before it are
finished."""


@dataclass(frozen=True)
class Command:
    """A row of the plan as it is run.

    Attributes:
        planned: the row.
        experiment: what its command asks for.
    """

    planned: Planned
    experiment: Experiment


def exp_name(planned: Planned, *, quick: bool, seed: int) -> str:
    """The folder in ``outputs``; quick experiments and other seeds have their own."""
    size = "_quick" if quick else ""
    return f"{planned.name}{size}{f'_seed_{seed}' if seed else ''}"


def commands(parts: Iterable[int], *, quick: bool = False, seed: int = 0) -> list[Command]:
    """What the parts run, each row after those that it loads.

    At full size with seed 0 the text's own experiments have the text's own words, so that one
    that was run by ``mbrl train`` is finished here too.

    Args:
        parts: of the text.
        quick: fewer tests, and other numbers of epochs (`QUICK_EPOCHS`).
        seed: of weights, batches, recorded episodes and tests.
    """
    rows = {row.name: row for row in PLAN if row.quick or not quick}
    wanted = {row.name for row in rows.values() if row.part in set(parts)}
    for part in parts:
        wanted.update(COMPARED.get(part, ()))
    for name in reversed(rows):
        if name in wanted:
            wanted.update(rows[name].needs)
    names = {row.name: exp_name(row, quick=quick, seed=seed) for row in PLAN}
    found = []
    for row in (row for row in rows.values() if row.name in wanted):
        words = [*row.text.format_map(names).split(), f"exp_name={names[row.name]}"]
        words += _sizes(row) if quick else []
        words += [f"seed={seed + row.seed}"] if seed + row.seed else []
        found.append(Command(row, translate(words)))
    return found


def _sizes(row: Planned) -> list[str]:
    """Words that make an experiment quick."""
    words = [f"eval.episodes={QUICK_TESTS}"]
    if row.trains:
        kind = row.text.split()[0].removeprefix("model_type=")
        words.append(f"training.num_epochs={QUICK_EPOCHS[kind]}")
    return words


__all__ = [
    "COMPARED",
    "ESTIMATES",
    "FOUR",
    "PARTS",
    "PLAN",
    "Command",
    "Planned",
    "commands",
    "exp_name",
]
