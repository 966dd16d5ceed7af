"""What the verbs share: messages, exit codes, progress, and the forms of their arguments."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer
import typer.core

from mbrl_agents.errors import UsageError
from mbrl_agents.names import did_you_mean
from mbrl_agents.yaml_text import parse_yaml, shortened

USAGE, FAILED, INTERRUPTED = 2, 1, 130


class Verb(typer.core.TyperCommand):
    """A command that knows what ``--planner.horizon 10`` is meant to be."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = str(getattr(error, "option_name", ""))
            if "." not in name:
                raise
            words = [word for word in given if word.partition("=")[0] == name]
            value = words[0].partition("=")[2] if words else ""
            after = given[given.index(words[0]) + 1 :] if words and not value else []
            value = value or next((word for word in after[:1] if not word.startswith("-")), "VALUE")
            raise typer.BadParameter(
                f"settings are no options: write {name.lstrip('-')}={value} instead of {name}", ctx
            ) from None


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong on stderr and exit."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def failures(code: int = FAILED) -> Iterator[None]:
    """Turn exceptions of the block into a message and an exit code; MBRL_DEBUG=1 shows where.

    A `UsageError` is the user's, 2, wherever it comes from.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except Exception as error:
        if os.environ.get("MBRL_DEBUG"):
            traceback.print_exc()
        text = str(error) or type(error).__name__
        code = USAGE if isinstance(error, UsageError) else code
        known = (ValueError, FileNotFoundError, ImportError, KeyError, RuntimeError)
        if not isinstance(error, known):
            text = f"{type(error).__name__}: {text} (MBRL_DEBUG=1 shows where)"
        fail(text, code)


@contextlib.contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """End at Ctrl-C with a sentence about what is kept and how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted: {kept()}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def usage() -> contextlib.AbstractContextManager[None]:
    """Like `failures`, for blocks that only look at what the user asked for."""
    return failures(USAGE)


@contextlib.contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr where that is a terminal, otherwise lines now and then.

    Yields:
        what `mbrl_agents.data.progress.ProgressLines` is called with.
    """
    if not sys.stderr.isatty():
        from mbrl_agents.data.progress import ProgressLines

        yield ProgressLines(note, label, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(label, total=total, text="")

        def update(
            advance: float = 1,
            completed: float | None = None,
            total: float | None = None,
            text: str | None = None,
            label: str | None = None,
            now: bool = False,
        ) -> None:
            changes: dict[str, Any] = {
                "completed": completed, "total": total, "description": label,
            }  # fmt: skip
            changes = {k: v for k, v in changes.items() if v is not None}
            if text is not None:
                changes["text"] = text
            if completed is None:
                changes["advance"] = advance
            bar.update(task, **changes)

        yield update


def training_log(update: Callable[..., None]) -> Callable[..., None]:
    """What training tells of itself, on what `progress` gave; every log is a line of its own.

    Returns:
        ``tell(phase, done, total, metrics)``, a `mbrl_agents.runs.work.Progress`.
    """

    def tell(phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        loss = metrics.get("held_out/loss", metrics.get("train/loss"))
        text = "" if loss is None else f"loss {loss:.4g}"
        if loss is None and "train/return" in metrics:
            text = f"return {metrics['train/return']:.4g}"
        update(completed=done, total=total, label=phase, text=text, now=bool(text))

    return tell


def note(message: str) -> None:
    """A line about the course of things, on stderr."""
    typer.echo(message, err=True)


def show_json(value: Any) -> None:
    """A result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, default=str))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as aligned text: readable on a terminal, and a valid Markdown table."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([line(list(header)), rule, *map(line, cells)])


def suggest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" where something known is close, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_method(name: str) -> Any:
    """The recipe of a method; exits with 2 and a hint where there is none."""
    from mbrl_agents.registry import METHODS

    if name not in METHODS:
        fail(
            f"unknown method {name!r}{suggest(name, METHODS)}\n"
            f"methods: {', '.join(METHODS)}  (`mbrl methods` describes them)",
            USAGE,
        )
    return METHODS[name]


