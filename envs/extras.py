"""Environments of other packages: what to install where one of them is missing."""

from __future__ import annotations

import importlib.util

from gymnasium.error import DependencyNotInstalled


class MissingExtra(DependencyNotInstalled, ImportError):
    """An environment needs an optional package that is not installed."""


def require(module: str, *, extra: str, env_id: str) -> None:
    """Raise unless a package can be imported; nothing is imported.

    Args:
        module: top-level name of the package.
        extra: of this project, which installs it.
        env_id: of the environment that needs it.

    Raises:
        MissingExtra: one sentence with the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(
            f"{env_id} needs the package {module}, which is not installed: "
            f'pip install "mbrl-agents[{extra}]"'
        )


__all__ = ["MissingExtra", "require"]
