"""Saved agents that lie on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

SCHEME = "hf://"
"""Before a model's name, OWNER/NAME."""


def fetch(source: str | os.PathLike[str]) -> Path:
    """The folder of "hf://OWNER/NAME" (a branch or commit may follow an @); else ``source``.

    Raises:
        FileNotFoundError: when the hub gives nothing of that name.
    """
    text = os.fspath(source)
    if not text.startswith(SCHEME):
        return Path(text)
    from huggingface_hub import snapshot_download

    name, _, revision = text.removeprefix(SCHEME).partition("@")
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=["*.safetensors", "*.json", "*.yaml"],
            )
        )
    except Exception as error:  # the hub's errors, and those of the network
        raise FileNotFoundError(f"the Hugging Face Hub gave no model {name!r}: {error}") from error


__all__ = ["SCHEME", "fetch"]
