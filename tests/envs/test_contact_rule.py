"""The contact rule: whom it acts on, whom it leaves alone, and what it is worth."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import threading
from typing import Any

import mujoco
import numpy as np
import pytest

from mbrl_agents.envs.libero import contact_rule
from mbrl_agents.envs.libero.contact_rule import apply_contact_rule, register, unregister

VERSION = tuple(int(part) for part in mujoco.__version__.split(".")[:2])
replaced = pytest.mark.skipif(
    not contact_rule.TESTED[0] <= VERSION <= contact_rule.TESTED[1],
    reason="the rule is MuJoCo's own, or not made for this MuJoCo",
)

FACES = """
<mujoco><worldbody>
  <geom type="box" size="1 1 1"/>
  <body pos="0 0 1.9"><freejoint/><geom type="box" size="0.5 0.5 1"/></body>
</worldbody></mujoco>
"""
EDGES = """
<mujoco><worldbody>
  <geom type="box" size="1 1 1" euler="45 0 0"/>
  <body pos="0 0 2.7"><freejoint/><geom type="box" size="1 1 1" euler="0 45 0"/></body>
</worldbody></mujoco>
"""
OTHERS = """
<mujoco><worldbody>
  <geom type="box" size="1 1 1"/>
  <body pos="0 0 1.4"><freejoint/><geom type="sphere" size="0.5"/></body>
  <geom type="plane" size="1 1 1" pos="9 0 0"/>
  <body pos="9 0 0.9"><freejoint/><geom type="box" size="0.2 0.2 1"/></body>
