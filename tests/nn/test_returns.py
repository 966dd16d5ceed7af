"""Steps to go by temporal differences."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.nn.returns import lambda_steps

GUESS = torch.tensor([[10.0, 9.0, 8.0, 7.0, 6.0]])
NEVER = torch.zeros(1, 5, dtype=torch.bool)


def at(*steps: int) -> torch.Tensor:
    found = NEVER.clone()
    found[0, list(steps)] = True
    return found


def test_success_is_counted_to_and_nothing_is_known_of_a_last_state():
    target = lambda_steps(GUESS, at(3), at(3), 1.0)
    assert target[0, :4].tolist() == [3.0, 2.0, 1.0, 0.0]
    assert target[0, 4].isnan()


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_without_an_end_the_guess_at_the_last_state_is_what_is_left(mix):
    # These guesses fall by one a step: every mixture of them agrees.
    assert lambda_steps(GUESS, NEVER, NEVER, mix)[0, :4].tolist() == [10.0, 9.0, 8.0, 7.0]


def test_the_mixture_lies_between_one_step_and_all_of_them():
    guess = torch.tensor([[0.0, 20.0, 30.0, 5.0]])
    none = torch.zeros(1, 4, dtype=torch.bool)
    one, half, all_ = (lambda_steps(guess, none, none, mix)[0, 0] for mix in (0.0, 0.5, 1.0))
    assert (one, all_) == (21.0, 8.0)
    # 1 + (20 + (1 + (30 + (1 + 5)) / 2)) / 2
    assert half == pytest.approx(1 + (20 + (1 + (30 + 6) / 2)) / 2)


def test_nothing_flows_over_the_end_of_an_episode():
    target = lambda_steps(GUESS, at(4), at(1), 1.0)
    assert target[0, 0] == 1 + 9
    assert target[0, 1].isnan()
    assert target[0, 2:].tolist() == [2.0, 1.0, 0.0]


def test_an_end_without_success_is_as_far_from_it_as_can_be():
    ends = at(3)
    target = lambda_steps(GUESS, NEVER, ends, 1.0, failed=ends, most=50.0)
    assert target[0, :4].tolist() == [50.0, 50.0, 50.0, 50.0]
    assert target[0, 4].isnan()
    # A success ends the episode too.
    assert lambda_steps(GUESS, ends, ends, 1.0, failed=ends, most=50.0)[0, 3] == 0
    half = lambda_steps(GUESS, NEVER, ends, 0.5, failed=ends, most=50.0)
    assert half[0, 1] == pytest.approx(1 + (8 + 50) / 2)
