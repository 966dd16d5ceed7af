"""YAML that people write, in files and in settings: plain values only, of a bounded size.

Everything that reads YAML goes through here.  Text is composed and counted before anything is built
of it: ten lines of aliases (``*name``) can stand for a billion values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000
"""Characters of values once every alias is written out; the project's suites have 2,000 at most."""

DEEPEST = 50
"""Lists and mappings inside of each other."""

_PLAIN = "tag:yaml.org,2002:"
_TAGS = {
    _PLAIN + name
    for name in (
        "binary", "bool", "float", "int", "map", "merge", "null", "omap", "pairs", "seq", "set",
        "str", "timestamp", "value",
    )
}  # fmt: skip


def read_yaml(path: Path) -> Any:
    """The values of a YAML file; None for an empty one.

    Raises:
        ValueError: for a file that is not text, not YAML, not plain values, or larger than
            `LARGEST`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The values of a text; None for an empty one.

    Args:
        where: what messages call the text.

    Raises:
        ValueError: see `check_yaml`.
    """
    return _load(text, where, build=True)


def check_yaml(text: str, where: str) -> None:
    """Refuse a text before another reader of YAML takes it.

    Raises:
        ValueError: for what is not YAML, not plain values, or larger than `LARGEST` or deeper than
            `DEEPEST`.
    """
    _load(text, where, build=False)


def dotlist(words: Sequence[str]) -> Any:
    """``OmegaConf.from_dotlist``, for words of the form KEY=VALUE that were checked first.

    Raises:
        ValueError: for a word that has another form, or a value that cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(
                f"an override looks like planner.horizon=10 (KEY=VALUE), got {shortened(word)}"
            )
        check_yaml(value, f"the value of {shortened(word)}")
    try:
        return OmegaConf.from_dotlist(list(words))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        listing = " ".join(map(shortened, words))
        raise ValueError(f"cannot read {listing}: {str(error).splitlines()[0]}") from error


def shortened(text: str, limit: int = 80) -> str:
    """A text in quotes as messages show it."""
    return repr(text if len(text) <= limit else f"{text[: limit - 3]}...")


def _load(text: str, where: str, *, build: bool) -> Any:
    if len(text) > LARGEST:
        raise ValueError(f"{where} holds more than {LARGEST} characters; expected a few")
    try:
        _check_depth(text, where)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}, where) > LARGEST:
                raise ValueError(
                    f"{where} holds more than {LARGEST} characters of values once its aliases "
                    "(*name) are written out; expected a few"
                )
            return loader.construct_document(node) if build else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {_reason(error)}") from error


def _reason(error: yaml.YAMLError) -> str:
    """What is wrong, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).splitlines()[0]
    parts = [part for part in (error.context, error.problem) if part]
    mark = error.problem_mark
    at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return ", ".join(parts) + at


def _check_depth(text: str, where: str) -> None:
    """Refuse what recursion would have to go deep for; this looks at one event at a time."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"{where} holds lists and mappings nested too deeply")


def _size(node: yaml.Node, known: dict[int, float], where: str) -> float:
    """Characters of a node with every alias written out; infinite for one that holds itself."""
    if node.tag not in _TAGS:
        raise ValueError(
            f"{where} is not valid YAML: expected plain values (numbers, words, lists and "
            f"mappings), not the tag {node.tag.replace(_PLAIN, '!!')}"
        )
    if id(node) not in known:
        known[id(node)] = float("inf")  # found again inside of itself
        if isinstance(node, yaml.ScalarNode):
            total = len(node.value) + 1.0
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
            total = 1.0 + sum(_size(part, known, where) for part in parts)
        else:
            total = 1.0 + sum(_size(entry, known, where) for entry in node.value)
        known[id(node)] = total
    return known[id(node)]


__all__ = ["DEEPEST", "LARGEST", "check_yaml", "dotlist", "parse_yaml", "read_yaml", "shortened"]
