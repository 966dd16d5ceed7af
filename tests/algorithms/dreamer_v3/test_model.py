"""DreamerV3: sizes, shapes, carried state, losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_world_model
from mbrl_agents.algorithms.dreamer_v3.config import SIZES
from mbrl_agents.config import ConfigError
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.protocols import Batch, tree_map

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
VECTOR = spaces.Box(-np.inf, np.inf, (7,), np.float32)
TINY = {"deter": 64, "hidden": 16, "classes": 4, "depth": 2, "units": 16, "stoch": 4}


def image_space(size: int = 64, channels: int = 3) -> spaces.Box:
    return spaces.Box(0, 255, (size, size, channels), np.uint8)


def sequences(obs, size: int, length: int, seed: int = 0, actions: int = 7) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    no = torch.zeros(size, length, dtype=torch.bool)
    first = no.clone()
    first[:, 0] = True
    return Batch(
        obs=obs,
        prev_action=torch.rand(size, length, actions, generator=draw) * 2 - 1,
        reward=torch.randn(size, length, generator=draw),
        is_first=first,
        is_last=no,
        terminal=no,
        steps_to_go=torch.full((size, length), torch.nan),
        label=torch.full((size, length, actions), torch.nan),
        mask=~no,
    )


def vectors(size: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"obs": torch.randn(size, length, 7, generator=draw)}


def flat(states: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """States ``(B, T, ...)`` as ``(B T, ...)``."""
    return tree_map(lambda x: x.flatten(0, 1), states)


class TestSizes:
    # The figures for the whole agent less those of its actor and critic.
    @pytest.mark.parametrize(
        ("size", "space", "expected"),
        [
            ("1M", VECTOR, 522_311),
            ("1M", image_space(), 570_483),
            ("12M", VECTOR, 8_084_999),
            ("12M", image_space(), 8_849_859),
        ],
    )
    def test_parameters(self, size, space, expected):
        model = make_world_model("dreamer_v3", space, ACTIONS, size=size)
        assert sum(p.numel() for p in model.parameters()) == expected

    def test_every_size_is_larger_than_the_one_before(self):
        totals = []
        with torch.device("meta"):
            for size in SIZES:
                model = make_world_model("dreamer_v3", image_space(), ACTIONS, size=size)
                totals.append(sum(p.numel() for p in model.parameters()))
        assert totals == sorted(totals)

    def test_a_wrong_size_names_the_right_ones(self):
        with pytest.raises(ConfigError, match=", ".join(SIZES)):
            make_world_model("dreamer_v3", VECTOR, ACTIONS, size="2M")


class TestSpaces:
    @pytest.mark.parametrize("shape", [(16, 16, 3), (32, 48, 1), (3, 64, 64), (1, 96, 96)])
    def test_any_image_whose_sides_are_multiples_of_16(self, shape):
        space = spaces.Dict({"image": spaces.Box(0, 255, shape, np.uint8), "robot": VECTOR})
        model = make_world_model("dreamer_v3", space, ACTIONS, **TINY)
        obs = {
            "image": torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8),
            "robot": torch.randn(2, 3, 7),
        }
        output = model.compute_loss(sequences(obs, 2, 3))
        assert output.loss.isfinite()
        decoded = model.decode(flat(output.states))
        height, width = (shape[1:]) if shape[0] < shape[2] else shape[:2]
        assert decoded["image"].shape == (6, height, width, min(shape))
        assert decoded["robot"].shape == (6, 7)
        assert decoded["image"].min() >= 0
        assert decoded["image"].max() <= 1

    def test_both_orders_of_channels_read_the_same(self):
        model = make_world_model("dreamer_v3", image_space(32), ACTIONS, **TINY).eval()
        last = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
        a = model.encoder({"obs": last})
        b = model.encoder({"obs": last.permute(0, 3, 1, 2)})
        assert torch.equal(a, b)

    def test_discrete_actions_are_one_hot(self):
        model = make_world_model("dreamer_v3", VECTOR, spaces.Discrete(3), **TINY)
        assert model.action_size == 3

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (image_space(40), "multiples of 16"),
            (spaces.Dict({"a": image_space(32), "b": image_space(64)}), "one size"),
            (spaces.Box(0, 1, (32, 32, 3), np.float32), "uint8"),
            (spaces.Discrete(3), "need a Box"),
        ],
    )
    def test_what_it_cannot_read_it_refuses(self, space, message):
        with pytest.raises(ValueError, match=message):
            make_world_model("dreamer_v3", space, ACTIONS)
        with pytest.raises(ValueError, match="Discrete or a Box"):
            make_world_model("dreamer_v3", VECTOR, spaces.MultiBinary(3))


class TestSequences:
    def test_carried_state_makes_one_long_sequence_of_two(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY)
        batch = sequences(vectors(3, 12), 3, 12)
        whole = model.compute_loss(batch)
        left = model.compute_loss(batch[:, :5])
        carried = tree_map(lambda x: x[:, -1], left.states)
        right = model.compute_loss(batch[:, 5:], carried)
        joined = torch.cat([left.features, right.features], 1)
        assert torch.allclose(joined, whole.features, atol=1e-5)
        apart = (left.loss * 5 + right.loss * 7) / 12
        assert torch.allclose(apart, whole.loss, atol=1e-4)

    def test_stepping_is_filtering_a_sequence(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY)
        batch = sequences(vectors(2, 6), 2, 6)
        batch.is_first[1, 3] = True
        whole = model.compute_loss(batch).states
        state = model.initial(2)
        for t in range(6):
            obs = {"obs": batch.obs["obs"][:, t]}
            state = model.observe(state, obs, batch.prev_action[:, t], batch.is_first[:, t])
            assert torch.allclose(state["deter"], whole["deter"][:, t], atol=1e-5)

    def test_drawn_latents_depend_on_the_generator_alone(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY)
        batch = sequences(vectors(2, 6), 2, 6)

        def loss(seed):
            return model.compute_loss(batch, generator=torch.Generator().manual_seed(seed)).loss

        assert torch.equal(loss(1), loss(1))
        assert not torch.equal(loss(1), loss(2))


class TestLosses:
    def test_a_fresh_model_knows_nothing(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY)
        parts = model.compute_loss(sequences(vectors(4, 5), 4, 5)).metrics
        assert parts["reward"].item() == pytest.approx(5.541264, abs=1e-5)
        assert parts["dynamics"] >= 1
        assert parts["representation"] >= 1

    def test_free_nats_stop_the_gradient_below_one_nat(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY, free_nats=1e4)
        batch = sequences(vectors(2, 4), 2, 4)
        output = model.compute_loss(batch)
        assert output.metrics["dynamics"].item() == 1e4
        output.loss.backward()
        assert not model.rssm.prior[1].weight.grad.any()
        free = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY, free_nats=0.0)
        free.compute_loss(batch).loss.backward()
        assert free.rssm.prior[1].weight.grad.any()

    def test_images_cost_the_summed_squared_error(self):
        model = make_world_model("dreamer_v3", image_space(16), ACTIONS, **TINY)
        obs = {"obs": torch.randint(0, 256, (1, 2, 16, 16, 3), dtype=torch.uint8)}
        output = model.compute_loss(sequences(obs, 1, 2))
        found = model.decode(flat(output.states))["obs"]
        expected = ((found - obs["obs"][0] / 255.0) ** 2).sum((1, 2, 3)).mean()
        assert output.metrics["images"].item() == pytest.approx(expected.item(), rel=1e-4)

    def test_images_are_moved_in_training_alone_and_reconstructed_as_moved(self):
        sizes = {**TINY, "image_shift": 2}
        model = make_world_model("dreamer_v3", image_space(16), ACTIONS, **sizes)
        obs = {"obs": torch.randint(0, 256, (3, 2, 16, 16, 3), dtype=torch.uint8)}
        draw = torch.Generator().manual_seed(0)
        moved = model.augmented(obs, draw)["obs"]
        assert moved.shape == obs["obs"].shape
        assert not torch.equal(moved, obs["obs"])
        first = model.augmented({"obs": obs["obs"].movedim(-1, 2)}, draw.manual_seed(0))["obs"]
        assert torch.equal(first.movedim(2, -1), moved)

        still = make_world_model("dreamer_v3", image_space(16), ACTIONS, **TINY)
        still.load_state_dict(model.state_dict())

        def loss(of, images, generator):
            return of.compute_loss(sequences(images, 3, 2), generator=generator).loss

        assert torch.equal(loss(model.eval(), obs, None), loss(still.eval(), obs, None))
        draw.manual_seed(0)
        moved = {"obs": model.augmented(obs, draw)["obs"]}
        again = torch.Generator().manual_seed(0)
        assert torch.equal(loss(model.train(), obs, again), loss(still.train(), moved, draw))

    def test_one_batch_can_be_learned_by_heart(self):
        larger = {**TINY, "depth": 4, "units": 32, "hidden": 32}
        model = make_world_model("dreamer_v3", image_space(16), ACTIONS, **larger, progress=True)
        obs = {"obs": torch.zeros(4, 6, 16, 16, 3, dtype=torch.uint8)}
        for row in range(4):
            obs["obs"][row, :, 4 * row : 4 * row + 4] = 255
        batch = sequences(obs, 4, 6)
        batch.reward[:] = torch.arange(4.0)[:, None]
        batch.terminal[:, -1] = True
        steps = torch.arange(5.0, -1.0, -1.0).expand(4, 6).clone()
        batch = replace(batch, steps_to_go=steps)
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        draw = torch.Generator().manual_seed(0)
        for _ in range(150):
            output = model.compute_loss(batch, generator=draw)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
        output = model.compute_loss(batch)
        assert output.metrics["images"] < 2.0
        reward, continues, to_go = model.predict_heads(output.features)
        assert torch.allclose(reward, batch.reward, atol=0.3)
        assert (continues[:, :-1] > 0.9).all()
        assert (continues[:, -1] < 0.2).all()
        assert torch.allclose(to_go, steps, atol=0.7)

    def test_bfloat16_stays_close_and_finite(self):
        batch = sequences(vectors(4, 8), 4, 8)
        full = make_world_model("dreamer_v3", VECTOR, ACTIONS)
        half = make_world_model("dreamer_v3", VECTOR, ACTIONS, dtype="bfloat16")
        a, b = full.compute_loss(batch), half.compute_loss(batch)
        assert b.loss.item() == pytest.approx(a.loss.item(), rel=0.05)
        b.loss.backward()
        assert all(p.grad.isfinite().all() for p in half.parameters())
        state = tree_map(lambda x: x[:, -1], b.states)
        rollout = half.imagine(state, torch.rand(4, 10, 7) * 2 - 1)
        for entry in (rollout.features, rollout.reward, rollout.continues):
            assert entry.dtype == torch.float32
            assert entry.isfinite().all()

    def test_part_of_the_images_estimates_the_loss_of_all(self):
        settings = {**TINY, "reconstructed": 0.5}
        model = make_world_model("dreamer_v3", image_space(16), ACTIONS, **settings)
        obs = {"obs": torch.randint(0, 256, (4, 4, 16, 16, 3), dtype=torch.uint8)}
        batch = sequences(obs, 4, 4)
        full = make_world_model("dreamer_v3", image_space(16), ACTIONS, **TINY)

        def mean(which):
            draw = torch.Generator().manual_seed(0)
            found = [which.compute_loss(batch, generator=draw).metrics["images"] for _ in range(60)]
            return torch.stack(found).mean().item()

        assert mean(model) == pytest.approx(mean(full), rel=0.02)
        # On held-out data all are decoded, so that the figure does not depend on a draw.
        a, b = model.compute_loss(batch).metrics, full.compute_loss(batch).metrics
        assert torch.equal(a["images"], b["images"])

    @pytest.mark.parametrize("size", [16, 32])
    def test_strided_convolutions_have_the_same_weights_and_shapes(self, size):
        pooled = make_world_model("dreamer_v3", image_space(size), ACTIONS, **TINY)
        strided = make_world_model("dreamer_v3", image_space(size), ACTIONS, **TINY, strided=True)
        strided.load_state_dict(pooled.state_dict())
        obs = {"obs": torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)}
        assert strided.encoder(obs).shape == pooled.encoder(obs).shape
        # An image of one colour looks the same wherever one looks, away from its border.
        plain = torch.full((1, 3, size, size), 0.3)
        seen = pooled.encoder.convs[0](plain)[:, :, 2:-2, 2:-2]
        skipped = strided.encoder.convs[0](plain)[:, :, 1:-1, 1:-1]
        assert skipped.shape[-1] == size // 2 - 2
        assert torch.allclose(seen[..., :1, :1].expand_as(skipped), skipped, atol=1e-6)

    def test_normalised_vectors_come_back_in_their_own_units(self):
        space = spaces.Dict({"image": image_space(16), "pose": VECTOR})
        settings = {**TINY, "normalise": True, "units": 32}
        model = make_world_model("dreamer_v3", space, ACTIONS, **settings)
        codec = ActionCodec(ACTIONS)
        data = RecordedEpisodes(toy_grasp.demonstrations(2, noise=0.0), codec)
        batch = data.whole(torch.arange(2))
        pose = 3.0 + 0.01 * torch.randn(*batch.mask.shape, 7)
        image = torch.zeros(*batch.mask.shape, 16, 16, 3, dtype=torch.uint8)
        obs = {"image": image, "pose": pose}
        batch = replace(batch, obs=obs)
        model.fit_statistics(batch)
        seen = model._normalised({"pose": pose[batch.mask]})["pose"]
        assert torch.allclose(seen.std(0), torch.ones(7), atol=0.1)
        back = model._normalised({"pose": seen}, back=True)["pose"]
        assert torch.allclose(back, pose[batch.mask], atol=1e-5)
        # An untrained decoder predicts about the mean of the data.
        decoded = model.decode(model.initial(5))["pose"]
        assert torch.allclose(decoded, torch.full_like(decoded, 3.0), atol=0.1)

    def test_imitation_teaches_the_latents_where_there_are_labels(self):
        settings = {**TINY, "imitation_weight": 1.0}
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **settings)
        batch = sequences(vectors(2, 4), 2, 4)
        label = torch.full((2, 4, 7), torch.nan)
        unlabelled = model.compute_loss(batch)  # nothing was demonstrated
        assert unlabelled.metrics["imitation"] == 0
        assert unlabelled.loss.isfinite()
        label[0, 1] = 1.0
        output = model.compute_loss(replace(batch, label=label))
        assert output.metrics["imitation"] > 0
        output.loss.backward()
        assert model.imitation[-1].weight.grad.any()
        assert model.encoder.vectors[0].linear.weight.grad.isfinite().all()


class TestEnsemble:
    def test_members_that_agree_say_so(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY, ensemble=3)
        features = torch.randn(6, model.feature_size)
        action = torch.rand(6, 7) * 2 - 1
        found = model.ensemble.disagreement(features, action)
        probs = model.ensemble.logits(features, action).softmax(-1)
        expected = probs.std(0, correction=0).square().sum(-1).mean(-1).sqrt()
        assert torch.allclose(found, expected, atol=1e-6)
        assert (found > 0).all()
        with torch.no_grad():
            for parameter in model.ensemble.parameters():
                parameter.copy_(parameter[:1].expand_as(parameter).clone())
        assert (model.ensemble.disagreement(features, action) < 1e-4).all()

    def test_imagined_disagreement_belongs_to_the_state_before_and_the_action(self):
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY, ensemble=3)
        state = model.initial(2)
        actions = torch.rand(2, 4, 7) * 2 - 1
        with torch.no_grad():
            quick = model.imagine(state, actions)
        slow = model.imagine(state, actions)  # by its modules, for a gradient
        assert torch.allclose(quick.disagreement, slow.disagreement, atol=1e-5)
        assert quick.disagreement.shape == (2, 4)
        for step in range(4):
            expected = model.ensemble.disagreement(model.features(state), actions[:, step])
            assert torch.allclose(quick.disagreement[:, step], expected, atol=1e-5)
            state = model.imagine_step(state, actions[:, step])

    def test_it_learns_what_comes_next_and_doubts_what_it_has_not_seen(self):
        sizes = {**TINY, "ensemble": 4, "ensemble_hidden": (32,)}
        model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **sizes)
        batch = sequences(vectors(8, 10), 8, 10)
        batch.obs["obs"][:] = batch.prev_action  # a world that does what it is told
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(300):
            output = model.compute_loss(batch)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
        features = output.features.detach()[:, :-1].flatten(0, 1)
        known = batch.prev_action[:, 1:].flatten(0, 1)
        draw = torch.Generator().manual_seed(1)
        unknown = 10 * (torch.rand(known.shape, generator=draw) * 2 - 1)
        doubt = model.ensemble.disagreement
        assert doubt(features, known).mean() < 0.5 * doubt(features, unknown).mean()

    def test_a_single_member_cannot_differ(self):
        with pytest.raises(ConfigError, match="at least 2"):
            make_world_model("dreamer_v3", VECTOR, ACTIONS, **TINY, ensemble=1)
