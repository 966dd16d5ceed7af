"""All experiments of some parts, one after the other, and the report on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mbrl_agents.evaluation.rollouts import EpisodeRecord
from mbrl_agents.homework import experiment
from mbrl_agents.homework.ahead import train_ahead
from mbrl_agents.homework.analysis import Finished
from mbrl_agents.homework.plan import PARTS, Command, commands
from mbrl_agents.homework.report import write_report
from mbrl_agents.runs.work import Progress

Tell = Callable[[str], None]


def report_folder(parts: Sequence[int], *, quick: bool, seed: int) -> Path:
    """Where a report goes unless somebody says otherwise."""
    which = "all" if tuple(parts) == PARTS else "_".join(f"part{part}" for part in parts)
    size = "_quick" if quick else ""
    return experiment.OUTPUTS / f"report_{which}{size}{f'_seed_{seed}' if seed else ''}"


def run_homework(
    parts: Sequence[int],
    *,
    quick: bool = False,
    seed: int = 0,
    out: Path | None = None,
    workers: int = 1,
    fresh: bool = False,
    tell: Tell | None = None,
    progress: Callable[[Command], tuple[Progress | None, Callable[[EpisodeRecord], None] | None]]
    | None = None,
) -> Path:
    """Run the experiments of ``parts`` and write the report.

    Finished experiments are left as they are, an interrupted one goes on; so does this.

    Args:
        parts: of the text, 1 to 4.
        quick: see `mbrl_agents.homework.plan.commands`.
        seed: of everything.
        out: folder of the report; by default `report_folder`.
        workers: processes that record, train and test.
        fresh: run everything again, finished or not.
        tell: told what comes next and what came of it, a line each.
        progress: makes, for each experiment, what is told of its training and of its tests.

    Returns:
        The HTML file.
    """
    say = tell or (lambda line: None)
    planned = commands(parts, quick=quick, seed=seed)
    began = time.monotonic()
    trained = train_ahead(
        [command.experiment for command in planned], workers=workers, fresh=fresh, tell=tell
    )
    finished = []
    for number, command in enumerate(planned, 1):
        name = command.experiment.name
        say(f"[{number}/{len(planned)}] {name}: {command.planned.label}")
        on_training, on_episode = (None, None) if progress is None else progress(command)
        outcome = experiment.run_experiment(
            command.experiment,
            workers=workers,
            fresh=fresh and name not in trained,
            tell=lambda line: say(f"    {line}"),
            progress=on_training,
            on_episode=on_episode,
        )
        summary = outcome.summary
        say(
            f"    success {summary['successes']}/{summary['episodes']}, planning "
            f"{summary['plan_ms_p50']:.1f} ms, {(time.monotonic() - began) / 60:.1f} min so far"
        )
        finished.append(
            Finished(
                command.planned,
                name,
                command.experiment.seed,
                dict(command.experiment.env),
                outcome.folder,
            )
        )
    say("report: playing some tests again, to see them")
    which = "all" if tuple(parts) == PARTS else " ".join(f"part{part}" for part in parts)
    line = f"mbrl homework {which}{' --quick' if quick else ''}{f' --seed {seed}' if seed else ''}"
    return write_report(
        out or report_folder(parts, quick=quick, seed=seed),
        finished,
        parts,
        quick=quick,
        command=line,
        tell=lambda text: say(f"    {text}"),
    )


__all__ = ["report_folder", "run_homework"]
