"""Primitive assets behave like LIBERO's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from official_assets import official_folder

from mbrl_agents.envs.libero.assets.layout import CATEGORY_FILES, SUITE_NEEDS

mujoco = pytest.importorskip("mujoco")

CATEGORIES = sorted(set().union(*(needs.categories for needs in SUITE_NEEDS.values())))

# Figures of LIBERO's model descriptions: mass (kg), lowest and highest collision point (m, in the
# object's own frame, before the placement turns it).
OFFICIAL_BODY = {
    "akita_black_bowl": (0.00559, (-0.0538, -0.0539, 0.0016), (0.0534, 0.0531, 0.0521)),
    "plate": (0.01152, (-0.0680, -0.0684, -0.0025), (0.0696, 0.0691, 0.0164)),
    "glazed_rim_porcelain_ramekin": (
        0.00966,
        (-0.0447, -0.0444, 0.0007),
        (0.0447, 0.0447, 0.0427),
    ),
    "basket": (0.13611, (-0.0841, -0.0785, 0.0042), (0.0854, 0.0788, 0.1457)),
    "cookies": (0.00964, (-0.0310, -0.0413, -0.0094), (0.0310, 0.0413, 0.0094)),
    "milk": (0.03167, (-0.0264, -0.0698, -0.0263), (0.0266, 0.0614, 0.0263)),
    "butter": (0.00525, (-0.0381, -0.0198, -0.0087), (0.0381, 0.0198, 0.0087)),
    "cream_cheese": (0.00619, (-0.0406, -0.0213, -0.0089), (0.0406, 0.0213, 0.0089)),
    "alphabet_soup": (0.02585, (-0.0313, -0.0386, -0.0349), (0.0311, 0.0376, 0.0275)),
    "tomato_sauce": (0.02663, (-0.0312, -0.0386, -0.0341), (0.0310, 0.0376, 0.0275)),
    "bbq_sauce": (0.01218, (-0.0235, -0.0146, -0.0546), (0.0235, 0.0146, 0.0525)),
    "chocolate_pudding": (0.01019, (-0.0406, -0.0232, -0.0131), (0.0396, 0.0232, 0.0143)),
    "ketchup": (0.02322, (-0.0277, -0.0724, -0.0176), (0.0286, 0.0732, 0.0191)),
    "orange_juice": (0.03167, (-0.0266, -0.0698, -0.0263), (0.0264, 0.0614, 0.0263)),
    "salad_dressing": (0.02178, (-0.0273, -0.0727, -0.0180), (0.0254, 0.0728, 0.0176)),
    "wine_bottle": (0.01539, (-0.0207, -0.0220, 0.0011), (0.0219, 0.0222, 0.1580)),
    "wine_rack": (0.15275, (-0.1344, -0.1244, -0.0022), (0.1344, 0.1295, 0.3282)),
    "wooden_cabinet": (None, (-0.1234, -0.1093, 0.0046), (0.1312, 0.1117, 0.2230)),
    "flat_stove": (None, (-0.0520, -0.0950, -0.0200), (0.2450, 0.0950, 0.0500)),
}

# name: (type, axis, range, damping)
OFFICIAL_JOINTS = {
    "wooden_cabinet": {
        f"{level}_level": ("slide", (0, 1, 0), (-0.16, 0.01), 50.0)
        for level in ("top", "middle", "bottom")
    },
    "flat_stove": {"button": ("hinge", (0, 0, 1), (-0.005, 2.1), 1.0)},
}

# name: (half size, position in the frame of the object), m
OFFICIAL_REGIONS = {
    "basket": {"contain_region": ((0.06108, 0.06108, 0.06949), (0, 0, 0.07185))},
    "flat_stove": {
        "cook_region": ((0.075, 0.075, 0.0025), (0.15, 0, 0)),
        "burner": ((0.0625, 0.0005), (0.15, 0, 0.022)),
    },
    "wooden_cabinet": {
        "top_side": ((0.12534, 0.09438, 0.00147), (0.00354, 0.01567, 0.22152)),
        "top_region": ((0.02993, 0.07561, 0.10224), (0.00328, 0.01128, 0.18563)),
        "middle_region": ((0.02993, 0.07561, 0.10224), (0.00328, 0.01128, 0.11690)),
        "bottom_region": ((0.02993, 0.07561, 0.10224), (0.00328, 0.01128, 0.04701)),
    },
    "wine_rack": {"top_region": ((0.10087, 0.022, 0.00251), (0, -0.08003, 0.21745))},
}
PLACEMENT_SITES = {"bottom_site", "top_site", "horizontal_radius_site"}


def compiled(folder: Path, category: str):
    """The model of one category, compiled as robosuite compiles it, and its data at rest."""
    text = (folder / CATEGORY_FILES[category]).read_text()
    text = text.replace('angle="radian"', 'angle="radian" inertiagrouprange="0 0"', 1)
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def names(model, kind: str, count: int) -> list[str]:
    kinds = {"joint": mujoco.mjtObj.mjOBJ_JOINT, "site": mujoco.mjtObj.mjOBJ_SITE}
    return [mujoco.mj_id2name(model, kinds[kind], index) for index in range(count)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_size_and_mass_are_official(primitive: Path, category: str) -> None:
    model, data = compiled(primitive, category)
    mass, low, high = OFFICIAL_BODY[category]
    if mass is not None:
        assert sum(model.body_mass) == pytest.approx(mass, rel=0.01)
    solid = [g for g in range(model.ngeom) if model.geom_group[g] == 0]
    assert solid
    reach = [np.abs(data.geom_xmat[g].reshape(3, 3)) @ model.geom_size[g] for g in solid]
    origin = data.body("object").xpos
    points = np.array([data.geom_xpos[g] - origin for g in solid])
    np.testing.assert_allclose((points - reach).min(axis=0), low, atol=0.002)
    np.testing.assert_allclose((points + reach).max(axis=0), high, atol=0.002)


@pytest.mark.parametrize("category", CATEGORIES)
def test_pictures_neither_collide_nor_weigh(primitive: Path, category: str) -> None:
    model, _ = compiled(primitive, category)
    for geom in range(model.ngeom):
        solid = model.geom_group[geom] == 0
        assert model.geom_contype[geom] == model.geom_conaffinity[geom] == int(solid)
        assert model.geom_group[geom] in (0, 1)
    assert any(model.geom_group == 1)


@pytest.mark.parametrize("category", CATEGORIES)
def test_joints_are_official(primitive: Path, category: str) -> None:
    model, _ = compiled(primitive, category)
    expected = OFFICIAL_JOINTS.get(category, {})
    assert set(names(model, "joint", model.njnt)) == set(expected)
    for name, (kind, axis, limits, damping) in expected.items():
        joint = model.joint(name)
        kinds = {"slide": mujoco.mjtJoint.mjJNT_SLIDE, "hinge": mujoco.mjtJoint.mjJNT_HINGE}
        assert joint.type[0] == kinds[kind]
        np.testing.assert_allclose(joint.axis, axis)
        np.testing.assert_allclose(joint.range, limits)
        assert joint.damping[0] == damping
        body = model.body(joint.bodyid[0])
        assert body.mass[0] == 3.0
        np.testing.assert_allclose(body.inertia, 1.0)


@pytest.mark.parametrize("category", CATEGORIES)
def test_sites_are_official(primitive: Path, category: str) -> None:
    model, data = compiled(primitive, category)
    expected = OFFICIAL_REGIONS.get(category, {})
    assert set(names(model, "site", model.nsite)) == set(expected) | PLACEMENT_SITES
    for name, (size, pos) in expected.items():
        site = model.site(name)
        np.testing.assert_allclose(site.size[: len(size)], size, atol=1e-6)
        offset = data.site(name).xpos - data.body("object").xpos
        np.testing.assert_allclose(offset, pos, atol=1e-6)


def test_scenes_have_the_official_cameras(primitive: Path) -> None:
    for needs in SUITE_NEEDS.values():
        for scene in needs.scenes:
            model = mujoco.MjModel.from_xml_path(str(primitive / scene.xml))
            views = {model.camera(index).name for index in range(model.ncam)}
            assert views == {"frontview", "birdview", "agentview", "sideview"}
            assert model.nlight == 2


# -- in LIBERO ----------------------------------------------------------------------------------


class Task:
    """One LIBERO task, compiled with given assets by hf-libero's own classes, without a picture."""

    def __init__(self, suite: str, index: int, assets: Path) -> None:
        from mbrl_agents.envs.libero import runtime
        from mbrl_agents.envs.libero.suites import get_suite

        torch = pytest.importorskip("torch")
        runtime.libero_envs()
        from libero.libero.envs.env_wrapper import ControlEnv

        source = get_suite(suite)
        with runtime.seeded_numpy(0):
            runtime.use_assets(assets)
            self.env = ControlEnv(
                bddl_file_name=str(source.bddl_file(index)),
                has_renderer=False,
                has_offscreen_renderer=False,
                use_camera_obs=False,
            )
            self.env.reset()
        # The file comes with the installed package, so its pickle is as good as its code.
        self.init_states = torch.load(source.init_states_file(index), weights_only=False)
        self.model = self.env.sim.model._model
        self.data = self.env.sim.data._data

    def settle(self, init_state: int, steps: int = 20) -> dict[str, np.ndarray]:
        """Object positions (m) after ``steps`` control steps of rest from an init state."""
        self.env.set_init_state(self.init_states[init_state])
        for _ in range(steps):
            self.env.step([0.0] * 6 + [-1.0])
        return {
            name: self.data.body(f"{name}_main").xpos.copy() for name in self.env.env.objects_dict
        }


