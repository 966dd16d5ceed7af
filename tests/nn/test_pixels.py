"""Weights of pixels: what is rare counts for more, in every model of images that asks for it."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

import mbrl_agents
from mbrl_agents.config import resolve_config
from mbrl_agents.nn.pixels import rare_pixels

MODELS = ("dreamer-v1", "dreamer-v2", "dreamer", "iris")


def ball(count: int = 20, size: int = 8) -> torch.Tensor:
    """Grey images with one bright pixel, each at another place."""
    images = torch.full((count, 3, size, size), 0.2)
    for number in range(count):
        images[number, :, number // size, number % size] = 1.0
    return images


def test_what_differs_from_the_mean_image_weighs_more() -> None:
    images = ball()
    weight = rare_pixels(images, 0.5)
    assert weight.shape == (20, 1, 8, 8)
    assert weight.mean().item() == pytest.approx(1.0)
    bright = images[:, :1] == 1.0
    # One pixel of 64 is half of all that differs; the other half is where a ball is elsewhere.
    assert weight[bright].min() > 10 * weight[~bright].max()
    assert weight.min().item() == pytest.approx(0.5)
    assert rare_pixels(images, 1.0).min().item() == pytest.approx(0.0, abs=1e-5)
    assert torch.equal(rare_pixels(images, 0.0), torch.ones(20, 1, 8, 8))


def test_bytes_weigh_as_what_they_stand_for() -> None:
    images = (255 * ball()).to(torch.uint8)
    assert torch.equal(rare_pixels(images, 0.7), rare_pixels(images.float() / 255, 0.7))


def test_images_that_are_all_alike_have_no_rare_pixels() -> None:
    assert torch.equal(rare_pixels(torch.ones(4, 3, 8, 8), 0.5), torch.full((4, 1, 8, 8), 0.5))


@pytest.mark.parametrize("method", MODELS)
def test_models_of_images_take_the_share(method: str) -> None:
    config = resolve_config(method, ["world_model.rare=0.25"])
    assert config.world_model.rare == 0.25
    assert resolve_config(method, []).world_model.rare == 0.0
    with pytest.raises(ValueError, match=r"rare must lie in \[0, 1\], got 2"):
        resolve_config(method, ["world_model.rare=2"])


@pytest.mark.parametrize("method", ["dreamer-v1", "dreamer-v2", "dreamer"])
def test_the_decoder_uses_it(method: str) -> None:
    small = {"dreamer": {"size": "1M", "deter": 32}}.get(method, {"deter": 8, "depth": 4})
    found = []
    for share in (0.0, 0.5):
        env = gym.make("mbrl/Catch-v0", size=32)
        agent = mbrl_agents.make_agent(method, env, seed=0, world_model={**small, "rare": share})
        decoder = agent.algorithm.world_model.decoder
        shown = torch.stack(
            [torch.as_tensor(env.reset(seed=seed)[0]).movedim(-1, 0) for seed in range(6)]
        )
        features = torch.zeros(6, agent.algorithm.world_model.feature_size)
        (key,) = decoder.layout.images
        found.append((decoder, decoder.losses(features, {key: shown})["images"], shown, features))
        env.close()
    (plain, even, shown, features), (_, weighted, _, _) = found
    assert even.shape == weighted.shape == (6,)
    (key,) = plain.layout.images
    drawn = plain.decode(features)[key].movedim(-1, 1)
    off = ((drawn - shown.float() / 255).square() * rare_pixels(shown, 0.5)).flatten(1).sum(1)
    scale = 1.0 if method == "dreamer" else 0.5
    assert torch.allclose(weighted, scale * off, rtol=0.05)
    assert not torch.allclose(even, weighted, rtol=0.05)
