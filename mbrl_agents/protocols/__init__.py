"""The protocols everything plugs into, and the shape glossary.

A world model predicts, an objective scores what it predicted, an action prior says where
to look, a planner searches for the actions that score best.  An algorithm is a published system:
its modules, what it stores beside a recorded step, how it acts, and its training phases.  Nothing
here knows about Gymnasium or Stable-Baselines3: tensors in, tensors out.

Shape glossary, used in every comment and docstring of the library:

=====  =======================================================
``B``  environments or batch entries
``K``  candidate plans of one environment
``H``  planning horizon, in control steps
``T``  time in a training sequence
``A``  action size
``F``  feature size (what a model's heads and policies read)
``E``  members of an ensemble
=====  =======================================================

Actions are normalised: those of a Box lie in [-1, 1], those of a Discrete are one-hot, ``A`` of
them.  A *state* is a pytree of tensors (nested dicts, tuples or lists), batch first.  It travels
through arguments and return values and is never kept on the model, so one model serves any
number of environments and candidate plans at once.
"""

from __future__ import annotations

from mbrl_agents.protocols.algorithms import (
    ActingPhase,
    Algorithm,
    Carry,
    Illustration,
    Phase,
    Rollouts,
    Schedule,
)
from mbrl_agents.protocols.models import Batch, Metrics, Observation, Rollout, WorldModel, tree_map
from mbrl_agents.protocols.planning import ActionPrior, Objective, Plan, Planner, Proposal, shifted

__all__ = [
    "ActingPhase",
    "ActionPrior",
    "Algorithm",
    "Batch",
    "Carry",
    "Illustration",
    "Metrics",
    "Objective",
    "Observation",
    "Phase",
    "Plan",
    "Planner",
    "Proposal",
    "Rollout",
    "Rollouts",
    "Schedule",
    "WorldModel",
    "shifted",
    "tree_map",
]
