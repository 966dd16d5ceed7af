"""A finished run as a folder for the Hugging Face Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl_agents.agents.saving import (
    AGENT_FILE,
    CONFIG_FILE,
    OVERRIDES_FILE,
    VERSIONS_FILE,
    decisive_files,
)
from mbrl_agents.config import from_yaml
from mbrl_agents.data.conditions import sentence
from mbrl_agents.data.files import write_text
from mbrl_agents.data.locks import atomic_folder
from mbrl_agents.registry import METHODS, AgentMethod
from mbrl_agents.runs.spec import RUN_FILE, RunInfo

CARD, HUB_CONFIG = "README.md", "config.json"
EVALUATIONS = ("evaluation.json", "evaluation_results.json")
"""Where a run's folder may have the figures of its evaluation."""

FIGURES = ("episodes", "successes", "success_rate", "ci95", "return_mean", "return_std",
           "reward_per_step_mean", "plan_ms_p50", "plan_ms_p95")  # fmt: skip
"""Of an evaluation, as far as it has them."""


def export_hub(run: str | Path, folder: str | Path, evaluation: Path | None = None) -> list[str]:
    """Write weights (safetensors), ``config.json`` and a model card for a finished run.

    The folder is a run folder too: `mbrl_agents.load`, ``mbrl eval`` and ``mbrl train --from`` take
    it as it is, here or from the hub.

    Args:
        evaluation: what ``mbrl eval RUN --out FOLDER`` wrote, or None for that of the run's folder,
            if it is there; the card has its figures, and says so where there are none.

    Returns:
        The names of the files.

    Raises:
        FileNotFoundError: no finished run there, or no such evaluation.
        FileExistsError: there is something at ``folder`` already.
        ValueError: a run of a baseline; an evaluation that is no JSON.
    """
    run, info = Path(run), RunInfo.read(run)
    if not isinstance(METHODS.get(info.spec.method), AgentMethod):
        raise ValueError(
            f"{run} is a run of {info.spec.method}, which Stable-Baselines3 made; only agents of "
            "this package are exported"
        )
    measured = _evaluation(run, evaluation)
    settings = from_yaml((run / CONFIG_FILE).read_text(encoding="utf-8")).to_dict()
    config = {
        "library_name": "mbrl-agents",
        "method": info.spec.method,
        "environment": {"id": info.spec.env_id, "keywords": dict(info.spec.env_kwargs)},
        "settings": settings,
        "parameters": info.parameters,
        "env_steps": info.env_steps,
        "train_seconds": info.train_seconds,
        "seed": info.spec.seed,
        "evaluation": measured,
    }
    with atomic_folder(folder) as out:
        kept = [run / name for name in (RUN_FILE, AGENT_FILE, OVERRIDES_FILE, VERSIONS_FILE)]
        for file in [*decisive_files(run), *kept]:
            if file.is_file():
                shutil.copyfile(file, out / file.name)
        write_text(out / HUB_CONFIG, json.dumps(config, indent=2, default=str) + "\n")
        write_text(out / CARD, _card(info, measured))
        return sorted(p.name for p in out.iterdir())


def _evaluation(run: Path, given: Path | None) -> dict[str, Any] | None:
    if given is not None and given.is_dir():
        given = next((given / n for n in EVALUATIONS if (given / n).is_file()), given / "")
    if given is not None and not given.is_file():
        raise FileNotFoundError(f"there is no evaluation in {given}; `mbrl eval --out` writes one")
    places = [given] if given is not None else [run / name for name in EVALUATIONS]
    for place in places:
        if place.is_file():
            found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
            return found
    return None


def _card(info: RunInfo, measured: Mapping[str, Any] | None) -> str:
    """The model card: what it is, what was measured, how to load it."""
    spec = info.spec
    lines = [
        "---",
        "library_name: mbrl-agents",
        "pipeline_tag: reinforcement-learning",
        "tags: [reinforcement-learning, model-based, world-model, robotics]",
        "---",
        "",
        f"# {spec.method} on {spec.env_id}",
        "",
        f"Trained by mbrl-agents (`{spec.method}`: {METHODS[spec.method].summary.rstrip('.')}), "
        f"{sum(info.parameters.values()):,} parameters, {info.env_steps:,} environment steps, "
        f"{info.train_seconds:.0f} s, seed {spec.seed}.",
        "",
        f"Environment: `{spec.env_id}` with `{json.dumps(dict(spec.env_kwargs))}`.",
        "",
        "## Measured",
        "",
    ]
    if measured is None:
        lines.append("Not evaluated: `mbrl eval RUN --out RUN` measures it.")
    else:
        rows = [
            (name.replace("_", " "), _said(measured[name]))
            for name in FIGURES
            if measured.get(name) is not None
        ]
        lines += ["| figure | value |", "|---|---|", *(f"| {n} | {v} |" for n, v in rows)]
        told = measured.get("conditions") or info.conditions
        if told:
            lines += ["", f"Under {sentence(told)}."]
    changed = " ".join(spec.overrides)
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import mbrl_agents",
        "",
        'agent = mbrl_agents.load("hf://OWNER/NAME")  # or this folder',
        "action, state = agent.predict(observation, deterministic=True)",
        "```",
        "",
        f"Settings are in `{CONFIG_FILE}`" + (f"; changed: `{changed}`." if changed else "."),
        "",
    ]
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_said, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


__all__ = ["EVALUATIONS", "export_hub"]
