"""Minari's datasets in their HDF5 layout: ``main_data.hdf5`` and ``metadata.json`` in a folder.

``episode_N`` holds ``observations`` (T + 1, ...), nested as the space is, ``actions``, ``rewards``,
``terminations`` and ``truncations`` (T,).  Read and written directly, so that the package
``minari`` is only needed for what it knows beyond files (see the extra ``minari``): it loads what
is written here, and a dataset's id becomes a folder through it.

Success is taken from an info ``success`` or ``is_success``, where an episode has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import write_text
from mbrl_agents.data.formats.base import (
    DAMAGE,
    Part,
    ReadOptions,
    broken,
    labels_from,
    shown_action,
)

MAIN, METADATA = "main_data.hdf5", "metadata.json"
SCHEME = "minari:"
"""Before a dataset's id: the package's own folder of it."""

VERSION = "0.5.4"
"""Of Minari, whose layout this is."""

OWN = "mbrl"
SUCCESS = ("success", "is_success")


class Minari:
    """See the module."""

    name = "minari"
    summary = "Minari's datasets, HDF5 beside metadata.json"

    def detects(self, path: Path) -> bool:
        return _folder(path) is not None

    def parts(self, path: Path, options: ReadOptions) -> Iterator[Part]:
        folder = _folder(path)
        assert folder is not None
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            file = h5py.File(folder / MAIN, "r")
        except DAMAGE as error:
            yield broken(str(folder), error)
            return
        with file:
            for name in sorted(file, key=lambda name: (len(name), name)):
                yield Part(f"{folder / MAIN} {name}", partial(_read, file, name, metadata))

    def write(self, folder: Path, episodes: Iterable[Episode]) -> int:
        data = folder / "data"
        data.mkdir()
        spaces: _Spaces | None = None
        steps = number = 0
        with h5py.File(data / MAIN, "w", track_order=True) as file:
            for episode in episodes:
                spaces = spaces or _Spaces(episode)
                spaces.add(episode)
                _append(file.create_group(f"episode_{number}"), number, episode)
                steps, number = steps + len(episode), number + 1
        if spaces is None:
            raise ValueError("there are no episodes to write")
        metadata = {
            "total_episodes": number,
            "total_steps": steps,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "observation_space": json.dumps(spaces.observations()),
            "action_space": json.dumps(spaces.actions()),
            "dataset_id": f"{folder.name.strip('.').split('.partial')[0]}-v0",
            "minari_version": VERSION,
            "dataset_size": round((data / MAIN).stat().st_size / 1e6, 1),
        }
        write_text(data / METADATA, json.dumps(metadata, indent=2) + "\n")
        return number


def local_folder(dataset_id: str) -> Path:
    """Where the package keeps a dataset that it has downloaded or made.

    Raises:
        ImportError: without the package.
        FileNotFoundError: when it has none of that id.
    """
    try:
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError as error:
        raise ImportError(
            f"{SCHEME}{dataset_id} needs the package minari: pip install 'mbrl-agents[minari]'"
        ) from error
    folder = Path(get_dataset_path(dataset_id))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist: `minari download {dataset_id}` fills it")
    return folder


def _folder(path: Path) -> Path | None:
    for folder in (path, path / "data"):
        if (folder / MAIN).is_file():
            return folder
    return None


# ---------------------------------------------------------------------------------------------
# Reading


def _read(file: h5py.File, name: str, metadata: dict[str, Any]) -> Episode:
    group = file[name]
    actions = _array(group["actions"], "actions")
    steps = len(actions)
    flat = actions.reshape(steps, -1).astype(np.float32)
    for key in ("rewards", "terminations", "truncations"):
        if group[key].shape != (steps,):
            raise ValueError(f"{key!r} has shape {group[key].shape}; expected ({steps},)")
    own = group.get(OWN)
    terminated = bool(np.asarray(group["terminations"])[-1])
    labels, success, info = flat, _succeeded(group), _info(metadata)
    if own is not None:
        labels = labels_from(own["action"], own["labelled"])
        success, info = bool(own.attrs["success"]), json.loads(own.attrs["info"])
    jpeg = bool(metadata.get("jpeg_encoding", False))
    return Episode(
        observations=dict(_observations(group["observations"], "", jpeg)),
        actions=flat,
        labels=labels.copy(),
        rewards=np.asarray(group["rewards"], dtype=np.float32),
        terminated=terminated,
        success=success,
        info=info,
    )


def _observations(
    entry: h5py.Group | h5py.Dataset, name: str, jpeg: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Observations by key; nested ones have theirs joined by dots, a plain one is "obs"."""
    if isinstance(entry, h5py.Group):
        for key, value in entry.items():
            yield from _observations(value, f"{name}.{key}" if name else key, jpeg)
        return
    values = _array(entry, name or "observations")
    if jpeg and (entry.dtype == object or (values.dtype == np.uint8 and values.ndim == 2)):
        values = _decoded(entry)
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    yield name or "obs", values[:, None] if values.ndim == 1 else values


