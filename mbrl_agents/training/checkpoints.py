"""Files of a run: weights in safetensors, everything else as readable text, all atomic."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give them what an ordinary open() would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], meta: Any = None
) -> None:
    """Write named tensors, with any JSON value as ``meta``, to a safetensors file."""
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


def save_module(path: str | os.PathLike[str], module: nn.Module) -> None:
    """Write a module's state dict."""
    save_tensors(path, module.state_dict())


def load_module(path: str | os.PathLike[str], module: nn.Module) -> None:
    """Load weights written by `save_module` into a module built the same way.

    Raises:
        ValueError: when names or shapes do not fit.
    """
    tensors, _ = load_tensors(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this {type(module).__name__}: {error}") from error


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
