"""A world model's imagination as an environment that anybody can act in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.protocols import Batch, Observation, WorldModel

PLAIN_KEY = "obs"
"""The key of an observation that is a Box."""

PIXELS = 256
"""Least height and width of what `render` draws."""


class ImaginedEnv(gymnasium.Env[Any, Any]):
    """Steps through what a world model imagines, from the beginning of recorded episodes on.

    A reset lets the model see the first observations of an episode drawn from ``starts``; from then
    on every observation is decoded from a state that the model imagined.  Reward and end are what
    it predicts of the same action with the same draws.  Of an image the environment shows what was
    decoded, as uint8; of a vector likewise, within the bounds of its space.

    Args:
        model: any world model, in evaluation mode.
        observation_space, action_space: of the environment that it learned, as an agent has
            them; images come out channels last.
        starts: episodes, each a `Batch` of ``(N, ...)``; at least one longer than ``context``.
        context: observations that the model sees before it imagines, 1 or more.
        max_steps: after so many imagined steps an episode is cut off.
        draw: whether latents are drawn, by the seed of the reset; else the most likely are taken.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: for a context or a limit below 1, no episode that is long enough, or another
            render mode.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium declares it so
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        model: WorldModel[Any],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        starts: Sequence[Batch],
        *,
        context: int = 1,
        max_steps: int = 200,
        draw: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if min(context, max_steps) < 1:
            raise ValueError(
                f"context and max_steps must be at least 1, got {context}, {max_steps}"
            )
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.starts = [start for start in starts if len(start) >= context]
        if not self.starts:
            raise ValueError(f"no episode to start from has {context} observations")
        self.model, self.context, self.max_steps = model, context, max_steps
        self.draw, self.render_mode = draw, render_mode
        self.codec = ActionCodec(action_space)
        self.action_space = action_space
        self._device = _device_of(model.initial(1))
        self.state = self._begun(self.starts[0])
        self.observation_space = _decoded_space(observation_space, model.decode(self.state))
        self.steps = 0
        self._over = True  # until a reset
        self._draws = torch.Generator(self._device)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin from an episode drawn by the seed, or from ``options["episode"]``, its number.

        The info holds ``episode``, that number.
        """
        super().reset(seed=seed)
        number = int((options or {}).get("episode", self.np_random.integers(len(self.starts))))
        if not 0 <= number < len(self.starts):
            raise ValueError(f"episode must be 0 to {len(self.starts) - 1}, got {number}")
        self._draws.manual_seed(int(self.np_random.integers(2**31)))
        self.state = self._begun(self.starts[number])
        self.steps, self._over = 0, False
        return self._seen(), {"episode": number}

    @torch.no_grad()
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One imagined step.  The info holds ``continues``, the chance that the episode goes on
        after it, where the model predicts ends; below one half the episode is over."""
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        rows = np.asarray(action)[None]
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is no action of {self.action_space}")
        chosen = torch.from_numpy(self.codec.encode(rows)).to(self._device)
        # Twice with the same draws: once for what is predicted of the step, once for its state.
        draws = again = None
        if self.draw:
            draws, again = self._draws, torch.Generator(self._device)
            again.set_state(draws.get_state())
        predicted = self.model.imagine(self.state, chosen[:, None], generator=again)
        self.state = self.model.imagine_step(self.state, chosen, generator=draws)
        self.steps += 1
        info, terminated = {}, False
        if predicted.continues is not None:
            info["continues"] = float(predicted.continues[0, 0])
            terminated = info["continues"] < 0.5
        truncated = not terminated and self.steps >= self.max_steps
        self._over = terminated or truncated
        reward = float(torch.nan_to_num(predicted.reward[0, 0]))  # NaN of a model without a head
        return self._seen(), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The images of the present state side by side ``(height, width, 3)`` uint8, enlarged to
        at least 256 pixels; None without a render mode.

        Raises:
            ValueError: for a model that shows no images.
        """
        return None if self.render_mode is None else self.image()

    def image(self) -> np.ndarray:
        """See `render`."""
        with torch.no_grad():
            decoded = self.model.decode(self.state)
        images = [_uint8(x[0]) for x in decoded.values() if x.ndim == 4]
        if not images:
            raise ValueError("this world model shows no images, only numbers")
        drawn = []
        for image in images:
            rgb = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, -1)
            factor = -(-PIXELS // min(rgb.shape[:2]))
            drawn.append(rgb.repeat(factor, 0).repeat(factor, 1))
        height = min(len(image) for image in drawn)
        return np.concatenate([image[:height] for image in drawn], 1)

    @torch.no_grad()
    def _begun(self, episode: Batch) -> Any:
        """The state after the first observations of an episode, with the most likely latents."""
        state = self.model.initial(1)
        for step in range(self.context):
            now = episode[step : step + 1]
            obs = {key: value.to(self._device) for key, value in now.obs.items()}
            is_first = torch.tensor([step == 0], device=self._device)
            state = self.model.observe(state, obs, now.prev_action.to(self._device), is_first)
        return state

    @torch.no_grad()
    def _seen(self) -> Any:
        """What the present state decodes to, in the form of the observation space."""
        decoded = self.model.decode(self.state)
        if not isinstance(self.observation_space, spaces.Dict):
            return _fitting(self.observation_space, decoded[PLAIN_KEY][0])
        return {
            key: _fitting(space, decoded[key][0])
            for key, space in self.observation_space.spaces.items()
        }


def _device_of(state: Any) -> torch.device:
    """Where the tensors of a state lie."""
    while not isinstance(state, Tensor):
        state = next(iter(state.values())) if isinstance(state, dict) else state[0]
    return state.device


def _uint8(image: Tensor) -> np.ndarray:
    found: np.ndarray = (255 * image.float().clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    return found


def _fitting(space: spaces.Space, decoded: Tensor) -> np.ndarray:
    """A decoded observation as one of a Box, or the likeliest of a Discrete."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(int(decoded.argmax()) + space.start)
    assert isinstance(space, spaces.Box)
    if decoded.ndim == 3:
        return _uint8(decoded)
    value = decoded.float().cpu().numpy().reshape(space.shape)
    found: np.ndarray = np.clip(value, space.low, space.high).astype(space.dtype)
    return found


def _decoded_space(space: spaces.Space, decoded: Observation) -> spaces.Space:
    """The space of decoded observations: the keys that the model decodes, images channels last."""

    def box(part: spaces.Space, value: Tensor) -> spaces.Space:
        if isinstance(part, spaces.Discrete):
            return part
        assert isinstance(part, spaces.Box)
        if value.ndim == 4:
            return spaces.Box(0, 255, tuple(value.shape[1:]), np.uint8)
        return part

    if not isinstance(space, spaces.Dict):
        return box(space, decoded[PLAIN_KEY])
    return spaces.Dict(
        {key: box(part, decoded[key]) for key, part in space.spaces.items() if key in decoded}
    )


__all__ = ["ImaginedEnv"]
