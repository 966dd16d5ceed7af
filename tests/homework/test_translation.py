"""The homework's words, and what they are in this library's."""

from __future__ import annotations

import math

import pytest

from mbrl_agents.config import ConfigError, resolve_config
from mbrl_agents.homework.translation import METHODS, SETTINGS, is_course, translate


@pytest.mark.parametrize(("model", "planner"), METHODS)
def test_six_methods(model: str, planner: str) -> None:
    experiment = translate([f"model_type={model}", f"planner.type={planner}", "exp_name=q"])
    assert experiment.method == METHODS[model, planner]
    assert experiment.name == "q"
    assert experiment.obs == ("pose" if model == "simple" else "image")


def test_a_command_of_the_text() -> None:
    command = (
        "model_type=simple planner.type=cem planner.horizon=10 planner.num_samples=100 "
        "planner.num_elites=10 training.num_epochs=50 exp_name=q1_simple_cem"
    )
    experiment = translate(command.split())
    planner = resolve_config(experiment.method, list(experiment.overrides)).planner
    assert (planner.horizon, planner.samples, planner.elites) == (10, 100, 10)
    assert (experiment.name, experiment.epochs) == ("q1_simple_cem", 50)


def test_every_setting_of_the_text_reaches_the_method() -> None:
    words = {
        "planner.horizon": 7,
        "planner.num_samples": 60,
        "planner.num_elites": 6,
        "planner.num_iterations": 4,
        "planner.temperature": 0.3,
        "planner.action_std": 0.2,
        "training.batch_size": 8,
        "training.seq_length": 12,
        "training.learning_rate": 0.01,
        "model.hidden_dim": 64,
    }
    assert words.keys() == SETTINGS.keys()
    for model in ("simple", "dreamer"):
        given = [f"{key}={value}" for key, value in words.items()]
        found = translate([f"model_type={model}", "planner.type=policy_guided_cem", *given])
        settings = resolve_config(found.method, list(found.overrides))
        planner, training = settings.planner, settings.training
        assert (planner.horizon, planner.samples, planner.elites) == (7, 60, 6)
        assert (planner.iterations, planner.std_scale) == (4, 0.3)
        assert settings.policy.min_std == 0.2
        assert (training.batch_size, training.sequence_length) == (8, 12)
        assert training.learning_rate == 0.01
        assert settings.world_model.hidden == ((64, 64) if model == "simple" else 64)


def test_temperature_is_the_std_that_a_random_search_starts_with() -> None:
    found = translate(["model_type=simple", "planner.type=cem", "planner.temperature=0.5"])
    assert resolve_config(found.method, list(found.overrides)).planner.init_std == 0.5


def test_few_samples_need_no_number_of_elites() -> None:
    found = translate(["model_type=dreamer", "planner.type=cem", "planner.num_samples=5"])
    planner = resolve_config(found.method, list(found.overrides)).planner
    assert (planner.samples, planner.elites) == (5, 5)


def test_a_short_horizon_is_searched_again_in_time() -> None:
    found = translate(["model_type=simple", "planner.type=cem", "planner.horizon=2"])
    planner = resolve_config(found.method, list(found.overrides)).planner
    assert (planner.horizon, planner.replan) == (2, 2)


def test_an_epoch_shows_every_recorded_step_once() -> None:
    words = ["model_type=simple", "planner.type=policy", "training.num_epochs=3"]
    found = translate([*words, "training.batch_size=10", "training.seq_length=5"])
    settings = resolve_config(found.method, [*found.overrides, *found.updates(1001)])
    assert settings.training.model_steps == 3 * math.ceil(1001 / 50)
    batch = settings.training.policy_batch_size
    assert settings.training.policy_steps == 3 * math.ceil(1001 / batch)
    assert translate(words[:2]).updates(1001) == []


def test_each_log_of_a_curve_is_of_as_many_steps() -> None:
    found = translate(["model_type=simple", "planner.type=cem", "training.num_epochs=120"])
    settings = resolve_config(found.method, [*found.overrides, *found.updates(7559)]).training
    left = settings.model_steps % settings.log_every
    assert 20 <= settings.model_steps / settings.log_every <= 25
    assert left == 0 or left > settings.log_every / 2


def test_passes_are_counted_in_the_text_s_batches() -> None:
    words = ["model_type=simple", "planner.type=cem"]
    own = resolve_config("simple-cem").training.batch_size
    for more, size in ((["training.num_epochs=3"], 16), ([], own)):
        found = translate([*words, *more])
        training = resolve_config(found.method, list(found.overrides)).training
        assert training.batch_size == size != (own if more else 16)


def test_homework_images_are_drawn_from_their_mean_unless_told_otherwise() -> None:
    words = ["model_type=dreamer", "planner.type=policy"]
    for more, drawn in (([], True), (["world_model.mean_image=false"], False)):
        found = translate([*words, *more])
        assert resolve_config(found.method, list(found.overrides)).world_model.mean_image == drawn


def test_settings_of_this_library_stand_beside_them() -> None:
    found = translate(["model_type=simple", "planner.type=cem", "training.clip=1", "env.task=3"])
    assert resolve_config(found.method, list(found.overrides)).training.clip == 1.0
    assert found.env == {"task": 3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planner.type=cem"], "model_type=simple or dreamer"),
        (["model_type=simple"], "planner.type=cem or policy or policy_guided_cem"),
        (["model_type=simpel", "planner.type=cem"], "did you mean 'simple'"),
        (["model_type=simple", "planner.type=cme"], "did you mean 'cem'"),
        (["model_type=simple", "planner.type=cem", "planner.num_sample=9"], "planner.num_samples"),
        (["model_type=simple", "planner.type=cem", "training.num_epochs=0"], "at least 1"),
        (["model_type=simple", "planner.type=cem", "training.num_epochs=many"], "whole number"),
        (["model_type=simple", "planner.type=cem", "model.hidden_dim=-1"], "at least 1"),
        (["model_type=simple", "planner.type=cem", "planner.horizon=0"], "at least 1"),
        (["model_type=simple", "planner.type=cem", "planner.horizon=ten"], "does not fit"),
        (["model_type=simple", "planner.type=policy", "planner.num_samples=9"], "leave it out"),
        (["model_type=simple", "planner.type=cem", "exp_name=../x"], "does not name a folder"),
        (["model_type=simple", "planner.type=cem", "exp_name="], "does not name a folder"),
        (["model_type=simple", "planner.type=cem", "load_policy=p.pth"], "load_policy needs"),
        (["model_type=simple", "planner.type=cem", "horizon"], "not KEY=VALUE"),
    ],
)
def test_what_does_not_fit_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translate(words)


def test_a_command_is_told_from_settings() -> None:
    assert is_course(["training.num_epochs=3", "model_type=simple"])
    assert not is_course(["planner.horizon=10"])
