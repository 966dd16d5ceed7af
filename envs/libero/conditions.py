"""What the figures of a LIBERO environment depend on beside the agent.

Published success rates differ in all of these [MuJoCo's version alone moves a task of
libero_spatial from 98 to 12 %], so results carry them.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

import mujoco

from .assets import AssetFolder, assets_digest


def physics_conditions(contact_rule: str) -> dict[str, Any]:
    """Versions of what simulates, and the contact rule in force."""
    return {
        "mujoco": mujoco.__version__,
        "contact_rule": contact_rule,
        "robosuite": _version("robosuite"),
        "libero": _version("hf-libero"),
    }


def scene_conditions(
    assets: AssetFolder, suite: str, fixtures: str, settle_steps: int, reward: str
) -> dict[str, Any]:
    """What the scenes are made of, how they begin, and what returns are made of."""
    return {
        "assets": assets.kind,
        "assets_digest": assets_digest(assets, suite),
        "fixtures": fixtures,
        "settle_steps": settle_steps,
        "reward": reward,
    }


def image_conditions(
    rendering: str, convention: str, cameras: tuple[str, ...], size: int, renderer: str | None
) -> dict[str, Any]:
    """How images are drawn; ``renderer`` is known once there is one."""
    return {
        "rendering": rendering,
        "texture_colours": "linear",
        "image_convention": convention,
        "cameras": " and ".join(cameras),
        "image_size": size,
        "renderer": renderer or "none yet",
    }


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


__all__ = ["image_conditions", "physics_conditions", "scene_conditions"]