@pytest.fixture
def libero_task(primitive: Path):
    pytest.importorskip("libero")
    from mbrl_agents.envs.libero import runtime

    made: list[Task] = []

    def make(suite: str, index: int, assets: Path = primitive) -> Task:
        made.append(Task(suite, index, assets))
        return made[-1]

    runtime.libero_envs()
    import libero.libero

    before = libero.libero._assets_path_cache
    yield make
    libero.libero._assets_path_cache = before
    for task in made:
        task.env.close()


@pytest.mark.libero
@pytest.mark.parametrize(
    ("suite", "index", "width"),
    [
        ("libero_spatial", 0, 92),
        ("libero_object", 0, 110),
        ("libero_object", 9, 110),
        ("libero_goal", 0, 79),
    ],
)
def test_official_tasks_and_init_states_load(
    libero_task, suite: str, index: int, width: int
) -> None:
    task = libero_task(suite, index)
    assert task.init_states.shape[1] == width == 1 + task.model.nq + task.model.nv
    start = task.init_states[0][1 : 1 + task.model.nq]
    objects = task.settle(0)
    # Official init states hold things up to 11 cm above their place, or a little below it.
    for name, position in objects.items():
        address = task.model.joint(f"{name}_joint0").qposadr[0]
        np.testing.assert_allclose(position[:2], start[address : address + 2], atol=0.003)
        assert start[address + 2] - 0.12 < position[2] < start[address + 2] + 0.06
        speed = task.data.qvel[task.model.joint(f"{name}_joint0").dofadr[0] :][:6]
        assert np.abs(speed).max() < 0.01
    assert not task.env.check_success()


@pytest.mark.libero
def test_things_rest_where_official_ones_do(libero_task) -> None:
    official = libero_task("libero_spatial", 0, official_folder())
    ours = libero_task("libero_spatial", 0)
    expected, found = official.settle(3), ours.settle(3)
    assert found.keys() == expected.keys()
    for name, position in expected.items():
        np.testing.assert_allclose(found[name], position, atol=0.001)
    # Simulation time goes to contacts: there are 41 for 71 of the official models, 0.58 of them,
    # with MuJoCo 3.3.0, 3.6.0 and 3.8.1 alike.
    assert ours.data.ncon < 0.62 * official.data.ncon
