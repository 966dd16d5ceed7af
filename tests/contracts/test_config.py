"""Settings: overrides, presets, messages, round trips, and an import that stays light."""

from __future__ import annotations

import copy
import importlib.resources
import pickle
import subprocess
import sys

import gymnasium
import pytest
import yaml

from mbrl_agents import make_agent, make_planner, methods
from mbrl_agents.config import (
    PRESETS_FILE,
    ConfigError,
    check_config,
    from_yaml,
    presets,
    resolve_config,
)
from mbrl_agents.planners.objectives import ReturnObjectiveConfig
from mbrl_agents.registry import METHODS


@pytest.mark.parametrize("method", methods())
def test_every_method_resolves_and_survives_yaml(method):
    config = resolve_config(method)
    assert from_yaml(config.to_yaml()) == config


def test_overrides_as_text_dict_and_dotted_dict():
    expected = resolve_config("simple-cem", ["planner.horizon=10", "world_model.hidden=[64, 32]"])
    assert expected.planner.horizon == 10
    assert expected.world_model.hidden == (64, 32)
    nested = {"planner": {"horizon": 10}, "world_model": {"hidden": (64, 32)}}
    dotted = {"planner.horizon": 10, "world_model.hidden": [64, 32]}
    assert resolve_config("simple-cem", nested) == expected
    assert resolve_config("simple-cem", dotted) == expected
    assert from_yaml(expected.to_yaml()) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("planner.horizn=3", "did you mean 'planner.horizon'"),
        ("planer.horizon=3", "did you mean 'planner.horizon'"),
        ("horizon=3", "did you mean 'planner.horizon'"),
        ("policy.hidden=[3]", "did you mean 'world_model.hidden'"),
        ("planner.horizon=long", "planner.horizon='long' does not fit"),
        ("planner.elites=5000", "planner: 5000 elites of 100 samples"),
        ("planner.horizon", "looks like planner.horizon=10"),
        ("planner=3", "no setting 'planner'"),
    ],
)
def test_wrong_overrides_say_what_would_be_right(override, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        resolve_config("simple-cem", [override])


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ValueError, match="did you mean 'simple-cem'"):
        resolve_config("simple-cme")
    with pytest.raises(ValueError, match=r"unknown planner 'mppi'.*policy-guided-cem"):
        make_planner("mppi")
    with pytest.raises(ConfigError, match="did you mean 'horizon'"):
        make_planner("cem", horzon=3)
    with pytest.raises(ValueError, match="no settings"):
        make_agent("random", None, planner={"horizon": 3})


def preset_file(package: str) -> dict:
    file = importlib.resources.files(package) / PRESETS_FILE
    return yaml.safe_load(file.read_text(encoding="utf-8"))


