"""Kinds of methods, and what the rest of the library has to know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mbrl_agents.names import lookup
from mbrl_agents.registry.components import OBJECTIVES, PLANNERS


@dataclass(frozen=True)
class Method:
    """A named row of a comparison; subclasses say what kind of thing it is.

    Attributes:
        name: what users type.
        summary: one line for a table of methods.
        kind: of rows in results: "agent", "baseline" or "reference".
        make: ``module:name`` of what builds it.
        train: ``module:name`` of what trains it into a run folder; empty where nothing is trained.
        load: ``module:name`` of what reads it back from one.
        demonstrations: whether it learns from recorded episodes.
        gathers: whether its training gathers what it learns from in environments of its own, so
            that it needs neither episodes nor steps.
        own_steps: whether it learns from its own experience alone, and needs to know how much.
        steps_do: whether steps of its own may take the place of recorded episodes; one that clones
            a policy says itself that they do not.
        imagines: whether it has a world model.
        searches: whether it takes long enough to decide for an evaluation to be split.
        sections: config classes by section of its settings, as ``module:name``.
        presets: names of presets that belong to it, applied in order.
        shortcuts: short names of settings.
        observations: what it can read: "vectors" (a Box of one dimension, a Discrete), "images".
        needs_images: whether there must be an image among them.
        actions: kinds of action spaces that it can act in.
        cost, evaluation_cost: rough seconds, for the order of a benchmark's jobs.
    """

    name: str
    summary: str
    demonstrations: bool = False
    sections: Mapping[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    shortcuts: Mapping[str, str] = field(default_factory=dict)
    cost: float = 120.0
    gathers: bool = False
    observations: tuple[str, ...] = ("vectors", "images")
    needs_images: bool = False
    actions: tuple[str, ...] = ("Box", "Discrete")

    kind: ClassVar[str] = ""
    make: ClassVar[str] = ""
    train: ClassVar[str] = ""
    load: ClassVar[str] = ""
    own_steps: ClassVar[bool] = False
    steps_do: ClassVar[bool] = False
    imagines: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    evaluation_cost: ClassVar[float] = 10.0

    @property
    def search(self) -> dict[str, str]:
        """Names of its planner and objective by section of its settings; empty without any."""
        return {}

    @property
    def without_success(self) -> Mapping[str, Any]:
        """Another objective by name, and its settings, for environments that tell no success.

        Empty where the method's own serves there too.
        """
        return {}

    @property
    def presets_package(self) -> str:
        """The package whose ``presets.yaml`` holds its presets; empty without any."""
        return ""

    def configs(self) -> dict[str, str]:
        """Config classes of all its settings by section, as ``module:name``."""
        return dict(self.sections)

    def components(self) -> dict[str, str]:
        """What it is put together from, by part."""
        return {}

    def reads_weights_of(self, other: Method) -> bool:
        """Whether it can act on the weights that another method trained."""
        return other is self

    def trained(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides trained weights, by part: of two methods of which one's is contained in the
        other's, both can act on what the latter trains.  Empty where nothing is ever shared."""
        return {}

    def used_modules(self, names: Sequence[str]) -> list[str]:
        """Which of the modules that a training gave it acts by: shared weights may have more."""
        return list(names)

    def notes(self, settings: Any) -> list[str]:
        """What has to be known to compare its budget with those of others."""
        return []


@dataclass(frozen=True)
class AgentMethod(Method):
    """An algorithm of this library, acting by itself or through a planner.

    Attributes:
        algorithm: ``module:name`` of the class; the module is, or lies in, a package that may
            hold ``presets.yaml``.
        planner, objective: component names; empty for an algorithm that acts by itself.
        fallback: see `without_success`.
    """

    demonstrations: bool = True
    algorithm: str = ""
    planner: str = ""
    objective: str = ""
    fallback: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "agent"
    make: ClassVar[str] = "mbrl_agents.agents.agent:make_model_based"
    train: ClassVar[str] = "mbrl_agents.runs.work:train_agent"
    load: ClassVar[str] = "mbrl_agents.runs.loading:load_agent"
    steps_do: ClassVar[bool] = True
    imagines: ClassVar[bool] = True
    searches: ClassVar[bool] = True
    evaluation_cost: ClassVar[float] = 60.0

    @property
    def search(self) -> dict[str, str]:
        parts = {"planner": self.planner, "objective": self.objective}
        return {part: name for part, name in parts.items() if name}

    @property
    def without_success(self) -> Mapping[str, Any]:
        return self.fallback

    @property
    def presets_package(self) -> str:
        return self.algorithm.partition(":")[0]

    def configs(self) -> dict[str, str]:
        found = dict(self.sections)
        if self.planner:
            found["planner"] = lookup(PLANNERS, self.planner, "planner").config
            found["objective"] = lookup(OBJECTIVES, self.objective, "objective").config
        return found

    def components(self) -> dict[str, str]:
        parts = {"algorithm": self.algorithm, "planner": self.planner, "objective": self.objective}
        return {name: value for name, value in parts.items() if value}

    @property
    def modules(self) -> dict[str, str]:
        """Sections whose settings decide trained weights, without those of training itself."""
        return {name: config for name, config in self.sections.items() if name != "training"}

    def reads_weights_of(self, other: Method) -> bool:
        if not isinstance(other, AgentMethod):
            return False
        return self.algorithm == other.algorithm and self.modules.items() <= other.modules.items()

    def used_modules(self, names: Sequence[str]) -> list[str]:
        unused = () if "policy" in self.sections or "actor" in self.sections else ("policy",)
        return [name for name in names if name not in unused]

    def trained(self, config: Mapping[str, Any]) -> dict[str, Any]:
        parts = {name: [target, config[name]] for name, target in self.sections.items()}
        return {"algorithm": self.algorithm, **parts}


@dataclass(frozen=True)
class BaselineMethod(Method):
    """An algorithm of Stable-Baselines3.

    Attributes:
        target: ``module:name`` of its class.
    """

    target: str = ""
    cost: float = 100.0

    kind: ClassVar[str] = "baseline"
    make: ClassVar[str] = "mbrl_agents.agents.sb3:make_baseline"
    train: ClassVar[str] = "mbrl_agents.runs.work:train_baseline"
    load: ClassVar[str] = "mbrl_agents.runs.loading:load_baseline"
    own_steps: ClassVar[bool] = True

    def notes(self, settings: Any) -> list[str]:
        shown = ["env steps include those of the demonstrations"] if self.demonstrations else []
        return [*settings.baseline.notes(), *shown]


@dataclass(frozen=True)
class ReferenceMethod(Method):
    """A policy that is not trained: what a table's figures lie between.

    Attributes:
        target: ``module:name`` of its class.
    """

    target: str = ""

    kind: ClassVar[str] = "reference"
    make: ClassVar[str] = "mbrl_agents.agents.reference:make_reference"


__all__ = ["AgentMethod", "BaselineMethod", "Method", "ReferenceMethod"]
