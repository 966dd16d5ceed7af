"""LIBERO's five suites: their tasks in the official order, files and time limits.

Nothing here imports LIBERO (its import asks a question on a fresh machine): the task table and
the files are read from the installed package as data.
"""

from __future__ import annotations

import functools
import importlib.util
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Suite:
    """One LIBERO suite.

    Attributes:
        name: LIBERO's own name, such as "libero_spatial".
        env_id: the Gymnasium id.
        max_steps: control steps (20 Hz) before time-out, as in the evaluation protocol of
            OpenVLA [Kim et al. 2024, arXiv:2406.09246].
    """

    name: str
    env_id: str
    max_steps: int

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks in LIBERO's official order."""
        return tuple(_task_map()[self.name])

    def bddl_file(self, task: int) -> Path:
        """The task's goal and placement description."""
        return libero_package() / "bddl_files" / self.name / f"{self.task_names[task]}.bddl"

    def init_states_file(self, task: int) -> Path:
        """The task's official init states, the test set of every published figure."""
        folder = libero_package() / "init_files" / self.name
        return folder / f"{self.task_names[task]}.pruned_init"

    def task_index(self, task: int | str) -> int:
        """Index of a task given by index or name.

        Raises:
            ValueError: for an unknown task; the message lists the valid ones.
        """
        names = self.task_names
        valid = "\n".join(f"  {i}: {name}" for i, name in enumerate(names))
        if isinstance(task, str):
            index = names.index(task) if task in names else -1
        else:
            if isinstance(task, bool) or not hasattr(task, "__index__"):
                raise ValueError(
                    f"task must be an index or a name, got {task!r}; "
                    f"valid tasks of {self.name}:\n{valid}"
                )
            index = operator.index(task)  # any integer, NumPy's too
        if not 0 <= index < len(names):
            raise ValueError(f"unknown task {task!r} of {self.name}; valid tasks:\n{valid}")
        return index

    def task_indices(self, tasks: int | str | Sequence[int | str] | None) -> tuple[int, ...]:
        """Indices of one task, of a list of them, or for None of all.

        Raises:
            ValueError: for an unknown task, an empty list, and a task listed twice.
        """
        if tasks is None:
            return tuple(range(len(self.task_names)))
        if not isinstance(tasks, list | tuple):
            return (self.task_index(tasks),)  # type: ignore[arg-type]
        found = tuple(self.task_index(task) for task in tasks)
        if not found or len(set(found)) < len(found):
            raise ValueError(f"tasks must be listed once each, and at least one, got {tasks!r}")
        return found


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("libero_spatial", "mbrl/LiberoSpatial-v0", 220),
        Suite("libero_object", "mbrl/LiberoObject-v0", 280),
        Suite("libero_goal", "mbrl/LiberoGoal-v0", 300),
        Suite("libero_10", "mbrl/Libero10-v0", 520),
        Suite("libero_90", "mbrl/Libero90-v0", 400),
    )
}


def get_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        ValueError: for an unknown suite; the message lists the valid ones.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; valid suites: {', '.join(SUITES)}")
    return SUITES[name]


@functools.cache
def libero_package() -> Path:
    """Folder of the installed ``libero.libero`` package, found without importing it."""
    spec = importlib.util.find_spec("libero")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("LIBERO is not installed: pip install hf-libero")
    return Path(next(iter(spec.submodule_search_locations))) / "libero"


@functools.cache
def _task_map() -> dict[str, list[str]]:
    """LIBERO's table of tasks, executed from its file alone (its package imports torch)."""
    path = libero_package() / "benchmark" / "libero_suite_task_map.py"
    spec = importlib.util.spec_from_file_location("_libero_task_map", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.libero_task_map)
