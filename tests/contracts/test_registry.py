"""The registry: every name resolves, and other packages add theirs without harm to ours."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import warnings
from dataclasses import dataclass

import gymnasium
import pytest

from mbrl_agents import make_agent, make_planner, make_world_model, methods
from mbrl_agents.config import resolve_config
from mbrl_agents.names import resolve
from mbrl_agents.plugins import (
    GROUP,
    add_method,
    add_objective,
    add_planner,
    add_world_model,
    load_entry_points,
)
from mbrl_agents.registry import (
    METHODS,
    OBJECTIVES,
    PLANNERS,
    WORLD_MODELS,
    AgentMethod,
    BaselineMethod,
    Component,
    ReferenceMethod,
)

TABLES = (METHODS, WORLD_MODELS, PLANNERS, OBJECTIVES)


@pytest.fixture
def tables():
    """What is added to the registry is gone after the test."""
    before = [dict(table) for table in TABLES]
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.parametrize("table", TABLES[1:], ids=["world models", "planners", "objectives"])
def test_every_component_is_a_class_with_a_config(table):
    for component in table.values():
        cls, config = component.load()
        assert isinstance(cls, type)
        assert dataclasses.is_dataclass(config())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_resolves(name):
    method = METHODS[name]
    assert method.name == name
    assert method.summary
    assert callable(resolve(method.make))
    for target in (method.train, method.load):
        assert not target or callable(resolve(target))
    for target in method.configs().values():
        config = resolve(target)
        assert dataclasses.is_dataclass(config())
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config(), dataclasses.fields(config)[0].name, 1)
    if isinstance(method, AgentMethod):
        assert isinstance(resolve(method.algorithm), type)
        assert {"world_model", "training"} <= set(method.sections)
        assert bool(method.planner) == bool(method.objective)
    else:
        assert isinstance(method, BaselineMethod | ReferenceMethod)
        assert isinstance(resolve(method.target), type)


def test_agents_are_listed_first():
    kinds = [METHODS[name].kind for name in methods()]
    assert kinds == sorted(kinds, key=("agent", "baseline", "reference").index)
    assert set(kinds) == {"agent", "baseline", "reference"}
    assert methods()[:3] == ["simple-cem", "simple-policy", "simple-policy-cem"]
    assert set(methods()) == set(METHODS)


class TestOtherPackages:
    def test_their_method_is_like_ours(self, tables):
        own = dataclasses.replace(METHODS["simple-cem"], name="theirs", summary="with reward alone")
        add_method(own)
        assert "theirs" in methods()
        assert resolve_config("theirs", ["planner.horizon=4"]).planner.horizon == 4
        env = gymnasium.make("toy_reach:ToyReach-v0")
        assert make_agent("theirs", env).config.method == "theirs"
        env.close()
        with pytest.raises(ValueError, match="did you mean 'theirs'"):
            resolve_config("their")

    def test_a_taken_name_is_refused(self, tables):
        before = METHODS["simple-cem"]
        with pytest.raises(ValueError, match="there is a method 'simple-cem' already"):
            add_method(dataclasses.replace(before, summary="another"))
        assert METHODS["simple-cem"] is before
        for add, name, what in (
            (add_world_model, "simple", "world model"),
            (add_planner, "cem", "planner"),
            (add_objective, "return", "objective"),
        ):
            with pytest.raises(ValueError, match=f"there is a {what} '{name}' already"):
                add(name, "somewhere:Else", "somewhere:ElseConfig")
        # Twice the same is no conflict: a package may be imported twice.
        add_method(before)
        add_planner("cem", PLANNERS["cem"].target, PLANNERS["cem"].config)

    def test_their_components_are_made_by_name(self, tables):
        env = gymnasium.make("toy_reach:ToyReach-v0")
        model, planner = WORLD_MODELS["simple"], PLANNERS["cem"]
        add_world_model("theirs", model.target, model.config)
        add_planner("their-search", planner.target, planner.config)
        add_objective("their-aim", OBJECTIVES["return"].target, OBJECTIVES["return"].config)
        made = make_world_model("theirs", env.observation_space, env.action_space, ensemble=1)
        assert isinstance(made, model.load()[0])
        assert isinstance(make_planner("their-search", horizon=4), planner.load()[0])
        own = dataclasses.replace(
            METHODS["simple-cem"], name="mine", planner="their-search", objective="their-aim",
            presets=(),
        )  # fmt: skip
        add_method(own)
        assert resolve_config("mine").objective == OBJECTIVES["return"].load()[1]()
        assert isinstance(OBJECTIVES["their-aim"], Component)
        env.close()


@dataclass
class Point:
    """An entry point of another package."""

    name: str
    found: object
    value: str = "package:function"

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class TestEntryPoints:
    def asked(self, monkeypatch, *points: Point) -> None:
        def entry_points(*, group: str):
            assert group == "mbrl_agents"
            return points

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    def test_one_that_fails_is_reported_and_the_others_are_loaded(self, tables, monkeypatch):
        def broken():
            raise RuntimeError("half of it")

        def conflicting():
            add_method(dataclasses.replace(METHODS["random"], summary="another"))

        def good():
            add_method(dataclasses.replace(METHODS["random"], name="theirs"))

        self.asked(
            monkeypatch,
            Point("missing", ModuleNotFoundError("no module named 'theirs'"), "theirs:add"),
            Point("broken", broken),
            Point("conflicting", conflicting),
            Point("good", good),
        )
        before = dict(METHODS)
        with pytest.warns(RuntimeWarning) as told:
            load_entry_points()
        messages = [str(warning.message) for warning in told]
        assert len(messages) == 3
        assert "'missing'" in messages[0]
        assert "(theirs:add) failed: ModuleNotFoundError: no module named" in messages[0]
        assert "RuntimeError: half of it" in messages[1]
        assert "there is a method 'random' already" in messages[2]
        assert set(METHODS) - set(before) == {"theirs"}
        assert all(METHODS[name] is method for name, method in before.items())

    def test_without_any_nothing_is_said(self, monkeypatch):
        self.asked(monkeypatch)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_entry_points()

    def test_they_are_loaded_with_the_package(self):
        assert GROUP == "mbrl_agents"
        from mbrl_agents import load_entry_points as called

        assert called is load_entry_points
