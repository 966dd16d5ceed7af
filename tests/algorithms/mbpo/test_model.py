"""MBPO's ensemble: sizes, losses beside naive ones, decay, members, bounds."""

from __future__ import annotations

import math

import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.mbpo import MBPOModel, MBPOModelConfig, MBPOTrainingConfig
from mbrl_agents.algorithms.mbpo.model import BOUND_WEIGHT
from mbrl_agents.config import resolve_config
from mbrl_agents.data.transitions import Transitions

D, A = 3, 2


def model(**settings) -> MBPOModel:
    config = MBPOModelConfig(
        **{"members": 3, "elites": 2, "hidden": (7, 6), "end_hidden": (5,), **settings}
    )
    box = spaces.Box(-1, 1, (A,))
    found = MBPOModel(
        config, spaces.Box(-9, 9, (D,)), box, generator=torch.Generator().manual_seed(0)
    )
    return found


def data(count: int = 8) -> Transitions:
    draws = torch.Generator().manual_seed(5)
    obs = torch.randn(count, D, generator=draws)
    return Transitions.single(
        obs,
        2 * torch.rand(count, A, generator=draws) - 1,
        torch.randn(count, generator=draws),
        obs + 0.1 * torch.randn(count, D, generator=draws),
        torch.rand(count, generator=draws) < 0.5,
    )


def swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + (-x).exp())


def naive(found: MBPOModel, member: int, batch: Transitions, row: int, beta: float) -> torch.Tensor:
    """Loss of one transition for one member, number by number."""

    def through(network, x):
        for layer in network.layers:
            x = swish(layer.weight[member] @ x + layer.bias[member, 0])
        return network.output.weight[member] @ x + network.output.bias[member, 0]

    def unit(normaliser, x):
        return (x - normaliser.mean) / normaliser.std

    obs, after = batch.obs[row], batch.next_obs[row]
    out = through(found.dynamics, torch.cat([unit(found.inputs, obs), batch.action[row]]))
    target = unit(found.changes, torch.cat([after - obs, batch.reward[row : row + 1]]))
    nats = []
    for i in range(D + 1):
        low, high = found.min_log_variance[i], found.max_log_variance[i]
        raw = out[D + 1 + i]
        raw = high - (1 + (high - raw).exp()).log()
        raw = low + (1 + (raw - low).exp()).log()
        weight = raw.detach().exp() ** beta
        nats.append(weight * ((out[i] - target[i]) ** 2 / raw.exp() + raw))
    chance = torch.sigmoid(through(found.end, unit(found.inputs, after))[0])
    end = -(10 * chance.log() if batch.terminal[row] else (1 - chance).log())
    return torch.stack(nats[:D]).mean() + nats[D] + end


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_loss_and_gradient_are_those_of_a_naive_version(beta):
    found, batch = model(beta=beta), data()
    found.fit_statistics(batch)
    weight = torch.tensor([[0, 1, 2, 1, 0, 3, 1, 1], [1] * 8, [2, 0, 0, 1, 1, 1, 0, 1]]).float()
    loss, _, _ = found.compute_loss(batch, weight)
    expected = BOUND_WEIGHT * (found.max_log_variance - found.min_log_variance).sum()
    for member in range(3):
        each = torch.stack([naive(found, member, batch, row, beta) for row in range(8)])
        expected = expected + (each * weight[member]).sum() / weight[member].sum()
    torch.testing.assert_close(loss, expected)
    parameters = list(found.parameters())
    left, right = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_target_that_looks_like_noise_at_first_is_learned_with_beta():
    """A jump is hard: the likelihood alone raises its variance there and stops learning it."""
    draws = torch.Generator().manual_seed(2)
    obs = 2 * torch.rand(512, D, generator=draws) - 1
    change = torch.where(obs[:, :1] * obs[:, 1:2] > 0, 1.0, -1.0) * torch.eye(D)[0]
    batch = Transitions.single(
        obs, torch.zeros(512, A), torch.zeros(512), obs + change, torch.zeros(512).bool()
    )
    errors = []
    for beta in (0.0, 0.5):
        found = model(beta=beta, hidden=(32, 32))
        found.fit_statistics(batch)
        adam = torch.optim.Adam(found.parameters(), 3e-3)
        for _ in range(400):
            loss, _, _ = found.compute_loss(batch)
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            following, _ = found.step(batch.obs, batch.action, None)
        errors.append(float((following - batch.next_obs).square().mean()))
    assert errors[1] < 0.7 * errors[0], errors


def test_nothing_ends_in_imagination_before_an_end_was_recorded():
    found, batch = model(), data()
    endless = Transitions(**{**vars(batch), "terminal": torch.zeros(8).bool()})
    found.fit_statistics(endless)
    assert not found.ending(batch.obs).any()
    found.fit_statistics(batch)
    found.fit_statistics(endless)  # one seen is remembered
    chances = found.ending(batch.obs)
    assert (chances > 0).all()
    assert (chances < 1).all()
    again = model()
    again.load_state_dict(found.state_dict())
    torch.testing.assert_close(again.ending(batch.obs), chances)


