"""``mbrl data``: recorded episodes of any format, looked at, checked and converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mbrl_agents.cli import console

app = typer.Typer(
    help="Recorded episodes of any format: look at them, check them, convert them.",
    no_args_is_help=True,
)

Source = Annotated[
    str,
    typer.Argument(help="File or folder, hf://OWNER/NAME of the Hugging Face Hub, or minari:ID."),
]
Images = Annotated[
    str | None,
    typer.Option(
        help="How recorded images lie: upright, raw (upside-down, as LIBERO has them) or rotated "
        "(by 180 degrees, as OpenVLA's and LeRobot's LIBERO has them) [default: as the format "
        "says]."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def inspect(
    source: Source,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Look at the first so many episodes only.")
    ] = None,
    images: Images = None,
    as_json: AsJson = False,
) -> None:
    """Show what SOURCE holds: format, episodes, observations, actions, goals.

    What is damaged is counted and named.
    """
    path, options = _open(source, images)
    from mbrl_agents.data.formats import detect

    report = _Report()
    with console.failures(), console.progress("inspecting") as update:
        form = detect(path)
        _read(path, options, report, update, limit)
    result = {"source": source, "format": form.name, **report.told()}
    if as_json:
        console.show_json(result)
        return
    typer.echo(f"{source}: {form.name} ({form.summary})")
    typer.echo(
        f"{report.episodes} episodes, {report.steps} steps, {report.successes} successful, "
        f"{report.labelled} steps labelled"
    )
    for key, shapes in result["observations"].items():
        typer.echo(f"  {key}: {' or '.join(map(str, shapes))}")
    typer.echo(f"  actions: {result['actions']}")
    if report.goals:
        typer.echo(console.table(["goal", "episodes"], report.goals.items()))
    _tell_damage(report.damaged)


@app.command()
def validate(source: Source, images: Images = None, as_json: AsJson = False) -> None:
    """Read all of SOURCE and name whatever is damaged; the exit code is 1 if anything is."""
    path, options = _open(source, images)
    report = _Report()
    with console.failures(), console.progress("validating") as update:
        _read(path, options, report, update, None)
    if as_json:
        console.show_json({"source": source, **report.told()})
    else:
        _tell_damage(report.damaged)
        typer.echo(f"{report.episodes} episodes are sound, {len(report.damaged)} are damaged")
    if report.damaged:
        raise typer.Exit(console.FAILED)


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")],
    to: Annotated[
        str, typer.Option(help="columns (what `mbrl collect` writes), libero, lerobot or minari.")
    ] = "columns",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what is damaged, and name it.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Put the recorded states of LIBERO's demonstrations through the simulator: poses "
            "of objects, rewards and success as our environments show them.",
        ),
    ] = False,
    obs: Annotated[str, typer.Option(help="With --replay: pose, robot_pose or image.")] = "pose",
    reward: Annotated[
        str, typer.Option(help="With --replay: sparse, progress or dense.")
    ] = "progress",
    assets: Annotated[
        str, typer.Option(help="With --replay: auto, primitive or official.")
    ] = "auto",
    images: Images = None,
    as_json: AsJson = False,
) -> None:
    """Write the episodes of SOURCE into TARGET in another format: all of them, or nothing.

    \b
    mbrl data convert hf://gberseth/libero_spatial_sequence data/spatial
    mbrl data convert libero_spatial/ data/replayed --replay --reward dense
    mbrl data convert data/bowl exported --to lerobot
    """
    path, options = _open(source, images, replay=replay, obs=obs, reward=reward, assets=assets)
    from mbrl_agents.data.formats import convert as write
    from mbrl_agents.data.formats.base import DamagedData
    from mbrl_agents.data.formats.registry import get_format

    with console.usage():
        get_format(to)
    damaged: list[DamagedData] = []
    with console.failures(), console.progress("converting") as update:
        try:
            written = write(
                path,
                target,
                to,
                options,
                on_bad=damaged.append if skip_bad else None,
                on_episode=lambda _: update(),
                limit=limit,
            )
        except DamagedData as error:
            raise ValueError(f"{error}\n--skip-bad leaves out what is damaged") from error
        except FileExistsError as error:
            console.fail(str(error), console.USAGE)
    told = [{"part": bad.part, "reason": bad.reason} for bad in damaged]
    if as_json:
        console.show_json({"folder": str(target), "format": to, "episodes": written,
                           "damaged": told})  # fmt: skip
        return
    _tell_damage(told)
    typer.echo(f"{written} episodes in {target} ({to})" + f", {len(told)} left out" * bool(told))


class _Report:
    """What was seen of a source, without keeping any of it."""

    def __init__(self) -> None:
        self.episodes = self.steps = self.successes = self.labelled = 0
        self.goals: Counter[str] = Counter()
        self.damaged: list[dict[str, str]] = []
        self._shapes: dict[str, set[str]] = {}
        self._actions: set[int] = set()
        self._low, self._high = float("inf"), float("-inf")

    def add(self, episode: Any) -> None:
        """Count an episode."""
        import numpy as np

        from mbrl_agents.data.formats.base import goal_of

        self.episodes += 1
        self.steps += len(episode)
        self.successes += episode.success
        self.labelled += int(np.isfinite(episode.labels).all(-1).sum())
        if goal := goal_of(episode):
            self.goals[goal] += 1
        for key, value in episode.observations.items():
            self._shapes.setdefault(key, set()).add(f"{value.shape[1:]} {value.dtype}")
        self._actions.add(episode.actions.shape[1])
        self._low = min(self._low, float(episode.actions.min()))
        self._high = max(self._high, float(episode.actions.max()))

    def told(self) -> dict[str, Any]:
        """Plain values."""
        sizes = " or ".join(map(str, sorted(self._actions)))
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "successes": self.successes,
            "labelled": self.labelled,
            "observations": {key: sorted(found) for key, found in self._shapes.items()},
            "actions": f"({sizes},) from {self._low:.4g} to {self._high:.4g}",
            "goals": dict(self.goals),
            "damaged": self.damaged,
        }


def _open(source: str, images: str | None, **options: Any) -> tuple[Path, Any]:
    """The path and how to read it; ends with a message for what cannot be meant."""
    from mbrl_agents.data.formats import ReadOptions, detect, open_source

    if images not in (None, "upright", "raw", "rotated"):
        console.fail(f"unknown --images {images!r}; valid: upright, raw, rotated", console.USAGE)
    with console.usage():
        path = open_source(source)
        detect(path)
    return path, ReadOptions(images=images, **options)  # type: ignore[arg-type]


def _read(
    path: Path, options: Any, report: _Report, update: Callable[..., None], limit: int | None
) -> None:
    """Everything that can be read into the report, and everything else as damage."""
    from mbrl_agents.data.formats import DamagedData, episodes_of

    def bad(error: DamagedData) -> None:
        report.damaged.append({"part": error.part, "reason": error.reason})
        update(text=f"{len(report.damaged)} damaged")

    try:
        for _, episode in episodes_of(path, options, on_bad=bad, limit=limit):
            report.add(episode)
            update()
    except ValueError:
        if not report.damaged:  # nothing there at all
            raise


def _tell_damage(damaged: list[dict[str, str]]) -> None:
    for bad in damaged:
        console.note(f"damaged: {bad['part']}: {bad['reason']}")
