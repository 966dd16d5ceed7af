"""Which methods fit an environment's spaces, and which to take where one does not."""

from __future__ import annotations

from gymnasium import spaces

from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.errors import UsageError
from mbrl_agents.names import lookup
from mbrl_agents.registry import METHODS, Method

NAMED = 3
"""How many methods a message names in place of one that does not fit."""


def check_suits(method: str, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Refuse spaces that a method cannot work on, with the names of methods that can.

    Raises:
        UsageError: with what it needs, what there is, and what to take.
    """
    recipe: Method = lookup(METHODS, method, "method")
    reason = _misfit(recipe, observation_space, action_space)
    if reason is None:
        return
    fitting = [
        other
        for other in METHODS.values()
        if other.train and _misfit(other, observation_space, action_space) is None
    ]

    # Nearest first: what learns from the same, by the same kind of acting.
    def apart(other: Method) -> tuple[bool, bool, bool]:
        return (
            other.kind != recipe.kind,
            other.demonstrations != recipe.demonstrations,
            bool(other.search) != bool(recipe.search),
        )

    *names, last = [other.name for other in sorted(fitting, key=apart)[:NAMED]] or [""]
    words = f"{', '.join(names)} or {last}" if names else last
    instead = f"for these spaces take {words}" if words else "no method takes such spaces"
    raise UsageError(f"{method} {reason}; {instead}")


def _misfit(
    recipe: Method, observation_space: spaces.Space, action_space: spaces.Space
) -> str | None:
    """What a method needs that it does not find; None where it fits."""
    kinds = tuple(name for name in ("Box", "Discrete") if name in recipe.actions)
    if type(action_space).__name__ not in kinds:
        return f"needs a {' or a '.join(kinds)} of actions, not {action_space}"
    entries = {"obs": observation_space}
    if isinstance(observation_space, spaces.Dict):
        entries = dict(observation_space.spaces)
    if recipe.kind != "agent":
        strange = [e for e in entries.values() if not isinstance(e, spaces.Box | spaces.Discrete)]
        return (
            f"reads a Box or a Discrete, or a Dict of them, not {strange[0]}" if strange else None
        )
    try:
        ActionCodec(action_space)
    except ValueError as error:
        return f"cannot act here: {error}"
    found = {key: _kind(entry) for key, entry in entries.items()}
    for key, kind in found.items():
        if kind not in ("vectors", "images"):
            return f"reads vectors and uint8 images (H, W, C), and observation {key!r} is {kind}"
        if kind not in recipe.observations:
            return f"reads {' and '.join(recipe.observations)}, and observation {key!r} is not one"
    if recipe.needs_images and "images" not in found.values():
        return f"learns from images, and this environment shows none ({', '.join(found)})"
    return None


def _kind(space: spaces.Space) -> str:
    """ "vectors", "images", or the space in words."""
    if isinstance(space, spaces.Discrete):
        return "vectors"
    if isinstance(space, spaces.Box):
        shape = space.shape or ()
        if len(shape) <= 1:
            return "vectors"
        if len(shape) == 3 and str(space.dtype) == "uint8":
            return "images"
        return f"a Box of shape {shape} and dtype {space.dtype}"
    return f"a {type(space).__name__}"


__all__ = ["check_suits"]
