"""What ``reset(options=...)`` of a LIBERO environment may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .suites import Suite


def read_options(
    options: Mapping[str, Any] | None, suite: Suite, choices: Sequence[int]
) -> tuple[int | None, int | None]:
    """The task and the official init state that a reset's options ask for, None where they do not.

    Args:
        choices: the tasks that the environment was made for; of one alone it is the answer.

    Raises:
        ValueError: for an unknown option or task, a task that is none of ``choices``, and an init
            state below 0.
    """
    options = options or {}
    unknown = set(options) - {"init_state", "task"}
    if unknown:
        raise ValueError(f"unknown reset options {sorted(unknown)}; valid: 'init_state', 'task'")
    task = choices[0] if len(choices) == 1 else None
    if "task" in options:
        task = suite.task_index(options["task"])
        if task not in choices:
            raise ValueError(
                f"this environment was made for task {', '.join(map(str, choices))}; "
                "make it with task=None to choose one at reset"
            )
    init_state = options.get("init_state")
    if init_state is None:
        return task, None
    if isinstance(init_state, bool) or int(init_state) < 0:
        raise ValueError(f"init_state must be an index from 0 on, got {init_state!r}")
    return task, int(init_state)


__all__ = ["read_options"]
