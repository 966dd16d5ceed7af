"""What a world model sees in recorded episodes, and what it imagines of them open loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.protocols import Batch, Observation, WorldModel, tree_map

Arrays = dict[str, np.ndarray]
OUTCOMES = ("reward", "steps_to_go")


@dataclass(frozen=True)
class Windows:
    """``W`` stretches of episodes: ``C`` observations of context, then at most ``H`` imagined.

    Images are ``(W, C + H, height, width, channels)`` in [0, 1], vectors ``(W, C + H, D)``.  What
    lies beyond the end of a stretch is NaN.

    Attributes:
        episode, start: ``(W,)`` number of the episode, and the first observation of the stretch.
        length: ``(W,)`` observations of the stretch, context included.
        context: ``C``.
        truth: what was recorded, by key.
        reconstructed: what the model decodes of each observation after it has seen it.
        imagined: the same for the context, then what it decodes of states that it stepped along
            the recorded actions alone.
        outcomes: ``reward`` and, where the model predicts them, ``steps_to_go`` of the imagined
            steps: recorded (NaN where unknown) and predicted, ``(W, H)`` each.
        bounds: of an ensemble's vectors, the lowest and the highest that its members imagine each
            alone, ``(W, H, D)`` each by key; empty for a single model.
    """

    episode: np.ndarray
    start: np.ndarray
    length: np.ndarray
    context: int
    truth: Arrays
    reconstructed: Arrays
    imagined: Arrays
    outcomes: dict[str, tuple[np.ndarray, np.ndarray]]
    bounds: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def images(self) -> list[str]:
        """Keys of the images."""
        return [key for key, value in self.truth.items() if value.ndim == 5]

    def errors(self) -> dict[str, Arrays]:
        """Mean squared error of each observation, by kind and key.

        Returns:
            ``reconstruction`` ``(W, C + H)``; ``open_loop`` ``(W, H)`` of the imagined ones; and
            ``still`` ``(W, H)`` of predicting the context's last observation for all that follow.
        """
        context, pairs = self.context, self.truth.items()
        return {
            "reconstruction": {k: _squared(self.reconstructed[k] - x) for k, x in pairs},
            "open_loop": {k: _squared(self.imagined[k] - x)[:, context:] for k, x in pairs},
            "still": {k: _squared(x[:, context - 1, None] - x[:, context:]) for k, x in pairs},
        }

    def per_dimension(self) -> dict[str, dict[str, list[float | None]]]:
        """Of each number of each vector, over all imagined steps.

        Returns:
            By key ``error``, the mean absolute error; and of an ensemble ``range``, the mean width
            between its members, and ``inside``, the share of recorded numbers between them.
        """
        found: dict[str, dict[str, list[float | None]]] = {}
        for key, truth in self.truth.items():
            if key in self.images:
                continue
            later, guess = truth[:, self.context :], self.imagined[key][:, self.context :]
            found[key] = {"error": _each(np.abs(guess - later))}
            if key in self.bounds:
                low, high = self.bounds[key]
                inside = np.where(np.isnan(later), np.nan, (low <= later) & (later <= high))
                found[key] |= {"range": _each(high - low), "inside": _each(inside)}
        return found

    def rank(self) -> np.ndarray:
        """``(W,)`` the windows' numbers by mean open-loop error, the least first.

        Images decide where there are some, by squared error; otherwise vectors, each number in
        units of its variance in the windows.
        """
        gaps = []
        for key in self.images or self.truth:
            gap = (self.imagined[key] - self.truth[key])[:, self.context :]
            scale = 1.0 if self.images else np.sqrt(np.nanvar(self.truth[key], (0, 1)) + 1e-8)
            gaps.append(_mean(_squared(gap / scale), 1))
        return np.argsort(np.mean(gaps, 0), kind="stable")


@torch.no_grad()
def imagine_windows(
    model: WorldModel[Any],
    episodes: Sequence[Batch],
    *,
    context: int = 5,
    horizon: int = 45,
    limit: int = 16,
) -> Windows | None:
    """Let a model see the beginning of stretches of episodes and imagine the rest.

    The model filters each episode from its first observation, as it does when it acts; in an
    episode's first window it has seen ``context`` observations when it begins to imagine, in
    later ones more.  The most likely latents are taken: the result is a function of the weights
    and the episodes.

    Args:
        episodes: whole ones, each with leaves ``(N, ...)`` without a batch dimension.
        context: observations shown at least, 1 or more.
        horizon: imagined steps at most; less where no episode is that long.
        limit: windows at most, taken evenly from all there are.

    Returns:
        Windows of at least half the horizon; they tile each episode.  None where every episode
        is shorter than ``context + 1`` observations.

    Raises:
        ValueError: for a context or horizon below 1.
    """
    if min(context, horizon) < 1:
        raise ValueError(f"context and horizon must be at least 1, got {context} and {horizon}")
    horizon = min(horizon, max(map(len, episodes), default=0) - context)
    places = [
        (number, start)
        for number, episode in enumerate(episodes)
        for start in range(0, len(episode), max(1, horizon))
        if 2 * (len(episode) - start - context) >= horizon > 0
    ]
    if not places:
        return None
    number, start = np.array([places[i] for i in evenly(len(places), limit)]).T
    chosen, seen = [episodes[n] for n in number], start + context
    last = np.array([len(episode) - 1 for episode in chosen])
    state = model.initial(len(chosen))
    recorded, decoded = list[Batch](), list[Observation]()
    # Windows are aligned at the end of their context.  Before its episode begins, a row is shown
    # the first observation, which starts the filter anew; after its end, the last.
    for step in range(-seen.max(), horizon):
        at = np.clip(seen + step, 0, last)
        now = Batch.cat([e[i : i + 1] for e, i in zip(chosen, at, strict=True)]).to(_device(state))
        is_first = torch.as_tensor(at == 0, device=now.reward.device)
        state = model.observe(state, now.obs, now.prev_action, is_first)
        if step >= -context:
            recorded.append(now)
            decoded.append(model.decode(state))
        if step == -1:
            context_state = state

    state, imagined, later = context_state, decoded[:context], recorded[context:]
    actions = torch.stack([now.prev_action for now in later], 1)
    rollout = model.imagine(state, actions)
    for now in later:
        state = model.imagine_step(state, now.prev_action)
        imagined.append(model.decode(state))

    over = seen[:, None] + np.arange(-context, horizon) > last[:, None]

    def known(steps: Sequence[Observation], key: str) -> np.ndarray:
        return _stacked([step[key] for step in steps], over)

    reconstructed = {key: known(decoded, key) for key in decoded[0]}
    return Windows(
        episode=number,
        start=start,
        length=(~over).sum(1),
        context=context,
        truth={k: _as(known([x.obs for x in recorded], k), v) for k, v in reconstructed.items()},
        reconstructed=reconstructed,
        imagined={key: known(imagined, key) for key in reconstructed},
        outcomes={
            name: (known([vars(x) for x in later], name), _stacked(predicted.unbind(1), over))
            for name in OUTCOMES
            if (predicted := getattr(rollout, name)) is not None
        },
        bounds={} if rollout.bounds is None else _known_bounds(rollout.bounds(), over),
    )


def _known_bounds(
    bounds: tuple[Observation, Observation], over: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`Rollout.bounds` by key; NaN where ``over``."""
    low, high = ({k: _stacked(x.unbind(1), over) for k, x in part.items()} for part in bounds)
    return {key: (low[key], high[key]) for key in low}


