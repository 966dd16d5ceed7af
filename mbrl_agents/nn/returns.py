"""Returns that mix one-step and longer estimates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lambda_returns(
    reward: Tensor, live: Tensor, value: Tensor, bootstrap: Tensor, mix: Tensor | float
) -> Tensor:
    """``R_t = r_{t+1} + live_{t+1} ((1 - mix) v_{t+1} + mix R_{t+1})``, ``R_T = bootstrap``.

    Args:
        reward, live, value: ``(B, T)`` of the states reached at 1..T: reward on arrival, discount
            times probability to go on, value.
        bootstrap: ``(B,)`` the return from the last of them on.
        mix: lambda, or ``(B, T)`` one for each state (0 where what follows is unknown).

    Returns:
        ``(B, T)`` returns of the states at 0..T-1 (Hafner et al. 2020, arXiv:1912.01603,
        equation 6, in its recursive form).
    """
    mix = torch.as_tensor(mix, device=reward.device).expand_as(reward)
    base = reward + live * (1.0 - mix) * value
    decay = live * mix
    returns = [bootstrap]
    for t in reversed(range(reward.shape[1])):
        returns.append(base[:, t] + decay[:, t] * returns[-1])
    return torch.stack(returns[:0:-1], 1)


def lambda_steps(
    guess: Tensor,
    success: Tensor,
    last: Tensor,
    mix: float,
    *,
    failed: Tensor | None = None,
    most: float = math.inf,
) -> Tensor:
    """Steps to go of each state, bootstrapped from those that follow it: TD(lambda).

    Args:
        guess: ``(..., T)`` present estimates.
        success: ``(..., T)`` whether a state is the end that steps are counted to.
        last: ``(..., T)`` whether what follows a state belongs to another episode.
        mix: lambda, in [0, 1]: 0 looks one step ahead, 1 as far as the sequence goes.
        failed: ``(..., T)`` whether the episode ended here for good without success; None for
            nowhere.
        most: control steps that such an end counts as; all targets are at most that.

    Returns:
        ``(..., T)`` targets: 0 at success, ``most`` at a failure, NaN at other states of which
        nothing follows.
    """
    ends = torch.where(success, 0.0, torch.nan).to(guess.dtype)
    if failed is not None:
        ends = torch.where(failed & ~success, most, ends)
    is_end = ~ends.isnan()
    target = ends[..., -1]
    targets = [target]
    for t in reversed(range(guess.shape[-1] - 1)):
        known = target.isfinite()
        mixed = guess[..., t + 1].lerp(target.nan_to_num(0.0), mix)
        follows = torch.where(known, mixed, guess[..., t + 1])
        follows = torch.where(is_end[..., t + 1], ends[..., t + 1], follows)
        target = torch.where(last[..., t], torch.nan, (follows + 1.0).clamp_max(most))
        target = torch.where(is_end[..., t], ends[..., t], target)
        targets.append(target)
    return torch.stack(targets[::-1], -1)


__all__ = ["lambda_returns", "lambda_steps"]
