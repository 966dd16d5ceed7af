"""Gymnasium's CarRacing, drawn several times faster into the same frames.

Nearly all of a step of CarRacing-v3 is drawing: every polygon of the track and of the grass is
transformed in Python, and most of them lie outside of the window.  Here all of them are transformed
at once, those that touch no pixel are left out, and the font and what is written with it are kept.
Physics, rewards and whatever reaches the window are Gymnasium's; `tests/envs/test_car_racing.py`
holds frames and rewards to the original, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pygame
from gymnasium.envs.box2d import car_racing as original
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray
from pygame import gfxdraw

from .frames import prepared

W, H = original.WINDOW_W, original.WINDOW_H
EDGE = 2
"""Pixels around the window in which polygons are drawn all the same: outlines are smoothed."""

REACH = math.hypot(W / 2, 3 * H / 4) + 2 * EDGE
"""Pixels from the car to the farthest corner of the window, and a little more."""

HIDDEN = H // 8
"""Rows at the window's bottom that the instruments cover; the road is drawn upside-down, so they
are the first."""

TEXTS = 4096
"""Most of the written rewards that are kept; an episode has a few hundred."""


FRAMES = 1000
"""Frames after which Gymnasium ends an episode."""


def make_car_racing(
    size: int | None = None, rows: int | None = None, **kwargs: Any
) -> gymnasium.Env:
    """The environment, with frames as they are drawn or prepared.

    Args:
        size: side of square frames; None leaves them at 96 x 96.
        rows: how many of the upper rows are kept before that; the lowest 12 show instruments.
        **kwargs: of `FastCarRacing`.
    """
    return prepared(FastCarRacing(**kwargs), size=size, rows=rows)


class FastCarRacing(CarRacing):
    """`gymnasium.envs.box2d.CarRacing` with the same keywords, spaces, frames and rewards.

    Args:
        *args: of Gymnasium's.
        action_repeat: frames that an action is held for.  Their rewards are added, so an episode's
            return means what it means with 1, and only the last is drawn and returned.  An episode
            has 1,000 frames at most, whatever this is.
        **kwargs: of Gymnasium's.

    Raises:
        ValueError: for an ``action_repeat`` below 1.
    """

    surf: Any  # Gymnasium's class says None of what it draws on later

    def __init__(self, *args: Any, action_repeat: int = 1, **kwargs: Any) -> None:
        if action_repeat < 1:
            raise ValueError(f"action_repeat must be at least 1, got {action_repeat}")
        self.action_repeat, self._frames, self._unseen = action_repeat, 0, False
        super().__init__(*args, **kwargs)
        self._grass = _grass()
        self._corners: NDArray[np.float64] = np.zeros((2, 4, 0))
        self._centres: NDArray[np.float64] = np.zeros((2, 0))
        self._radii: NDArray[np.float64] = np.zeros(0)
        self._cornered: Any = None
        # What is drawn upside-down, and then turned; both are kept from step to step.
        self._window: pygame.Surface | None = None
        self._turned: pygame.Surface | None = None
        self._font: pygame.font.Font | None = None
        self._texts: dict[str, pygame.Surface] = {}

    @property
    def conditions(self) -> dict[str, Any]:
        """What figures depend on beside the agent."""
        return {
            "gymnasium": gymnasium.__version__,
            "car_racing": "v3",
            "continuous": self.continuous,
            "domain_randomize": self.domain_randomize,
            "lap_complete_percent": self.lap_complete_percent,
            "action_repeat": self.action_repeat,
        }

    def reset(self, **kwargs: Any) -> Any:
        self._frames, self._unseen = 0, False
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        if self.action_repeat == 1 or action is None:  # reset takes a step without an action
            return super().step(action)
        total = 0.0
        for number in range(self.action_repeat):
            self._unseen = number + 1 < self.action_repeat and self._frames + 1 < FRAMES
            _, reward, terminated, truncated, info = super().step(action)
            total, self._frames = total + float(reward), self._frames + 1
            truncated = truncated or self._frames >= FRAMES
            if terminated or truncated:
                break
        if self._unseen:  # the episode ended before its last frame
            self._unseen = False
            self.state = self._render("state_pixels")
        return self.state, total, terminated, truncated, info

    def _render(self, mode: str) -> Any:
        if mode == "state_pixels" and self._unseen:
            return self.state
        if mode != "state_pixels" or "t" not in self.__dict__:
            return super()._render(mode)
        if self._font is None or self._window is None or self._turned is None:
            pygame.font.init()
            self._font = pygame.font.Font(pygame.font.get_default_font(), 42)
            self._window, self._turned = pygame.Surface((W, H)), pygame.Surface((W, H))
        assert self.car is not None
        angle, position = -self.car.hull.angle, self.car.hull.position
        # The camera comes closer within the first second.
        scale, late = original.SCALE, min(self.t, 1)
        zoom = 0.1 * scale * max(1 - self.t, 0) + original.ZOOM * scale * late
        moved = pygame.math.Vector2((-(position[0]) * zoom, -(position[1]) * zoom))
        moved = moved.rotate_rad(angle)
        translation = (W / 2 + moved[0], H / 4 + moved[1])
        self.surf = self._window
        self._render_road(zoom, translation, angle)
        self.car.draw(self.surf, zoom, translation, angle, False)
        # A new surface of this size for every step would cost more than what is drawn into it.
        drawn = pygame.surfarray.pixels2d(self._window).T[HIDDEN:]
        pygame.surfarray.pixels2d(self._turned).T[: H - HIDDEN] = drawn[::-1]
        del drawn  # an array locks its surface
        self.surf = self._turned
        self._render_indicators(W, H)
        text = self._written(f"{self.reward:04.0f}")
        place = text.get_rect()
        place.center = (60, H - H * 2.5 / 40.0)  # type: ignore[assignment]
        self.surf.blit(text, place)
        return self._create_image_array(self.surf, (original.STATE_W, original.STATE_H))

    def _written(self, words: str) -> pygame.Surface:
        assert self._font is not None
        if words not in self._texts:
            if len(self._texts) >= TEXTS:
                self._texts.clear()
            self._texts[words] = self._font.render(words, True, (255, 255, 255), (0, 0, 0))
        return self._texts[words]

    def _render_road(self, zoom: float, translation: Any, angle: float) -> None:
        assert self.car is not None
        if self._cornered is not self.road_poly:
            self._cornered = self.road_poly
            road = np.array([polygon for polygon, _ in self.road_poly], np.float64)
            self._corners = np.concatenate([self._grass, road]).transpose(2, 1, 0).copy()
            self._centres = self._corners.mean(1)
            self._radii = np.linalg.norm(self._corners - self._centres[:, None], axis=0).max(0)
        if self._inside(angle, zoom, translation):
            self.surf.fill([int(c) for c in self.bg_color], (0, HIDDEN, W, H - HIDDEN))
        else:
            self.surf.fill((0, 0, 0))
            x, y = _seen(FIELD, zoom, translation, angle)
            self._draw(list(zip(x[:, 0].tolist(), y[:, 0].tolist(), strict=True)), self.bg_color)
        # The car stands at (W / 2, H / 4); nothing farther from it than a corner is in the window.
        place = np.array(self.car.hull.position)[:, None]
        gap = self._centres - place
        near = gap[0] * gap[0] + gap[1] * gap[1] <= (self._radii + REACH / zoom) ** 2
        visible = np.flatnonzero(near)
        x, y = _seen(self._corners[..., visible], zoom, translation, angle)
        # Those that may touch a pixel that is shown in the end.
        reaches = (x.max(0) >= -EDGE) & (y.max(0) >= HIDDEN - EDGE)
        kept = np.flatnonzero(reaches & (x.min(0) <= W + EDGE) & (y.min(0) <= H + EDGE))
        visible = visible[kept]
        corners = np.stack([x[:, kept], y[:, kept]]).transpose(2, 1, 0).tolist()
        patches = len(self._grass)
        for number, points in zip(visible.tolist(), corners, strict=True):
            # A tile's colour may have changed: it loses its shade where the car has been.
            color: Any = self.grass_color
            if number >= patches:
                color = [int(c) for c in self.road_poly[number - patches][1]]
            self._draw(points, color)

    def _draw(self, points: Any, color: Any) -> None:
        gfxdraw.aapolygon(self.surf, points, color)
        gfxdraw.filled_polygon(self.surf, points, color)

    def _inside(self, angle: float, zoom: float, translation: Any) -> bool:
        """Whether the whole window lies within the playing field, away from its edge."""
        cos, sin = math.cos(angle), math.sin(angle)
        places = []
        for x, y in ((0.0, 0.0), (W, 0.0), (W, H), (0.0, H)):
            right, up = (x - translation[0]) / zoom, (y - translation[1]) / zoom
            places += [abs(cos * right + sin * up), abs(cos * up - sin * right)]
        return max(places) < original.PLAYFIELD - EDGE


def _seen(
    corners: NDArray[np.float64], zoom: float, translation: Any, angle: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners ``(2, 4, N)`` of the plane as ``(4, N)`` columns and rows of the window."""
    # Exactly what pygame multiplies with, the multiples of a right angle included.
    cos, sin = pygame.math.Vector2(1, 0).rotate_rad(angle)
    x, y = corners
    across = (cos * x - sin * y) * zoom + translation[0]
    along = (sin * x + cos * y) * zoom + translation[1]
    return across, along


def _grass() -> NDArray[np.float64]:
    """``(N, 4, 2)`` corners of the patches, in the order in which they are drawn."""
    side = original.GRASS_DIM
    corners = ((1, 0), (0, 0), (0, 1), (1, 1))
    patches = [
        [(side * x + side * right, side * y + side * up) for right, up in corners]
        for x in range(-20, 20, 2)
        for y in range(-20, 20, 2)
    ]
    return np.array(patches)


_BOUND = original.PLAYFIELD
FIELD = np.array([[_BOUND, _BOUND, -_BOUND, -_BOUND], [_BOUND, -_BOUND, -_BOUND, _BOUND]])[
    ..., None
]
"""Corners ``(2, 4, 1)`` of the playing field, beyond which an episode ends."""


__all__ = ["FastCarRacing", "make_car_racing"]
