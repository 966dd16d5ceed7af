"""Settings: overrides, messages, round trips, and an import that stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mbrl_agents import make_agent, make_planner, methods
from mbrl_agents.config import ConfigError, from_yaml, resolve_config


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
