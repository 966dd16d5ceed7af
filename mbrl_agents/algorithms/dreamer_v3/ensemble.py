"""Where a latent model knows what happens next: small networks that predict it independently."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl_agents.nn.mlp import MLP


class LatentEnsemble(nn.Module):
    """Networks that predict the next categorical latent from features and an action.

    They learn the same, from different initial weights; where nothing was recorded they differ.
    A single recurrent model has no such sign: what it imagines there is as plausible as anywhere,
    and a search finds it.  One-step networks beside it: Sekar et al. 2020 (arXiv:2005.05960,
    section 3); their disagreement as a penalty of offline learning from images: Rafailov et al.
    2021 (arXiv:2012.11547, equation 5).

    Args:
        feature_size: ``F``.
        action_size: ``A``.
        groups, classes: ``G`` and ``n`` of the latent.
        hidden: widths.
        members: ``E``, at least 2.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        groups: int,
        classes: int,
        *,
        hidden: tuple[int, ...],
        members: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shape = groups, classes
        self.network = MLP(
            feature_size + action_size,
            groups * classes,
            hidden,
            members=members,
            generator=generator,
        )

    def logits(self, features: Tensor, action: Tensor) -> Tensor:
        """``(E, N, G, n)`` of the latent that ``action`` ``(N, A)`` leads to from ``(N, F)``."""
        raw = self.network(torch.cat([features, action], -1))
        return raw.unflatten(-1, self.shape).float()

    def loss(self, features: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Cross entropy ``(N,)`` in nats, summed over ``G``, the mean over members.

        Args:
            features: ``(N, F)``; no gradient goes into them.
            action: ``(N, A)`` taken there.
            target: ``(N, G, n)`` probabilities of the posterior that was reached; no gradient.
        """
        guess = self.logits(features.detach(), action).log_softmax(-1)
        return -(target.detach() * guess).sum((-2, -1)).mean(0)

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        """``(N,)`` in [0, 1): std of the members' probabilities, root of the mean over ``G``.

        0 where all members predict the same.
        """
        # A softmax over the few classes that lie side by side is ten times as slow.
        logits = self.logits(features, action).permute(0, 3, 1, 2).contiguous()  # (E, n, N, G)
        found = (logits - logits.amax(1, keepdim=True)).exp()
        found = found / found.sum(1, keepdim=True)
        return (found - found.mean(0)).square().mean(0).sum(0).mean(-1).sqrt()


__all__ = ["LatentEnsemble"]
