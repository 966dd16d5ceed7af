"""The cross-entropy method over action sequences, batched over environments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.planners.categorical import CategoricalSearch
from mbrl_agents.planners.gaussian import GaussianSearch
from mbrl_agents.planners.search import CEMConfig, Search, Start
from mbrl_agents.protocols import ActionPrior, Objective, Plan, WorldModel, tree_map


class CEMPlanner:
    """Cross-entropy method (Rubinstein 1999), with the additions of iCEM (Pinneri et al. 2020).

    Elites are kept between iterations, the mean is one of the candidates, the noise may be
    correlated in time, and the best plan ever seen is returned.  Scores that are not finite
    count as minus infinity: such plans never become elites.

    Where the model's actions are discrete, plans are one-hot and the search refits probabilities
    (see `mbrl_agents.planners.categorical`) instead of Gaussians.

    Every environment sees the same noise (common random numbers), so an environment's plan does
    not depend on which others are planned for in the same call.
    """

    def __init__(self, config: CEMConfig | None = None) -> None:
        self.config = config or CEMConfig()
        self.replan = self.config.replan

    @torch.inference_mode()
    def plan(
        self,
        model: WorldModel[Any],
        state: Any,
        *,
        objective: Objective,
        prior: ActionPrior | None = None,
        warm_start: Plan | None = None,
        is_first: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `mbrl_agents.protocols.Planner.plan`.

        Raises:
            ValueError: when the warm start has another shape than this planner's plans.
        """
        generator = generator or torch.Generator().manual_seed(0)
        leaf = _leaf(state)
        search = _search_over(model, self.config, len(leaf), leaf.device)
        warm = None
        if warm_start is not None and self.config.warm_start:
            warm = search.resumed(warm_start, is_first)
        start = self._start(model, state, search, prior, warm, generator)
        return self._search(model, state, objective, search, start, generator)

    # -- where to start: what a subclass changes ------------------------------------------

    def _start(
        self,
        model: WorldModel[Any],
        state: Any,
        search: Search,
        prior: ActionPrior | None,
        warm: Start | None,
        generator: torch.Generator,
    ) -> Start:
        """From the warm start, or from nothing without one; priors are not used."""
        return warm or search.blank()

    def _choose(self, search: Search, first: tuple[Tensor, Tensor]) -> None:
        """Last word on the best plan, given the start's own mean and its score."""

    # -- the search -----------------------------------------------------------------------

    def _search(
        self,
        model: WorldModel[Any],
        state: Any,
        objective: Objective,
        search: Search,
        start: Start,
        generator: torch.Generator,
    ) -> Plan:
        config = self.config
        search.begin(start)
        repeated = tree_map(lambda x: x.repeat_interleave(config.samples, 0), state)
        extras = search.to_decisions(start.extras)[:, : config.samples - 1]
        first = None
        iterations = 0
        for iteration in range(config.iterations):
            candidates, options = search.sample(generator, extras if iteration == 0 else None)
            actions = search.to_steps(candidates)  # (B, K, H, A)
            rollout = model.imagine(repeated, actions.flatten(0, 1))
            scores = objective.score(rollout).float().reshape(search.batch, config.samples)
            scores = self._adjusted(scores, actions, start, search)
            scores = scores.nan_to_num(-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
            if first is None:
                first = candidates[:, 0], scores[:, 0]
            search.update(candidates, options, scores)
            iterations += 1
            if config.tolerance and not bool(search.active.any()):
                break
        assert first is not None
        self._choose(search, first)

        mean, std = search.moments()
        if config.returns == "mean":
            actions = search.to_steps(search.central()[:, None])[:, 0]
            score = objective.score(model.imagine(state, actions))
        else:
            actions, score = search.to_steps(search.best[:, None])[:, 0], search.best_score
        return Plan(actions, mean, std, score, {"iterations": float(iterations)})

    def _adjusted(self, scores: Tensor, actions: Tensor, start: Start, search: Search) -> Tensor:
        """The planner's own addition to the objective; none here."""
        return scores


def _search_over(model: WorldModel[Any], config: CEMConfig, batch: int, device: Any) -> Search:
    """The search for the model's kind of actions, with what ``config`` leaves to their data."""
    seen = model.actions
    if seen.discrete:
        return CategoricalSearch(config, batch, model.action_size, device)
    if config.binary_dims is None:
        config = replace(config, binary_dims=seen.binary_dims())
    if config.std_scale_by_dim is None:
        config = replace(config, std_scale_by_dim=tuple(seen.scale.tolist()))
    return GaussianSearch(config, batch, model.action_size, device)


def _leaf(state: Any) -> Tensor:
    """Any tensor of a state, for its batch size and device."""
    while not isinstance(state, Tensor):
        state = next(iter(state.values() if isinstance(state, dict) else state))
    return state


__all__ = ["CEMConfig", "CEMPlanner"]
