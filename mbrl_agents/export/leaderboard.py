"""The folder that a course's evaluation loads: weights, architecture file, Hydra's settings."""

from __future__ import annotations

import io
import json
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.saving import CONFIG_FILE, OVERRIDES_FILE
from mbrl_agents.data.files import write_text
from mbrl_agents.data.locks import atomic_folder
from mbrl_agents.export.recipe import package_of, targets
from mbrl_agents.export.sources import standalone
from mbrl_agents.registry import agent_method
from mbrl_agents.registry.hand_in import architecture
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunInfo

MODEL, POLICY, HYDRA = "miniGRP.pth", "policy.pth", ".hydra"
NO_POLICY = ("world_model", "calibration")
"""Modules that are no policy."""


def export_leaderboard(run: str | Path, folder: str | Path) -> list[str]:
    """Write the folder for a finished run of an agent.

    ``miniGRP.pth`` is the agent itself, which `torch.load` gives back wherever the architecture
    file beside it can be imported; ``policy.pth`` the weights of its policy, where it has one.

    Returns:
        The names of the files.

    Raises:
        FileNotFoundError: no finished run there.
        FileExistsError: there is something at ``folder`` already.
        ValueError: a run of a baseline, whose architecture is Stable-Baselines3's.
    """
    run, info = Path(run), RunInfo.read(run)
    agent = load_run(run, device="cpu")
    if not isinstance(agent, Agent):
        raise ValueError(
            f"{run} is a run of {info.spec.method}, a baseline of Stable-Baselines3; only agents "
            "of this package can be handed in"
        )
    package = package_of(agent)
    stem, name = architecture(agent_method(info.spec.method))
    title = f"{info.spec.method}, trained on {info.spec.env_id}."
    with atomic_folder(folder) as out:
        write_text(out / f"{stem}.py", standalone(targets(package["recipe"]), stem, name, title))
        (out / MODEL).write_bytes(_pickled(package, stem))
        policy = {k: v for k, v in package["weights"].items() if k not in NO_POLICY}
        if policy:
            found = next(iter(policy.values())) if len(policy) == 1 else policy
            torch.save(found, out / POLICY)
        if (run / HYDRA).is_dir():  # an experiment of the homework, in its own words
            shutil.copytree(run / HYDRA, out / HYDRA)
        else:
            (out / HYDRA).mkdir()
            write_text(out / HYDRA / "config.yaml", _config(run, info))
            shutil.copyfile(run / OVERRIDES_FILE, out / HYDRA / "overrides.yaml")
        return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


class _Pickled:
    """Pickled as a call of the architecture file's ``restore``."""

    def __init__(self, restore: Any, package: dict[str, Any]) -> None:
        self._called = restore, (package,)

    def __reduce__(self) -> Any:
        return self._called


def _pickled(package: dict[str, Any], stem: str) -> bytes:
    buffer = io.BytesIO()
    with _standing_for(stem) as restore:
        torch.save(_Pickled(restore, package), buffer)
    return buffer.getvalue()


@contextmanager
def _standing_for(stem: str) -> Iterator[Any]:
    """A function that pickle takes for ``restore`` of the module ``stem``."""

    def restore(package: Any) -> None:
        raise NotImplementedError

    restore.__module__, restore.__qualname__ = stem, "restore"
    module: Any = types.ModuleType(stem)
    module.restore = restore
    before = sys.modules.get(stem)
    sys.modules[stem] = module
    try:
        yield restore
    finally:
        if before is None:
            del sys.modules[stem]
        else:
            sys.modules[stem] = before


def _config(run: Path, info: RunInfo) -> str:
    """The settings as Hydra would have written them: the run's, with its environment and name."""
    told = {"exp_name": run.resolve().name, "env_id": info.spec.env_id, "seed": info.spec.seed,
            "env_kwargs": dict(info.spec.env_kwargs)}  # fmt: skip
    head = "".join(f"{name}: {json.dumps(value)}\n" for name, value in told.items())
    return head + (run / CONFIG_FILE).read_text(encoding="utf-8")


__all__ = ["export_leaderboard"]