def test_log_variances_stay_within_their_bounds():
    found = model()
    out = torch.cat([torch.zeros(1, 3, D + 1), 1e3 * torch.tensor([-1.0, 0, 1.0])[None, :, None]
                     .expand(1, 3, D + 1)], -1)  # fmt: skip
    _, log_variance = found._bounded(out)
    assert float(log_variance.detach().min()) == pytest.approx(-10.0, abs=1e-3)
    assert float(log_variance.detach().max()) == pytest.approx(0.5, abs=1e-3)


def test_each_layer_has_its_decay_and_no_bias_has_any():
    found = model(hidden=(4, 4, 4, 4), decay=(2.5e-5, 1e-4))
    decays = {id(p): g["weight_decay"] for g in found.decayed() for p in g["params"]}
    assert decays.keys() == {id(p) for p in found.parameters()}
    layers = [decays[id(layer.weight)] for layer in found.dynamics.linear]
    assert layers == pytest.approx([2.5e-5, 4.375e-5, 6.25e-5, 8.125e-5, 1e-4])
    assert all(decays[id(layer.bias)] == 0 for layer in found.dynamics.linear)


def test_the_papers_ensemble_has_as_many_parameters_as_its_layers():
    config = resolve_config("mbpo", ["preset=paper"]).world_model
    assert (config.members, config.elites, config.hidden) == (7, 5, (200, 200, 200, 200))
    found = MBPOModel(config, spaces.Box(-9, 9, (4,)), spaces.Discrete(2))
    each = (6 * 200 + 200) + 3 * (200 * 200 + 200) + (200 * 10 + 10)
    assert sum(p.numel() for p in found.dynamics.parameters()) == 7 * each == 868_070


def test_without_a_generator_a_step_is_the_mean_of_the_elites():
    found, batch = model(), data()
    found.fit_statistics(batch)
    found.elites.copy_(torch.tensor([0, 2]))
    obs, reward = found.step(batch.obs, batch.action, None)
    out = found.dynamics(torch.cat([found.inputs(batch.obs), batch.action], -1))[[0, 2]]
    change = found.changes.inverse(out[..., : D + 1].mean(0))
    torch.testing.assert_close(obs, batch.obs + change[:, :D])
    torch.testing.assert_close(reward, change[:, D])


def test_a_drawn_step_is_of_one_elite_and_its_spread():
    found, batch = model(), data()[:1]
    found.elites.copy_(torch.tensor([1, 2]))
    with torch.no_grad():
        found.max_log_variance.fill_(-8.0)
        found.min_log_variance.fill_(-20.0)
        draws = torch.Generator().manual_seed(1)
        many = Transitions(*(x.expand(500, *x.shape[1:]) for x in vars(batch).values()))
        obs, _ = found.step(many.obs, many.action, draws)
        mean, log_variance = found.predict(batch.obs, batch.action)
    assert float(log_variance.max()) <= -7.99
    change = obs - batch.obs
    gaps = torch.stack([(change - m[0, :D]).square().sum(-1) for m in mean], 1)
    nearest = gaps.argmin(1)
    assert 200 < int((nearest == 0).sum()) < 300
    assert float(gaps.min(1).values.max()) < D * 25 * math.exp(-8.0)


def test_bounds_hold_what_each_elite_imagines_alone():
    found, batch = model(), data(2)
    found.fit_statistics(data())
    actions = 2 * torch.rand(2, 4, A, generator=torch.Generator().manual_seed(3)) - 1
    rollout = found.imagine({"obs": batch.obs}, actions)
    alone = []
    for member in found.elites.tolist():
        obs, steps = batch.obs, []
        for t in range(4):
            out = found.dynamics(torch.cat([found.inputs(obs), actions[:, t]], -1))[member]
            obs = obs + found.changes.inverse(out[..., : D + 1])[..., :D]
            steps.append(obs)
        alone.append(torch.stack(steps, 1))
    low, high = (bound["obs"] for bound in rollout.bounds())
    torch.testing.assert_close(low, torch.minimum(*alone))
    torch.testing.assert_close(high, torch.maximum(*alone))
    assert model(elites=1).imagine({"obs": batch.obs}, actions).bounds is None


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (MBPOModelConfig, {"elites": 6}, "elites must lie in 1..members"),
        (MBPOModelConfig, {"hidden": ()}, "hidden"),
        (MBPOModelConfig, {"decay": (0.1,)}, "decay"),
        (MBPOModelConfig, {"end_weight": 0.0}, "end_weight must be positive"),
        (MBPOModelConfig, {"beta": 2.0}, r"beta must lie in \[0, 1\]"),
        (MBPOTrainingConfig, {"real_ratio": 1.5}, "real_ratio"),
        (MBPOTrainingConfig, {"rollout_length": (1, 2)}, "rollout_length"),
        (MBPOTrainingConfig, {"refit_every": 0}, "refit_every"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**wrong)
