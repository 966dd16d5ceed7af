"""Symlog, two-hot, mixed categoricals and the normed layers, against known figures."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mbrl_agents.nn.categorical import (
    gumbel,
    kl_divergence,
    latent_use,
    one_hot_sample,
    unimix_log_probs,
)
from mbrl_agents.nn.normed import BlockLinear, Linear, RMSNorm
from mbrl_agents.nn.symlog import TwoHot, symexp, symexp_bins, symlog, symlog_mse, two_hot


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_symlog_and_back():
    x = torch.tensor([-1000.0, -1.0, 0.0, 1e-3, math.e - 1, 5e5])
    assert torch.allclose(symexp(symlog(x)), x, rtol=1e-4)
    assert symlog(torch.tensor(math.e - 1)).item() == pytest.approx(1.0)
    assert torch.equal(symlog(-x), -symlog(x))
    assert symlog_mse(torch.zeros(1, 2), torch.full((1, 2), math.e - 1)).item() == pytest.approx(2)


class TestTwoHot:
    def test_the_bins(self):
        bins = symexp_bins()
        assert len(bins) == 255
        assert bins[-1].item() == pytest.approx(485_165_184, rel=1e-6)
        assert torch.equal(bins, -bins.flip(0))
        assert bins[127] == 0
        assert bins[128].item() == pytest.approx(0.1705577, abs=1e-6)
        with pytest.raises(ValueError, match="odd"):
            symexp_bins(254)

    def test_one_lies_between_its_neighbours(self):
        weights = two_hot(torch.tensor(1.0), symexp_bins())
        low, high = weights.nonzero()[:, 0].tolist()
        assert symexp_bins()[low].item() == pytest.approx(0.877463, abs=1e-5)
        assert symexp_bins()[high].item() == pytest.approx(1.197678, abs=1e-5)
        assert weights[high].item() == pytest.approx(0.38267, abs=1e-4)
        assert weights.sum().item() == pytest.approx(1.0)

    def test_zero_logits_predict_zero_and_cost_the_log_of_the_bins(self):
        head = TwoHot(torch.zeros(4, 255))
        assert (head.mean == 0).all()
        target = torch.tensor([0.0, 1.0, -37.5, 1e4])
        assert torch.allclose(head.loss(target), torch.full((4,), 5.541264), atol=1e-5)

    @pytest.mark.parametrize("value", [-1e9, -485165184.0, -3.3, 0.0, 0.1, 1.0, 250.0, 1e12])
    def test_the_loss_is_the_cross_entropy_to_the_weights(self, value):
        logits = torch.randn(255, generator=generator())
        target = torch.tensor(value)
        dense = -(two_hot(target, symexp_bins()) * logits.log_softmax(-1)).sum()
        assert TwoHot(logits).loss(target).item() == pytest.approx(dense.item(), abs=1e-4)

    def test_the_mean_of_the_weights_is_the_target(self):
        target = torch.tensor([-250.0, -0.05, 0.7, 12.0])
        logits = two_hot(target, symexp_bins()).clamp_min(1e-30).log()
        assert torch.allclose(TwoHot(logits).mean, target, rtol=1e-3, atol=1e-3)


class TestCategorical:
    def test_one_percent_is_uniform(self):
        probs = unimix_log_probs(torch.tensor([100.0, 0.0, 0.0, 0.0]), 0.01).exp()
        assert torch.allclose(probs, torch.tensor([0.9925, 0.0025, 0.0025, 0.0025]), atol=1e-6)

    def test_draws_follow_the_probabilities_and_carry_their_gradient(self):
        logits = torch.tensor([2.0, 0.0, -1.0], requires_grad=True)
        log_probs = unimix_log_probs(logits, 0.01)
        noise = gumbel((20000, 3), generator(), "cpu")
        drawn = one_hot_sample(log_probs.expand(20000, 3), noise)
        assert torch.allclose(drawn.mean(0), log_probs.exp(), atol=0.02)
        assert set(drawn.detach().round(decimals=4).unique().tolist()) == {0.0, 1.0}
        weight = torch.tensor([1.0, 2.0, 3.0])
        (drawn[0] * weight).sum().backward()
        got, logits.grad = logits.grad.clone(), None
        (unimix_log_probs(logits, 0.01).exp() * weight).sum().backward()
        assert torch.allclose(got, logits.grad, atol=1e-6)

    def test_without_noise_the_likeliest_class(self):
        log_probs = torch.tensor([[0.1, 0.7, 0.2]]).log()
        assert one_hot_sample(log_probs, None).tolist() == [[0.0, 1.0, 0.0]]

    def test_divergence_sums_over_the_variables(self):
        left = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
        right = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
        expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
        assert kl_divergence(left, right).item() == pytest.approx(expected, abs=1e-6)
        # One variable certain of the wrong class: 1 % uniform keeps the divergence finite.
        sure = unimix_log_probs(torch.tensor([[1e4, 0.0]]), 0.01)
        wrong = unimix_log_probs(torch.tensor([[0.0, 1e4]]), 0.01)
        expected = 0.995 * math.log(0.995 / 0.005) + 0.005 * math.log(0.005 / 0.995)
        assert kl_divergence(sure, wrong).item() == pytest.approx(expected, rel=1e-3)

    def test_use_of_the_classes_over_a_batch(self):
        always = torch.tensor([0.97, 0.01, 0.01, 0.01])
        turns = torch.eye(4)
        # Sure of one class at each of four steps, another one each time; and always the same one.
        log_probs = torch.stack([torch.stack([turn, always]) for turn in turns]).clamp_min(1e-20)
        effective, live = latent_use(log_probs.log(), torch.ones(4))
        alone = math.exp(-(0.97 * math.log(0.97) + 0.03 * math.log(0.01)))
        assert effective.item() == pytest.approx((4 + alone) / 2, rel=1e-4)
        assert live.item() == 0.5
        # Steps that do not count change nothing.
        masked, _ = latent_use(log_probs.log(), torch.tensor([1.0, 1.0, 0.0, 0.0]))
        assert masked.item() == pytest.approx((2 + alone) / 2, rel=1e-4)


class TestLayers:
    def test_rms_norm_by_hand(self):
        norm = RMSNorm(2)
        x = torch.tensor([[3.0, 4.0]])
        assert torch.allclose(norm(x), x / math.sqrt(12.5 + 1e-4))
        images = RMSNorm(2, dim=1)(x[:, :, None, None])
        assert torch.allclose(images[..., 0, 0], norm(x))
        assert norm(x.bfloat16()).dtype == torch.bfloat16

    def test_initial_weights_are_cut_off_and_have_unit_gain(self):
        layer = Linear(400, 500, generator=generator())
        assert layer.weight.std().item() == pytest.approx(1 / 20, rel=0.01)
        assert layer.weight.abs().max() <= 2 * 1.1368 / 20
        assert not layer.bias.any()
        block = BlockLinear(64, 64, 8, shared=192, generator=generator())
        # The fan-in counts the input of all blocks.
        assert block.weight.std().item() == pytest.approx((8 * 200) ** -0.5, rel=0.02)
        assert not Linear(3, 4, scale=0.0, generator=generator()).weight.any()

    def test_blocks_see_their_own_part_and_what_is_shared(self):
        layer = BlockLinear(8, 12, 4, shared=3, generator=generator())
        own, shared = torch.randn(5, 8), torch.randn(5, 3)
        parts = []
        for block in range(4):
            inputs = torch.cat([own[:, 2 * block : 2 * block + 2], shared], 1)
            parts.append(inputs @ layer.weight[block] + layer.bias[3 * block : 3 * block + 3])
        assert torch.allclose(layer(own, shared), torch.cat(parts, 1), atol=1e-6)
        with pytest.raises(ValueError, match="blocks"):
            BlockLinear(9, 12, 4, generator=generator())

    def test_upsampling_inside_the_convolution_changes_nothing(self):
        from mbrl_agents.algorithms.dreamer_v3.decoder import UpConv

        for kernel in (3, 5, 7):
            layer = UpConv(3, 5, kernel, generator=generator())
            torch.nn.init.normal_(layer.bias)
            x = torch.randn(2, 3, 4, 6)
            big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            plain = F.conv2d(big, layer.weight, layer.bias, padding=kernel // 2)
            assert torch.allclose(layer(x), plain, atol=1e-5)


def test_parts_of_a_batch_give_the_whole():
    from mbrl_agents.nn.chunks import CPU_NUMBERS, in_chunks

    seen = []

    def double(x, y):
        seen.append(len(x))
        return 2 * x + y

    x, y = torch.arange(7.0), torch.ones(7)
    assert torch.equal(in_chunks(double, CPU_NUMBERS // 3, x, y), 2 * x + 1)
    assert seen == [3, 3, 1]
