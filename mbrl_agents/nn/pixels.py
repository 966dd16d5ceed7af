"""Weights of pixels in the error of a reconstruction."""

from __future__ import annotations

from torch import Tensor

_LEAST = 1e-4
"""Of the mean distance that weights are in shares of: images that are all alike have none."""


def rare_pixels(images: Tensor, share: float) -> Tensor:
    """Weights that let what differs from the mean image of a batch count for more.

    An object of ten pixels among a thousand hardly shows in a mean over pixels, and a model may
    leave it out for thousands of gradient steps; where it is, an image is unlike the others.

    Args:
        images: ``(N, C, H, W)``, numbers in [0, 1] or bytes.
        share: of the weight, in [0, 1], that is in proportion to the pixel's distance from the mean
            image, averaged over channels; the rest is the same for all pixels.

    Returns:
        ``(N, 1, H, W)``, 1 on average over the batch where its images differ.
    """
    if not images.is_floating_point():
        images = images.float() / 255.0
    unusual = (images - images.mean(0, keepdim=True)).abs().mean(1, keepdim=True)
    return 1.0 - share + share * unusual / unusual.mean().clamp_min(_LEAST)


def check_rare(share: float) -> None:
    """Raise ValueError unless it is a share."""
    if not 0 <= share <= 1:
        raise ValueError(f"rare must lie in [0, 1], got {share}")


__all__ = ["check_rare", "rare_pixels"]
