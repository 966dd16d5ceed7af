"""World Models: counts, losses, mixtures, the controller, the search, phases and dreams."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_agent, make_world_model
from mbrl_agents.algorithms.world_models import ControllerConfig
from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.evolution import Evolution
from mbrl_agents.algorithms.world_models.mixture import Mixture
from mbrl_agents.algorithms.world_models.model import Series
from mbrl_agents.algorithms.world_models.phases import _places
from mbrl_agents.algorithms.world_models.rollouts import correlated_actions
from mbrl_agents.config import resolve_config

STEER = spaces.Box(-1, 1, (3,))
SMALL = {
    "world_model": {"latent": 4, "depth": 4, "hidden": 16, "mixtures": 2, "free_nats": 0.0},
    "controller": {"generations": 2, "population": 4, "episodes": 1, "evaluate_episodes": 1},
    "training": {
        "rollouts": 3,
        "rollout_batch": 2,
        "vision_updates": 3,
        "encode_parts": 2,
        "memory_updates": 3,
        "batch_size": 4,
        "memory_batch_size": 2,
        "sequence_length": 5,
    },
}


def frames(side: int, channels: int = 3) -> spaces.Box:
    return spaces.Box(0, 255, (side, side, channels), np.uint8)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def preset(name: str):
    return resolve_config("world-models", [f"preset={name}"])


class TestCounts:
    def model(self, name: str, side: int, actions=STEER, **others):
        settings = {**vars(preset(name).world_model), **others}
        return make_world_model("world_models", frames(side), actions, **settings)

    def test_of_the_paper(self):
        model = self.model("paper", 64)
        assert (count(model.vision), count(model.memory)) == (4_348_547, 422_368)
        assert count(self.model("paper", 64, biases=2).memory) == 423_392
        assert count(self.model("paper", 64, biases=2, heads=True).memory) == 423_906

    def test_of_the_course(self):
        model = self.model("course", 96)
        assert (count(model.vision), count(model.memory)) == (2_274_051, 384_071)

    def test_of_the_controller(self):
        for name in ("paper", "course"):
            controller = Controller(preset(name).controller, 32, 256, 3, discrete=False)
            assert count(controller) == controller.size == 867

    @pytest.mark.parametrize(("latent", "actions"), [(16, 2), (64, 5)])
    def test_of_other_sizes(self, latent, actions):
        space = spaces.Discrete(actions)
        paper = self.model("paper", 64, space, latent=latent)
        inner, outer = 690_144, 3_276_928 + 204_864 + 73_760 + 3_459
        assert count(paper.vision) == inner + 2 * 1025 * latent + 1024 * (latent + 1) + outer
        gates = 4 * 256 * (latent + actions + 256 + 1)
        assert count(paper.memory) == gates + 257 * 15 * latent
        course = self.model("course", 96, space, latent=latent)
        outer = 524_416 + 131_136 + 32_800 + 1_539
        assert count(course.vision) == inner + 2 * 9217 * latent + 9216 * (latent + 1) + outer
        assert count(course.memory) == gates + 1024 + 257 * (5 + 10 * latent + 2)


class TestVision:
    @pytest.mark.parametrize(("side", "channels"), [(64, 3), (64, 1), (96, 3), (32, 4)])
    def test_images_of_any_kind_come_back_in_their_shape(self, side, channels):
        model = make_world_model("world_models", frames(side, channels), STEER, depth=4, latent=8)
        images = torch.randint(256, (2, channels, side, side), dtype=torch.uint8)
        mean, logvar = model.vision.encode(images)
        assert mean.shape == logvar.shape == (2, 8)
        assert model.vision.draw(mean).shape == images.shape

    def test_the_loss_is_squared_error_and_kl_with_free_nats(self):
        model = make_world_model("world_models", frames(32), STEER, depth=2, latent=3)
        images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
        noise = torch.randn(5, 3)
        error, kl = model.vision.losses(images, noise, 0.0)
        mean, logvar = model.vision.encode(images)
        drawn = model.vision.draw(mean + (0.5 * logvar).exp() * noise)
        for row in range(5):
            expected = ((drawn[row] - images[row] / 255.0) ** 2).sum()
            assert torch.allclose(error[row], expected, rtol=1e-4)
            posterior = torch.distributions.Normal(mean[row], (0.5 * logvar[row]).exp())
            prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
            divergence = torch.distributions.kl_divergence(posterior, prior).sum()
            assert torch.allclose(kl[row], divergence, atol=1e-5)
        _, floored = model.vision.losses(images, noise, 16.0)
        assert (floored == 16.0).all()  # of a fresh model the KL is small

    def test_a_batch_is_learned_by_heart(self):
        model = make_world_model("world_models", frames(16), STEER, depth=8, latent=8)
        blocks = (torch.rand(4, 3, 2, 2, generator=seeded()) > 0.5).to(torch.uint8) * 255
        images = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
        optimizer = torch.optim.Adam(model.vision.parameters(), 1e-2)
        found = []
        for _ in range(60):
            error, _ = model.vision.losses(images, torch.zeros(4, 8), 0.0)
            optimizer.zero_grad()
            error.mean().backward()
            optimizer.step()
            found.append(float(error.mean().detach()))
        assert found[-1] < 0.2 * found[0]

    def test_sizes_that_cannot_be_drawn_say_how_to_resize(self):
        with pytest.raises(ValueError, match=r"64 x 64 pixels, got 96 x 96.*env.size"):
            make_world_model("world_models", frames(96), STEER, vision="valid")
        with pytest.raises(ValueError, match=r"multiple of 16 .*got 84 x 84.*env.size"):
            make_world_model("world_models", frames(84), STEER)


class TestMixture:
    def of(self, shared: bool) -> Mixture:
        shape, groups = (2, 3, 4, 5), 1 if shared else 4
        draw = seeded(1)
        return Mixture(
            torch.randn((2, 3, groups, 5), generator=draw).log_softmax(-1),
            torch.randn(shape, generator=draw),
            0.3 * torch.randn(shape, generator=draw),
        )

    @pytest.mark.parametrize("shared", [False, True])
    def test_the_likelihood_is_that_of_a_naive_sum(self, shared):
        mixture, latents = self.of(shared), torch.randn(2, 3, 4)
        found = mixture.log_prob(latents)
        for i, j in np.ndindex(2, 3):

            def density(n: int, k: int, i=i, j=j) -> float:
                mean, std = float(mixture.mean[i, j, n, k]), math.exp(mixture.log_std[i, j, n, k])
                gap = (float(latents[i, j, n]) - mean) / std
                return math.exp(-0.5 * gap * gap) / (std * math.sqrt(2 * math.pi))

            weights = mixture.log_weights[i, j].exp()
            if shared:
                total = sum(
                    float(weights[0, k]) * math.prod(density(n, k) for n in range(4))
                    for k in range(5)
                )
            else:
                total = math.prod(
                    sum(float(weights[n, k]) * density(n, k) for k in range(5)) for n in range(4)
                )
            assert math.isclose(float(found[i, j]), math.log(total), rel_tol=1e-4, abs_tol=1e-4)

    @pytest.mark.parametrize("shared", [False, True])
    def test_draws_have_the_mixtures_mean_and_spread_with_the_temperature(self, shared):
        one = self.of(shared)
        many = Mixture(*(x[:1, :1].expand(20_000, *x.shape[1:])[:, :1] for x in vars(one).values()))
        drawn = many.sample(seeded())
        weights = one.log_weights[0, 0].exp()
        assert torch.allclose(drawn.mean((0, 1)), (weights * one.mean[0, 0]).sum(-1), atol=0.06)
        cold, hot = (many.sample(seeded(), t).var((0, 1)) for t in (0.2, 2.0))
        assert (cold < hot).all()

    def test_the_likeliest_is_a_mean_and_certainty_has_no_entropy(self):
        mixture = self.of(False)
        best = mixture.log_weights.argmax(-1, keepdim=True)
        assert torch.equal(mixture.likeliest(), mixture.mean.gather(-1, best)[..., 0])
        sure = Mixture(torch.tensor([[0.0, -100.0]]), torch.zeros(1, 2), torch.zeros(1, 2))
        even = Mixture(torch.tensor([[0.5, 0.5]]).log(), torch.zeros(1, 2), torch.zeros(1, 2))
        assert float(sure.entropy()) < 1e-6
        assert math.isclose(float(even.entropy()), math.log(2), rel_tol=1e-5)


class TestMemory:
    def test_the_log_std_has_a_floor(self):
        model = make_world_model("world_models", frames(16), STEER, depth=2, log_std_floor=-2.0)
        with torch.no_grad():
            model.memory.log_stds.bias.fill_(-50.0)
        mixture = model.memory.mixture(torch.zeros(3, 256))
        assert float(mixture.log_std.detach().min()) == -2.0
        assert mixture.log_prob(torch.full((3, 32), 5.0)).isfinite().all()

    def test_a_batch_is_learned_by_heart(self):
        model = make_world_model(
            "world_models", frames(16), STEER, depth=2, latent=3, hidden=32, mixtures=2
        )
        draw = seeded()
        series = Series(
            mean=torch.randn(2, 9, 3, generator=draw),
            logvar=torch.full((2, 9, 3), -8.0),
            action=2 * torch.rand(2, 8, 3, generator=draw) - 1,
            reward=torch.randn(2, 8, generator=draw),
            end=torch.rand(2, 8, generator=draw) > 0.7,
            mask=torch.ones(2, 8, dtype=torch.bool),
        )
        optimizer, found = torch.optim.Adam(model.memory.parameters(), 1e-2), []
        for _ in range(200):
            loss, metrics = model.memory_loss(series, draw)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append({name: float(value) for name, value in metrics.items()})
        assert found[-1]["nll"] < found[0]["nll"] - 1.0
        assert found[-1]["reward"] < 0.2 * found[0]["reward"]
        assert found[-1]["end"] < 0.2 * found[0]["end"]

    def test_a_step_is_a_sequence_of_one(self):
        model = make_world_model("world_models", frames(16), STEER, depth=2, latent=3, hidden=8)
        latents, actions = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
        whole = model.memory.sequence(latents, actions)
        hidden = model.memory.initial(2, "cpu")
        for step in range(5):
            hidden = model.memory.step(latents[:, step], actions[:, step], hidden)
            assert torch.allclose(hidden[0], whole[:, step], atol=1e-6)

    def test_what_is_masked_counts_for_nothing(self):
        model = make_world_model("world_models", frames(16), STEER, depth=2, latent=3, hidden=8)
        parts = [torch.zeros(1, 4, 3), torch.full((1, 4, 3), -20.0), torch.zeros(1, 3, 3)]
        mask = torch.tensor([[True, True, False]])
        losses = []
        for last in (0.0, 9.0):
            reward = torch.tensor([[1.0, 2.0, last]])
            series = Series(*parts, reward, torch.zeros(1, 3, dtype=torch.bool), mask)
            losses.append(model.memory_loss(series, seeded())[0].detach())
        assert torch.equal(*losses)

    def test_stretches_stay_within_episodes(self):
        first = torch.zeros(12, dtype=torch.bool)
        first[[0, 7]] = True  # of 7 and of 5 observations
        begins, ends = _places(first, 4)
        assert begins.tolist() == [0, 1, 2, 7]
        assert ends.tolist() == [7, 7, 7, 12]


class TestController:
    def test_outputs_are_squashed_into_the_actions(self):
        config = ControllerConfig(one_sided=(2,))
        controller = Controller(config, 2, 3, 3, discrete=False)
        controller.set_flat(torch.randn(18, generator=seeded()).double())
        features = torch.randn(50, 5, generator=seeded(1))
        action = controller(features)
        raw = torch.tanh(features @ controller.weight.t() + controller.bias)
        assert torch.allclose(action[:, :2], raw[:, :2])
        # Of the environment's range [0, 1]: what is negative is none.
        assert torch.allclose((action[:, 2] + 1) / 2, raw[:, 2].clamp_min(0))
        flat = torch.stack([controller.flat(), torch.zeros(18, dtype=torch.float64)])
        many = controller.population(torch.stack([features, features]), flat.float())
        assert torch.allclose(many[0], action, atol=1e-6)

    def test_on_images_alone_and_discrete(self):
        controller = Controller(ControllerConfig(inputs="z"), 2, 3, 4, discrete=True)
        assert controller.size == 4 * 2 + 4
        action = controller(torch.randn(6, 5))
        assert torch.equal(action.sum(-1), torch.ones(6))
        with pytest.raises(ValueError, match="one_sided"):
            Controller(ControllerConfig(one_sided=(0,)), 2, 3, 4, discrete=True)


class TestEvolution:
    def fitness(self, candidates: np.ndarray) -> np.ndarray:
        return -np.square(candidates - 1.0).sum(1)

    def test_it_climbs_and_goes_on_from_what_it_was_told(self):
        before = np.random.get_state()[1].copy()
        whole = Evolution(torch.zeros(6), 0.5, 8, seed=3)
        for _ in range(25):
            whole.tell(self.fitness(whole.ask()))
        assert self.fitness(whole.mean.numpy()[None])[0] > -0.5
        killed = Evolution(torch.zeros(6), 0.5, 8, seed=3)
        for _ in range(9):
            killed.tell(self.fitness(killed.ask()))
        killed.ask()  # a generation that was begun
        again = Evolution(torch.zeros(6), 0.5, 8, seed=3)
        again.restore({name: x.clone() for name, x in killed.tensors().items()})
        for _ in range(16):
            again.tell(self.fitness(again.ask()))
        assert torch.equal(again.mean, whole.mean)
        assert again.spread == whole.spread
        assert np.array_equal(np.random.get_state()[1], before)

    def test_it_refuses_what_leads_elsewhere(self):
        one = Evolution(torch.zeros(3), 0.5, 4, seed=0)
        one.tell(self.fitness(one.ask()))
        with pytest.raises(ValueError, match="another version of cma"):
            Evolution(torch.zeros(3), 0.5, 4, seed=1).restore(one.tensors())
        with pytest.raises(ValueError, match="finite numbers"):
            one.tell(np.array([1.0, np.nan, 0.0, 0.0]))


def test_random_actions_resemble_those_before():
    draw, action, found = seeded(), torch.zeros(1, 2), []
    for _ in range(400):
        action = correlated_actions(action, 0.98, False, draw)
        found.append(action[0])
    path = torch.stack(found)
    steps = path[1:] - path[:-1]
    assert path.abs().max() <= 1
    assert float(steps.std()) < 0.2 < float(path.std())
    action, kept = torch.zeros(200, 4), []
    for _ in range(20):
        after = correlated_actions(action, 0.9, True, draw)
        kept.append(float((after == action).all(-1).float().mean()))
        action = after
    assert kept[0] == 0
    assert abs(np.mean(kept[1:]) - 0.925) < 0.03  # a fresh draw may be the same again


class TestPhases:
    @pytest.mark.parametrize("discrete", [False, True])
    @pytest.mark.parametrize("dream", [False, True])
    def test_a_fit_gathers_learns_and_acts(self, discrete, dream):
        env = gymnasium.make("toy_images:ToyImages-v0", discrete=discrete)
        controller = {**SMALL["controller"], "dream": dream, "dream_steps": 6}
        agent = make_agent("world-models", env, seed=1, **{**SMALL, "controller": controller})
        agent.fit()
        assert len(agent.buffer.own.episodes()) == 3
        rollouts, search = agent.algorithm.phases[0], agent.algorithm.phases[-1]
        assert rollouts.env_steps == 3 * 12
        trials = 0 if dream else 12 * (2 * 4 + 1)
        assert search.env_steps == trials
        assert agent.num_timesteps == 36 + trials
        assert bool(agent.algorithm.controller.searched)
        assert agent.metrics["train/controller/mean_return_best"] == pytest.approx(search.best)
        action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
        assert env.action_space.contains(action)
        shown = agent.algorithm.illustrate(agent.recordings(count=2), generator=seeded())
        names = {one.name for one in shown}
        assert {"prior", "latents", "dreams", "mixture-entropy", "dream-beside-reality"} <= names

    def test_learning_online_takes_the_phases_in_their_order(self):
        training = {**SMALL["training"], "random_steps": 30, "learn_every": 20}
        training |= {"learn_vision": 2, "learn_memory": 2, "learn_generations": 1}
        env = gymnasium.make("toy_images:ToyImages-v0")
        agent = make_agent("world-models", env, seed=0, **{**SMALL, "training": training})
        agent.learn(60)
        turns = agent.trainer.turns
        assert turns["rollouts"] == 0
        assert turns["vision"] == turns["encode"] == turns["memory"] == turns["controller"] == 2

    def test_planning_needs_no_controller(self):
        env = gymnasium.make("toy_images:ToyImages-v0")
        settings = {name: SMALL[name] for name in ("world_model", "training")}
        planner = {"horizon": 3, "samples": 8, "elites": 2, "iterations": 1}
        agent = make_agent("world-models-cem", env, **settings, planner=planner)
        agent.fit()
        assert [phase.name for phase in agent.algorithm.phases][-1] == "memory"
        assert env.action_space.contains(agent.predict(env.reset(seed=0)[0])[0])

    def test_planning_needs_the_reward_head(self):
        env = gymnasium.make("toy_images:ToyImages-v0")
        with pytest.raises(ValueError, match=r"world_model\.heads=true"):
            make_agent("world-models-cem", env, world_model={"heads": False})

    def test_a_dream_needs_the_heads(self):
        env = gymnasium.make("toy_images:ToyImages-v0")
        with pytest.raises(ValueError, match=r"world_model\.heads=true"):
            make_agent(
                "world-models", env, world_model={"heads": False}, controller={"dream": True}
            )
