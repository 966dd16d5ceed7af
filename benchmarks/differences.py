"""Episodes that one row of a benchmark solves and another does not, filmed side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mbrl_agents.data.parallel import make_env
from mbrl_agents.evaluation.rollouts import run_episode
from mbrl_agents.evaluation.video import write_video
from mbrl_agents.runs.loading import predictor_factory

from .fields import check_known
from .job import read_result
from .plan import BenchmarkPlan, Cell, make_plan
from .plots import slug
from .suite import Suite
from .suite_files import load_suite

LARGEST_FILM = 300_000
"""Bytes that a film may have."""

_BAR = 16  # pixels above a picture for what it shows
_SHRINKS = ((1, 1.0), (2, 1.0), (2, 0.75), (4, 0.75), (4, 0.5), (8, 0.5), (8, 0.35), (16, 0.25))
"""Every n-th frame at what part of the size, until a film is small enough."""
_COLOURS = {True: (40, 160, 60), False: (200, 50, 40)}


@dataclass(frozen=True)
class Played:
    """An episode as a row played it.

    Attributes:
        row: its name.
        success: whether it was solved.
        spec: of the job that evaluated it.
        model: the folder of what it was trained to be; None of a reference policy.
    """

    row: str
    success: bool
    spec: Mapping[str, Any]
    model: Path | None


@dataclass(frozen=True)
class Difference:
    """An episode that two rows began alike, of which one solved it.

    Attributes:
        env, task: where.
        seed: of the row.
        init_state: official initial state, or None.
        episode_seed: of the reset and the predictor.
        solved, failed: the two rows' episodes.
    """

    env: str
    task: int | str | None
    seed: int
    init_state: int | None
    episode_seed: int
    solved: Played
    failed: Played

    @property
    def name(self) -> str:
        """Part of a file's name."""
        place = "" if self.task is None else f"task{self.task}-"
        start = f"seed{self.episode_seed}" if self.init_state is None else f"state{self.init_state}"
        solved, failed = (slug(p.row).strip("-") for p in (self.solved, self.failed))
        return slug(f"{place}{start}-{solved}-solves-{failed}-fails")


def find_differences(folder: str | Path, one: str, other: str) -> list[Difference]:
    """The episodes of a benchmark folder that exactly one of two rows solved.

    Raises:
        FileNotFoundError: no benchmark there.
        ValueError: no such row, or the folder's jobs are unfinished or of another version.
    """
    folder = Path(folder)
    if not (folder / "suite.yaml").is_file():
        raise FileNotFoundError(f"{folder} holds no benchmark: no suite.yaml (`mbrl bench`)")
    suite = load_suite(str(folder / "suite.yaml"))
    for name in (one, other):
        check_known(name, [row.name for row in suite.methods], f"row of {suite.name}")
    plan = make_plan(suite)
    cells = {_place(cell): cell for cell in plan.cells if cell.row.name == other}
    found = []
    for cell in plan.cells:
        if cell.row.name == one and _place(cell) in cells:
            theirs = dict(_played(folder, suite, plan, cells[_place(cell)]))
            for start, played in _played(folder, suite, plan, cell):
                if start in theirs and theirs[start].success != played.success:
                    both = played, theirs[start]
                    solved, failed = both if played.success else both[::-1]
                    found.append(Difference(*_place(cell), *start, solved, failed))
    return found


def choose(differences: Sequence[Difference], count: int) -> list[Difference]:
    """At most ``count`` of those that each of the rows solved, from the first on."""
    rows = dict.fromkeys(d.solved.row for d in differences)
    return [d for row in rows for d in [d for d in differences if d.solved.row == row][:count]]