def _device(state: Any) -> torch.device:
    """Where the tensors of a state lie."""
    leaves: list[Tensor] = []
    tree_map(leaves.append, state)
    return leaves[0].device


def _stacked(steps: Sequence[Tensor], over: np.ndarray) -> np.ndarray:
    """The last ``T`` steps ``(W, ...)`` as ``(W, T, ...)``; NaN where ``over`` ``(W, C + H)``."""
    values: np.ndarray = torch.stack([*steps], 1).float().cpu().numpy()
    values[over[:, -len(steps) :]] = np.nan
    return values


def _as(recorded: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """What was recorded in the form of what is predicted: images channels last, in [0, 1]."""
    if predicted.ndim == 5:
        recorded = recorded / np.float32(255.0)
        if recorded.shape != predicted.shape:
            recorded = recorded.transpose(0, 1, 3, 4, 2)
    return recorded.reshape(predicted.shape)


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spread, both ends among them."""
    chosen: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return chosen


def summarise_windows(windows: Windows) -> dict[str, Any]:
    """Errors over all windows as plain JSON values.

    Returns:
        ``reconstruction`` and ``open_loop``: mean squared errors by key (images in [0, 1],
        vectors in their own units), the latter also by imagined step, beside ``still``, the error
        of predicting the last observation seen for all that follow; ``reward`` and
        ``steps_to_go``: mean absolute errors, None where unknown; ``per_dimension``, see
        `Windows.per_dimension`.
    """
    errors = windows.errors()
    gaps = {name: np.abs(x - y) for name, (x, y) in windows.outcomes.items()}
    return {
        "windows": len(windows.start),
        "context": windows.context,
        "horizon": int(windows.length.max()) - windows.context,
        "reconstruction": {key: _json(_mean(x)) for key, x in errors["reconstruction"].items()},
        "open_loop": {key: _curve(x) for key, x in errors["open_loop"].items()},
        "still": {key: _curve(x) for key, x in errors["still"].items()},
        "per_dimension": windows.per_dimension(),
        **dict.fromkeys(OUTCOMES),
        **{name: _curve(gap) for name, gap in gaps.items() if not np.isnan(gap).all()},
    }


def unexplained(windows: Windows) -> dict[str, Any]:
    """How much of what was recorded imagination misses, in one unit for every model of a task.

    The squared error by imagined step, divided by the variance of what was recorded: 0 is right, 1
    no better than the mean of the imagined steps' observations.  An image counts as a whole; of
    a vector each number that varies counts alike.  Several keys are averaged.

    Returns:
        ``windows``, ``context``, ``horizon``; ``per_step`` ``(H,)`` and its ``mean`` over all
        imagined observations; ``still_per_step`` and ``still_mean`` of keeping the last one seen.
    """
    context = windows.context
    found: dict[str, list[np.ndarray]] = {"": [], "still_": []}
    for key, truth in windows.truth.items():
        later = truth[:, context:].astype(np.float64)
        flat = later.reshape(*later.shape[:2], -1)
        variance = _mean(np.square(flat - _mean(flat, (0, 1))), (0, 1))
        if key in windows.images:
            variance = np.full_like(variance, variance.mean())
        varies = variance > 1e-10
        if not varies.any():
            continue
        guesses = {
            "": windows.imagined[key][:, context:],
            "still_": np.broadcast_to(truth[:, context - 1, None], later.shape),
        }
        for name, guess in guesses.items():
            gap = (guess.reshape(flat.shape) - flat)[..., varies]
            found[name].append(np.mean(np.square(gap) / variance[varies], -1))
    if not found[""]:
        raise ValueError("nothing in these episodes varies: there is no variance to explain")
    result: dict[str, Any] = {
        "windows": len(windows.start),
        "context": context,
        "horizon": int(windows.length.max()) - context,
    }
    for name, parts in found.items():
        curve = _curve(np.mean(parts, 0))
        result |= {f"{name}mean": curve["mean"], f"{name}per_step": curve["per_step"]}
    return result


def describe(windows: Windows, row: int) -> dict[str, Any]:
    """One window as plain JSON values: where it lies, its errors, rewards and steps to go."""
    errors, steps = windows.errors(), windows.length[row] - windows.context
    description = {
        "episode": int(windows.episode[row]),
        "start": int(windows.start[row]),
        "open_loop": {key: _json(_mean(x[row])) for key, x in errors["open_loop"].items()},
        "reconstruction": {k: _json(_mean(x[row])) for k, x in errors["reconstruction"].items()},
    }
    for name, (recorded, predicted) in windows.outcomes.items():
        description[name] = _json(recorded[row, :steps])
        description[f"predicted_{name}"] = _json(predicted[row, :steps])
    return description


def scalars(summary: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers of `summarise_windows` by name, for logs."""
    found = {f"reconstruction_error/{k}": v for k, v in summary["reconstruction"].items()}
    for name, kind in (("open_loop_error", "open_loop"), ("still", "still")):
        found |= {f"{name}/{key}": value["mean"] for key, value in summary[kind].items()}
    return found | {f"{k}_error": summary[k]["mean"] for k in OUTCOMES if summary[k] is not None}


def _squared(gap: np.ndarray) -> np.ndarray:
    """``(W, T, ...)`` to the mean square ``(W, T)`` of each observation."""
    squares = np.square(gap, dtype=np.float64)
    return squares.reshape(*gap.shape[:2], -1).mean(-1)


def _mean(values: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Mean of what is there; NaN, and no warning, where nothing is."""
    count = np.sum(~np.isnan(values), axis)
    return np.where(count > 0, np.nansum(values, axis) / np.maximum(count, 1), np.nan)


def _each(values: np.ndarray) -> list[float | None]:
    """Mean of ``(W, H, D)`` for each number of a vector."""
    flat = values.reshape(*values.shape[:2], -1).astype(np.float64)
    means: list[float | None] = _json(_mean(_mean(flat, 0), 0))
    return means


def _curve(values: np.ndarray) -> dict[str, Any]:
    """Mean of ``(W, H)`` over everything, and over the windows at each step."""
    return {"mean": _json(_mean(values)), "per_step": _json(_mean(values, 0))}


def _json(values: np.ndarray) -> Any:
    """Numbers of six digits, None for NaN."""
    if values.ndim:
        return [_json(value) for value in values]
    return None if np.isnan(values) else float(f"{values:.6g}")


__all__ = [
    "Windows",
    "describe",
    "evenly",
    "imagine_windows",
    "scalars",
    "summarise_windows",
    "unexplained",
]
