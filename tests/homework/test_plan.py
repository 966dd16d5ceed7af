"""Which experiments `mbrl homework` runs, and in what words."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.homework.items import Results
from mbrl_agents.homework.model_items import converges
from mbrl_agents.homework.plan import FOUR, PARTS, PLAN, commands
from mbrl_agents.homework.report import CONTENTS, write_report


def test_what_an_experiment_loads_comes_before_it() -> None:
    for quick in (False, True):
        seen: set[str] = set()
        for command in commands(PARTS, quick=quick):
            assert seen >= set(command.planned.needs)
            seen.add(command.planned.name)


def test_a_part_brings_what_it_is_compared_with() -> None:
    assert set(FOUR) <= {c.planned.name for c in commands([4])}
    assert {c.planned.name for c in commands([2])} >= {"q1_simple_cem", "q2_policy_cem"}
    assert {c.planned.part for c in commands([1])} == {1}


def test_a_sweep_over_the_planner_trains_nothing() -> None:
    for row in PLAN:
        if row.sweep is not None:
            setting, value = row.sweep
            assert row.needs == [row.base]
            assert (
                f"planner.{'num_samples' if setting == 'samples' else 'horizon'}={value} "
                in row.text
            )
    swept = {row.sweep for row in PLAN if row.sweep}
    assert swept == {("horizon", 5), ("horizon", 15), ("samples", 50), ("samples", 200)}


def test_sizes_and_seeds_have_folders_of_their_own() -> None:
    runs = [commands(PARTS, quick=quick, seed=seed) for quick in (False, True) for seed in (0, 3)]
    names = [command.experiment.name for run in runs for command in run]
    assert len(set(names)) == len(names)
    loaded = commands([2], quick=True, seed=3)[-2].experiment
    assert loaded.load_policy == "outputs/q2_policy_training_quick_seed_3/policy.pth"
    assert {c.experiment.seed for c in commands(PARTS, seed=3)} == {3, 4}


def test_quick_experiments_are_smaller() -> None:
    full = {c.planned.name: c.experiment for c in commands(PARTS)}
    for command in commands(PARTS, quick=True):
        large, small = full[command.planned.name], command.experiment
        assert small.episodes < large.episodes
        # What is recorded is the same, in the same folders.
        assert small.data_episodes == large.data_episodes
        if command.planned.trains:
            assert small.epochs is not None
            assert large.epochs is not None
            # Of poses it takes more passes than the text: see `QUICK_EPOCHS`.
            assert (small.epochs < large.epochs) == (small.obs == "image")


def test_every_part_has_one_ablation_and_the_last_its_robustness() -> None:
    for part in PARTS:
        varied = [r for r in PLAN if r.part == part and r.base and not r.sweep]
        assert [r for r in varied if "disturbance" not in r.text and not r.seed]
    assert [r for r in PLAN if r.seed]
    assert [r for r in PLAN if "env.disturbance" in r.text]


def test_a_report_without_experiments_says_so(tmp_path: Path) -> None:
    assert all(build(Results([])) is None for part in CONTENTS.values() for build in part.items)
    page = write_report(tmp_path, [], PARTS, quick=True, command="mbrl homework all").read_text()
    assert page.count("No experiment of this part is finished") == len(PARTS)


@pytest.mark.parametrize(("word", "hint"), [("part5", "part"), ("al", "all"), ("1", "part1")])
def test_an_unknown_part_is_refused(word: str, hint: str) -> None:
    result = CliRunner().invoke(app, ["homework", word])
    assert result.exit_code == 2
    assert f"there is no {word!r}" in result.output
    assert hint in result.output


def test_a_command_that_is_cut_off_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mbrl_agents.homework.running.run_homework", cut_off)
    result = CliRunner().invoke(app, ["homework", "part1", "--quick"])
    assert result.exit_code == 130
    assert "the same command goes on" in result.output


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ([8, 4, 2, 1.1, 1, 1.05, 0.98, 1.02, 1, 1], True),
        ([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], False),
        ([1, 1, 1, 2, 2, 2, 3, 3, 3, 3], False),
        ([3, 1], None),
        ([5, 4, 3, 2, 1], False),
        # What is logged scatters by more than its end changes.
        ([6, 5, 4, 3.2, 3.4, 2.6, 3.6, 2.4, 4.0, 2.8], None),
    ],
)
def test_a_loss_converges_when_its_end_is_flat(losses: list[float], holds: bool | None) -> None:
    assert converges([[step, loss] for step, loss in enumerate(losses)], None)[0] is holds