class TestPresets:
    @pytest.mark.parametrize("method", methods())
    def test_every_preset_of_every_method_resolves_to_what_its_file_says(self, method):
        for preset in presets(method):
            config = resolve_config(method, [f"preset={preset}"])
            assert from_yaml(config.to_yaml()) == config
            for section, settings in preset_file(METHODS[method].presets_package)[preset].items():
                for name, value in settings.items():
                    if section in config.sections:
                        found = getattr(config.sections[section], name)
                        assert (list(found) if isinstance(found, tuple) else found) == value, name

    @pytest.mark.parametrize(
        "package", sorted({m.presets_package for m in METHODS.values() if m.presets_package})
    )
    def test_every_preset_of_an_algorithm_serves_a_method(self, package):
        """And each of its settings: one that no method has would be dropped without a word."""
        users = [m.name for m in METHODS.values() if m.presets_package == package]
        for name, sections in preset_file(package).items():
            served = [METHODS[user].configs() for user in users if name in presets(user)]
            assert served, name
            for section in sections:
                assert any(section in found for found in served), f"{name}: {section}"

    def test_sections_that_a_method_lacks_are_left_out(self):
        without, planned = (
            resolve_config(method, ["preset=cpu"]) for method in ("dreamer", "dreamer-v3-cem")
        )
        assert without.training == planned.training
        assert "planner" not in without.sections

    def test_what_was_asked_for_wins_whatever_the_order(self):
        for overrides in (
            ["preset=cpu", "training.batch_size=3"],
            ["training.batch_size=3", "preset=cpu"],
            {"training": {"batch_size": 3}, "preset": "cpu"},
        ):
            config = resolve_config("dreamer", overrides)
            assert config.training.batch_size == 3
            assert config.training.learning_rate == 1e-3

    def test_a_later_preset_wins_over_an_earlier_one_and_the_methods_own(self):
        own = resolve_config("dreamer-policy-cem")
        both = resolve_config("dreamer-policy-cem", {"preset": ["episodes-cem", "episodes"]})
        assert own.planner.samples != both.planner.samples == 40
        assert own.objective.reward != both.objective.reward
        assert own.training == both.training
        assert resolve_config("dreamer-policy-cem", ["preset=[episodes-cem,episodes]"]) == both

    @pytest.mark.parametrize(
        ("method", "preset", "message"),
        [
            ("dreamer", "cpuu", "no preset 'cpuu'; did you mean 'cpu'"),
            ("dreamer", "1", r"no preset '1' \(valid: cpu"),
            # It sets what training on episodes has.
            ("dreamer", "episodes", r"no preset 'episodes' \(valid: cpu"),
            ("dreamer-cem", "episode", "did you mean 'episodes'"),
            ("sb3-sac", "cpu", r"no preset 'cpu' \(valid: none\)"),
        ],
    )
    def test_an_unknown_preset_says_which_there_are(self, method, preset, message):
        with pytest.raises(ConfigError, match=message):
            resolve_config(method, [f"preset={preset}"])

    def test_agents_take_presets(self):
        env = gymnasium.make("toy_reach:ToyReach-v0")
        agent = make_agent("dreamer", env, preset="cpu", **{"training.batch_size": 3})
        assert agent.config == resolve_config("dreamer", ["preset=cpu", "training.batch_size=3"])
        env.close()


class TestShortcuts:
    def test_they_stand_for_a_setting(self):
        for method in ("dreamer", "dreamer-v3-cem"):
            for overrides in (["size=25M"], {"size": "25M"}):
                assert resolve_config(method, overrides).world_model.size == "25M"
        assert resolve_config("dreamer", ["preset=cpu", "size=25M"]).world_model.size == "25M"

    @pytest.mark.parametrize("method", methods())
    def test_each_stands_for_a_setting_that_there_is(self, method):
        config = resolve_config(method)
        for setting in METHODS[method].shortcuts.values():
            section, _, name = setting.partition(".")
            assert name in vars(getattr(config, section))

    def test_a_method_without_one_says_what_would_do(self):
        with pytest.raises(ConfigError, match=r"did you mean 'world_model\.size'"):
            resolve_config("dreamer-cem", ["size=25M"])


class TestMethodConfig:
    def test_sections_are_attributes(self):
        config = resolve_config("dreamer")
        assert config.actor_critic is config.sections["actor_critic"]
        with pytest.raises(AttributeError, match="no section 'planner'"):
            _ = config.planner

    def test_it_survives_copies_and_pickles(self):
        config = resolve_config("dreamer-actor-cem", ["training.seed=3"])
        assert copy.deepcopy(config) == copy.copy(config) == config
        assert pickle.loads(pickle.dumps(config)) == config
        assert config.seed == 3
        assert resolve_config("random").seed == 0

    def test_every_value_survives_yaml(self):
        settings = {
            "world_model": {"hidden": (3, 5), "relative": [[0, 7]], "dtype": "bfloat16"},
            "training": {"policy_learning_rate": None, "learning_rate": 1e-7, "seed": 12},
            "planner": {"horizon": 4, "replan": 2},
        }
        config = resolve_config("simple-policy-cem", settings)
        again = from_yaml(config.to_yaml())
        assert again == config
        assert again.world_model.hidden == (3, 5)
        assert again.world_model.relative == [[0, 7]]
        assert again.training.learning_rate == 1e-7
        assert again.to_dict() == config.to_dict()
        with pytest.raises(ConfigError, match="needs the key 'method'"):
            from_yaml("training: {seed: 3}")

    def test_presets_that_changed_since_do_not_change_what_was_written(self, monkeypatch):
        from mbrl_agents import config as module

        written = resolve_config("simple-cem").to_yaml()
        monkeypatch.setattr(module, "_presets", lambda package: {"cem": {}})
        assert from_yaml(written).planner.hold == 3
        assert resolve_config("simple-cem").planner.hold != 3


