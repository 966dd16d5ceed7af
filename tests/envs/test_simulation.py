"""Our stepping and resets against LIBERO's own, on the same scene."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import mujoco
import numpy as np
import pytest

from mbrl_agents.envs.libero.assets import primitive_assets_dir
from mbrl_agents.envs.libero.building import build
from mbrl_agents.envs.libero.contact_rule import apply_contact_rule
from mbrl_agents.envs.libero.contacts import SLEEP
from mbrl_agents.envs.libero.init_states import read_init_states
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES

SPATIAL = SUITES["libero_spatial"]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(SPATIAL, 2, primitive_assets_dir())


def _stock(simulation: Simulation, init_state: int) -> Any:
    """LIBERO's environment in the same state: fixtures, positions, controller goal."""
    stock = build(SPATIAL, simulation.task, primitive_assets_dir())
    apply_contact_rule("reference", stock.sim.model._model)
    model, data = stock.sim.model._model, stock.sim.data._data
    simulation.reset_to(init_state)
    model.body_pos[:] = simulation.model.body_pos
    model.body_quat[:] = simulation.model.body_quat
    stock.reset()
    model.body_pos[:] = simulation.model.body_pos
    model.body_quat[:] = simulation.model.body_quat
    data.qpos[:], data.qvel[:] = simulation.data.qpos, simulation.data.qvel
    stock.sim.forward()
    controller = stock.robots[0].controller
    controller.update(force=True)
    controller.reset_goal()
    return stock


def _compare(simulation: Simulation, stock: Any, actions: np.ndarray) -> np.ndarray:
    """Distance in m of the two grip sites after each action."""
    distances = []
    for action in actions:
        simulation.step(action)
        stock.step(action)
        stock.sim.forward()
        theirs = stock.sim.data._data.site_xpos[simulation._grip_site]
        distances.append(np.linalg.norm(simulation.grip_position - theirs))
    return np.array(distances)


def test_free_motion_equals_stock(simulation: Simulation) -> None:
    stock = _stock(simulation, init_state=1)
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 7))
    actions[:, 3:6] *= 0.3
    actions[:, 2] = np.abs(actions[:, 2])
    assert _compare(simulation, stock, actions).max() < 1e-6


def test_whole_grasp_stays_with_stock(simulation: Simulation) -> None:
    from mbrl_agents.envs.libero.experts import expert_for

    stock = _stock(simulation, init_state=0)
    expert = expert_for(simulation)
    actions, held = [], False
    for _ in range(45):
        action = expert.action()
        actions.append(action)
        simulation.step(action)
        held = held or simulation.grasped("akita_black_bowl_1")
    assert held, "the sequence must contain a grasp"
    simulation.reset_to(0)
    assert _compare(simulation, stock, np.array(actions)).max() < 1e-3
    theirs = stock.sim.data._data.xpos[simulation.body_of("akita_black_bowl_1")]
    assert np.linalg.norm(simulation.position_of("akita_black_bowl_1") - theirs) < 1e-3


def test_soft_reset_equals_hard_reset() -> None:
    """On task 7 the bowl stands on the stove, which a naive soft reset displaces twice."""
    for task in (4, 7, 9):
        ours = Simulation(SPATIAL, task, primitive_assets_dir(), fixtures="random")
        ours.reset_random(3)  # something to be forgotten
        ours.reset_random(0)
        # Freshly compiled and placed from seed 0 by LIBERO itself.
        theirs = build(SPATIAL, task, primitive_assets_dir())
        np.testing.assert_allclose(ours.data.qpos, theirs.sim.data._data.qpos, atol=1e-12)
        np.testing.assert_allclose(
            ours.model.body_pos, theirs.sim.model._model.body_pos, atol=1e-12
        )
        np.testing.assert_allclose(
            ours.model.body_quat, theirs.sim.model._model.body_quat, atol=1e-12
        )


def test_predicates_agree_with_stock_contacts(simulation: Simulation) -> None:
    simulation.reset_to(0)
    for _ in range(5):
        simulation.step(np.zeros(7))
    inner = simulation.inner
    for name, other in (("akita_black_bowl_1", "plate_1"), ("cookies_1", "plate_1")):
        ours = simulation.in_contact(inner.get_object(name), inner.get_object(other))
        theirs = type(inner).check_contact(inner, inner.get_object(name), inner.get_object(other))
        assert ours == theirs
    touching = simulation.in_contact(inner.get_object("plate_1"))
    assert touching, "the plate stands on the table"


