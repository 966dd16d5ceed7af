"""Whether LIBERO behaves here as it did where its published results come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco

from .assets import AssetFolder, resolve_assets
from .contact_rule import CONTACT_RULES, TESTED, check_contact_rule
from .published import KEYWORDS
from .settled import SETTLE_STEPS, Deviation, deviations
from .settled import conditions as reference_conditions
from .simulation import Simulation
from .suites import get_suite

STATES: Mapping[int, tuple[int, ...]] = {0: (0,), 2: (0, 18), 5: (0, 1), 8: (4,)}
"""Official initial states of libero_spatial that are settled, by task: ordinary ones, and those
that differ where contacts between boxes are computed otherwise."""

DEFAULTS = {"rendering": "fast", "image_convention": "upright", "robot_state": "pose7"}
"""Of the environment's keywords that published policies expect otherwise."""

TOLERANCES = {"official": (1e-3, 1.0), "primitive": (3e-3, 2.0)}
"""How far (m) and how much turned (degrees) an object may rest from the reference, by assets."""


@dataclass(frozen=True)
class Finding:
    """Something to know before comparing figures with published ones.

    Attributes:
        wrong: whether it makes them incomparable; otherwise it is a remark.
        text: a sentence.
    """

    wrong: bool
    text: str


@dataclass(frozen=True)
class Examination:
    """What `examine` found.

    Attributes:
        contact_rule: in force in what was settled.
        assets: of what was settled.
        settled: each object's deviation from the reference, state by state.
        findings: in words, what is wrong first.
    """

    contact_rule: str
    assets: str
    settled: list[Deviation]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        return not any(finding.wrong for finding in self.findings)


def examine(
    *,
    assets: str = "auto",
    assets_folder: str | None = None,
    contact_rule: str = "reference",
    states: Mapping[int, tuple[int, ...]] | None = None,
    **others: Any,
) -> Examination:
    """Settle a few official initial states of libero_spatial and compare them with stock LIBERO.

    Where the contact rule that is asked for cannot be had with the installed MuJoCo, its own rule
    is looked at instead, and that is the first finding.

    Args:
        assets, assets_folder, contact_rule: keywords of the environment.
        states: which ones, by task; `STATES` where None.
        others: further keywords of the environment, which are judged by what they say.

    Raises:
        ValueError: for an unknown keyword.
        FileNotFoundError: for official assets that are not there.
    """
    findings = []
    if contact_rule not in CONTACT_RULES:
        check_contact_rule(contact_rule)
    try:
        check_contact_rule(contact_rule)
    except RuntimeError as error:
        findings.append(Finding(True, str(error)))
        contact_rule = "mujoco"
    suite = get_suite("libero_spatial")
    folder = resolve_assets(assets, suite=suite.name, folder=assets_folder)
    settled: list[Deviation] = []
    rule = contact_rule
    for task, numbers in (states or STATES).items():
        # The reference has its fixtures in the centre.
        try:
            simulation = Simulation(suite, task, folder.path, contact_rule=contact_rule)
        except RuntimeError as error:
            if contact_rule == "mujoco":
                raise
            findings.append(Finding(True, str(error)))
            contact_rule = "mujoco"
            simulation = Simulation(suite, task, folder.path, contact_rule=contact_rule)
        rule = simulation.contact_rule
        for number in numbers:
            settled += deviations(simulation, number)
        simulation.close()
    findings += _of_states(settled, folder)
    findings += _of_physics(rule)
    findings += _of_protocol(others)
    findings += _of_images(folder, others)
    findings.sort(key=lambda finding: not finding.wrong)
    return Examination(rule, folder.kind, settled, findings)


def _of_states(settled: list[Deviation], folder: AssetFolder) -> list[Finding]:
    far, turned = TOLERANCES[folder.kind]
    off = [d for d in settled if d.distance > far or d.angle > turned]
    if not off:
        return []
    worst = max(off, key=lambda d: d.distance)
    states = len({(d.task, d.init_state) for d in off})
    return [
        Finding(
            True,
            f"objects of {states} settled states rest elsewhere than in stock LIBERO under MuJoCo "
            f"{reference_conditions().get('mujoco', '3.3.0')}, the farthest {worst}",
        )
    ]


def _of_physics(rule: str) -> list[Finding]:
    findings = []
    if rule == "mujoco":
        findings.append(
            Finding(
                True,
                f"MuJoCo {mujoco.__version__} computes contacts of boxes otherwise than before "
                "3.4, which LIBERO's initial states and published results come from; "
                "contact_rule='reference' restores that, from "
                f"{'.'.join(map(str, TESTED[0]))} to {'.'.join(map(str, TESTED[1]))}",
            )
        )
    elif rule.startswith("native"):
        findings.append(
            Finding(
                False,
                f"MuJoCo {mujoco.__version__} computes contacts as LIBERO's initial states expect "
                "by itself; it cannot let objects sleep, so that steps take about twice as long",
            )
        )
    return findings


def _of_protocol(keywords: Mapping[str, Any]) -> list[Finding]:
    """How episodes begin and end."""
    findings = []
    settling = keywords.get("settle_steps", SETTLE_STEPS)
    if settling != SETTLE_STEPS:
        text = f"objects settle for {settling} steps, {SETTLE_STEPS} in published evaluations"
        findings.append(Finding(True, text))
    if keywords.get("fixtures", "centre") == "centre":
        findings.append(
            Finding(
                False,
                "fixtures stand in the centre of their regions; LIBERO draws them anew at every "
                "reset (+-1 cm): fixtures='random' does so too",
            )
        )
    if "max_episode_steps" in keywords:
        findings.append(
            Finding(
                False,
                f"the step limit of {keywords['max_episode_steps']} is not OpenVLA's; LeRobot's "
                "are longer too: say which with the figures",
            )
        )
    return findings


def _of_images(folder: AssetFolder, keywords: Mapping[str, Any]) -> list[Finding]:
    """How images are drawn and turned, where any are observed."""
    seen = keywords.get("obs") == "image"
    findings = []
    if folder.kind == "primitive":
        findings.append(
            Finding(
                seen,
                "primitive assets have LIBERO's physics, not its looks: success rates of policies "
                "that see images are not comparable with published ones (`mbrl assets fetch`)",
            )
        )
    for name, expected in KEYWORDS.items():
        value = keywords.get(name, DEFAULTS.get(name))
        if seen and name in DEFAULTS and value != expected:
            findings.append(
                Finding(
                    False,
                    f"{name}={value!r}; published policies expect {expected!r}, which "
                    "`mbrl eval --policy` gives them",
                )
            )
    return findings


def describe(examination: Examination) -> dict[str, Any]:
    """The examination as plain values."""
    farthest = max(examination.settled, key=lambda d: d.distance)
    turned = max(examination.settled, key=lambda d: d.angle)
    return {
        "healthy": examination.healthy,
        "contact_rule": examination.contact_rule,
        "assets": examination.assets,
        "settled_states": len({(d.task, d.init_state) for d in examination.settled}),
        "farthest_mm": round(1e3 * farthest.distance, 3),
        "most_turned_degrees": round(turned.angle, 3),
        "wrong": [f.text for f in examination.findings if f.wrong],
        "remarks": [f.text for f in examination.findings if not f.wrong],
    }


__all__ = ["STATES", "TOLERANCES", "Examination", "Finding", "describe", "examine"]
