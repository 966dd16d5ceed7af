"""What the homework hands in, beside the run's own files in an experiment's folder.

The course loads ``.pth`` files.  ``miniGRP.pth`` is what `mbrl_agents.export` makes of the agent;
``policy.pth`` and ``world_model.pth`` are state dicts, read back
with ``weights_only=True``, which runs no code that a file brings along.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.agents.saving import CONFIG_FILE, LOG_FILE, read_saved
from mbrl_agents.data.files import atomic
from mbrl_agents.export.leaderboard import HYDRA, MODEL, POLICY, export_leaderboard
from mbrl_agents.homework.translation import Experiment
from mbrl_agents.training.checkpoints import write_text
from mbrl_agents.yaml_text import dotlist, read_yaml

WORLD_MODEL_FILE = "world_model.pth"


def write(experiment: Experiment, folder: Path) -> None:
    """Write what the text asks for: weights, architecture, and the command under Hydra's names.

    Args:
        folder: of the experiment's finished run.
    """
    saved = read_saved(folder)
    for module, name in (("world_model", WORLD_MODEL_FILE), ("policy", POLICY)):
        if module in saved.weights:
            write_weights(folder / name, saved.weights[module])
    hydra = folder / HYDRA
    hydra.mkdir(exist_ok=True)
    write_text(hydra / "config.yaml", _config(experiment, folder))
    write_text(hydra / "overrides.yaml", "".join(f"- {json.dumps(w)}\n" for w in experiment.given))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as room:
        exported = Path(room) / "exported"
        export_leaderboard(folder, exported)
        for file in (exported / MODEL, *exported.glob("*.py")):
            file.replace(folder / file.name)


def words_of(folder: Path) -> list[str] | None:
    """The command whose files `write` left in a folder; None where there are none."""
    file = folder / HYDRA / "overrides.yaml"
    return read_yaml(file) if file.is_file() else None


def write_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """A state dict as ``torch.save`` writes it, atomically."""
    with atomic(file) as temporary:
        torch.save({name: tensor.cpu() for name, tensor in weights.items()}, temporary)


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict that `write_weights`, or any ``torch.save(module.state_dict())``, wrote.

    Raises:
        ValueError: the file holds something else than named tensors.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is not a readable state dict: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise ValueError(f"{file} holds no state dict: named tensors were expected")
    return found


def copy_logs(source: Path, folder: Path) -> None:
    """An experiment that trains nothing shows how its weights were trained."""
    if (source / LOG_FILE).is_file() and source.resolve() != folder.resolve():
        shutil.copyfile(source / LOG_FILE, folder / LOG_FILE)


def _config(experiment: Experiment, folder: Path) -> str:
    """The command's settings, and under ``mbrl`` all of the library's."""
    from omegaconf import OmegaConf

    asked = dotlist(experiment.given)
    command: dict[str, Any] = asdict(experiment)
    command.pop("given")
    library = OmegaConf.load(folder / CONFIG_FILE)
    tree = OmegaConf.merge(asked, {"experiment": command, "mbrl": library})
    return OmegaConf.to_yaml(tree)


__all__ = ["WORLD_MODEL_FILE", "copy_logs", "read_weights", "words_of", "write", "write_weights"]
