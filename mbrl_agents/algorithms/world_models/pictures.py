"""What V, M and C show of themselves: the prior, dreams, dreams beside reality, latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.model import State, WorldModelsModel
from mbrl_agents.protocols import Batch, Illustration

COLUMNS, SAMPLES, DREAM, POINTS = 8, 32, 100, 1000
TEMPERATURES = (0.5, 1.0, 1.25)


@torch.no_grad()
def illustrate(
    model: WorldModelsModel,
    controller: Controller | None,
    episodes: Sequence[Batch],
    generator: torch.Generator,
) -> list[Illustration]:
    """Reconstructions, samples of the prior, dreams, and the latents of ``episodes``.

    Args:
        controller: acts in dreams; without one the actions of the first episode are repeated.
        episodes: recorded, each ``(N, ...)``.
        generator: source of latents.
    """
    seen = torch.cat([_images(model, episode)[:POINTS] for episode in episodes])[:POINTS]
    means, logvars = _encoded(model, seen)
    shown = torch.linspace(0, len(seen) - 1, COLUMNS).long().to(seen.device)
    drawn = model.vision.draw(means[shown])
    prior = torch.randn((SAMPLES, model.config.latent), generator=generator, device=means.device)
    kl = 0.5 * (means.square() + logvars.exp() - 1.0 - logvars).mean(0)
    found = [
        Illustration(
            "reconstructions",
            images=torch.stack([_shown(seen[shown].float() / 255.0), _shown(drawn)]),
            numbers={"latents_used": float((kl > 0.01).sum())},
        ),
        Illustration("prior", images=_shown(model.vision.draw(prior)).unflatten(0, (-1, COLUMNS))),
        _principal(means, episodes),
        _beside_reality(model, episodes[0], generator),
    ]
    return [*found, *_dreams(model, controller, episodes[0], generator)]


def _principal(means: Tensor, episodes: Sequence[Batch]) -> Illustration:
    """Latents on their first two principal components, shaded by the step of their episode."""
    centred = (means - means.mean(0)).double()
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    steps = torch.cat([torch.arange(min(POINTS, len(episode))) for episode in episodes])[:POINTS]
    share = values.square() / values.square().sum().clamp_min(1e-12)
    return Illustration(
        "latents",
        title="latents on two principal components",
        points=centred @ directions[:2].t(),
        shades=steps,
        shade="control step",
        numbers={"two_components": float(share[:2].sum())},
    )


def _beside_reality(
    model: WorldModelsModel, episode: Batch, generator: torch.Generator
) -> Illustration:
    """Reality and a dream along the same actions, side by side, from one first image on."""
    length = min(len(episode), DREAM)
    state = _begun(model, episode)
    frames = [model.decode(state)]
    for step in range(1, length):
        action = episode.prev_action[step : step + 1].to(state["z"].device)
        state = model.dream_step(state, action, generator=generator)
        frames.append(model.decode(state))
    key = next(iter(model.layout.images))
    dreamt = _three(torch.cat([frame[key] for frame in frames]))
    real = _shown(_images(model, episode)[:length].float() / 255.0)
    error = (dreamt - real).square().mean((1, 2, 3))
    return Illustration(
        "dream-beside-reality",
        title="squared error of a dream along the same actions",
        frames=torch.cat([real, dreamt], 2),
        curves={"dream": error, "first image kept": (real - real[:1]).square().mean((1, 2, 3))},
        numbers={"error": float(error.mean())},
    )


def _dreams(
    model: WorldModelsModel,
    controller: Controller | None,
    episode: Batch,
    generator: torch.Generator,
) -> list[Illustration]:
    """The controller at play in dreams of several temperatures, and how sure M is of them."""
    key, entropies, rewards, videos = next(iter(model.layout.images)), {}, {}, []
    for temperature in TEMPERATURES:
        state, frames, entropy, reward = _begun(model, episode), [], [], []
        for step in range(DREAM):
            if controller is None:
                at = 1 + step % max(1, len(episode) - 1)
                action = episode.prev_action[at : at + 1].to(state["z"].device)
            else:
                action = controller(model.features(state))
            state = model.dream_step(state, action, generator=generator, temperature=temperature)
            frames.append(_three(model.decode(state)[key]))
            entropy.append(model.memory.mixture(state["h"]).entropy())
            reward.append(model.memory.rewards(state["h"]))
        videos.append(torch.cat(frames))
        entropies[f"temperature {temperature:g}"] = torch.cat(entropy)
        rewards[f"temperature {temperature:g}"] = torch.cat(reward).cumsum(0)
    strips = [video[:: DREAM // COLUMNS][:COLUMNS] for video in videos]
    numbers = {
        f"entropy_{t:g}": float(entropies[f"temperature {t:g}"].mean()) for t in TEMPERATURES
    }
    found = [
        Illustration(
            "dreams",
            title="dreams of rising temperature",
            images=torch.stack(strips),
            frames=torch.cat(videos, 2),
        ),
        Illustration(
            "mixture-entropy",
            title="entropy of the mixture's weights in a dream, nats",
            curves=entropies,
            numbers=numbers,
        ),
    ]
    if model.config.heads:
        found.append(
            Illustration("dream-rewards", title="predicted return in a dream", curves=rewards)
        )
    return found


def _begun(model: WorldModelsModel, episode: Batch) -> State:
    """The state after the first image of an episode."""
    mean, _ = model.vision.encode(_images(model, episode)[:1])
    return {**model.initial(1), "z": mean}


def _images(model: WorldModelsModel, episode: Batch) -> Tensor:
    """``(N, C, H, W)`` uint8, where the model is."""
    device = model.vision.mean.weight.device
    return model.layout.stacked_images(
        {key: episode.obs[key].to(device) for key in model.layout.images}
    )


def _encoded(model: WorldModelsModel, images: Tensor) -> tuple[Tensor, Tensor]:
    parts = [model.vision.encode(part) for part in images.split(64)]
    means, logvars = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(logvars)


def _shown(images: Tensor) -> Tensor:
    """``(N, C, H, W)`` to three channels last."""
    return _three(images.permute(0, 2, 3, 1))


def _three(images: Tensor) -> Tensor:
    """Three channels ``(N, H, W, 3)``: of more the first three, of fewer the first in grey."""
    if images.shape[-1] >= 3:
        return images[..., :3]
    return images[..., :1].expand(*images.shape[:-1], 3)


__all__ = ["illustrate"]
