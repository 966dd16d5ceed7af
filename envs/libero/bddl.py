"""The few facts of a BDDL task file that are needed before LIBERO is imported."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TaskDescription:
    """What a BDDL file says of a task.

    Attributes:
        problem: LIBERO's problem class, lower case, such as "libero_tabletop_manipulation".
        categories: object and fixture categories, tables and floors left out.
        objects_of_interest: the instances that the task is about.
        joints: how many joints the fixtures among them have.
    """

    problem: str
    categories: tuple[str, ...]
    objects_of_interest: tuple[str, ...]
    joints: int = 0


FIXTURE_JOINTS = {"flat_stove": 1, "microwave": 1, "white_cabinet": 3, "wooden_cabinet": 3}
"""How many joints (knob, door, drawers) a fixture of a category has; others have none."""

# What a workspace is made of comes with the scene, not with a model of its own.
_WORKSPACES = {"table", "floor", "kitchen_table", "living_room_table", "study_table"}
_WORKSPACES |= {"coffee_table"}


@functools.cache
def describe(bddl_file: Path) -> TaskDescription:
    """Read a task description.

    Raises:
        ValueError: for a file without a problem or without objects of interest.
    """
    text = bddl_file.read_text()
    problem = re.search(r"\(problem\s+(\w+)\)", text)
    interest = _section(text, "obj_of_interest")
    if problem is None or not interest:
        raise ValueError(f"{bddl_file} names no problem or no objects of interest")
    categories = set()
    for section in ("fixtures", "objects"):
        categories |= set(re.findall(r"-\s+(\w+)", _section(text, section)))
    fixtures = dict(re.findall(r"(\w+)\s+-\s+(\w+)", _section(text, "fixtures")))
    return TaskDescription(
        problem=problem.group(1).lower(),
        categories=tuple(sorted(categories - _WORKSPACES)),
        objects_of_interest=tuple(interest.split()),
        joints=sum(FIXTURE_JOINTS.get(fixtures.get(name, ""), 0) for name in interest.split()),
    )


def _section(text: str, name: str) -> str:
    match = re.search(rf"\(:{name}(.*?)\)", text, flags=re.DOTALL)
    return match.group(1).strip() if match else ""
