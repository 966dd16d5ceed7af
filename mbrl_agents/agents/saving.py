"""Reading and writing saved agents: a run folder, or the same files in one zip."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as dump_weights
from torch import Tensor, nn

from mbrl_agents.agents.space_codec import decode_space, encode_space
from mbrl_agents.config import ConfigError, MethodConfig, from_yaml
from mbrl_agents.training.checkpoints import atomic, discard_partial, write_text

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.yaml"
AGENT_FILE = "agent.json"
VERSIONS_FILE = "versions.json"
LOG_FILE = "training_logs.csv"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = ".safetensors"
"""Each module of an algorithm is a file of its name with this suffix."""

EARLIER = "model.safetensors"
"""The world model's weights in a run of version 0.1, whose modules had other names."""

PACKAGES = (
    "mbrl-agents",
    "torch",
    "numpy",
    "gymnasium",
    "stable-baselines3",
    "hf-libero",
    "mujoco",
)


@dataclass(frozen=True)
class SavedAgent:
    """Everything a saved agent consists of.

    Attributes:
        weights: of each module by name.
        facts: plain JSON values.
    """

    config: MethodConfig
    observation_space: spaces.Space
    action_space: spaces.Space
    weights: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]

    def load_into(self, modules: Mapping[str, nn.Module]) -> None:
        """Load weights into modules built by the same config, and leave them in eval mode.

        Raises:
            FileNotFoundError: when those of a module are missing.
            ValueError: when they do not fit.
        """
        for name, module in modules.items():
            if name not in self.weights:
                raise FileNotFoundError(f"the saved agent holds no {name}{WEIGHTS}")
            try:
                module.load_state_dict(self.weights[name])
            except RuntimeError as error:
                raise ValueError(
                    f"{name}{WEIGHTS} does not fit the saved config, or another version of this "
                    f"package wrote it: {error}"
                ) from error
            module.eval()


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _files(saved: SavedAgent) -> dict[str, bytes]:
    agent = {
        "observation_space": encode_space(saved.observation_space),
        "action_space": encode_space(saved.action_space),
        **saved.facts,
    }
    files = {
        CONFIG_FILE: saved.config.to_yaml().encode(),
        AGENT_FILE: (json.dumps(agent, indent=2) + "\n").encode(),
        VERSIONS_FILE: (json.dumps(versions(), indent=2) + "\n").encode(),
    }
    return files | {f"{name}{WEIGHTS}": _weights(w) for name, w in saved.weights.items()}


def _weights(tensors: dict[str, Tensor]) -> bytes:
    return dump_weights({k: v.detach().cpu().contiguous() for k, v in tensors.items()})


def write_run(folder: Path, saved: SavedAgent, overrides: Sequence[str] = ()) -> None:
    """Write a run folder, file by file, each atomically.

    What a killed process left of an earlier attempt is removed.
    """
    for name, data in _files(saved).items():
        discard_partial(folder / name)
        with atomic(folder / name) as temporary:
            temporary.write_bytes(data)
    lines = "".join(f"- {json.dumps(item)}\n" for item in overrides) or "[]\n"
    write_text(folder / OVERRIDES_FILE, lines)


def weights_digest(saved: SavedAgent) -> str:
    """A short name for weights: equal weights, equal names."""
    found = hashlib.sha256()
    for name, tensors in sorted(saved.weights.items()):
        found.update(name.encode())
        found.update(_weights(tensors))
    return found.hexdigest()[:12]


