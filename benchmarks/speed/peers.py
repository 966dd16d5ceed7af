"""Other projects' planners and training steps, timed in a process of their own.

Run as a script by `peer_process.Peer`.  It imports nothing of this package, so that a peer's
environment needs none of it, and what a peer changes on import (threads, warnings, loggers) stays
here.  It reads one number per line, how often to work, and answers with the seconds that took.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES, ELITES, HORIZON, ITERATIONS = 100, 10, 10, 5
POSE, ACTION = 7, 7
BATCH, LENGTH, SIZE = 16, 64, 64
INIT_STD, MIN_STD = 0.5, 0.05

Work = Callable[[], object]


# -- planning -------------------------------------------------------------------------------


def pose_network() -> nn.Sequential:
    """Pose and action to next pose and reward: 14-256-256-8."""
    return nn.Sequential(
        nn.Linear(POSE + ACTION, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(),
        nn.Linear(256, POSE + 1),
    )  # fmt: skip


def pose_return(network: nn.Module, pose: Tensor, actions: Tensor) -> Tensor:
    """``(N,)`` the summed reward of ``actions`` ``(N, H, A)`` from ``pose`` ``(N, 7)``."""
    total = torch.zeros(len(pose))
    for step in range(actions.shape[1]):
        out = network(torch.cat([pose, actions[:, step]], -1))
        pose = out[:, :POSE]
        total = total + out[:, POSE]
    return total


@torch.inference_mode()
def plain_cem(
    score: Callable[[Tensor], Tensor], generator: torch.Generator, horizon: int = HORIZON
) -> tuple[Tensor, Tensor]:
    """The cross-entropy method and nothing else: the least that a search in torch can cost.

    Args:
        score: plans ``(K, H, A)`` to ``(K,)``.

    Returns:
        The best plan ``(H, A)`` of the last iteration and its score.
    """
    mean = torch.zeros(horizon, ACTION)
    std = torch.full((horizon, ACTION), INIT_STD)
    for _ in range(ITERATIONS):
        noise = torch.randn(SAMPLES, horizon, ACTION, generator=generator)
        plans = (mean + std * noise).clamp_(-1.0, 1.0)
        best, order = score(plans).topk(ELITES)
        elites = plans[order]
        mean = elites.mean(0)
        std = elites.std(0, correction=0).clamp_(MIN_STD, INIT_STD)
    return elites[0], best[0]


def mbrl_lib_cem() -> Work:
    """mbrl-lib 0.2.0's `CEMOptimizer`."""
    optimizer = importlib.import_module("mbrl.planning").CEMOptimizer(
        num_iterations=ITERATIONS,
        elite_ratio=ELITES / SAMPLES,
        population_size=SAMPLES,
        lower_bound=[[-1.0] * ACTION] * HORIZON,
        upper_bound=[[1.0] * ACTION] * HORIZON,
        alpha=0.1,
        device=torch.device("cpu"),
        clipped_normal=True,
    )
    network, pose, middle = pose_network(), torch.zeros(SAMPLES, POSE), torch.zeros(HORIZON, ACTION)

    @torch.inference_mode()
    def work() -> None:
        optimizer.optimize(lambda plans: pose_return(network, pose, plans), x0=middle)

    return work


def stable_worldmodel_cem() -> Work:
    """stable-worldmodel's `CEMSolver`."""
    import numpy as np
    from gymnasium.spaces import Box

    _torchvision_without_operators()
    solvers = importlib.import_module("stable_worldmodel.solver")
    plans = importlib.import_module("stable_worldmodel.policy").PlanConfig
    network = pose_network()

    class Model:
        def get_cost(self, info: dict[str, Tensor], plans: Tensor) -> Tensor:
            pose = info["pose"].flatten(0, 1)
            return -pose_return(network, pose, plans.flatten(0, 1))[None]

        def parameters(self) -> Any:
            return network.parameters()

    solver = solvers.CEMSolver(
        Model(), num_samples=SAMPLES, n_steps=ITERATIONS, topk=ELITES, var_scale=INIT_STD
    )
    space = Box(-1.0, 1.0, (1, ACTION), np.float32)
    solver.configure(
        action_space=space, n_envs=1, config=plans(horizon=HORIZON, receding_horizon=1)
    )
    return lambda: solver.solve({"pose": torch.zeros(1, POSE)})


def _torchvision_without_operators() -> None:
    """Let a torchvision be imported whose compiled operators do not load.

    One built for a GPU beside a torch built without refuses to; planners need no operator.
    """
    for name in ("nms", "qnms"):
        try:
            importlib.import_module("torchvision")
        except ImportError:
            return
        except RuntimeError:
            for module in [module for module in sys.modules if module.startswith("torchvision")]:
                del sys.modules[module]
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")


