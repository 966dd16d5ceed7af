"""The homework's report: one HTML file without any request, and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from mbrl_agents.data.files import atomic
from mbrl_agents.homework import model_items as models
from mbrl_agents.homework import plan_items as acting
from mbrl_agents.homework.analysis import Finished
from mbrl_agents.homework.items import Build, Item, Results, figures_of
from mbrl_agents.training.checkpoints import write_text

REPORT_FILE, NUMBERS_FILE = "report.html", "report.json"
TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Part:
    """What the report says of a part of the text.

    Attributes:
        title: its heading.
        items: in order.
    """

    title: str
    items: Sequence[Build]


CONTENTS: Mapping[int, Part] = {
    1: Part(
        "Part 1: planning with a model of poses",
        (
            models.losses(
                "q1_simple_cem", "world_model", models.MODEL_PANELS, "Losses of the model of poses"
            ),
            models.prediction(("q1_simple_cem",), "Prediction error of poses", answer=True),
            acting.above_zero(("q1_simple_cem",)),
            acting.sweep("horizon", "q1_simple_cem", 10, "the planning horizon"),
            acting.sweep("samples", "q1_simple_cem", 100, "the number of samples"),
            acting.planned_paths("q1_simple_cem"),
            acting.failure("q1_simple_cem"),
            acting.variations(("q1_simple_cem",), "ablation", "Ablation", 1),
        ),
    ),
    2: Part(
        "Part 2: a policy to start from",
        (
            models.losses(
                "q2_policy_training", "policy", models.POLICY_PANELS, "Losses of the policy"
            ),
            acting.guided_against_random("q2_policy_cem", "q1_simple_cem", "q2_policy_training"),
            acting.above_zero(("q2_policy_training", "q2_policy_cem")),
            acting.planned_paths("q2_policy_cem"),
            acting.proposal_moved("q2_policy_cem"),
            acting.saved_and_lost("q2_policy_training", "q2_policy_cem"),
            acting.variations(("q2_policy_training",), "ablation", "Ablation", 2),
        ),
    ),
    3: Part(
        "Part 3: a world model of images",
        (
            models.losses(
                "q3_dreamer_cem", "world_model", models.MODEL_PANELS, "Losses of the images' model"
            ),
            models.training_table(("q1_simple_cem", "q3_dreamer_cem")),
            models.reconstructions("q3_dreamer_cem", "q3_no_imitation"),
            models.prediction(
                ("q1_simple_cem", "q3_dreamer_cem"), "Prediction error of both models", answer=False
            ),
            acting.above_zero(("q3_dreamer_cem",)),
            acting.planned_paths("q3_dreamer_cem"),
            acting.failure("q3_dreamer_cem"),
            acting.variations(("q3_dreamer_cem",), "ablation", "Ablation", 3),
        ),
    ),
    4: Part(
        "Part 4: a policy from images, and all methods",
        (
            models.losses(
                "q4_dreamer_policy", "policy", models.POLICY_PANELS, "Losses of the cloned policy"
            ),
            acting.methods_table(
                (
                    "q1_simple_cem", "q2_policy_cem", "q3_dreamer_cem", "q4_dreamer_policy_cem",
                    "q2_policy_training", "q4_dreamer_policy",
                )
            ),
            acting.guided_against_random(
                "q4_dreamer_policy_cem", "q3_dreamer_cem", "q4_dreamer_policy"
            ),
            acting.above_zero(("q4_dreamer_policy", "q4_dreamer_policy_cem")),
            acting.planned_paths("q4_dreamer_policy_cem"),
            acting.proposal_moved("q4_dreamer_policy_cem"),
            acting.saved_and_lost("q4_dreamer_policy", "q4_dreamer_policy_cem"),
            acting.variations(("q4_dreamer_policy_cem",), "ablation", "Ablation", 4),
            acting.variations(
                ("q2_policy_cem", "q4_dreamer_policy_cem"), "robustness",
                "Another seed, another environment", 4,
            ),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part as it is shown."""

    number: int
    title: str
    items: Sequence[Item]


def write_report(
    folder: Path,
    finished: Sequence[Finished],
    parts: Sequence[int],
    *,
    quick: bool,
    command: str,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write ``report.html`` and ``report.json``; figures without their experiments are left out.

    What a figure shows is kept in its experiment's folder: only what is not known yet is computed,
    and nothing is trained.

    Args:
        folder: made if need be.
        finished: experiments.
        parts: of the text.
        quick: whether the experiments are the quick ones.
        command: that made the report, for its head.
        tell: told of each figure before it is made.
    """
    results = Results(finished)
    sections = []
    for part in parts:
        items = []
        for number, build in enumerate(CONTENTS[part].items, 1):
            if tell is not None:
                tell(f"part {part}: figure {number} of {len(CONTENTS[part].items)}")
            item = build(results)
            if item is not None:
                items.append(item)
        sections.append(Section(part, CONTENTS[part].title, items))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / NUMBERS_FILE, json.dumps(_numbers(sections, finished), indent=1) + "\n")
    page = _rendered(sections, finished, quick, command)
    with atomic(folder / REPORT_FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / REPORT_FILE


def _numbers(sections: Sequence[Section], finished: Sequence[Finished]) -> dict[str, Any]:
    return {
        "experiments": {
            one.name: {
                "what": one.planned.label,
                "seed": one.seed,
                "command": _command(one),
                "train_seconds": one.info.train_seconds,
                "parameters": one.info.parameters,
                **figures_of(one),
            }
            for one in finished
        },
        "parts": {
            str(section.number): [item.to_json() for item in section.items] for section in sections
        },
    }


def _rendered(
    sections: Sequence[Section], finished: Sequence[Finished], quick: bool, command: str
) -> str:
    from jinja2 import Environment, StrictUndefined

    template = resources("mbrl_agents.homework").joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(template)
    conditions = finished[0].summary.get("conditions") if finished else None
    return page.render(
        sections=sections,
        answers=[
            (section.number, item)
            for section in sections
            for item in section.items
            if item.answer is not None
        ],
        commands=[(one.name, one.planned.label, _command(one)) for one in finished],
        quick=quick,
        command=command,
        conditions=conditions or {},
        tests=finished[0].summary["episodes"] if finished else 0,
    )


def _command(finished: Finished) -> str:
    from mbrl_agents.homework.files import words_of

    return "mbrl train " + " ".join(words_of(finished.folder) or [])


__all__ = ["CONTENTS", "NUMBERS_FILE", "REPORT_FILE", "Part", "Section", "write_report"]
