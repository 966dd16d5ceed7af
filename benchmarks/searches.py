"""Searches among controllers: what their generations came to, as numbers and as a plot."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mbrl_agents.agents.saving import LOG_FILE
from mbrl_agents.evaluation.figures import new_figure, save_png

PHASE = "controller"
"""Of the training logs, the phase whose updates are generations."""
COLUMNS = {
    "return": "mean of the candidates",
    "return_best": "best candidate",
    "return_worst": "worst candidate",
    "mean_return": "mean of the distribution, episodes of its own",
    "length": "steps of an episode",
    "sigma": "standard deviation",
}
"""By the metric's name, what a generation is described by."""

Generation = dict[str, float]
"""``generation``, and those of `COLUMNS` that were measured then."""


def generations_of(folder: Path) -> list[Generation]:
    """What was logged of a training's generations, in order; none where it had no such search."""
    file = folder / LOG_FILE
    if not file.is_file():
        return []
    found: dict[int, Generation] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            metric = line["metric"].removeprefix("train/")
            if line["phase"] == PHASE and metric in COLUMNS:
                number = int(line["step"])
                entry = found.setdefault(number, {"generation": number})
                entry[metric] = float(line["value"])
    return [found[number] for number in sorted(found)]


def write_searches(
    searches: Mapping[str, Sequence[Sequence[Generation]]],
    folder: Path,
    *,
    suffix: str = "",
    target: float | None = None,
) -> None:
    """Write ``generations.csv`` and ``generations.png``, where there was a search.

    Args:
        searches: by row's name, one for each training.
        folder: made if need be.
        suffix: of the files' names before their endings.
        target: return that counts as solved, drawn as a line.
    """
    kept = {name: [s for s in several if s] for name, several in searches.items()}
    kept = {name: several for name, several in kept.items() if several}
    if not kept:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"generations{suffix}.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["method", "training", "generation", *COLUMNS])
        for name, several in kept.items():
            for number, search in enumerate(several):
                for entry in search:
                    values = [f"{entry[c]:.6g}" if c in entry else "" for c in COLUMNS]
                    table.writerow([name, number, int(entry["generation"]), *values])
    save_png(draw_searches(kept, target=target), folder / f"generations{suffix}.png", 120)


def draw_searches(
    searches: Mapping[str, Sequence[Sequence[Generation]]], *, target: float | None = None
) -> Figure:
    """Mean of the candidates as thin lines, tests of the distribution's mean as thick ones."""
    figure = new_figure(8, 4.5, layout="constrained")
    axes = figure.subplots()
    for number, (name, several) in enumerate(searches.items()):
        colour = f"C{number % 10}"
        for which, search in enumerate(several):
            at = [entry["generation"] for entry in search if "return" in entry]
            mean = [entry["return"] for entry in search if "return" in entry]
            axes.plot(at, mean, color=colour, alpha=0.5, linewidth=0.8)
            tested = [entry for entry in search if "mean_return" in entry]
            axes.plot(
                [entry["generation"] for entry in tested],
                [entry["mean_return"] for entry in tested],
                color=colour,
                linewidth=2,
                marker="o",
                markersize=3,
                label=name if which == 0 else None,
            )
    if target is not None:
        axes.axhline(target, color="0.2", linestyle=":", label=f"solved: {target:g}")
    axes.set(
        xlabel="generation",
        ylabel="return: candidates (thin), distribution's mean (thick)",
    )
    axes.legend(loc="best", fontsize="small")
    return figure


__all__ = ["COLUMNS", "Generation", "draw_searches", "generations_of", "write_searches"]