def split_overrides(
    overrides: Sequence[str] | None, *prefixes: str
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Separate ``prefix.key=value`` arguments from the method's own overrides.

    A key may itself be dotted: ``prefix.key.inner=value`` gives ``{"key": {"inner": value}}``.

    Returns:
        the other overrides as they came, and for each prefix its keys with parsed values.
    """
    others: list[str] = []
    taken: dict[str, dict[str, Any]] = {prefix: {} for prefix in prefixes}
    for override in overrides or []:
        key, equals, text = override.partition("=")
        if not equals or not key:
            fail(f"{override!r} is not an override: write KEY=VALUE, as in planner.horizon=10",
                 USAGE)  # fmt: skip
        prefix, dot, name = key.partition(".")
        if dot and prefix in taken:
            with usage():
                value = parse_yaml(text, f"the value of {shortened(override)}")
            *outer, last = name.split(".")
            place = taken[prefix]
            for part in outer:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    fail(f"{override!r} goes into {part!r}, which has a value already", USAGE)
            place[last] = tuple(value) if isinstance(value, list) else value
        else:
            others.append(override)
    return others, taken


def search_overrides(planner: str | None, objective: str | None) -> list[str]:
    """``--planner`` and ``--objective`` as overrides."""
    given = {"planner.name": planner, "objective.name": objective}
    return [f"{key}={name}" for key, name in given.items() if name is not None]


def parse_tasks(text: str | None, env_id: str) -> list[int | str] | None:
    """Tasks as the user writes them: "3", "0,2,5", "0-4", "all", or a task's name.

    None stays None: the environment's own default.
    """
    if text is None:
        return None
    names = _task_names(env_id)
    if text == "all":
        if names is None:
            fail(f"'all' needs to know the tasks of {env_id}; give numbers instead", USAGE)
        return list(range(len(names)))
    tasks: list[int | str] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if part.strip().isdigit():
            tasks.append(int(part))
        elif dash and low.isdigit() and high.isdigit():
            if int(low) > int(high):
                fail(f"the range of tasks {part!r} is empty; write {high}-{low}", USAGE)
            tasks.extend(range(int(low), int(high) + 1))
        else:
            tasks.append(part.strip())
    for task in tasks:
        known = names is None or task in names or (isinstance(task, int) and task < len(names))
        if not known:
            assert names is not None
            listing = "\n".join(f"  {i}: {name}" for i, name in enumerate(names))
            fail(f"{env_id} has no task {task!r}; its tasks are\n{listing}", USAGE)
    return tasks


def check_env(env_id: str) -> None:
    """Exit with 2 and a hint where Gymnasium does not know the environment."""
    import gymnasium

    from mbrl_agents.envs.registration import ENV_IDS

    if ":" in env_id or env_id in gymnasium.registry:
        return
    hint = suggest(env_id, gymnasium.registry)
    fail(f"unknown environment {env_id!r}{hint}\nthis project's: {', '.join(ENV_IDS)}", USAGE)


def check_env_keywords(env_id: str, keywords: Iterable[str]) -> None:
    """Exit with 2 and a hint where an environment does not take a keyword.

    See `mbrl_agents.envs.keywords`; where it cannot be told, that is left to ``gymnasium.make``.

    Args:
        env_id: known to Gymnasium, see `check_env`.
        keywords: as the user gave them, without ``env.``.
    """
    from mbrl_agents.envs.keywords import env_keywords

    given = list(keywords)
    known = env_keywords(env_id) if given else None
    for name in given:
        if known is not None and name not in known:
            fail(
                f"{env_id} has no keyword {name!r}{did_you_mean(name, known)} "
                f"(valid: {', '.join(known)})",
                USAGE,
            )


def takes(env_id: str, keyword: str) -> bool:
    """Whether an environment takes a keyword; True where that cannot be told."""
    from mbrl_agents.envs.keywords import env_keywords

    known = env_keywords(env_id)
    return known is None or keyword in known


def make_folder(folder: Path) -> None:
    """Create a folder for results before they are computed; exits with 2 where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot create the folder {folder}: {error.strerror}", USAGE)


def check_device(device: str) -> None:
    """Exit with 2 where there is no such torch device."""
    import torch

    try:
        kind = "cuda" if device == "auto" else torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        fail(f"--device must be auto, cpu or cuda, not {device!r}", USAGE)
    if device != "auto" and kind == "cuda" and not torch.cuda.is_available():
        fail(
            f"--device {device}: torch finds no GPU here; auto takes one where there is one", USAGE
        )


def check_engine(engine: str) -> None:
    """End with a message where an engine is unknown, or its package is not installed."""
    from mbrl_agents.data.cluster import check_engine as check

    try:
        check(engine)
    except (ValueError, ModuleNotFoundError) as error:
        fail(str(error), USAGE)


def default_workers() -> int:
    """Processes to use where the user does not say: the cores we may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, cores or 1))


def _task_names(env_id: str) -> Sequence[str] | None:
    from mbrl_agents.envs.registration import defaults

    names = defaults(env_id).task_names
    return None if names is None else names()