def test_configs_are_frozen():
    config = resolve_config("simple-cem")
    with pytest.raises(AttributeError):
        config.planner.horizon = 3


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, mbrl_agents, gymnasium; mbrl_agents.methods();"
        "heavy = {'torch', 'mujoco', 'libero', 'robosuite', 'stable_baselines3'};"
        "heavy &= {*sys.modules};"
        "assert not heavy, heavy;"
        "assert 'mbrl/LiberoSpatial-v0' in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestPlannerAndObjectiveByName:
    def test_another_one_begins_with_its_own_settings(self):
        """Presets are written for the method's own: 100 steps of penalty are no return."""
        own = resolve_config("simple-cem")
        assert own.objective.disagreement == 100.0
        other = resolve_config("simple-cem", ["objective.name=return", "objective.discount=0.9"])
        assert other.objective == ReturnObjectiveConfig(discount=0.9)
        assert other.planner == own.planner
        assert other.search == {"planner": "cem", "objective": "return"}
        policy = resolve_config("simple-policy-cem", {"planner": "policy"})
        assert policy.planner.replan == 1
        assert policy.search["planner"] == "policy"

    def test_it_is_read_back(self):
        for method, overrides in (
            ("simple-cem", ["objective.name=return"]),
            ("dreamer", ["planner.name=policy-guided-cem", "planner.horizon=4"]),
            ("dreamer-v3-cem", ["planner.name=cem", "preset=cpu"]),
            ("simple-cem", []),
        ):
            config = resolve_config(method, overrides)
            assert from_yaml(config.to_yaml()) == config

    def test_a_name_is_written_only_where_it_is_not_the_methods_own(self):
        # Checkpoints of earlier versions, which had no names, go on.
        for overrides in ([], ["planner.name=cem"]):
            tree = resolve_config("simple-cem", overrides).to_dict()
            assert "name" not in tree["planner"]
            assert "name" not in tree["objective"]

    def test_a_method_that_acts_by_itself_may_have_a_planner(self):
        config = resolve_config("dreamer-v1", ["planner.name=cem", "planner.horizon=4"])
        assert config.search == {"planner": "cem", "objective": "return"}
        assert config.planner.horizon == 4
        assert resolve_config("dreamer-v1").search == {}

    @pytest.mark.parametrize(
        ("method", "overrides", "message"),
        [
            ("simple-cem", ["planner.name=cme"], "unknown planner 'cme'; did you mean 'cem'"),
            ("simple-cem", {"objective": "x"}, r"unknown objective 'x' \(valid: progress, return"),
            ("dreamer", ["objective.name=return"], "acts by itself: an objective needs a planner"),
            ("dreamer", ["planner.horizon=4"], "no setting 'planner.horizon'"),
            ("sb3-sac", ["planner.name=cem"], "no setting 'planner.name'"),
            ("simple-cem", ["objective.name=return", "objective.mode=end"],
             "with objective 'return' has no setting 'objective.mode'"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused(self, method, overrides, message):
        with pytest.raises(ConfigError, match=message):
            resolve_config(method, overrides)

    def test_settings_are_checked_before_there_is_an_environment(self):
        assert check_config("simple-cem", ["objective.mode=end", "training.seed=3"]) == 3
        check_config("simple-cem", ["objective.terminal_value=true"])
        with pytest.raises(ConfigError, match=r"method 'simple-cem' has no setting 'objective\.x'"):
            check_config("simple-cem", ["objective.x=1"])
