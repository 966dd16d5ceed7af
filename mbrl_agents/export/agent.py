"""A trained agent that needs torch alone: what an exported file's parts are put together to."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mbrl_agents.agents.acting import Acting, ActingState
from mbrl_agents.export import plain_spaces as spaces
from mbrl_agents.protocols import Observation

ROOT = __name__.partition(".")[0]
"""The package whose modules the recipe names; an exported file's own where this is part of one."""


class Codec(NamedTuple):
    """Normalised actions and the environment's; see `mbrl_agents.data.actions.ActionCodec`."""

    size: int
    discrete: bool
    low: Tensor
    high: Tensor
    start: int

    @staticmethod
    def of(space: Any) -> Codec:
        """The codec of a Box or a Discrete."""
        if isinstance(space, spaces.Discrete):
            empty = torch.zeros(0, dtype=torch.float64)
            return Codec(space.n, True, empty, empty, space.start)
        return Codec(space.shape[0], False, space.low, space.high, 0)

    def decode(self, actions: Tensor) -> Tensor:
        """Actions ``(B, A)`` in the environment's range, float32; of a Discrete ``(B,)`` int64."""
        if self.discrete:
            return actions.argmax(-1) + self.start
        unit = actions.double().clamp(-1.0, 1.0)
        values = (self.low / 2 + self.high / 2) + (self.high / 2 - self.low / 2) * unit
        return values.clamp(self.low, self.high).float()


class ExportedAgent(Acting, nn.Module):
    """Acts as the run did that it was exported from.

    Args:
        package: ``recipe`` (what it is built of, see `mbrl_agents.export.recipe`) and ``weights``
            (the state of each module, by name).

    Attributes:
        package: as given, with these weights.
        observation_space: what it expects to be shown.
    """

    def __init__(self, package: Mapping[str, Any]) -> None:
        super().__init__()
        recipe = package["recipe"]
        self.package = dict(package)
        self.observation_space: Any = spaces.decode(recipe["observation_space"])
        action_space = spaces.decode(recipe["action_space"])
        self.codec = Codec.of(action_space)
        self.explore_std, self._seeds = recipe["explore_std"], recipe["noise"]
        sections = {name: built(value) for name, value in recipe["sections"].items()}
        self.algorithm = named(recipe["algorithm"])(
            sections, spaces.one_hot(self.observation_space), action_space, seed=recipe["seed"]
        )
        for name, module in self.algorithm.modules.items():
            module.load_state_dict(package["weights"][name])
            self.add_module(name, module)
        search = [recipe["planner"], recipe["objective"]]
        planner, objective = (
            None if part is None else named(part["target"])(built(part["config"]))
            for part in search
        )
        self.use(planner, objective)
        self.eval()
        self._state: ActingState | None = None

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def reset(self) -> None:
        """Begin an episode: the next `act` remembers nothing."""
        self._state = None

    @torch.no_grad()
    def act(self, observation: Any, deterministic: bool = True) -> Tensor:
        """The action for an observation, remembering the episode since `reset`.

        Args:
            observation: of one environment, by key, or plain where there is one: arrays, lists or
                tensors of the space's shapes; images ``(H, W, 3)`` from 0 to 255.
            deterministic: act without drawing actions.

        Returns:
            ``(A,)`` in the environment's range, or the number of a discrete action.

        Raises:
            ValueError: for an observation of other keys or shapes.
        """
        self._state = self.step(
            self.tensors(observation), self._state, None, deterministic=deterministic
        )
        return self.codec.decode(self._state.action.cpu())[0]

    forward = act

    def tensors(self, observation: Any) -> Observation:
        """An observation of one environment as a batch of one."""
        space: Any = self.observation_space
        entries: dict[str, Any] = getattr(space, "spaces", {"obs": space})
        given = observation if isinstance(observation, Mapping) else {"obs": observation}
        found = {}
        for key, entry in entries.items():
            if key not in given:
                raise ValueError(f"the observation has no {key!r}; expected {sorted(entries)}")
            value = torch.as_tensor(given[key])
            if tuple(value.shape) != entry.shape and value.ndim == 3:
                value = value.movedim(-1, 0)  # channels first, as a vectorised environment has it
            if tuple(value.shape) != entry.shape:
                raise ValueError(
                    f"observation {key!r} has shape {tuple(value.shape)}; expected {entry.shape}"
                )
            if isinstance(entry, spaces.Discrete):
                value = torch.nn.functional.one_hot(value.long() - entry.start, entry.n)
            kind = torch.uint8 if entry.dtype == "uint8" else torch.float32
            found[key] = value.to(kind)[None].to(self.device)
        return found

    def _noise(self, calls: Tensor) -> torch.Generator:
        # Beyond the longest episodes noise comes again.
        number = int(calls.max()) % len(self._seeds)
        return torch.Generator().manual_seed(int(self._seeds[number]))


def named(target: str) -> Any:
    """The object behind ``module:name`` of the recipe."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(f"{ROOT}.{module.partition('.')[2]}"), name)


def built(value: Any) -> Any:
    """Settings as the recipe has them; see `mbrl_agents.export.recipe.plain`."""
    if isinstance(value, Mapping) and "config" in value:
        return named(value["config"])(**{k: built(v) for k, v in value["values"].items()})
    return value


__all__ = ["ExportedAgent"]
