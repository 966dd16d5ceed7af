"""Gymnasium environments, imported as ``mbrl_agents.envs``.

Importing this package registers the environments and imports nothing heavy: LIBERO, MuJoCo and
torch are loaded when an environment is made.
"""

if __name__ == "envs":
    raise ImportError(
        "this folder is the source of the package mbrl_agents.envs; install the project "
        "(pip install -e .) and write `import mbrl_agents.envs`"
    )

from .libero.published import PublishedObservations, make_published
from .registration import register_envs

register_envs()

__all__ = ["PublishedObservations", "make_published", "register_envs"]
