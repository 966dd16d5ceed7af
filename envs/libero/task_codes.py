"""How an environment of several tasks says which one is on: a number, or the sentence itself.

A one-hot number says nothing of what a task wants; a sentence may carry over to one that was never
learned.  Characters are told apart by any network, T5's features (Raffel et al. 2020,
arXiv:1910.10683) say what is alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

TASK_CODES = ("one_hot", "characters", "t5")
"""The values of the ``task_code`` keyword."""

T5_VARIABLE, T5_DEFAULT = "MBRL_T5", "google-t5/t5-small"
"""The variable that names a folder or a model of the Hugging Face cache, and what it is without."""

_FIRST, _LAST = 32, 126
"""Printable characters of ASCII."""


def task_codes(how: str, sentences: Sequence[str]) -> NDArray[np.float32]:
    """The code ``(tasks, size)`` of every task of a suite.

    Args:
        how: "one_hot" (size is the number of tasks), "characters" (the length of the longest
            sentence) or "t5" (the width of the model).
        sentences: the tasks as instructions, in the suite's order.

    Raises:
        ValueError: for another ``how``.
        RuntimeError: T5 without the package transformers, or without weights on this machine.
    """
    if how == "one_hot":
        return np.eye(len(sentences), dtype=np.float32)
    if how == "characters":
        size = max(map(len, sentences))
        return np.stack([characters(sentence, size) for sentence in sentences])
    if how == "t5":
        return np.stack([t5(sentence) for sentence in sentences])
    raise ValueError(f"unknown task_code {how!r}; valid: {', '.join(TASK_CODES)}")


def encode_sentence(how: str, sentence: str, size: int) -> NDArray[np.float32]:
    """The code ``(size,)`` of one sentence, by its characters or by T5.

    Raises:
        ValueError: the code has another size: the sentence is of another suite, or T5 another one.
    """
    code = characters(sentence, size) if how == "characters" else t5(sentence)
    if code.shape != (size,):
        raise ValueError(
            f"the task is observed as {size} numbers, but {how} makes {len(code)} of {sentence!r}"
        )
    return code


def code_space(how: str, size: int) -> spaces.Box:
    """What codes lie in: one-hot ones and characters within [0, 1]."""
    bound = np.inf if how == "t5" else 1.0
    return spaces.Box(-bound if how == "t5" else 0.0, bound, (size,), dtype=np.float32)


def characters(sentence: str, size: int) -> NDArray[np.float32]:
    """A number within (0, 1] for each character, then zeros up to ``size``.

    Raises:
        ValueError: a longer sentence.
    """
    if len(sentence) > size:
        raise ValueError(f"{sentence!r} has {len(sentence)} characters, more than {size}")
    numbers = np.clip([ord(c) for c in sentence], _FIRST, _LAST) - (_FIRST - 1)
    code = np.zeros(size, dtype=np.float32)
    code[: len(sentence)] = numbers / (_LAST - _FIRST + 1)
    return code


def t5(sentence: str) -> NDArray[np.float32]:
    """The mean of T5's encoder over the tokens of a sentence, ``(width,)``."""
    return _t5(sentence, os.environ.get(T5_VARIABLE, T5_DEFAULT)).copy()


@lru_cache(maxsize=512)
def _t5(sentence: str, name: str) -> NDArray[np.float32]:
    import torch

    tokenizer, encoder = _t5_model(name)
    with torch.no_grad():
        features = encoder(**tokenizer(sentence, return_tensors="pt")).last_hidden_state
    found: NDArray[np.float32] = features[0].mean(0).float().numpy()
    return found


@lru_cache(maxsize=2)
def _t5_model(name: str):  # type: ignore[no-untyped-def]
    try:
        with hidden("torchvision"):
            from transformers import AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise RuntimeError(
            "task_code='t5' needs the package transformers: pip install 'mbrl-agents[t5]' "
            f"({error})"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
        encoder = T5EncoderModel.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"task_code='t5' finds no weights of {name} on this machine: fetch them with "
            f"`hf download {name}`, or name a folder that holds them in {T5_VARIABLE}"
        ) from error
    return tokenizer, encoder.eval()


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """A context in which a package seems not to be installed.

    transformers imports torchvision wherever there is one.  T5 needs none, and one that was built
    for another torch cannot be imported.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


__all__ = ["T5_VARIABLE", "TASK_CODES", "code_space", "encode_sentence", "hidden", "task_codes"]
