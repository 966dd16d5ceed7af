"""What other packages add to the registry.

They do so through entry points of the group ``mbrl_agents``: each names a function without
arguments that calls `add_method`, `add_world_model`, `add_planner` or `add_objective` of
`mbrl_agents.registry`, or registers environments with Gymnasium.
"""

from __future__ import annotations

import importlib.metadata
import warnings

GROUP = "mbrl_agents"
"""Of the entry points by which other packages add to this registry."""


def load_entry_points() -> None:
    """Let other packages add theirs; one that fails is reported and left out."""
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:  # somebody else's code must not stop ours
            warnings.warn(
                f"the entry point {point.name!r} of group {GROUP} ({point.value}) failed: "
                f"{type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
