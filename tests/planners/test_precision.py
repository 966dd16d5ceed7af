"""Planning with a world model whose products are computed in bfloat16."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents import make_planner, make_world_model
from mbrl_agents.planners.objectives import ProgressObjective, ProgressObjectiveConfig

SPACE = spaces.Box(-1.0, 1.0, (5,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
SMALL = {"deter": 64, "hidden": 32, "units": 32, "stoch": 8, "classes": 4, "progress": True}


def test_plans_are_finite_and_as_good_as_in_float32():
    models = {
        dtype: make_world_model("dreamer_v3", SPACE, ACTIONS, dtype=dtype, **SMALL)
        for dtype in ("float32", "bfloat16")
    }
    # The heads start at zero: without a slope every plan is as good as any other.
    for head in (models["float32"].reward, models["float32"].progress):
        torch.nn.init.normal_(head[1].weight, std=0.5, generator=torch.Generator().manual_seed(1))
    models["bfloat16"].load_state_dict(models["float32"].state_dict())
    planner = make_planner("cem", horizon=6, samples=64, elites=8, iterations=4)
    objective = ProgressObjective(ProgressObjectiveConfig(mode="mean"))
    scores = {}
    judge = models["float32"]
    for dtype, model in models.items():
        with torch.inference_mode():
            state = model.observe(
                model.initial(3),
                {"obs": torch.rand(3, 5, generator=torch.Generator().manual_seed(2))},
                torch.zeros(3, 2),
                torch.ones(3, dtype=torch.bool),
            )
            draw = torch.Generator().manual_seed(0)
            plan = planner.plan(model, state, objective=objective, generator=draw)
            for entry in (plan.actions, plan.mean, plan.std, plan.score):
                assert entry.dtype == torch.float32
                assert entry.isfinite().all()
            assert plan.actions.abs().max() <= 1
            scores[dtype] = objective.score(judge.imagine(state, plan.actions))
            at_rest = objective.score(judge.imagine(state, torch.zeros(3, 6, 2)))
    # What the search gains over doing nothing, by the judgement of the float32 model.
    gained = (scores["float32"] - at_rest).mean()
    assert gained > 0
    assert (scores["bfloat16"] - at_rest).mean() > 0.7 * gained
