"""``mbrl doctor`` tells the truth about this machine, and about others."""

from __future__ import annotations

import json
from typing import Any

import mujoco
import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app
from mbrl_agents.envs.libero import doctor, simulation
from mbrl_agents.envs.libero.contact_rule import CHANGED_IN
from mbrl_agents.envs.libero.doctor import TOLERANCES

PRIMITIVE = "env.assets=primitive"
NATIVE = tuple(map(int, mujoco.__version__.split(".")[:2])) < CHANGED_IN
"""Whether the installed MuJoCo computes contacts by the reference rule itself."""


def mbrl(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_with_the_installed_versions_nothing_is_wrong() -> None:
    result = mbrl(PRIMITIVE, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["healthy"]
    assert report["wrong"] == []
    assert report["settled_states"] == 6
    far, turned = TOLERANCES["primitive"]
    assert report["farthest_mm"] < 1e3 * far
    assert report["most_turned_degrees"] < turned
    conditions = report["conditions"]
    assert conditions["mujoco"] == mujoco.__version__
    assert conditions["contact_rule"] == report["contact_rule"]
    assert conditions["step_limit"] == 220
    assert len(conditions["assets_digest"]) == 12
    assert any("primitive assets" in text for text in report["remarks"])


@pytest.mark.skipif(not NATIVE, reason="this MuJoCo follows the later rule")
@pytest.mark.parametrize("rule", ["reference", "mujoco"])
def test_a_mujoco_that_follows_the_rule_by_itself_is_a_remark(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STATES", {5: (0,)})
    result = mbrl(PRIMITIVE, f"env.contact_rule={rule}", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["contact_rule"] == report["conditions"]["contact_rule"]
    assert report["contact_rule"] == f"native {'.'.join(mujoco.__version__.split('.')[:2])}"
    assert any("expect by itself" in text for text in report["remarks"])


@pytest.mark.skipif(NATIVE, reason="this MuJoCo follows the reference rule by itself")
def test_the_contact_rule_of_later_versions_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "STATES", {5: (0,)})
    result = mbrl(PRIMITIVE, "env.contact_rule=mujoco")
    assert result.exit_code == 1
    assert "wrong: objects of " in result.stdout
    assert "rest elsewhere than in stock LIBERO" in result.stdout
    assert "contact_rule='reference' restores that" in result.stdout
    assert "nothing is wrong" not in result.stdout


def test_an_untested_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco, "__version__", "3.99.0")
    result = mbrl(PRIMITIVE)
    assert result.exit_code == 1
    assert "cannot be had with MuJoCo 3.99.0" in result.stdout
    assert "contact rule" in result.stdout


def test_a_contact_rule_that_cannot_be_installed_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(rule: str, model: Any) -> str:
        if rule == "reference":
            raise RuntimeError("the table is not there")
        return rule

    monkeypatch.setattr(doctor, "STATES", {0: (0,), 5: (0,)})
    monkeypatch.setattr(simulation, "apply_contact_rule", refused)
    result = mbrl(PRIMITIVE, "--json")
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert report["wrong"].count("the table is not there") == 1
    assert (report["contact_rule"], report["settled_states"]) == ("mujoco", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "CartPole-v1"], "CartPole-v1 is not a suite of LIBERO; valid: mbrl/Libero10-v0"),
        (["planner.horizon=3"], "expected env.KEY=VALUE"),
        (["env.contact_rule=new"], "valid: reference, mujoco"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], said: str) -> None:
    result = mbrl(*arguments)
    assert result.exit_code != 0
    assert said in result.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["env.settle_steps=0"], "objects settle for 0 steps, 10 in published evaluations"),
        (["env.obs=image"], "primitive assets have LIBERO's physics, not its looks"),
    ],
)
def test_what_makes_figures_incomparable_is_wrong(
    settings: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STATES", {0: (0,)})
    result = mbrl(PRIMITIVE, *settings)
    assert result.exit_code == 1, result.output
    assert f"wrong: {said}" in result.stdout


def test_images_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "STATES", {0: (0,)})
    report = json.loads(mbrl(PRIMITIVE, "--json").stdout)
    assert report["conditions"]["rendering"] == "fast"
    assert report["conditions"]["renderer"].split()[0] in ("EGL", "OSMesa")
    remarks = json.loads(mbrl(PRIMITIVE, "env.obs=image", "--json").stdout)["remarks"]
    assert any(text.startswith("image_convention='upright'; published") for text in remarks)