def zip_bytes(saved: SavedAgent) -> bytes:
    """The same files as one zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in _files(saved).items():
            archive.writestr(name, data)
    return buffer.getvalue()


def read_saved(path: str | os.PathLike[str] | io.BufferedIOBase) -> SavedAgent:
    """Read either form.

    Raises:
        FileNotFoundError: when there is nothing at ``path`` or a file is missing.
        ValueError: when a file cannot be read.
    """
    if isinstance(path, io.BufferedIOBase):
        return _parse(_unzip(path, "the stream"), "the stream")
    target = Path(path)
    if target.is_dir():
        found = [target / AGENT_FILE, target / VERSIONS_FILE, *decisive_files(target)]
        files = {file.name: file.read_bytes() for file in found if file.is_file()}
        return _parse(files, str(target))
    if not target.is_file():
        with_suffix = target.with_name(target.name + ".zip")
        if not with_suffix.is_file():
            raise FileNotFoundError(f"no saved agent at {target}")
        target = with_suffix
    with target.open("rb") as stream:
        return _parse(_unzip(stream, str(target)), str(target))


def decisive_files(folder: Path) -> list[Path]:
    """The files of a run folder that decide how its agent acts: settings and weights."""
    weights = sorted(folder.glob(f"*{WEIGHTS}"))
    return [folder / CONFIG_FILE, *(w for w in weights if w.name != CHECKPOINT)]


def _unzip(stream: Any, where: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(stream) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{where} is not a saved agent: {error}") from error


def _parse(files: dict[str, bytes], where: str) -> SavedAgent:
    if EARLIER in files:
        raise ValueError(
            f"{where} was written by version 0.1 of mbrl_agents, whose weights lie in other files; "
            "load it with that version, or train again"
        )
    for name in (CONFIG_FILE, AGENT_FILE):
        if name not in files:
            raise FileNotFoundError(f"{where} holds no {name}")
    config = _config(
        files[CONFIG_FILE].decode(), where, files.get(VERSIONS_FILE, b"").decode("utf-8", "replace")
    )
    names = [name for name in files if name.endswith(WEIGHTS)]
    try:
        agent = json.loads(files[AGENT_FILE])
        weights = {n.removesuffix(WEIGHTS): load_weights(files[n]) for n in names}
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{where} is damaged: {error}") from error
    return SavedAgent(
        config=config,
        observation_space=decode_space(agent.pop("observation_space")),
        action_space=decode_space(agent.pop("action_space")),
        weights=weights,
        facts=agent,
    )


def read_config(folder: Path) -> MethodConfig:
    """The settings of a run folder.

    Raises:
        FileNotFoundError: it holds none.
        ValueError: another version wrote them.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no {CONFIG_FILE}")
    wrote = folder / VERSIONS_FILE
    return _config(
        (folder / CONFIG_FILE).read_text(encoding="utf-8"),
        str(folder),
        wrote.read_text(encoding="utf-8") if wrote.is_file() else "",
    )


def _config(text: str, where: str, wrote: str) -> MethodConfig:
    """Settings as ``config.yaml`` has them; ``wrote`` is the text of ``versions.json``."""
    try:
        return from_yaml(text)
    except ConfigError as error:
        raise ValueError(
            f"{where} has settings that this version of mbrl_agents does not have ({error}): load "
            f"it with the version in its {VERSIONS_FILE}{_version_in(wrote)}, or train again"
        ) from error


def _version_in(text: str) -> str:
    """ ", 0.1.0", the version that wrote a run; empty where nothing says it."""
    try:
        return f", {json.loads(text)[PACKAGES[0]]}"
    except (ValueError, KeyError, TypeError):
        return ""


def refuse_earlier(folder: Path) -> None:
    """Raise ValueError for the folder of an interrupted run of version 0.1."""
    for path in folder.glob("*.checkpoint.safetensors"):
        raise ValueError(
            f"{path} belongs to an interrupted training of version 0.1 of mbrl_agents; finish it "
            "with that version, or take another folder (mbrl train --fresh begins anew in this one)"
        )


def append_rows(path: Path, phase: str, row: dict[str, float]) -> None:
    """Add one evaluation to ``training_logs.csv``, in long form: phase, step, metric, value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if fresh:
            writer.writerow(["phase", "step", "metric", "value"])
        # In one order, whether or not sums went through a checkpoint on the way.
        for name, value in sorted(row.items()):
            if name != "step":
                writer.writerow([phase, int(row["step"]), name, value])


def trim_rows(path: Path, phase: str, step: int) -> None:
    """Remove the rows of ``phase`` beyond ``step``, and a line that a kill cut short.

    A phase goes on from its last checkpoint, so what it logged after that comes again.
    """
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    header, *lines = text[: text.rfind("\n") + 1].splitlines(keepends=True) or [""]
    kept = []
    for line in lines:
        name, logged, _ = line.split(",", 2)
        if name != phase or int(logged) <= step:
            kept.append(line)
    whole = header + "".join(kept)
    if not whole:
        path.unlink()
    elif whole != text:
        write_text(path, whole)
