"""What IRIS shows of itself: reconstructions, its codebook, and the actor at play in the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl_agents.algorithms.iris.actor_critic import ActorCritic
from mbrl_agents.algorithms.iris.imagination import Imagination
from mbrl_agents.algorithms.iris.model import IrisModel
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.protocols import Batch, Illustration

COLUMNS, IMAGES, PLAYED = 8, 512, 40


@torch.no_grad()
def illustrate(
    model: IrisModel,
    actor_critic: ActorCritic | None,
    episodes: Sequence[Batch],
    generator: torch.Generator,
) -> list[Illustration]:
    """Original and reconstructed images, use of the codes, and play inside the model.

    Args:
        actor_critic: plays; without one actions are drawn uniformly.
        episodes: recorded, each ``(N, ...)``.
        generator: source of actions, tokens, rewards and ends.
    """
    device = model.tokenizer.codebook.weight.device
    seen = torch.cat([model.images(e[:IMAGES].to(device).obs) for e in episodes])
    seen = seen[torch.linspace(0, len(seen) - 1, min(len(seen), IMAGES)).long().to(device)]
    tokens = torch.cat([model.tokenizer.encode(part).tokens for part in seen.split(64)])
    columns = torch.linspace(0, len(seen) - 1, COLUMNS).long().to(device)
    drawn = model.tokenizer.decode(tokens[columns])
    original = seen[columns]
    return [
        Illustration(
            "reconstructions",
            title="original, reconstructed, absolute error",
            images=torch.stack([_shown(original), _shown(drawn), _shown((original - drawn).abs())]),
            numbers={"absolute_error": float((original - drawn).abs().mean())},
        ),
        _codes(model, tokens),
        *_play(model, actor_critic, [e.to(device) for e in episodes[:COLUMNS]], generator),
    ]


def _codes(model: IrisModel, tokens: Tensor) -> Illustration:
    """How often each code is used, the most frequent first."""
    count = torch.bincount(tokens.flatten(), minlength=model.config.codes).float()
    share = count / count.sum()
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return Illustration(
        "codebook",
        title="share of tokens by code, the most frequent first",
        curves={"share": share.sort(descending=True).values.cpu()},
        axis="code",
        numbers={"codes_used": float((count > 0).sum()), "perplexity": float(entropy.exp())},
    )


def _play(
    model: IrisModel,
    actor_critic: ActorCritic | None,
    episodes: Sequence[Batch],
    generator: torch.Generator,
) -> list[Illustration]:
    """From the first image of each episode on, everything is imagined; side by side."""
    first = [episode[:1] for episode in episodes]
    count = len(first)
    batch = Batch.cat(first)
    begins = torch.ones(count, dtype=torch.bool, device=batch.reward.device)
    state = model.observe(model.initial(count), batch.obs, batch.prev_action, begins)
    run = Imagination(model.dynamics, state)
    hidden = None if actor_critic is None else actor_critic.initial(count)
    frames, rewards, lives = [], [], [torch.ones_like(batch.reward)]
    for _ in range(PLAYED):
        images = model.tokenizer.decode(run.state["tokens"][:, -1])
        frames.append(torch.cat([*_shown(images)], 1))  # (H, count W, 3)
        if actor_critic is None or hidden is None:
            action = _random(model, count, generator).to(images)
        else:
            raw, _, hidden = actor_critic(images, hidden)
            policy = actor_critic.policy(raw)
            action = policy.action(policy.draw(generator))
        found = run.step(action, generator=generator)
        chances = found.reward.softmax(-1)
        rewards.append((chances[:, 2] - chances[:, 0]) * lives[-1])
        lives.append(lives[-1] * found.end.softmax(-1)[:, 0])
    earned = torch.stack(rewards).mean(1)
    return [
        Illustration(
            "play",
            title="the actor at play inside the model",
            frames=torch.stack(frames),
            numbers={"return": float(earned.sum())},
        ),
        Illustration(
            "play-curves",
            title="at play inside the model, mean over trajectories",
            curves={
                "return so far": earned.cumsum(0).cpu(),
                "goes on": torch.stack(lives[1:]).mean(1).cpu(),
            },
        ),
    ]


def _random(model: IrisModel, count: int, generator: torch.Generator) -> Tensor:
    """Uniform actions ``(count, A)``."""
    if model.actions.discrete:
        chosen = torch.randint(
            model.action_size, (count,), generator=generator, device=generator.device
        )
        return one_hot(chosen, model.action_size)
    shape = (count, model.action_size)
    return 2.0 * torch.rand(shape, generator=generator, device=generator.device) - 1.0


def _shown(images: Tensor) -> Tensor:
    """``(N, C, H, W)`` to ``(N, H, W, 3)``: of more channels the first three, of fewer grey."""
    images = images.permute(0, 2, 3, 1)
    if images.shape[-1] >= 3:
        return images[..., :3]
    return images[..., :1].expand(*images.shape[:-1], 3)


__all__ = ["illustrate"]
