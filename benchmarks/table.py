"""A summary as Markdown: one table per environment, with what has to be known to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mbrl_agents.data.conditions import sentence

from .conditions import condition_text

_STATES = {"benchmark": "official initial states", "random": "random initial states"}


def markdown(summary: dict[str, Any]) -> str:
    """The text of ``summary.md``.

    Each environment has a table of its own.  Its outcome is the success rate, or the return where
    the environment knows no success or the suite sets a target for the return.  Where the suite
    has several tasks, a second table has the successes by task; where it has several environments,
    a last one the returns of all of them side by side.
    """
    tasks = ", ".join(map(str, summary["tasks"]))
    names = ", ".join(summary["envs"])
    parts = [f"# {summary['suite']}: {names}" + (f", task {tasks}" if tasks else "")]
    for env in summary["envs"]:
        entries = [entry for entry in summary["methods"] if entry["env"] == env]
        if not entries:
            continue
        if len(summary["envs"]) > 1:
            parts += ["", f"## {env}"]
        parts += ["", *_table(entries, summary["targets"].get(env))]
        if len(summary["tasks"]) > 1:
            parts += _by_task(entries)
    if len(summary["envs"]) > 1:
        parts += _side_by_side(summary)
    parts.append("")
    return "\n".join([*parts, *_remarks(summary)])


def _table(entries: Sequence[dict[str, Any]], target: float | None) -> list[str]:
    """Header, rule and rows of one environment."""
    finished = [entry for entry in entries if entry["status"] == "ok"]
    success = any(entry["successes"] is not None for entry in finished) or not finished
    returns = target is not None or not success
    seeds = any(len(entry.get("per_seed", ())) > 1 for entry in finished)
    header = ["method"]
    header += ["success", "95 % interval"] * success
    header += ["return, mean ± std"] * returns
    bounds = returns and any(entry.get("return_ci95") for entry in finished)
    header += ["95 % of the mean"] * bounds
    header += ["mean by seed"] * (returns and seeds)
    header += [] if target is None else [f"at least {target:g}"]
    checked = target is not None and any(entry.get("checks") for entry in finished)
    header += ["held at three checks"] * checked
    header += ["return (best)"] * (not returns)
    imagined = any(entry.get("imagination") for entry in finished)
    header += ["imagined, mean / last step"] * imagined
    planned = any(entry.get("optimism") for entry in finished)
    header += ["optimism"] * planned
    header += ["plan ms p50 / p95", "parameters", "train s", "env steps"]
    timed = any(entry.get("updates") for entry in finished)
    header += ["ms an update"] * timed
    rows = []
    for entry in entries:
        if entry["status"] != "ok":
            rows.append([entry["method"], "failed", *["-"] * (len(header) - 2)])
            continue
        row = [entry["method"]]
        row += _success(entry) * success
        row += [f"{entry['return_mean']:.1f} ± {entry['return_std']:.1f}"] * returns
        row += [_between(entry.get("return_ci95"))] * bounds
        row += [_by_seed(entry)] * (returns and seeds)
        row += [] if target is None else [_reached(entry)]
        row += [_held(entry.get("checks"), entry.get("checks_count", "steps"))] if checked else []
        row += [f"{entry['return_mean']:.2f} ({entry['return_best']:.2f})"] * (not returns)
        row += [_imagined(entry.get("imagination"))] * imagined
        row += [_optimism(entry.get("optimism"))] * planned
        row += [
            f"{entry['plan_ms_p50']:.1f} / {entry['plan_ms_p95']:.1f}",
            f"{entry['parameters']:,}" if entry["parameters"] else "-",
            f"{entry['train_seconds']:.0f}" if entry["parameters"] else "-",
            f"{entry['env_steps']:,}" if entry["env_steps"] else "-",
        ]
        row += [_updates(entry.get("updates"))] * timed
        rows.append(row)
    return _lines(header, rows)


def _side_by_side(summary: dict[str, Any]) -> list[str]:
    """The returns of every method on every environment."""
    envs, rows = summary["envs"], []
    for name in dict.fromkeys(entry["method"] for entry in summary["methods"]):
        of_name = {e["env"]: e for e in summary["methods"] if e["method"] == name}
        rows.append([name, *(_return(of_name.get(env)) for env in envs)])
    return ["", "## Returns", "", *_lines(["method", *envs], rows)]


def _return(entry: dict[str, Any] | None) -> str:
    """Mean return and its interval, and the environment steps that it took."""
    if entry is None:
        return "-"
    if entry["status"] != "ok":
        return "failed"
    text = f"{entry['return_mean']:.2f}"
    if entry.get("return_ci95"):
        text += f" ({_between(entry['return_ci95'], 2)})"
    return text + (f" after {entry['env_steps']:,} steps" if entry["env_steps"] else "")


def _by_task(entries: Sequence[dict[str, Any]]) -> list[str]:
    """An empty line and the table of successes by task; nothing where none are known."""
    known = [e for e in entries if e["status"] == "ok" and e["successes"] is not None]
    # Numbers of tasks as text, "None" where an environment has none.
    tasks = sorted({int(t) for e in known for t in e["per_task"] if t.isdigit()})
    if len(tasks) < 2:
        return []
    rows = []
    for entry in known:
        found = [entry["per_task"].get(str(task)) for task in tasks]
        cells = [f"{f['successes']}/{f['episodes']}" if f else "-" for f in found]
        rows.append([entry["method"], *cells])
    return ["", *_lines(["success by task", *map(str, tasks)], rows)]


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown: header, rule and rows."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    return [line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]


def _success(entry: dict[str, Any]) -> list[str]:
    if entry["successes"] is None:
        return ["-", "-"]
    low, high = entry["ci95"]
    return [
        f"{entry['successes']}/{entry['episodes']} ({100 * entry['success_rate']:.0f} %)",
        f"{100 * low:.0f} to {100 * high:.0f} %",
    ]


def _optimism(found: dict[str, float] | None) -> str:
    """Control steps of progress, or reward, promised over the horizon beyond what came of it."""
    if found is None:
        return "-"
    if "progress" in found:
        return f"{found['progress']:+.1f} in {found['horizon']:.0f}"
    return f"{found['reward']:+.2f} reward in {found['horizon']:.0f}"


def _between(found: Sequence[float] | None, digits: int = 1) -> str:
    return "-" if found is None else f"{found[0]:.{digits}f} to {found[1]:.{digits}f}"


def _imagined(found: dict[str, Any] | None) -> str:
    """Variance that imagination leaves unexplained: over the horizon, and at its end."""
    if found is None:
        return "-"
    last = found["per_step"][-1]
    return f"{found['mean']:.3f} / " + ("-" if last is None else f"{last:.3f}")


def _updates(found: dict[str, dict[str, float]] | None) -> str:
    """Milliseconds of an update of each phase; of a single one without its name."""
    if not found:
        return "-"
    named = len(found) > 1
    return ", ".join(f"{name} " * named + f"{1000 * x['seconds']:.3g}" for name, x in found.items())


def _by_seed(entry: dict[str, Any]) -> str:
    return ", ".join(f"{seed['return_mean']:.1f}" for seed in entry.get("per_seed", {}).values())


def _reached(entry: dict[str, Any]) -> str:
    text = "yes" if entry["target_reached"] else "no"
    seeds = entry.get("per_seed", {})
    if len(seeds) > 1:
        text += f" ({sum(s['target_reached'] for s in seeds.values())} of {len(seeds)} seeds)"
    return text


def _held(checks: dict[str, Any] | None, counted: str = "steps") -> str:
    """Of how many seeds three checks in a row reached the target, by when, and the last three.

    Only where there is a target.
    """
    if not checks:
        return "-"
    steps = sorted(seed["held_at"] for seed in checks.values() if seed["held_at"] is not None)
    if not steps:
        return f"0 of {len(checks)} seeds"
    last = sum(seed["held_at_the_end"] for seed in checks.values())
    middle = steps[(len(steps) - 1) // 2]
    return f"{len(steps)} of {len(checks)} seeds, median by {middle:,} {counted}; at the end {last}"


def _remarks(summary: dict[str, Any]) -> list[str]:
    """The lines under the tables."""
    finished = [entry for entry in summary["methods"] if entry["status"] == "ok"]
    several = len(summary["envs"]) > 1
    tested = f"Tested on {_STATES[summary['init']]}"
    if summary.get("test_env_kwargs"):
        tested += f" ({condition_text(summary['test_env_kwargs'])})"
    if finished:
        episodes = sorted({entry["episodes"] // len(entry["seeds"]) for entry in finished})
        tested += f", {' or '.join(map(str, episodes))} episodes per seed"
    if any(entry["successes"] is not None for entry in finished):
        tested += "; success with Wilson's interval"
    if any(entry["successes"] is None or "target" in entry for entry in finished):
        tested += "; the standard deviation is over all episodes"
        if any(entry.get("return_ci95") for entry in finished):
            tested += ", and so is the interval, which knows nothing of how seeds differ"
    parts = [tested + ". "]
    if summary.get("conditions"):
        parts[-1] += f"Conditions: {sentence(summary['conditions'])}. "
    parts[-1] += (
        "Planning time is the wall time of `predict` with one thread per process, while up to "
        f"{summary['workers']} such processes shared {summary['cores']} cores."
    )
    if any(entry.get("optimism") for entry in finished):
        parts[-1] += (
            " Optimism: control steps of progress that the model promised of what was executed, "
            "over the planner's horizon, beyond what came of it; above 0 it promised too much."
        )
    parts[-1] += " Calls that go on with a plan, without a search, are left out."
    for data in summary["data"]:
        parts.append(
            f"Recorded episodes{_in(data['env'], several)}{_of(data, summary)}: {data['episodes']} "
            f"({data['successes']} successful), "
            f"{data['steps']:,} steps, collected in {data['seconds']:.0f} s by up to "
            f"{summary['workers']} processes."
        )
    if looks := [entry["imagination"] for entry in finished if entry.get("imagination")]:
        steps = " or ".join(str(n) for n in sorted({look["horizon"] for look in looks}))
        parts.append(
            "Imagined: squared error of what a model imagines along the actions of held-out "
            "episodes, the same for all methods, in shares of the variance of what was recorded; "
            f"{looks[0]['context']} observations or more seen, {steps} steps imagined. "
            "1 is no better than the mean observation."
        )
    if any(entry.get("checks") for entry in finished):
        parts.append(
            "Checks are fresh episodes of the agent as it is after so many steps; held: the means "
            "of three checks in a row reached the target, counted to the last of them."
        )
    own = "Train seconds hold a row's own environment steps"
    if summary["data"]:
        own += " (all of those of the `sb3-` rows) and not the collection of the recorded episodes"
    parts.append(own + ".")
    shared: dict[str, list[str]] = {}
    for entry in summary["methods"]:
        if entry.get("training"):
            shared.setdefault(entry["training"], []).append(entry["method"])
    for names in shared.values():
        if len(names) > 1:
            parts.append(f"Trained once, and shared: {', '.join(names)}.")
    # A row with the same settings on all environments is described once.
    described: dict[tuple[str, str], list[str]] = {}
    for entry in summary["methods"]:
        remarks = [*(f"`{override}`" for override in entry["overrides"]), *entry["notes"]]
        if remarks:
            key = (entry["method"], f"{'; '.join(remarks)}.")
            described.setdefault(key, []).append(entry["env"])
    for (name, text), envs in described.items():
        alone = several and len(envs) < len(summary["envs"])
        parts.append(f"{name}{_in(', '.join(envs), alone)}: {text}")
    for entry in summary["methods"]:
        if entry["status"] != "ok":
            parts.append(f"{entry['method']}{_in(entry['env'], several)} failed: {entry['error']}")
    return parts


def _of(data: dict[str, Any], summary: dict[str, Any]) -> str:
    """The task of recorded episodes where there are several."""
    return f" of task {data['task']}" if len(summary["tasks"]) > 1 else ""


def _in(env: str, several: bool) -> str:
    return f" on {env}" if several else ""


__all__ = ["markdown"]
