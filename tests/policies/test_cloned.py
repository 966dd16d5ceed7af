"""ClonedPolicy: cloning, binary dimensions, discrete actions, diagnostics, proposals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy_models import ChainModel, KnownModel

from mbrl_agents.nn.actions import one_hot
from mbrl_agents.policies.cloned import ClonedPolicy, ClonedPolicyConfig
from mbrl_agents.protocols import ActionPrior

FEATURES, ACTIONS = 5, 4
SMALL = ClonedPolicyConfig(hidden=(64, 64))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def demonstrations(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features and the labels of a demonstrator whose last dimension is a gripper command."""
    features = torch.randn(count, FEATURES, generator=seeded(seed))
    labels = torch.tanh(features[:, :ACTIONS] - features[:, 1:])
    labels[:, -1] = torch.where(labels[:, -1] > 0, 1.0, -1.0)
    return features, labels


def choices(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features and one-hot labels: the largest of the first entries."""
    features = torch.randn(count, FEATURES, generator=seeded(seed))
    return features, one_hot(features[:, :ACTIONS].argmax(-1), ACTIONS)


def fitted(features: Tensor, labels: Tensor, *, discrete: bool = False, steps: int = 300, **args):
    policy = ClonedPolicy(
        args.pop("config", SMALL), features.shape[1], labels.shape[1], discrete=discrete
    )
    policy.fit_statistics(labels)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for _ in range(steps):
        loss, _ = policy.compute_loss(features, labels, **args)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy


@pytest.fixture(scope="module")
def cloned() -> ClonedPolicy:
    return fitted(*demonstrations(500, 0), generator=seeded(1))


def test_it_clones_and_says_how_well_on_held_out_data(cloned):
    assert isinstance(cloned, ActionPrior)
    assert cloned.binary.tolist() == [False] * 3 + [True]
    metrics = cloned.diagnose(*demonstrations(200, 7))
    assert metrics["sign_accuracy_3"] > 0.9
    assert metrics["error_0"] < 0.15
    assert set(metrics) == {"error", "sign_accuracy_3", *(f"error_{i}" for i in range(4))}


def test_it_overfits_one_batch():
    features, labels = demonstrations(64, 0)
    policy = fitted(features, labels, steps=400)
    assert (policy.act(features) - labels).abs().mean() < 0.03


def test_the_std_says_how_far_labels_scatter():
    """Labels around 0: those of the first dimension lie within 0.4, the others on it."""
    features = torch.randn(400, FEATURES, generator=seeded(0))
    labels = torch.zeros(400, 2)
    labels[:, 0] = 0.4 * torch.randn(400, generator=seeded(1)).clamp(-2, 2)
    _, std = fitted(features, labels, config=ClonedPolicyConfig(hidden=(16,)))(features)
    assert 0.2 < std[:, 0].mean() < 0.5
    assert std[:, 1].mean() < 0.15
    assert std.min() >= SMALL.min_std


def test_input_noise_is_drawn_from_the_generator_alone():
    policy = ClonedPolicy(ClonedPolicyConfig(hidden=(8,), input_noise=1.0), FEATURES, ACTIONS)
    data = demonstrations(20, 0)
    before = torch.random.get_rng_state()
    noisy = [policy.compute_loss(*data, generator=seeded(s))[0].item() for s in (1, 1, 2)]
    assert noisy[0] == noisy[1] != noisy[2]
    assert policy.compute_loss(*data)[0].item() not in noisy
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_members_of_an_ensemble_are_averaged_and_their_spread_counts():
    policy = ClonedPolicy(ClonedPolicyConfig(hidden=(8,), ensemble=3), FEATURES, ACTIONS)
    with torch.no_grad():
        policy.network.output.bias.add_(torch.tensor([-1.0, 0.0, 1.0])[:, None, None])
        features = torch.randn(6, FEATURES, generator=seeded())
        members = policy.head(policy.network(features))
        mean, std = policy(features)
    assert torch.allclose(mean, members.mean.mean(0))
    assert (std > members.stddev.mean(0)).all()


def test_proposals_roll_through_the_model(cloned):
    class Moving(KnownModel):
        """Its state moves by the action."""

        def imagine_step(self, state, action, *, generator=None):
            return {"target": state["target"] + torch.nn.functional.pad(action, (0, 1))}

    model = Moving(FEATURES)
    state = {"target": torch.randn(3, FEATURES, generator=seeded())}
    with torch.no_grad():
        plan = cloned.propose(model, state, 4)
        following = model.imagine_step(state, plan.mean[:, 0])
    assert plan.mean.shape == plan.std.shape == (3, 4, ACTIONS)
    assert torch.allclose(plan.mean[:, 0], cloned.act(model.features(state)))
    assert torch.allclose(plan.mean[:, 1], cloned.act(model.features(following)))
    assert plan.mean.abs().max() <= 1
    assert plan.std.min() >= cloned.config.min_std


# -- discrete actions -------------------------------------------------------------------


@pytest.mark.parametrize("members", [1, 2])
def test_discrete_actions_are_classified(members):
    config = ClonedPolicyConfig(hidden=(64,), ensemble=members)
    policy = fitted(*choices(500, 0), discrete=True, config=config, generator=seeded(1))
    features, labels = choices(200, 7)
    assert policy.diagnose(features, labels)["accuracy"] > 0.9
    probabilities, std = policy(features)
    assert torch.allclose(probabilities.sum(-1), torch.ones(200))
    assert (std == 0).all()
    actions = policy.act(features)
    assert torch.equal(actions.argmax(-1), probabilities.argmax(-1))
    assert torch.equal(actions.sort(-1).values, torch.eye(ACTIONS)[-1:].expand(200, -1))


def test_probabilities_are_those_of_an_undecided_demonstrator():
    features = torch.zeros(400, 1)
    labels = one_hot((torch.arange(400) % 10 >= 7).long(), 3)
    policy = fitted(features, labels, discrete=True, config=ClonedPolicyConfig(hidden=(8,)))
    probabilities, _ = policy(features[:1])
    assert probabilities[0].tolist() == pytest.approx([0.7, 0.3, 0.0], abs=0.03)
    loss, metrics = policy.compute_loss(features, labels)
    assert loss.item() == metrics["loss"].item() == pytest.approx(0.611, abs=0.02)


def test_discrete_proposals_advance_the_model_by_whole_actions():
    model = ChainModel(action_size=ACTIONS)
    policy = fitted(
        torch.eye(ACTIONS), torch.eye(ACTIONS), discrete=True, config=ClonedPolicyConfig((16,))
    )
    sequences = [[3, 1, 0, 2, 2], [0, 0, 3, 3, 1]]
    with torch.no_grad():
        plan = policy.propose(model, model.start(sequences), 5)
    # A wrong or a blurred action would have led off the chain.
    assert plan.mean.argmax(-1).tolist() == sequences
    assert torch.allclose(plan.mean.sum(-1), torch.ones(2, 5))
    assert (plan.std == 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"min_std": 2.0}, "min_std < max_std"), ({"input_noise": -1.0}, "negative")],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ClonedPolicyConfig(**wrong)