def test_objects_at_rest_sleep_and_touch_all_the_same(simulation: Simulation) -> None:
    """MuJoCo lists no contacts of sleeping bodies; predicates must see them."""
    simulation.reset_to(0)
    if not SLEEP:
        pytest.skip(f"MuJoCo {mujoco.__version__} knows no sleep")
    assert simulation.data.ntree_awake == simulation.model.ntree
    for _ in range(12):
        simulation.step(np.zeros(7))
    assert simulation.data.ntree_awake < simulation.model.ntree
    data = mujoco.MjData(simulation.model)
    data.qpos[:] = simulation.data.qpos
    flags = simulation.model.opt.enableflags
    simulation.model.opt.enableflags = 0
    mujoco.mj_forward(simulation.model, data)
    simulation.model.opt.enableflags = flags
    listed = {tuple(sorted(pair)) for pair in data.contact.geom[: data.ncon].tolist()}
    bodies = {
        tuple(sorted(int(simulation.model.geom_bodyid[geom]) for geom in pair)) for pair in listed
    }
    inner = simulation.inner
    things = {name: inner.get_object(name) for name in inner.objects_dict}
    touching = {name for name, thing in things.items() if simulation.in_contact(thing)}
    expected = {
        name
        for name in things
        if any(simulation.body_of(name) in _roots(simulation, pair) for pair in bodies)
    }
    assert touching == expected
    assert len(touching) == len(things), "everything stands on something"
    pairs = {
        frozenset({name, other})
        for name, thing in things.items()
        for other, second in things.items()
        if name < other and simulation.in_contact(thing, second)
    }
    rooted = [_roots(simulation, pair) for pair in bodies]
    assert pairs == {
        frozenset({name, other})
        for name in things
        for other in things
        if name < other
        and any(
            {simulation.body_of(name), simulation.body_of(other)} == set(roots) for roots in rooted
        )
    }


def _roots(simulation: Simulation, pair: tuple[int, ...]) -> list[int]:
    return [int(simulation.model.body_rootid[body]) for body in pair]


def test_a_sleeping_object_wakes_when_it_is_pushed(simulation: Simulation) -> None:
    """Asleep or not, a push moves the bowl as in LIBERO's own environment."""
    stock = _stock(simulation, init_state=0)
    bowl = simulation.body_of("akita_black_bowl_1")
    target = simulation.position_of("akita_black_bowl_1").copy()
    joint = simulation.model.body_jntadr[bowl]
    address = simulation.model.jnt_qposadr[joint]
    start = simulation.data.qpos[address : address + 3].copy()
    asleep = False
    # Down beside the bowl with closed fingers, then through it.
    for step in range(60):
        aim = target + [0.0, -0.12, 0.03] if step < 40 else target + [0.0, 0.05, 0.03]
        towards = np.clip((aim - simulation.grip_position) / 0.05, -1.0, 1.0)
        action = np.array([*towards, 0.0, 0.0, 0.0, 1.0])
        asleep = asleep or not SLEEP or simulation.data.ntree_awake < simulation.model.ntree
        simulation.step(action)
        stock.step(action)
    moved = simulation.data.qpos[address : address + 3]
    theirs = stock.sim.data._data.qpos[address : address + 3]
    assert asleep
    assert np.linalg.norm(moved - start) > 0.02, "the push must move the bowl"
    np.testing.assert_allclose(moved, theirs, atol=1e-3)


def test_global_random_state_is_untouched(simulation: Simulation) -> None:
    np.random.seed(5)
    expected = np.random.RandomState(5).rand()
    simulation.reset_random(1)
    assert np.random.rand() == expected


def test_same_trajectory_in_another_process(simulation: Simulation) -> None:
    script = (
        "import numpy as np\n"
        "from mbrl_agents.envs.libero.assets import primitive_assets_dir\n"
        "from mbrl_agents.envs.libero.simulation import Simulation\n"
        "from mbrl_agents.envs.libero.suites import SUITES\n"
        "s = Simulation(SUITES['libero_spatial'], 2, primitive_assets_dir())\n"
        "s.reset_random(7)\n"
        "for _ in range(10): s.step(np.full(7, 0.2))\n"
        "print(s.data.qpos.tobytes().hex(), s.model.body_pos.tobytes().hex())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    simulation.reset_random(7)
    for _ in range(10):
        simulation.step(np.full(7, 0.2))
    positions, bodies = result.stdout.split()
    assert positions == simulation.data.qpos.tobytes().hex()
    assert bodies == simulation.model.body_pos.tobytes().hex()
    assert result.stderr == "", "imports and resets are quiet"


def test_init_states_are_read_without_trust(tmp_path: Any) -> None:
    import pickle
    import zipfile

    states = read_init_states(SPATIAL.init_states_file(0))
    assert states.shape == (50, 92)
    evil = tmp_path / "evil.pruned_init"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(eval))
    with pytest.raises(ValueError, match="not a file of LIBERO init states"):
        read_init_states(evil)


def test_torques_are_finite_at_the_edge_of_the_workspace(simulation: Simulation) -> None:
    simulation.reset_to(0)
    for _ in range(60):
        simulation.step(np.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]))
    assert np.isfinite(simulation.data.qpos).all()
    assert mujoco.mjtWarning.mjWARN_BADQACC not in [
        i for i, w in enumerate(simulation.data.warning) if w.number
    ]
