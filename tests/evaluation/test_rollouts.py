"""Evaluation: records, official states, seeds, statistics."""

from __future__ import annotations

import numpy as np
import pytest
from failing_jobs import die, fail_at_two

from mbrl_agents.agents.reference import ExpertAgent, RandomAgent
from mbrl_agents.data.parallel import make_env, ordered_map
from mbrl_agents.envs.registration import EnvDefaults, defaults
from mbrl_agents.evaluation.rollouts import (
    EpisodeRecord,
    default_init,
    evaluate,
    run_episode,
)
from mbrl_agents.evaluation.statistics import difference_interval, summarise, wilson_interval

TOY = "toy_reach:ToyReach-v0"
EXPERT, RANDOM = ExpertAgent, RandomAgent
"""Classes are factories that worker processes find."""


def outcome(record: EpisodeRecord) -> tuple[object, ...]:
    return record.task, record.init_state, record.seed, record.success, record.episode_return


def test_expert_succeeds_and_random_does_not() -> None:
    expert = summarise(evaluate(EXPERT, TOY, episodes=10))
    random = summarise(evaluate(RANDOM, TOY, episodes=10))
    assert expert["success_rate"] == 1.0
    assert random["success_rate"] < 0.5
    assert expert["per_task"]["0"] == {"episodes": 10, "successes": 10, "success_rate": 1.0}
    assert expert["assets"] == "none"


def test_random_actions_know_nothing_of_what_the_seed_placed() -> None:
    """Whoever does not see Catch's ball covers it in one episode of five."""
    catch = {"env_kwargs": {"size": 32}, "init": "random"}
    played = evaluate(RANDOM, "mbrl/Catch-v0", episodes=1000, **catch)
    caught = sum(record.episode_return > 0 for record in played)
    assert abs(caught - 200) < 45, caught  # 3.5 standard deviations


def test_any_number_of_workers_and_any_part_give_the_same_episodes() -> None:
    whole = [outcome(r) for r in evaluate(RANDOM, TOY, episodes=6, tasks=[0, 1], seed=3)]
    two = evaluate(RANDOM, TOY, episodes=6, tasks=[0, 1], seed=3, workers=2)
    assert [outcome(r) for r in two] == whole
    part = evaluate(RANDOM, TOY, episodes=range(2, 4), tasks=[1], seed=3)
    assert [outcome(r) for r in part] == whole[8:10]
    other = evaluate(RANDOM, TOY, episodes=6, tasks=[0, 1], seed=4)
    assert [outcome(r) for r in other] != whole


def test_official_initial_states_are_gone_through_in_order() -> None:
    assert [r.init_state for r in evaluate(EXPERT, TOY, episodes=4)] == [0, 1, 2, 3]
    assert {r.init_state for r in evaluate(EXPERT, TOY, init="random")} == {None}
    with pytest.raises(ValueError, match="10 official initial states"):
        evaluate(EXPERT, TOY, episodes=11)
    with pytest.raises(ValueError, match="benchmark"):
        evaluate(EXPERT, TOY, init="official")


def test_environments_without_official_states_work() -> None:
    records = evaluate(RANDOM, "Pendulum-v1", episodes=2, init="random")
    assert [r.steps for r in records] == [200, 200]
    assert records[0].task is None


def test_defaults_are_known_without_building_an_environment() -> None:
    goal = defaults("mbrl/LiberoGoal-v0")
    assert goal.kwargs == {"obs": "pose", "reward": "progress"}
    assert goal.init == "benchmark"
    assert goal.task_names is not None
    assert len(goal.task_names()) == 10
    assert defaults("Pendulum-v1") == EnvDefaults({}, init=None)
    assert default_init("mbrl/Libero90-v0") == "benchmark"
    assert default_init(TOY) == "benchmark"
    assert default_init("Pendulum-v1") == "random"


def test_predictor_state_travels_and_starts_empty() -> None:
    class Counter:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            assert (state is None) == bool(episode_start[0])
            return np.zeros(7, np.float32), (state or 0) + 1

    env = make_env(TOY, {})
    assert run_episode(env, Counter(), seed=0).steps == 40


def test_only_calls_that_searched_are_timed() -> None:
    class State:
        def __init__(self, calls: int) -> None:
            self.calls, self.searched = calls, calls % 4 == 0

    class Planner:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros(7, np.float32), State(0 if state is None else state.calls + 1)

    record = run_episode(make_env(TOY, {}), Planner(), seed=0)
    assert (record.steps, len(record.plan_ms)) == (40, 10)


def test_records_write_one_flat_line() -> None:
    record = evaluate(EXPERT, TOY, episodes=1)[0]
    line = record.to_json()
    assert line["plan_ms"] == pytest.approx(np.mean(record.plan_ms), abs=1e-3)
    assert line["suite"] == "toy"
    assert all(isinstance(v, int | float | str | bool | None) for v in line.values())


def test_wilson_interval_against_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and 3"):
        wilson_interval(4, 3)


def test_percentiles_are_over_all_steps() -> None:
    def record(times: tuple[float, ...]) -> EpisodeRecord:
        return EpisodeRecord(0, 0, 0, False, 2.0 * len(times), len(times), times)

    summary = summarise([record((1.0,)), record((3.0,) * 99)])
    assert summary["plan_ms_p50"] == 3.0
    assert summary["reward_per_step_best"] == 2.0
    assert summary["return_best"] == 198.0
    with pytest.raises(ValueError, match="no episodes"):
        summarise([])


def test_where_success_is_unknown_the_return_is_the_figure() -> None:
    def record(success: bool | None, total: float) -> EpisodeRecord:
        return EpisodeRecord(None, None, 0, success, total, 10, (1.0,))

    unknown = summarise([record(None, 10.0), record(None, 30.0)])
    assert unknown["successes"] is unknown["success_rate"] is unknown["ci95"] is None
    assert (unknown["return_mean"], unknown["return_std"]) == (20.0, 10.0)
    assert unknown["per_task"]["None"] == {"episodes": 2, "successes": None, "success_rate": None}
    # An environment that speaks of success only where there is one.
    seldom = summarise([record(None, 10.0), record(True, 30.0)])
    assert (seldom["successes"], seldom["success_rate"]) == (1, 0.5)
    records = evaluate(RANDOM, "Pendulum-v1", episodes=1)
    assert records[0].to_json()["success"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_raises_after_the_results_before_it(workers: int) -> None:
    results = ordered_map(fail_at_two, range(5), workers=workers)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="job 2"):
        next(results)


def test_a_dead_worker_is_reported() -> None:
    with pytest.raises(RuntimeError, match="worker process ended"):
        list(ordered_map(die, range(3), workers=2))


def test_video(tmp_path) -> None:
    pytest.importorskip("imageio")
    from mbrl_agents.evaluation.video import record_video

    env = make_env(TOY, {"render_mode": "rgb_array"})
    record_video(tmp_path / "videos" / "one.gif", env, EXPERT(env), init_state=1)
    assert (tmp_path / "videos" / "one.gif").stat().st_size > 0
    with pytest.raises(ValueError, match="rgb_array"):
        record_video(tmp_path / "two.gif", make_env(TOY, {}), EXPERT(env))


def test_the_interval_of_a_difference_is_newcombe_s() -> None:
    # Newcombe 1998, table II: 56 of 70 against 48 of 80.
    low, high = difference_interval(56, 70, 48, 80)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    with pytest.raises(ValueError, match="trials of both"):
        difference_interval(0, 0, 1, 2)