# -- sheeprl --------------------------------------------------------------------------------

WIDTHS = {
    # The names of the same sizes: deter 512, hidden 64, 32 x 4 latents, depth 4, units 64.
    "dreamer_v3": [
        "algo.dense_units=64", "algo.mlp_layers=3",
        "algo.world_model.discrete_size=4",
        "algo.world_model.encoder.cnn_channels_multiplier=4",
        "algo.world_model.recurrent_model.recurrent_state_size=512",
        "algo.world_model.transition_model.hidden_size=64",
        "algo.world_model.representation_model.hidden_size=64",
        "algo.world_model.reward_model.mlp_layers=1",
        "algo.world_model.discount_model.mlp_layers=1",
    ],
    "dreamer_v3_5": ["algo.replay_context=1"],
}  # fmt: skip


class Sheeprl:
    """An agent of sheeprl's at size 1M, as its own training loop builds it.

    Args:
        algo: "dreamer_v3" (the method as of 2023) or "dreamer_v3_5" (as of 2025).
        image: whether it observes a 64 x 64 image rather than a vector of 7.
    """

    def __init__(self, algo: str, *, image: bool) -> None:
        import gymnasium as gym
        import numpy as np
        from hydra import compose, initialize_config_module
        from hydra.utils import instantiate

        _torchvision_without_operators()
        self.algo, self.image = algo, image
        self.module = importlib.import_module(f"sheeprl.algos.{algo}.{algo}")
        agent = importlib.import_module(f"sheeprl.algos.{algo}.agent")
        utils = importlib.import_module(f"sheeprl.algos.{algo}.utils")
        to_attributes = importlib.import_module("sheeprl.utils.utils").dotdict
        metrics = importlib.import_module("sheeprl.utils.metric").MetricAggregator
        metrics.disabled = True
        size = "dreamer_v3_5_1M" if algo == "dreamer_v3_5" else "dreamer_v3_XS"
        cnn, mlp = ("[rgb]", "[]") if image else ("[]", "[state]")
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            composed = compose(
                "config",
                [
                    f"exp={algo}", f"algo={size}", "env=dummy", "env.num_envs=1",
                    f"algo.cnn_keys.encoder={cnn}", f"algo.cnn_keys.decoder={cnn}",
                    f"algo.mlp_keys.encoder={mlp}", f"algo.mlp_keys.decoder={mlp}", *WIDTHS[algo],
                ],
            )  # fmt: skip
        from omegaconf import OmegaConf

        OmegaConf.set_struct(composed, False)
        composed.pop("hydra", None)
        composed.run_name = composed.exp_name = "speed"
        self.cfg = cfg = to_attributes(OmegaConf.to_container(composed, resolve=True))
        self.fabric = importlib.import_module("lightning.fabric").Fabric(
            accelerator="cpu", devices=1
        )
        space = (
            gym.spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)
            if image
            else gym.spaces.Box(-np.inf, np.inf, (POSE,), np.float32)
        )
        spaces = gym.spaces.Dict({"rgb" if image else "state": space})
        built = agent.build_agent(self.fabric, (ACTION,), True, cfg, spaces)
        self.world_model, self.actor, self.critic, self.slow_critic, _ = built
        scale = cfg.algo.actor.moments
        self.moments = utils.Moments(
            scale.decay, scale.max, scale.percentile.low, scale.percentile.high
        )
        if algo == "dreamer_v3":
            made = [
                instantiate(part.optimizer, params=module.parameters(), _convert_="all")
                for part, module in (
                    (cfg.algo.world_model, self.world_model),
                    (cfg.algo.actor, self.actor),
                    (cfg.algo.critic, self.critic),
                )
            ]
        else:
            trained = nn.ModuleList([self.world_model, self.actor, self.critic])
            made = [instantiate(cfg.algo.optimizer, params=trained.parameters(), _convert_="all")]
        optimizers = self.fabric.setup_optimizers(*made)
        self.optimizers = optimizers if isinstance(optimizers, tuple) else (optimizers,)

    def batch(self) -> dict[str, Tensor]:
        """Random steps ``(T, B, ...)``, one more than are trained on where a context is read."""
        generator = torch.Generator().manual_seed(0)
        context = self.cfg.algo.get("replay_context", 0)
        shape = (LENGTH + context, BATCH)

        def normal(*size: int) -> Tensor:
            return torch.randn(*shape, *size, generator=generator)

        data = {
            "actions": normal(ACTION).clamp(-1, 1),
            "rewards": normal(1),
            **{key: torch.zeros(*shape, 1) for key in ("terminated", "truncated", "is_first")},
        }
        if self.image:
            data["rgb"] = torch.randint(
                0, 256, (*shape, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator
            )
        else:
            data["state"] = normal(POSE)
        if context:
            data["deter"] = torch.zeros(*shape, 512, dtype=torch.float16)
            data["stoch"] = torch.zeros(*shape, 32, dtype=torch.uint8)
        elif self.image:
            data["rgb"] = data["rgb"].float()  # as its replay hands them out
        return data

    def train(self) -> Work:
        """One gradient step of everything, the slow critic's step included."""
        data = self.batch()
        if self.algo == "dreamer_v3":

            def work() -> None:
                tau = self.cfg.algo.critic.tau
                with torch.no_grad():
                    for fast, slow in zip(
                        self.critic.module.parameters(), self.slow_critic.parameters(), strict=True
                    ):
                        slow.lerp_(fast, tau)
                self.module.train(
                    self.fabric, self.world_model, self.actor, self.critic, self.slow_critic,
                    *self.optimizers, data, None, self.cfg, True, (ACTION,), self.moments,
                )  # fmt: skip
        else:

            def work() -> None:
                self.module.train(
                    self.fabric, self.cfg, self.world_model, self.actor, self.critic,
                    self.slow_critic, self.optimizers[0], self.moments, data, None, (ACTION,),
                )  # fmt: skip
                self.module.update_target_critic(
                    self.critic, self.slow_critic, self.cfg.algo.critic.tau
                )

        return work

    def cem(self, *, likeliest: bool = False) -> Work:
        """The plain search over its recurrent model, scored by reward and continuation.

        Args:
            likeliest: take the most likely latents as ours does, rather than draw them as the
                method that sheeprl has for it; for "dreamer_v3_5".
        """
        generator = torch.Generator().manual_seed(0)
        model = self.world_model
        if self.algo == "dreamer_v3":
            name, extra = "TwoHotEncodingDistribution", {"dims": 1}
            head = importlib.import_module("sheeprl.utils.distribution")
        else:
            name, extra = "TwoHot", {}
            head = importlib.import_module("sheeprl.algos.dreamer_v3_5.loss")
        two_hot = getattr(head, name)

        def imagine(prior: Tensor, recurrent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            if not likeliest:
                drawn: tuple[Tensor, Tensor] = model.rssm.imagination(prior, recurrent, action)
                return drawn
            embedded = model.rssm.embed_actions(action)
            recurrent = model.rssm.recurrent_model(recurrent, prior, embedded)
            chosen = model.rssm.prior_logits(recurrent).reshape(1, SAMPLES, 32, 4).argmax(-1)
            return nn.functional.one_hot(chosen, 4).float(), recurrent

        def score(plans: Tensor) -> Tensor:
            recurrent, prior = torch.zeros(1, SAMPLES, 512), torch.zeros(1, SAMPLES, 128)
            reached = []
            for step in range(HORIZON):
                prior, recurrent = imagine(prior, recurrent, plans[None, :, step])
                prior = prior.reshape(1, SAMPLES, 128)
                reached.append(torch.cat([prior, recurrent], -1))
            latents = torch.cat(reached)
            rewards = two_hot(model.reward_model(latents), **extra).mean.reshape(HORIZON, SAMPLES)
            lasting = torch.sigmoid(model.continue_model(latents)).reshape(HORIZON, SAMPLES)
            # Nothing counts after a predicted end.
            alive = torch.cat([torch.ones(1, SAMPLES), lasting[:-1]]).cumprod(0)
            return (alive * rewards).sum(0)

        return lambda: plain_cem(score, generator)


PEERS: dict[str, Callable[[], Work]] = {
    "mbrl_lib": mbrl_lib_cem,
    "stable_worldmodel": stable_worldmodel_cem,
    "dreamer_v3_5_cem_likeliest": lambda: Sheeprl("dreamer_v3_5", image=False).cem(likeliest=True),
    **{
        f"{algo}_{kind}": made
        for algo in WIDTHS
        for kind, made in {
            "cem": lambda algo=algo: Sheeprl(algo, image=False).cem(),
            "vector": lambda algo=algo: Sheeprl(algo, image=False).train(),
            "image": lambda algo=algo: Sheeprl(algo, image=True).train(),
        }.items()
    },
}


def _serve(name: str, threads: int) -> None:
    # What a peer prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        work = PEERS[name]()
    except Exception as error:
        answers.write(f"missing {name}: {type(error).__name__}: {' '.join(str(error).split())}\n")
        return
    torch.set_num_threads(threads)
    answers.write(f"ready torch {torch.__version__}\n")
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            work()
        answers.write(f"{time.perf_counter() - began}\n")


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
