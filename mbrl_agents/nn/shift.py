"""Random translations of images."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agents.nn.sharing import mine, whole_shape


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Sequences of images, each moved by up to ``pixels`` in both directions.

    What is moved in from outside repeats the border.  The images of a sequence move together, so
    that what changes from one to the next is still what happened.  Source: "random shift" of
    Kostrikov et al. 2021 (arXiv:2004.13649, section 3.1), drawn per sequence.

    Args:
        images: ``(B, T, height, width, channels)``, any dtype.
        pixels: largest move, at least 0.
        generator: source of the moves.
    """
    size, _, height, width, _ = images.shape
    moves = torch.randint(
        -pixels, pixels + 1, whole_shape((size, 2)), generator=generator, device=generator.device
    )
    down, right = mine(moves).to(images.device).unbind(1)
    rows = (torch.arange(height, device=images.device) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + right[:, None]).clamp(0, width - 1)
    return torch.stack(
        [image[:, r][:, :, c] for image, r, c in zip(images, rows, columns, strict=True)]
    )


__all__ = ["shifted"]