def _array(entry: Any, name: str) -> np.ndarray:
    if not isinstance(entry, h5py.Dataset):
        raise ValueError(f"{name} are nested; only arrays can be read")
    return np.asarray(entry)


def _decoded(entry: h5py.Dataset) -> np.ndarray:
    """Images that Minari wrote as JPEG, one after another."""
    import io

    from PIL import Image

    return np.stack([np.asarray(Image.open(io.BytesIO(bytes(frame)))) for frame in entry])


def _succeeded(group: h5py.Group) -> bool:
    infos = group.get("infos")
    for key in SUCCESS:
        if infos is not None and key in infos:
            return bool(np.asarray(infos[key])[-1])
    return False


def _info(metadata: dict[str, Any]) -> dict[str, Any]:
    """Origin: the dataset, and its environment as Minari names it."""
    info: dict[str, Any] = {"source": "recorded"}
    if name := metadata.get("dataset_id"):
        info["task_name"] = str(name)
    if spec := metadata.get("env_spec"):
        told = json.loads(spec) if isinstance(spec, str) else spec
        kwargs = dict(told.get("kwargs") or {})
        described = {"env_id": told["id"], "env_kwargs": kwargs, "source": "recorded"}
        info |= {"env_id": told["id"], "collection": json.dumps(described, sort_keys=True)}
    return info


# ---------------------------------------------------------------------------------------------
# Writing


def _append(group: h5py.Group, number: int, episode: Episode) -> None:
    steps = len(episode)
    group.attrs.update({"id": number, "total_steps": steps})
    if isinstance(seed := episode.info.get("seed"), int):
        group.attrs["seed"] = seed
    seen = group.create_group("observations")
    for key, value in episode.observations.items():
        chunks = (1, *value.shape[1:]) if value.ndim == 4 else True
        seen.create_dataset(key, data=value, chunks=chunks, compression="gzip")
    group["actions"] = episode.actions.astype(np.float32)
    group["rewards"] = episode.rewards.astype(np.float64)
    ends = np.zeros(steps, dtype=bool)
    ends[-1] = episode.terminated
    group["terminations"] = ends
    ends[-1] = not episode.terminated
    group["truncations"] = ends
    reached = np.zeros(steps, dtype=bool)
    reached[-1] = episode.success
    group.create_group("infos")["success"] = reached
    own = group.create_group(OWN)
    own["action"] = shown_action(episode)
    own["labelled"] = np.isfinite(episode.labels).all(-1)
    own.attrs["success"] = episode.success
    own.attrs["info"] = json.dumps(episode.info, sort_keys=True)


class _Spaces:
    """The least spaces that hold all episodes."""

    def __init__(self, first: Episode) -> None:
        self._seen = {key: (v.shape[1:], v.dtype) for key, v in first.observations.items()}
        self._action = first.actions.shape[1:]
        self._low, self._high = np.inf, -np.inf

    def add(self, episode: Episode) -> None:
        found = {key: (v.shape[1:], v.dtype) for key, v in episode.observations.items()}
        if found != self._seen or episode.actions.shape[1:] != self._action:
            raise ValueError(
                f"a Minari dataset has one observation space: {self._seen}, then {found}; convert "
                "one task at a time"
            )
        self._low = min(self._low, float(episode.actions.min()))
        self._high = max(self._high, float(episode.actions.max()))

    def observations(self) -> dict[str, Any]:
        return {
            "type": "Dict",
            "subspaces": {key: _box(shape, dtype) for key, (shape, dtype) in self._seen.items()},
        }

    def actions(self) -> dict[str, Any]:
        # Normalised actions keep their bounds whether or not data reach them.
        low, high = min(self._low, -1.0), max(self._high, 1.0)
        return _filled(self._action, "float32", low, high)


def _box(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return _filled(shape, str(dtype), int(limits.min), int(limits.max))
    return _filled(shape, str(dtype), -np.inf, np.inf)


def _filled(shape: tuple[int, ...], dtype: str, low: float, high: float) -> dict[str, Any]:
    """A Box as Minari spells it: bounds of every entry."""
    return {
        "type": "Box",
        "dtype": dtype,
        "shape": list(shape),
        "low": np.full(shape, low, dtype=object).tolist(),
        "high": np.full(shape, high, dtype=object).tolist(),
    }


__all__ = ["SCHEME", "Minari", "local_folder"]
