"""What a world model sees in recorded episodes, and what it imagines of them open loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.episode import Episode
from mbrl_agents.protocols import tree_map

DECODED_AT_ONCE = 256
"""Pictures that are decoded together."""


@dataclass(frozen=True)
class Recording:
    """One recorded episode as a world model reads it, ``N`` frames.

    Attributes:
        obs: each entry ``(N, ...)``.
        prev_action: ``(N, A)`` the normalised action that led to each frame; zeros at the first.
        reward: ``(N,)`` received on arrival; 0 at the first.
        steps_to_go: ``(N,)`` control steps from each frame to success; NaN where unknown.
    """

    obs: dict[str, Tensor]
    prev_action: Tensor
    reward: Tensor
    steps_to_go: Tensor

    def __len__(self) -> int:
        return len(self.reward)

    @classmethod
    def of_episode(cls, episode: Episode, actions: np.ndarray) -> Recording:
        """An episode whose actions are given normalised, ``(N - 1, A)``."""
        frames = len(episode) + 1
        left = np.arange(frames - 1, -1, -1.0) if episode.success else np.full(frames, np.nan)
        return cls(
            {key: torch.tensor(np.asarray(x)) for key, x in episode.observations.items()},
            torch.from_numpy(np.concatenate([np.zeros_like(actions[:1]), actions])).float(),
            torch.from_numpy(np.concatenate([[0.0], episode.rewards])).float(),
            torch.from_numpy(left).float(),
        )


@dataclass(frozen=True)
class Window:
    """A stretch of an episode: ``C`` frames of context, then ``H`` imagined ones.

    Pictures are ``(C + H, height, width, channels)`` in [0, 1], vectors ``(C + H, D)``.

    Attributes:
        episode: number of the recording.
        start: its first frame.
        context: ``C``.
        truth: what was recorded, by key.
        reconstructed: what the model makes of each frame after it has seen it.
        imagined: the same for the context, then what it makes of the recorded actions alone.
        reward, predicted_reward: ``(H,)`` of the imagined steps.
        steps_to_go: ``(H,)`` from the imagined frames on; NaN where unknown.
        predicted_steps_to_go: ``(H,)``, or None where the model predicts none.
    """

    episode: int
    start: int
    context: int
    truth: dict[str, np.ndarray]
    reconstructed: dict[str, np.ndarray]
    imagined: dict[str, np.ndarray]
    reward: np.ndarray
    predicted_reward: np.ndarray
    steps_to_go: np.ndarray
    predicted_steps_to_go: np.ndarray | None

    @property
    def pictures(self) -> list[str]:
        """Keys of the pictures."""
        return [key for key, value in self.truth.items() if value.ndim == 4]

    def reconstruction_error(self, key: str) -> np.ndarray:
        """``(C + H,)`` mean squared error of each frame."""
        return _error(self.reconstructed[key], self.truth[key])

    def open_loop_error(self, key: str) -> np.ndarray:
        """``(H,)`` mean squared error of each imagined frame."""
        return _error(self.imagined[key], self.truth[key])[self.context :]

    def still_error(self, key: str) -> np.ndarray:
        """``(H,)`` error of one who takes the last frame of the context for all that follow."""
        truth = self.truth[key]
        return _error(truth[self.context - 1][None], truth[self.context :])


def _error(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    gap = predicted.astype(np.float64) - truth
    return np.square(gap).reshape(len(gap), -1).mean(1)


@torch.no_grad()
def imagine_windows(
    model: Any,
    recordings: Sequence[Recording],
    *,
    context: int = 5,
    horizon: int = 45,
    limit: int = 16,
) -> list[Window]:
    """Let a model see the beginning of stretches of episodes and imagine the rest.

    The model filters each episode from its first frame, as it does when it acts; in an episode's
    first window it has seen ``context`` frames when it begins to imagine, in later ones more.
    The most likely latents are taken: the result is a function of weights and recordings.

    Args:
        model: protocol `WorldModel`, with ``decode(features)``: ``(..., F)`` to predicted
            observations by key, pictures ``(..., H, W, C)`` in [0, 1].
        recordings: episodes.
        context: frames shown at least, 1 or more.
        horizon: imagined steps at most; less where no episode is that long.
        limit: windows at most, taken evenly from all there are.

    Returns:
        Windows of at least half the horizon; they tile each episode.  Empty where every episode
        is shorter than ``context + 1`` frames.

    Raises:
        ValueError: for a context or horizon below 1.
    """
    if min(context, horizon) < 1:
        raise ValueError(f"context and horizon must be at least 1, got {context} and {horizon}")
    horizon = min(horizon, max(map(len, recordings), default=0) - context)
    if horizon < 1:
        return []
    places = [
        (number, start)
        for number, recording in enumerate(recordings)
        for start in range(0, len(recording), horizon)
        if 2 * (len(recording) - start - context) >= horizon
    ]
    if len(places) > limit:
        places = [places[i] for i in np.linspace(0, len(places) - 1, limit).round().astype(int)]
    device = next(model.parameters()).device
    episodes = sorted({number for number, _ in places})
    features, states = _filter(
        model,
        [recordings[number] for number in episodes],
        [(episodes.index(number), start + context - 1) for number, start in places],
    )
    actions = torch.zeros(len(places), horizon, model.action_size)
    for row, (number, start) in enumerate(places):
        taken = recordings[number].prev_action[start + context :][:horizon]
        actions[row, : len(taken)] = taken
    rollout = model.imagine(states, actions.to(device), keep_features=True)
    windows = []
    for row, (number, start) in enumerate(places):
        recording = recordings[number]
        steps = min(horizon, len(recording) - start - context)
        end = start + context + steps
        seen = features[episodes.index(number), start:end]
        dreamt = torch.cat([seen[:context], rollout.features[row, :steps]])
        later = slice(start + context, end)
        to_go = rollout.steps_to_go
        reconstructed, imagined = _decode(model, seen), _decode(model, dreamt)
        windows.append(
            Window(
                episode=number,
                start=start,
                context=context,
                truth={
                    key: _truth(recording.obs[key][start:end], imagined[key].shape[1:])
                    for key in imagined
                },
                reconstructed=reconstructed,
                imagined=imagined,
                reward=recording.reward[later].numpy(),
                predicted_reward=rollout.reward[row, :steps].float().cpu().numpy(),
                steps_to_go=recording.steps_to_go[later].numpy(),
                predicted_steps_to_go=(
                    None if to_go is None else to_go[row, :steps].float().cpu().numpy()
                ),
            )
        )
    return windows


def _filter(
    model: Any, recordings: Sequence[Recording], stops: Sequence[tuple[int, int]]
) -> tuple[Tensor, Any]:
    """Features ``(E, N, F)`` of every frame, and the states at ``stops`` (episode, frame)."""
    device = next(model.parameters()).device
    frames = max(map(len, recordings))
    last = torch.tensor([len(recording) - 1 for recording in recordings])
    state = model.initial(len(recordings))
    features: list[Tensor] = []
    kept: list[Any] = [None] * len(stops)
    for frame in range(frames):
        # An episode that is over is shown its last frame until the others are over too.
        at = torch.clamp(last, max=frame).tolist()
        pairs = list(zip(recordings, at, strict=True))
        obs = {
            key: torch.stack([r.obs[key][t] for r, t in pairs]).to(device)
            for key in recordings[0].obs
        }
        action = torch.stack([r.prev_action[t] for r, t in pairs]).to(device)
        is_first = torch.full((len(recordings),), frame == 0, device=device)
        state = model.observe(state, obs, action, is_first)
        features.append(model.features(state))
        for row, (episode, stop) in enumerate(stops):
            if stop == frame:
                kept[row] = tree_map(lambda x, e=episode: x[e], state)
    return torch.stack(features, 1), tree_map(lambda *x: torch.stack(x), kept[0], *kept[1:])


def _decode(model: Any, features: Tensor) -> dict[str, np.ndarray]:
    parts = [model.decode(part) for part in features.split(DECODED_AT_ONCE)]
    return {key: torch.cat([p[key] for p in parts]).float().cpu().numpy() for key in parts[0]}


def _truth(recorded: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """What was recorded in the form of what is predicted: pictures channels last, in [0, 1]."""
    truth = recorded.numpy().astype(np.float32)
    if len(shape) == 3:
        truth = truth / 255.0
        if truth.shape[1:] != shape:
            truth = truth.transpose(0, 2, 3, 1)
    return truth.reshape(-1, *shape)


def rank(windows: Sequence[Window]) -> tuple[Window, Window]:
    """The windows with the least and with the largest mean open-loop error.

    Pictures decide where there are some, by squared error; otherwise vectors, each number in
    units of its variance in the windows.

    Raises:
        ValueError: without windows.
    """
    if not windows:
        raise ValueError("there are no windows")
    pictures = windows[0].pictures
    spread = {
        key: np.concatenate([w.truth[key] for w in windows]).var(0) + 1e-8
        for key in windows[0].truth
        if not pictures
    }

    def off(window: Window) -> float:
        if pictures:
            return float(np.mean([window.open_loop_error(key).mean() for key in pictures]))
        gaps = [
            np.square(window.imagined[key] - window.truth[key])[window.context :] / spread[key]
            for key in spread
        ]
        return float(np.mean([gap.mean() for gap in gaps]))

    order = sorted(windows, key=off)
    return order[0], order[-1]


def summarise_windows(windows: Sequence[Window]) -> dict[str, Any]:
    """Errors over all windows as plain JSON values.

    Returns:
        ``reconstruction`` and ``open_loop``: mean squared errors by key (pictures in [0, 1],
        vectors in their own units), the latter also by imagined step, beside ``still``, the error
        of taking the last frame seen for all that follow; ``reward`` and ``steps_to_go``: mean
        absolute errors, None where unknown.
    """
    keys = list(windows[0].truth)
    rewards = [np.abs(w.predicted_reward - w.reward) for w in windows]
    to_go = [
        np.abs(w.predicted_steps_to_go - w.steps_to_go)
        for w in windows
        if w.predicted_steps_to_go is not None
    ]
    return {
        "windows": len(windows),
        "context": windows[0].context,
        "horizon": max(len(w.reward) for w in windows),
        "reconstruction": {
            key: _mean([w.reconstruction_error(key) for w in windows]) for key in keys
        },
        "open_loop": {key: _curve([w.open_loop_error(key) for w in windows]) for key in keys},
        "still": {key: _curve([w.still_error(key) for w in windows]) for key in keys},
        "reward": _curve(rewards),
        "steps_to_go": _curve(to_go) if _mean(to_go) is not None else None,
    }


def describe(window: Window) -> dict[str, Any]:
    """One window as plain JSON values: where it lies, its errors, rewards and steps to go."""
    to_go = window.predicted_steps_to_go
    return {
        "episode": window.episode,
        "start": window.start,
        "open_loop": {key: _mean([window.open_loop_error(key)]) for key in window.truth},
        "reconstruction": {key: _mean([window.reconstruction_error(key)]) for key in window.truth},
        "reward": _numbers(window.reward),
        "predicted_reward": _numbers(window.predicted_reward),
        "steps_to_go": _numbers(window.steps_to_go),
        "predicted_steps_to_go": None if to_go is None else _numbers(to_go),
    }


def _curve(rows: Sequence[np.ndarray]) -> dict[str, Any]:
    """Mean over everything, and over the windows at each step; NaN counts as missing."""
    longest = max(map(len, rows), default=0)
    steps = [_mean([row[step : step + 1] for row in rows]) for step in range(longest)]
    return {"mean": _mean(rows), "per_step": steps}


def _mean(rows: Sequence[np.ndarray]) -> float | None:
    values = np.concatenate(rows) if rows else np.zeros(0)
    values = values[~np.isnan(values)]
    return float(f"{values.mean():.6g}") if len(values) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else float(f"{x:.6g}") for x in values]


def scalars(summary: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers of `summarise_windows` by name, for logs."""
    found = {f"reconstruction_error/{k}": v for k, v in summary["reconstruction"].items()}
    for name, key in (("open_loop", "open_loop_error"), ("still", "still_error")):
        found |= {f"{key}/{k}": v["mean"] for k, v in summary[name].items()}
    for name in ("reward", "steps_to_go"):
        if summary[name] is not None:
            found[f"{name}_error"] = summary[name]["mean"]
    return {name: float(value) for name, value in found.items() if value is not None}


__all__ = [
    "Recording",
    "Window",
    "describe",
    "imagine_windows",
    "rank",
    "scalars",
    "summarise_windows",
]
