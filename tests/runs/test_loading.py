"""Reading a run back: what was trained stays, the search may change."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.parallel import make_env
from mbrl_agents.runs.loading import RunPredictor, check_env, load_run
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"
QUICK = ("training.model_steps=10", "training.policy_steps=10")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "data"
    collect_to_folder(data, Collection(TOY, {}, episodes=3, tasks=[1]))
    overrides = (*QUICK, "world_model.hidden=[24,24]", "planner.horizon=4")
    spec = RunSpec("simple-policy-cem", TOY, {"task": 1}, overrides, data=str(data))
    train_run(spec, folder / "run")
    return folder / "run"


def test_what_was_trained_stays_and_the_search_may_change(trained):
    own = load_run(trained)
    assert load_run(trained, "simple-policy-cem", ["planner.horizon=4"]).config == own.config
    changed = load_run(trained, "simple-policy-cem", ["planner.samples=40"])
    assert (changed.config.planner.samples, changed.config.planner.horizon) == (40, 4)
    other = load_run(trained, "simple-cem")
    assert other.config.world_model == own.config.world_model
    assert other.config.training == own.config.training
    # Said again as trained is fine: suites do; anything else is not.
    load_run(trained, "simple-policy-cem", [*QUICK, "world_model.hidden=[24,24]"])
    with pytest.raises(ValueError, match="was settled when the run"):
        load_run(trained, "simple-policy-cem", ["world_model.hidden=[32,32]"])
    for method in ("dreamer", "dreamer-cem", "sb3-sac"):
        with pytest.raises(ValueError, match="cannot use its weights"):
            load_run(trained, method)


def test_a_preset_of_the_search_counts_after_training_too(trained):
    own = load_run(trained).config
    changed = load_run(trained, "simple-policy-cem", ["preset=cem"]).config
    assert (changed.planner.hold, changed.planner.replan) == (3, 3)
    assert changed.planner != own.planner
    assert changed.world_model == own.world_model


def test_environments_of_other_spaces_are_refused(trained):
    predictor = RunPredictor(str(trained))
    predictor(make_env(TOY, {"task": 1}))
    with pytest.raises(ValueError, match=r"trained on the observations .*pose.*shows .*\(3,\)"):
        predictor(gymnasium.make("Pendulum-v1"))

    class Weaker(make_env(TOY, {}).unwrapped.__class__):
        def __init__(self):
            super().__init__()
            self.action_space = gymnasium.spaces.Box(-0.5, 0.5, (7,), np.float32)

    with pytest.raises(ValueError, match=r"trained on the actions .* this environment takes"):
        predictor(Weaker())


def test_images_may_have_their_channels_at_either_end():
    """Vectorised environments show channels first, where the evaluated one shows them last."""

    def shows(*shape: int) -> SimpleNamespace:
        image = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        space = gymnasium.spaces.Dict({"image": image})
        return SimpleNamespace(observation_space=space, action_space=gymnasium.spaces.Discrete(2))

    check_env("run", shows(3, 64, 64), shows(64, 64, 3))
    check_env("run", shows(64, 64, 3), shows(3, 64, 64))
    with pytest.raises(ValueError, match="this environment shows"):
        check_env("run", shows(3, 64, 64), shows(32, 32, 3))
