"""Statistics of recorded actions."""

import torch

from mbrl_agents.nn.actions import ActionStatistics, one_hot


def test_binary_dimensions_and_relative_scale():
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(500, 4, generator=generator) * torch.tensor([0.4, 0.1, 0.001, 1.0])
    actions[:, 3] = torch.where(actions[:, 3] > 0, 1.0, -1.0)
    statistics = ActionStatistics(4)
    assert statistics.binary_dims() == ()
    assert statistics.scale.tolist() == [1.0] * 4
    statistics.fit(actions)
    assert statistics.binary_dims() == (3,)
    scale = statistics.scale
    assert scale[0] == 1.0
    assert abs(scale[1] - 0.25) < 0.03
    assert abs(scale[2] - 0.05) < 1e-6, "a floor, so that every dimension is searched"
    assert scale[3] == 1.0


def test_one_sided_dimensions_are_not_binary():
    statistics = ActionStatistics(1)
    statistics.fit(torch.ones(10, 1))
    assert statistics.binary_dims() == ()


def test_steps_without_a_label_say_nothing_about_binary_dimensions():
    labels = torch.tensor([[1.0], [-1.0], [torch.nan], [1.0]])
    statistics = ActionStatistics(1)
    statistics.fit(torch.tensor([[0.3], [-0.4], [1.0]]), labels)
    assert statistics.binary_dims() == (0,)
    statistics.fit(torch.tensor([[0.3], [-0.4], [1.0]]), torch.full((4, 1), torch.nan))
    assert statistics.binary_dims() == ()


def test_discrete_actions_have_no_statistics():
    statistics = ActionStatistics(3, discrete=True)
    statistics.fit(torch.eye(3))
    assert statistics.discrete
    assert statistics.binary_dims() == ()
    assert statistics.scale.tolist() == [1.0] * 3


def test_one_hot_vectors_of_any_shape():
    index = torch.tensor([[0, 2], [1, 1]])
    vectors = one_hot(index, 3)
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors, torch.nn.functional.one_hot(index, 3).float())
