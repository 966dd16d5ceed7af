"""The keywords of a LIBERO environment that name one of several things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .contact_rule import check_contact_rule
from .fixtures import FIXTURES
from .observation import CAMERAS, IMAGE_CONVENTIONS, OBSERVATIONS, ROBOT_STATES
from .rendering import RENDERINGS
from .reward import REWARDS
from .task_codes import TASK_CODES

INITS = ("random", "benchmark")
"""The values of the ``init`` keyword."""

RENDER_MODES = ("rgb_array",)

CHOICES: Mapping[str, Sequence[str]] = {
    "obs": OBSERVATIONS,
    "reward": tuple(REWARDS),
    "init": INITS,
    "fixtures": FIXTURES,
    "rendering": RENDERINGS,
    "image_convention": IMAGE_CONVENTIONS,
    "robot_state": tuple(ROBOT_STATES),
    "task_code": TASK_CODES,
    "render_mode": RENDER_MODES,
}
"""The values of each such keyword, but for those with a module of their own."""


def check_keywords(*, contact_rule: str, cameras: Sequence[str], **given: str | None) -> None:
    """Refuse what is not there.

    Args:
        contact_rule, cameras: the keywords of these names.
        given: those of `CHOICES`; a ``render_mode`` may be None.

    Raises:
        ValueError: for an unknown value, with the valid ones; for ``obs="image"`` without a camera.
    """
    check_contact_rule(contact_rule)
    for name, value in given.items():
        if not (name == "render_mode" and value is None):
            _check(name, value, CHOICES[name])
    for camera in cameras:
        _check("camera", camera, tuple(CAMERAS))
    if not cameras and given.get("obs") == "image":
        raise ValueError(f"obs='image' needs a camera; valid cameras: {', '.join(CAMERAS)}")


def _check(name: str, value: str | None, valid: Sequence[str]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {name} {value!r}; valid: {', '.join(valid)}")


__all__ = ["CHOICES", "INITS", "RENDER_MODES", "check_keywords"]
