"""The tokenizer: nearest codes, losses beside naive ones, gradients, learning."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.algorithms.iris import IrisConfig
from mbrl_agents.algorithms.iris.tokenizer import Tokenizer
from mbrl_agents.nn.drawing import drawing_from

SMALL = {
    "channels": 8, "levels": 3, "residual_blocks": 1, "attention": (4,), "codes": 16,
    "code_size": 6,
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(size=(16, 16), **settings) -> Tokenizer:
    with drawing_from(seeded()):
        return Tokenizer(IrisConfig(**SMALL | settings), 3, size)


def some(count: int, size=(16, 16)) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=seeded(1))


@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
def test_an_image_becomes_the_nearest_codes_and_back(size):
    tokenizer, images = build(size), some(3, size)
    found = tokenizer.encode(images)
    width = tokenizer.grid[1]
    assert tokenizer.grid == (size[0] // 4, size[1] // 4)
    assert found.tokens.shape == (3, tokenizer.tokens)
    for n in range(3):
        for k in range(tokenizer.tokens):
            latent = found.latents[n, :, k // width, k % width]
            gaps = (tokenizer.codebook.weight - latent).square().sum(1)
            assert gaps[found.tokens[n, k]] <= gaps.min() + 1e-6
            code = tokenizer.codebook.weight[found.tokens[n, k]]
            assert torch.equal(found.codes[n, :, k // width, k % width], code)
    drawn = tokenizer.decode(found.tokens)
    assert drawn.shape == images.shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert torch.equal(drawn, tokenizer.reconstruct(images))
    one = found.tokens[1, 2]
    assert torch.equal(tokenizer.embed(found.tokens)[1, 2], tokenizer.codebook.weight[one])


def test_the_codebook_begins_as_small_as_the_paper_says():
    book = build(codes=32).codebook.weight
    assert book.abs().max() <= 1 / 32
    assert book.abs().max() > 0.8 / 32


@pytest.mark.parametrize(("squared", "rare"), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.75)])
def test_losses_and_gradients_are_those_of_a_naive_version(squared, rare):
    tokenizer, images = build(commitment=0.5, squared=squared, rare=rare), some(4)
    weight = torch.ones(4, 3, *images.shape[2:])
    if rare:
        unusual = torch.stack([abs(image - sum(images) / 4).sum(0) / 3 for image in images])
        weight = (1 - rare + rare * unusual / unusual.mean())[:, None].repeat(1, 3, 1, 1)
        assert float(weight.mean()) == pytest.approx(1.0, rel=1e-5)
    losses, found = tokenizer.losses(images)
    latents = found.latents.permute(0, 2, 3, 1).reshape(-1, 6)
    codes = tokenizer.codebook.weight[found.tokens.flatten()]
    off = (codes - latents).square().mean()
    assert float(losses["commitment"]) == pytest.approx(1.5 * float(off.detach()), rel=1e-5)
    grid = codes.reshape(4, 4, 4, 6).permute(0, 3, 1, 2)
    drawn = tokenizer.decoder(tokenizer.after(grid))
    off = drawn - (2 * images - 1)
    error = (weight * off.abs()).mean() + squared * (weight * off.square()).mean()
    assert float(losses["reconstruction"]) == pytest.approx(float(error.detach()), rel=1e-5)
    # The gradient at the codes is handed on to the latents; the codes get none of it.
    losses["reconstruction"].backward()
    assert tokenizer.codebook.weight.grad is None
    passed = [p.grad.clone() for p in tokenizer.encoder.parameters()]
    tokenizer.zero_grad()
    leaf = grid.detach().requires_grad_()
    off = tokenizer.decoder(tokenizer.after(leaf)) - (2 * images - 1)
    ((weight * off.abs()).mean() + squared * (weight * off.square()).mean()).backward()
    given = leaf.grad
    tokenizer.zero_grad()
    (tokenizer.encode(images).latents * given).sum().backward()
    for expected, parameter in zip(passed, tokenizer.encoder.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, atol=1e-6, rtol=1e-3)


def test_images_that_are_all_alike_have_no_rare_pixels():
    tokenizer = build(rare=0.5)
    images = some(1).repeat(3, 1, 1, 1)
    plain = build().losses(images)[0]["reconstruction"]
    found = tokenizer.losses(images)[0]["reconstruction"]
    assert float(found.detach()) == pytest.approx(0.5 * float(plain.detach()), rel=1e-3)


def test_commitment_moves_codes_and_encoder_towards_each_other():
    tokenizer, images = build(), some(4)
    before = float(tokenizer.losses(images)[0]["commitment"])
    optimizer = torch.optim.SGD(
        [*tokenizer.codebook.parameters(), *tokenizer.before.parameters()], 0.05
    )
    for _ in range(5):
        optimizer.zero_grad()
        tokenizer.losses(images)[0]["commitment"].backward()
        assert tokenizer.codebook.weight.grad.any()
        assert tokenizer.before.weight.grad.any()
        optimizer.step()
    assert float(tokenizer.losses(images)[0]["commitment"]) < before


@pytest.mark.parametrize("squared", [0.0, 1.0])
def test_it_learns_one_batch_by_heart(squared):
    tokenizer = build(squared=squared, attention=())
    # Four colours each, drawn anew for every image.
    quarters = torch.rand(4, 3, 2, 2, generator=seeded(5)).round()
    images = quarters.repeat_interleave(8, 2).repeat_interleave(8, 3)
    nothing = float((images - images.mean(0)).abs().mean())
    optimizer = torch.optim.Adam(tokenizer.parameters(), 5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(tokenizer.losses(images)[0].values()).backward()
        optimizer.step()
    with torch.no_grad():
        error = float((tokenizer.reconstruct(images) - images).abs().mean())
    assert error < 0.4 * nothing
