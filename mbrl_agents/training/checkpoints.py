"""Files of a run: weights in safetensors, everything else as readable text, all atomic."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mbrl_agents.data.files import atomic, discard_partial, write_text


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], meta: Any = None
) -> None:
    """Write named tensors, with any JSON value as ``meta``, to a safetensors file.

    What a killed process left of an earlier attempt to write the same file is removed.
    """
    discard_partial(path)
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(flat, temporary, metadata={"meta": json.dumps(meta)})


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], Any]:
    """What `save_tensors` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a safetensors file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get("meta", "null"))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    return tensors, meta


def load_meta(path: str | os.PathLike[str]) -> Any:
    """What `save_tensors` was given as ``meta``, without reading tensors.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a safetensors file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("meta", "null"))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and plain values, for `save_tensors`."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }
    groups = [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]]
    return tensors, {"groups": groups}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Restore what `pack_optimizer` gave."""
    state = optimizer.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, field = name.split(".", 1)
        entries.setdefault(int(index), {})[field] = value
    groups = [
        {**saved, "params": group["params"]}
        for saved, group in zip(meta["groups"], state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


__all__ = [
    "atomic",
    "discard_partial",
    "load_meta",
    "load_tensors",
    "pack_optimizer",
    "save_tensors",
    "under",
    "unpack_optimizer",
    "write_text",
]
