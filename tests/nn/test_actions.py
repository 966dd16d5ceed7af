"""Statistics of recorded actions."""

import torch

from mbrl_agents.nn import ActionStatistics


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