</worldbody></mujoco>
"""


def made(xml: str) -> tuple[Any, Any]:
    model = mujoco.MjModel.from_xml_string(xml)
    return model, mujoco.MjData(model)


def depths(model: Any, data: Any) -> list[float]:
    mujoco.mj_forward(model, data)
    return [float(round(-distance, 12)) for distance in data.contact.dist]


@replaced
def test_faces_go_half_as_deep_in_a_registered_model_alone() -> None:
    ours, theirs = made(FACES), made(FACES)
    assert depths(*ours) == depths(*theirs) == [0.1] * 4
    register(ours[0])
    register(ours[0])  # once more changes nothing
    assert depths(*ours) == [0.05] * 4
    assert depths(*theirs) == [0.1] * 4
    # Any data of the model, the same places and directions.
    other = mujoco.MjData(ours[0])
    assert depths(ours[0], other) == [0.05] * 4
    mujoco.mj_forward(*theirs)
    np.testing.assert_array_equal(other.contact.pos, theirs[1].contact.pos)
    np.testing.assert_array_equal(other.contact.frame, theirs[1].contact.frame)
    unregister(ours[0])
    unregister(ours[0])
    assert depths(*ours) == [0.1] * 4


@replaced
@pytest.mark.parametrize("xml", [EDGES, OTHERS])
def test_other_contacts_stay(xml: str) -> None:
    ours = made(xml)
    before = depths(*ours)
    assert before
    register(ours[0])
    assert depths(*ours) == before


@replaced
def test_nearly_parallel_edges_are_no_faces() -> None:
    """Their normal lies as near to an axis as the boxes are parallel."""
    model, data = made(FACES)
    random = np.random.default_rng(0)
    edges = 0
    for _ in range(400):
        data.qpos[:2] = random.choice([-1.4, 1.4], 2) + random.uniform(-0.1, 0.1, 2)
        data.qpos[2] = random.uniform(1.5, 1.9)
        data.qpos[3:] = np.array([1.0, *(1e-6 * random.normal(size=3))])
        unregister(model)
        before = np.array(depths(model, data))
        axes = np.concatenate([data.geom_xmat[0].reshape(3, 3), data.geom_xmat[1].reshape(3, 3)], 1)
        normals = data.contact.frame[:, :3]
        aside = np.abs(np.abs(normals[:, :, None]) - np.abs(axes)[None]).max(axis=1).min(axis=1)
        register(model)
        after = np.array(depths(model, data))
        if len(before):
            expected = np.where(aside < 1e-12, 0.5, 1.0) * before
            np.testing.assert_allclose(after, expected, atol=1e-11)
            edges += int((aside >= 1e-12).sum())
    assert edges, "the test must see edges"


@replaced
def test_a_collected_model_is_forgotten() -> None:
    gc.collect()
    before = set(contact_rule._registered)
    model, data = made(FACES)
    register(model)
    address = model._address
    assert address in contact_rule._registered
    assert address in contact_rule._table[1:]
    del model, data
    gc.collect()
    assert set(contact_rule._registered) == before
    assert address not in contact_rule._table[1:]


@replaced
def test_many_models_and_threads() -> None:
    pairs = [made(FACES) for _ in range(40)]
    seen: list[list[float]] = [[] for _ in pairs]

    def work(index: int) -> None:
        model, data = pairs[index]
        if index % 2:
            register(model)
        for _ in range(50):
            seen[index] = depths(model, data)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[0.05] * 4 if index % 2 else [0.1] * 4 for index in range(len(pairs))]


def _in_a_fork(queue: Any, inherited: Any) -> None:
    own = made(FACES)
    register(own[0])
    queue.put((depths(*own), depths(*inherited)))


@replaced
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_worker_keeps_the_rule() -> None:
    inherited = made(FACES)
    register(inherited[0])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_in_a_fork, args=(queue, inherited))
    worker.start()
    assert queue.get(timeout=60) == ([0.05] * 4, [0.05] * 4)
    worker.join()


def test_what_is_in_force() -> None:
    model, data = made(FACES)
    if VERSION < (3, 4):
        expected = f"native {VERSION[0]}.{VERSION[1]}"
        assert apply_contact_rule("mujoco", model) == expected
        assert apply_contact_rule("reference", model) == expected
        assert depths(model, data) == [0.05] * 4
    elif contact_rule.TESTED[0] <= VERSION <= contact_rule.TESTED[1]:
        assert apply_contact_rule("mujoco", model) == "mujoco"
        assert depths(model, data) == [0.1] * 4
        assert apply_contact_rule("reference", model) == "reference"
        assert depths(model, data) == [0.05] * 4
    else:
        with pytest.raises(RuntimeError, match="cannot be had with MuJoCo"):
            apply_contact_rule("reference", model)


@pytest.mark.parametrize("version", ["3.4.0", "3.5.0", "3.9.0", "4.0.0"])
def test_refused_where_it_was_not_tested(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(mujoco, "__version__", version)
    model, _ = made(FACES)
    sentence = f"had with MuJoCo {re.escape(version)}: install 'mujoco>=3.6,<3.9'"
    with pytest.raises(RuntimeError, match=sentence):
        apply_contact_rule("reference", model)
    assert apply_contact_rule("mujoco", model) == "mujoco"


@replaced
@pytest.mark.parametrize("step", ["_slot", "_layout", "_compile", "_verify"])
def test_what_cannot_be_installed_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ours, theirs = made(FACES), made(FACES)
    register(ours[0])

    def broken(*_: Any) -> Any:
        raise AttributeError("no such thing")

    # Without its cache: installing it once more fails and leaves what is installed alone.
    monkeypatch.setattr(contact_rule, "_install", contact_rule._install.__wrapped__)
    monkeypatch.setattr(contact_rule, step, broken)
    with pytest.raises(RuntimeError, match=r"no such thing.*contact_rule='mujoco'") as caught:
        apply_contact_rule("reference", theirs[0])
    assert isinstance(caught.value.__cause__, AttributeError)
    assert depths(*ours) == [0.05] * 4
    assert depths(*theirs) == [0.1] * 4


@replaced
def test_numba_switched_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_rule, "_install", contact_rule._install.__wrapped__)
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    with pytest.raises(RuntimeError, match=r"NUMBA_DISABLE_JIT is set.*contact_rule='mujoco'"):
        register(made(FACES)[0])


def test_unknown_rules_are_refused() -> None:
    model, _ = made(FACES)
    with pytest.raises(ValueError, match="unknown contact_rule 'old'; valid: reference, mujoco"):
        apply_contact_rule("old", model)
