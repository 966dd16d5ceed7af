"""Pictures: what they leave out must not show, and physics must not notice them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from mbrl_agents.envs.libero.experts import expert_for
from mbrl_agents.envs.libero.rendering import RENDERINGS, SceneRenderer
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES
from tests.support.official_assets import official_folder

CAMERAS = ("agentview", "robot0_eye_in_hand")


@pytest.fixture(scope="module", params=["primitive", "official"])
def simulation(request: pytest.FixtureRequest, primitive: Path) -> Iterator[Simulation]:
    """A bowl in the gripper: robot, bowl and plate are in the picture of both cameras."""
    assets = primitive if request.param == "primitive" else official_folder()
    simulation = Simulation(SUITES["libero_spatial"], 2, assets)
    simulation.reset_to(0)
    expert = expert_for(simulation)
    for _ in range(70):
        simulation.step(expert.action())
    yield simulation
    simulation.close()


@pytest.fixture(scope="module")
def bowl(primitive: Path) -> Iterator[Simulation]:
    simulation = Simulation(SUITES["libero_spatial"], 2, primitive)
    simulation.reset_to(0)
    yield simulation
    simulation.close()


def shapes_of(model: Any) -> list[NDArray[Any]]:
    """Everything of a model that drawing it might have touched.

    Colours of sites are left out: LIBERO shows the state of stoves by them.
    """
    kinds = "geom_", "mesh_", "site_", "body_", "tex_", "mat_"
    names = [name for name in dir(model) if name.startswith(kinds) and name != "site_rgba"]
    values = [np.array(getattr(model, name)) for name in names]
    assert len(values) > 80
    quality, buffer = model.vis.quality, model.vis.global_
    rest = [quality.offsamples, quality.shadowsize, buffer.offwidth, buffer.offheight]
    return [*values, np.array(rest)]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(("size", "mean"), [(64, 2.5), (256, 1.5)])
def test_what_is_left_out_does_not_show(
    simulation: Simulation, camera: str, size: int, mean: float
) -> None:
    full = SceneRenderer(simulation, (size, size), full_detail=True)
    quick = SceneRenderer(simulation, (size, size))
    pictures = [renderer.render(camera).astype(int) for renderer in (full, quick)]
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.mean() < mean
    # Edges fall on one pixel or the next; nothing larger differs.
    assert (difference.max(axis=-1) > 16).mean() < 0.03
    signed = pictures[0] - pictures[1]
    blurred = signed.reshape(16, size // 16, 16, size // 16, 3).mean(axis=(1, 3))
    assert np.abs(blurred).max() < 35
    full.close()
    quick.close()


@pytest.mark.parametrize("camera", CAMERAS)
def test_bowl_plate_and_robot_are_in_the_picture(simulation: Simulation, camera: str) -> None:
    """Moving a body away changes the picture where it was."""
    renderer = SceneRenderer(simulation, (64, 64))
    before = renderer.render(camera).astype(int)
    model, data = simulation.model, simulation.data
    for name in ("akita_black_bowl_1_main", "plate_1_main", "gripper0_right_gripper"):
        body = model.body(name).id
        geoms = np.nonzero(model.geom_bodyid == body)[0]
        kept = data.geom_xpos[geoms].copy()
        data.geom_xpos[geoms] += [0.0, 0.0, -2.0]
        changed = (np.abs(renderer.render(camera) - before).max(axis=-1) > 8).sum()
        data.geom_xpos[geoms] = kept
        hidden = name == "plate_1_main" and camera != "agentview"  # the bowl is before it
        assert hidden or changed >= 20, name
    np.testing.assert_array_equal(renderer.render(camera), before)
    renderer.close()


def test_physics_does_not_notice_pictures(bowl: Simulation) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 7))
    renderer = SceneRenderer(bowl, (64, 64))

    def play(pictures: bool) -> NDArray[np.float64]:
        bowl.reset_to(3)
        states = []
        for action in actions:
            bowl.step(action)
            if pictures:
                for camera in CAMERAS:
                    renderer.render(camera)
            states.append(np.concatenate([bowl.data.qpos, bowl.data.qvel, bowl.data.qacc]))
        return np.stack(states)

    before, model = play(False), shapes_of(bowl.model)
    np.testing.assert_array_equal(play(True), before)
    for kept, now in zip(model, shapes_of(bowl.model), strict=True):
        np.testing.assert_array_equal(kept, now)
    renderer.close()


def test_the_model_is_whole_after_a_context_of_official_meshes() -> None:
    simulation = Simulation(SUITES["libero_spatial"], 2, official_folder())
    before = shapes_of(simulation.model)
    renderer = SceneRenderer(simulation, (64, 64))
    renderer.render("agentview")
    for kept, now in zip(before, shapes_of(simulation.model), strict=True):
        np.testing.assert_array_equal(kept, now)
    renderer.close()
    simulation.close()


def test_contexts_are_made_on_the_first_picture(
    bowl: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    context = mujoco.MjrContext
    monkeypatch.setattr(mujoco, "MjrContext", lambda *a: made.append(a) or context(*a))
    renderer = SceneRenderer(bowl, (32, 32))
    assert not made
    renderer.render("agentview")
    renderer.render("agentview")
    assert len(made) == 1
    renderer.render("robot0_eye_in_hand")
    assert len(made) == 2, "each camera has its own, with the detail it can see"
    renderer.close()


def test_a_closed_renderer_opens_again(bowl: Simulation) -> None:
    renderer = SceneRenderer(bowl, (48, 48))
    first = renderer.render("agentview")
    renderer.close()
    renderer.close()
    np.testing.assert_array_equal(renderer.render("agentview"), first)
    renderer.close()


def test_pictures_depend_on_the_state_alone(bowl: Simulation) -> None:
    """Not on what the state was when the renderer was made."""
    bowl.reset_to(0)
    early = SceneRenderer(bowl, (64, 64))
    for camera in CAMERAS:
        early.render(camera)
    bowl.reset_to(7)
    for _ in range(20):
        bowl.step(np.array([1.0, 0.5, -1.0, 0.0, 0.0, 0.0, -1.0]))
    late = SceneRenderer(bowl, (64, 64))
    for camera in CAMERAS:
        np.testing.assert_array_equal(early.render(camera), late.render(camera))
    early.close()
    late.close()


def test_environments_in_one_process_do_not_mix(primitive: Path) -> None:
    """Whichever is drawn or dropped in between, each shows its own scene."""
    simulations = [Simulation(SUITES["libero_spatial"], task, primitive) for task in (2, 7)]
    renderers = [SceneRenderer(simulation, (64, 64)) for simulation in simulations]
    for simulation in simulations:
        simulation.reset_to(1)
    alone = [renderer.render("agentview") for renderer in renderers]
    assert np.abs(alone[0].astype(int) - alone[1]).mean() > 3
    for renderer, picture in zip(renderers, alone, strict=True):
        np.testing.assert_array_equal(renderer.render("agentview"), picture)
    dropped = SceneRenderer(simulations[1], (64, 64))
    dropped.render("agentview")
    renderers[0].render("agentview")
    del dropped  # not closed
    gc.collect()
    np.testing.assert_array_equal(
        SceneRenderer(simulations[0], (64, 64)).render("agentview"), alone[0]
    )
    for renderer, picture in zip(renderers, alone, strict=True):
        np.testing.assert_array_equal(renderer.render("agentview"), picture)
    for renderer, simulation in zip(renderers, simulations, strict=True):
        renderer.close()
        simulation.close()


def test_fixtures_are_drawn_where_a_reset_put_them(primitive: Path) -> None:
    simulation = Simulation(SUITES["libero_spatial"], 2, primitive)
    quick = SceneRenderer(simulation, (64, 64))
    full = SceneRenderer(simulation, (64, 64), full_detail=True)
    for seed in (0, 1):
        simulation.reset_random(seed)
        pictures = [r.render("agentview").astype(int) for r in (quick, full)]
        assert np.abs(pictures[0] - pictures[1]).mean() < 2.5
    quick.close()
    full.close()
    simulation.close()


def test_larger_pictures_have_finer_meshes(simulation: Simulation) -> None:
    triangles = []
    for size in (32, 64, 256):
        renderer = SceneRenderer(simulation, (size, size))
        renderer.render("agentview")
        triangles.append(renderer.triangles("agentview"))
        renderer.close()
    assert triangles == sorted(triangles)
    assert triangles[-1] > 2 * triangles[1]


def test_pictures_larger_than_the_meshes_are_drawn_as_compiled(bowl: Simulation) -> None:
    bowl.reset_to(0)
    quick = SceneRenderer(bowl, (1536, 1536))
    full = SceneRenderer(bowl, (1536, 1536), full_detail=True)
    pictures = [r.render("agentview").astype(int) for r in (quick, full)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.5
    quick.close()
    full.close()


@pytest.mark.skipif(
    not hasattr(mujoco.MjModel, "tex_colorspace"), reason="this MuJoCo has one colour space"
)
@pytest.mark.parametrize("rendering", RENDERINGS)
def test_textures_are_drawn_as_they_are_whatever_space_the_model_names(
    primitive: Path, rendering: str
) -> None:
    images = []
    for space in (mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR, mujoco.mjtColorSpace.mjCOLORSPACE_SRGB):
        simulation = Simulation(SUITES["libero_spatial"], 2, primitive)
        simulation.reset_to(0)
        simulation.model.tex_colorspace[:] = int(space)
        renderer = SceneRenderer(simulation, (32, 32), rendering=rendering)
        images.append(renderer.render("agentview"))
        assert (simulation.model.tex_colorspace == int(space)).all()
        renderer.close()
        simulation.close()
    np.testing.assert_array_equal(*images)


def test_liberos_rendering_smooths_edges_and_leaves_the_model_whole(bowl: Simulation) -> None:
    bowl.reset_to(0)
    before = shapes_of(bowl.model)
    images = {}
    for rendering in RENDERINGS:
        renderer = SceneRenderer(bowl, (64, 64), rendering=rendering)
        images[rendering] = renderer.render("agentview")
        renderer.close()
    for kept, now in zip(before, shapes_of(bowl.model), strict=True):
        np.testing.assert_array_equal(kept, now)
    difference = np.abs(images["fast"].astype(int) - images["libero"]).max(axis=-1)
    assert 0.01 < (difference > 8).mean() < 0.3, "edges, and nothing else"


def test_an_unknown_rendering_is_answered_with_the_valid_ones(bowl: Simulation) -> None:
    with pytest.raises(ValueError, match="fast, libero"):
        SceneRenderer(bowl, (8, 8), rendering="slow")


def test_an_unknown_camera_is_answered_with_the_valid_ones(bowl: Simulation) -> None:
    with pytest.raises(ValueError, match="robot0_eye_in_hand"):
        SceneRenderer(bowl, (8, 8)).render("nowhere")
