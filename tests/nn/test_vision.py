"""Encoder and decoder of DreamerV1 and DreamerV2: sizes, likelihoods, initial weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from mbrl_agents.data.spaces import ObservationLayout, observation_layout
from mbrl_agents.nn.dense import dense_head, glorot
from mbrl_agents.nn.vision import ObservationDecoder, ObservationEncoder


def space(size: int = 64, channels: int = 3, vector: int = 0) -> spaces.Dict:
    entries: dict[str, spaces.Space] = {
        "image": spaces.Box(0, 255, (size, size, channels), np.uint8)
    }
    if vector:
        entries["pose"] = spaces.Box(-1, 1, (vector,), np.float32)
    return spaces.Dict(entries)


def networks(
    layout: ObservationLayout, features: int = 230, depth: int = 32
) -> tuple[ObservationEncoder, ObservationDecoder]:
    generator = torch.Generator().manual_seed(0)
    settings = {"depth": depth, "activation": "relu", "units": 16, "layers": 2}
    return (
        ObservationEncoder(layout, **settings, generator=generator),
        ObservationDecoder(layout, features, **settings, generator=generator),
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_64_pixels_have_the_papers_layers():
    encoder, decoder = networks(observation_layout(space()))
    assert encoder.token_size == 1024
    assert count(encoder) == 690_144
    assert count(decoder) == 3_795_555
    assert [tuple(p.shape[-2:]) for p in decoder.convs.parameters() if p.ndim == 4] == [
        (5, 5), (5, 5), (6, 6), (6, 6),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("first", [True, False])
def test_shapes_of_images_and_vectors(size: int, first: bool):
    encoder, decoder = networks(observation_layout(space(size, 3, 5)), 7, depth=2)
    shape = (4, 3, size, size) if first else (4, size, size, 3)
    obs = {"image": torch.randint(0, 256, shape, dtype=torch.uint8), "pose": torch.randn(4, 5)}
    tokens = encoder(obs)
    assert tokens.shape == (4, encoder.token_size)
    assert encoder.token_size == (64 if size == 64 else 32) + 16
    features = torch.randn(4, 7)
    decoded = decoder.decode(features)
    assert decoded["image"].shape == (4, size, size, 3)
    assert decoded["pose"].shape == (4, 5)
    assert decoded["image"].min() >= 0
    assert decoded["image"].max() <= 1
    losses = decoder.losses(features, obs)
    assert {name: loss.shape for name, loss in losses.items()} == {
        "images": (4,), "vectors": (4,),
    }  # fmt: skip


def test_losses_are_log_likelihoods_of_unit_variance_normals():
    _, decoder = networks(observation_layout(space(32, 1, 2)), 3, depth=1)
    features = torch.randn(2, 3)
    image = torch.randint(0, 256, (2, 32, 32, 1), dtype=torch.uint8)
    pose = torch.randn(2, 2)
    losses = decoder.losses(features, {"image": image, "pose": pose})
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi))
    mean = decoder._drawn(features)
    normal = torch.distributions.Normal(mean, 1.0)
    truth = image.permute(0, 3, 1, 2) / 255.0 - 0.5
    expected = -(normal.log_prob(truth) + constant).sum((1, 2, 3))
    torch.testing.assert_close(losses["images"], expected)
    normal = torch.distributions.Normal(decoder.vectors(features), 1.0)
    torch.testing.assert_close(losses["vectors"], -(normal.log_prob(pose) + constant).sum(1))


def test_decoded_images_are_the_mean_in_unit_range():
    _, decoder = networks(observation_layout(space(32, 1)), 3, depth=1)
    features = torch.randn(2, 3)
    image = decoder.decode(features)["image"]
    same = (image * 255.0).permute(0, 3, 1, 2) / 255.0 - 0.5
    torch.testing.assert_close(same, decoder._drawn(features).clamp(-0.5, 0.5))


@pytest.mark.parametrize("size", [(48, 48), (64, 32), (128, 128)])
def test_other_sizes_are_refused(size: tuple[int, int]):
    layout = ObservationLayout({}, {"image": 3}, size)
    with pytest.raises(ValueError, match="64 x 64 or 32 x 32"):
        networks(layout)


def test_weights_begin_as_in_keras_and_leave_the_global_state_alone():
    before = torch.get_rng_state()
    layer = glorot(nn.Linear, 30, 20, generator=torch.Generator().manual_seed(1))
    conv = glorot(nn.Conv2d, 3, 8, 4, generator=torch.Generator().manual_seed(1))
    head = dense_head(5, 2, 16, 3, "elu", torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    limit = (6 / 50) ** 0.5
    assert 0.9 * limit < layer.weight.abs().max() <= limit
    limit = (6 / (16 * 11)) ** 0.5
    assert 0.9 * limit < conv.weight.abs().max() <= limit
    assert not layer.bias.any()
    assert not conv.bias.any()
    assert [type(part).__name__ for part in head] == ["Linear", "ELU"] * 3 + ["Linear"]
    again = dense_head(5, 2, 16, 3, "elu", torch.Generator().manual_seed(1))
    assert all(
        torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True)
    )


def test_unknown_activations_are_refused():
    with pytest.raises(ValueError, match="activation"):
        dense_head(5, 2, 16, 1, "gelu", torch.Generator())
