"""One file of source that needs torch alone, made of the modules of this package it takes.

The modules stay as they are, but for their imports: those of this package go to the file's own
parts, ``gymnasium.spaces`` to `plain_spaces`, and what only training needs (the simulator, arrays,
files) to names that stand for nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "mbrl_agents"
TAKEN = (
    "agents.acting",
    "algorithms",
    "data.spaces",
    "export.agent",
    "export.plain_spaces",
    "names",
    "nn",
    "planners",
    "policies",
    "protocols",
    "training",
)
"""What may be taken along; the rest of the package stands for nothing there."""

EMPTIED = (PACKAGE, f"{PACKAGE}.agents", f"{PACKAGE}.data", f"{PACKAGE}.export")
"""Packages that hold what is taken, and are themselves of no use there."""

ABSENT = '''"""Names that stand for what only training needs."""


class _Nothing(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __or__(cls, other):
        return other

    __ror__ = __or__

    def __getitem__(cls, item):
        return cls


class Nothing(metaclass=_Nothing):
    def __init__(self, *arguments, **keywords):
        pass

    def __call__(self, *arguments, **keywords):
        return self


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing
'''

HEADER = '''"""{title}

Written by mbrl-agents from the modules of its own that this agent takes; needs torch, and nothing
else.  With this file beside miniGRP.pth:

    import torch
    agent = torch.load("miniGRP.pth", weights_only=False)  # or restore(torch.load(...)["package"])
    agent.reset()                                          # at the start of an episode
    action = agent.act(observation)

`agent` is a torch.nn.Module; `SOURCES` below holds what it is made of, module by module.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import linecache
import sys

PARTS = "{parts}"

'''

FOOTER = '''

class _Parts(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules below PARTS from SOURCES."""

    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        package = any(other.startswith(name + ".") for other in SOURCES)
        return importlib.util.spec_from_loader(name, self, is_package=package)

    def exec_module(self, module):
        source, file = SOURCES[module.__name__], "<" + module.__name__ + ">"
        linecache.cache[file] = len(source), None, source.splitlines(True), file
        exec(compile(source, file, "exec"), module.__dict__)


if not any(getattr(finder, "parts", None) == PARTS for finder in sys.meta_path):
    _finder = _Parts()
    _finder.parts = PARTS
    sys.meta_path.insert(0, _finder)

_agent = importlib.import_module(PARTS + ".export.agent")


class {name}(_agent.ExportedAgent):
    """The agent; see `act` and `reset`."""

    def __reduce__(self):
        weights = {{
            name: {{key: value.cpu() for key, value in module.state_dict().items()}}
            for name, module in self.algorithm.modules.items()
        }}
        return restore, ({{**self.package, "weights": weights}},)


def restore(package):
    """The agent of a package: its recipe and its weights."""
    return {name}(package)
'''


def standalone(targets: Iterable[str], stem: str, class_name: str, title: str) -> str:
    """The text of the file.

    Args:
        targets: ``module:name`` of what the agent is built of.
        stem: the file's name without its suffix.
        class_name: of the agent's class in it.
        title: first line of its docstring.
    """
    parts = f"{stem}_parts"
    modules = _closure([*(t.partition(":")[0] for t in targets), f"{PACKAGE}.export.agent"])
    texts = {f"{parts}.absent": ABSENT}
    for name, path in modules.items():
        text = "" if name in EMPTIED else _rewritten(path, modules, parts)
        texts[name.replace(PACKAGE, parts, 1)] = text
    entries = "".join(f"    {name!r}: {_literal(text)},\n" for name, text in sorted(texts.items()))
    footer = FOOTER.replace("{name}", class_name).replace("{{", "{").replace("}}", "}")
    header = HEADER.replace("{title}", title).replace("{parts}", parts)
    return f"{header}SOURCES = {{\n{entries}}}\n{footer}"


def _literal(text: str) -> str:
    if "'''" in text or text.endswith(("\\", "'")):
        return repr(text)
    return f"r'''{text}'''"


def _closure(names: Iterable[str]) -> dict[str, Path]:
    """The modules that some import, of those that may be taken, with their packages."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or not _taken(name):
            continue
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a name within a module, not a module
            continue
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)
        if name.count(".") == 0:
            continue
        for node in ast.walk(ast.parse(found[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and _ours(node.module):
                waiting += [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
    return found


def _taken(name: str) -> bool:
    """Whether a module may be taken along, or holds one that may."""
    inner = name.partition(".")[2]
    if not _ours(name):
        return False
    return not inner or any(
        inner == own or inner.startswith(own + ".") or own.startswith(inner + ".") for own in TAKEN
    )


def _ours(name: str | None) -> bool:
    return name is not None and name.partition(".")[0] == PACKAGE


def _rewritten(path: Path, modules: Iterable[str], parts: str) -> str:
    """A module's source with its imports turned to where things are."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in sorted(
        (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)),
        key=lambda n: -n.lineno,
    ):
        changed = _import(node, set(modules), parts)
        if changed is not None:
            indent = " " * node.col_offset
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [indent + line for line in changed]
    return "\n".join(lines) + "\n"


def _import(node: ast.Import | ast.ImportFrom, modules: set[str], parts: str) -> list[str] | None:
    """The lines in place of an import; None where it stays."""

    def renamed(alias: ast.alias) -> str:
        return alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"

    if isinstance(node, ast.Import):
        found = []
        for alias in node.names:
            if _kept(alias.name):
                found.append(f"import {renamed(alias)}")
            else:
                called = alias.asname or alias.name.partition(".")[0]
                found.append(f"from {parts}.absent import {called}")
        return found
    module = node.module or ""
    if _kept(module):
        return None
    if module == "gymnasium":
        return [
            f"from {parts}.export import plain_spaces as {alias.asname or alias.name}"
            if alias.name == "spaces"
            else f"from {parts}.absent import {renamed(alias)}"
            for alias in node.names
        ]
    found = []
    for alias in node.names:
        inner = f"{module}.{alias.name}" in modules
        here = inner or (module in modules and module not in EMPTIED)
        where = module.replace(PACKAGE, parts, 1) if here else f"{parts}.absent"
        found.append(f"from {where} import {renamed(alias)}")
    return found


def _kept(module: str) -> bool:
    """Whether an import finds the same in a bare interpreter with torch."""
    root = module.partition(".")[0]
    return root == "torch" or root in sys.stdlib_module_names


__all__ = ["standalone"]