def film(
    difference: Difference, path: str | Path, *, side: int = 160, largest: int = LARGEST_FILM
) -> list[bool]:
    """Play both episodes again and write them side by side.

    Each picture has its row's name above it, green where the episode is solved and red where not;
    the shorter episode ends on its last picture.

    Args:
        path: ``.gif``, or ``.mp4`` with the extra ``video``.
        side: of each of the two pictures, in pixels; smaller, with frames left out, where the film
            would have more than ``largest`` bytes.

    Returns:
        Whether the two episodes, the solved one first, were solved this time: they repeat exactly
        where code, versions and machine are those of the benchmark.

    Raises:
        ValueError: the film cannot be made that small.
    """
    strips, outcomes = [], []
    fps = 20
    for played in (difference.solved, difference.failed):
        frames, success, fps = _play(played, difference)
        outcomes.append(success)
        strips.append([_titled(frame, played.row, success, side) for frame in frames])
    length = max(map(len, strips))
    padded = [[*strip, *[strip[-1]] * (length - len(strip))] for strip in strips]
    pictures = [np.concatenate(pair, axis=1) for pair in zip(*padded, strict=True)]
    _write_small(Path(path), pictures, fps, largest)
    return outcomes


def _place(cell: Cell) -> tuple[str, int | str | None, int]:
    return cell.env, cell.task, cell.seed


def _played(
    folder: Path, suite: Suite, plan: BenchmarkPlan, cell: Cell
) -> Iterator[tuple[tuple[int | None, int], Played]]:
    """A cell's episodes by initial state and seed, as far as success is known."""
    model = folder / "models" / cell.training if cell.training else None
    for key in cell.evaluations:
        result = read_result(folder, key)
        if result is None:
            raise ValueError(
                f"{folder} has no result of '{plan.jobs[key].title}' by this version: run "
                f"`mbrl bench` of {suite.name} into it again"
            )
        for record in result["records"]:
            if record["success"] is not None:
                played = Played(cell.row.name, record["success"], plan.jobs[key].spec, model)
                yield (record["init_state"], record["seed"]), played


def _play(played: Played, start: Difference) -> tuple[list[np.ndarray], bool, int]:
    """The pictures of an episode, its outcome, and its pictures per second."""
    spec, frames = played.spec, list[np.ndarray]()
    kwargs = {**spec["env_kwargs"], "render_mode": "rgb_array"}
    env = make_env(spec["env_id"], kwargs)
    try:
        record = run_episode(
            env,
            predictor_factory(spec["method"], played.model, spec["overrides"])(env),
            seed=start.episode_seed,
            init_state=start.init_state,
            deterministic=spec["deterministic"],
            on_step=lambda env: frames.append(np.asarray(env.render())),
        )
        fps = int(env.metadata.get("render_fps") or 20)
    finally:
        env.close()
    return frames, bool(record.success), fps


def _titled(frame: np.ndarray, title: str, success: bool, side: int) -> np.ndarray:
    """A picture ``(side + _BAR, side, 3)`` uint8 with a coloured bar that names it."""
    picture = Image.new("RGB", (side, side + _BAR), _COLOURS[success])
    picture.paste(Image.fromarray(frame).resize((side, side)), (0, _BAR))
    ImageDraw.Draw(picture).text((3, 2), title, fill="white")
    return np.asarray(picture)


def _write_small(path: Path, pictures: Sequence[np.ndarray], fps: int, largest: int) -> None:
    """Write a film of at most so many bytes, coarser in time and space where need be."""
    height, width = pictures[0].shape[:2]
    for stride, scale in _SHRINKS:
        # Even sizes, which mp4 needs; the last picture is always there.
        size = max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)
        kept = [*pictures[:-1][::stride], pictures[-1]]
        scaled = [np.asarray(Image.fromarray(picture).resize(size)) for picture in kept]
        write_video(path, scaled, max(1, fps // stride))
        if path.stat().st_size <= largest:
            return
    path.unlink()
    raise ValueError(f"{path} cannot be made as small as {largest} bytes")


__all__ = ["LARGEST_FILM", "Difference", "Played", "choose", "film", "find_differences"]
