"""What a report consists of: figures, tables and answers, each with its experiments."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbrl_agents.homework.analysis import Finished
from mbrl_agents.homework.figures import Bar


@dataclass(frozen=True)
class Answer:
    """What the text expects, and what was measured.

    Attributes:
        expected: the text's expectation.
        holds: whether it does; None where these tests cannot say.
        measured: the numbers behind that, as a sentence.
    """

    expected: str
    holds: bool | None
    measured: str

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "does not hold", None: "cannot be said"}[self.holds]


@dataclass(frozen=True)
class Item:
    """A figure, a table or both, of named experiments.

    Attributes:
        key: short, unique in a report.
        title: of the figure.
        says: a sentence: what it shows.
        experiments: ``(exp_name, seed)`` of all that it was made of.
        images: PNG files by description.
        header, rows: of a table.
        answer: to an expectation of the text that this figure shows.
        numbers: what was drawn, for ``report.json``.
    """

    key: str
    title: str
    says: str
    experiments: Sequence[tuple[str, int]]
    images: Mapping[str, bytes] = field(default_factory=dict)
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    answer: Answer | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def uris(self) -> dict[str, str]:
        """The images as data URIs by description."""
        return {text: data_uri(image) for text, image in self.images.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything but the images."""
        answer = self.answer
        told = None
        if answer is not None:
            told = {
                "expected": answer.expected, "holds": answer.holds, "measured": answer.measured,
            }  # fmt: skip
        return {
            "key": self.key,
            "title": self.title,
            "says": self.says,
            "experiments": [{"exp_name": name, "seed": seed} for name, seed in self.experiments],
            "table": [list(self.header), *map(list, self.rows)] if self.header else None,
            "answer": told,
            "numbers": dict(self.numbers),
        }


class Results:
    """Finished experiments by their row's name in the plan."""

    def __init__(self, finished: Sequence[Finished]) -> None:
        self._found = {one.planned.name: one for one in finished}

    def __getitem__(self, name: str) -> Finished:
        return self._found[name]

    def has(self, *names: str) -> bool:
        return all(name in self._found for name in names)

    def of_part(self, part: int) -> list[Finished]:
        return [one for one in self._found.values() if one.planned.part == part]

    def variations(self, base: str) -> list[Finished]:
        """Rows that are compared with ``base``, sweeps left out."""
        return [
            one
            for one in self._found.values()
            if one.planned.base == base and one.planned.sweep is None
        ]

    def swept(self, setting: str, base: str, own: int) -> list[tuple[int, Finished]]:
        """A sweep by value, ``base`` with its ``own`` value among them."""
        found = [
            (one.planned.sweep[1], one)
            for one in self._found.values()
            if one.planned.base == base and one.planned.sweep and one.planned.sweep[0] == setting
        ]
        return sorted([*found, (own, self[base])], key=lambda pair: pair[0])


Build = Callable[[Results], "Item | None"]
"""Makes an item; None where experiments are missing, or have nothing to show."""


def named(*finished: Finished) -> list[tuple[str, int]]:
    """Experiments as an item cites them."""
    return [(one.name, one.seed) for one in finished]


def rate(finished: Finished) -> str:
    """``3/8 = 38 % [14, 69]``."""
    found = finished.summary
    low, high = found["ci95"]
    return (
        f"{found['successes']}/{found['episodes']} = {percent(found['success_rate'])} "
        f"[{100 * low:.0f}, {100 * high:.0f}]"
    )


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def milliseconds(finished: Finished) -> str:
    found = finished.summary
    return f"{found['plan_ms_p50']:.1f} ({found['plan_ms_p95']:.1f})"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def bar(label: str, finished: Finished) -> Bar:
    found = finished.summary
    low, high = found["ci95"]
    return Bar(
        label, found["success_rate"], low, high, found["plan_ms_p50"], found["plan_ms_p95"]
    )  # fmt: skip


def figures_of(finished: Finished) -> dict[str, Any]:
    """The measured numbers of a table's row, for ``report.json``."""
    found = finished.summary
    keys = ("successes", "episodes", "success_rate", "ci95", "return_mean", "return_best",
            "plan_ms_p50", "plan_ms_p95", "optimism")  # fmt: skip
    return {key: found.get(key) for key in keys}


def data_uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


__all__ = [
    "Answer",
    "Build",
    "Item",
    "Results",
    "bar",
    "data_uri",
    "figures_of",
    "millions",
    "milliseconds",
    "named",
    "percent",
    "rate",
]
