"""Random translations of images."""

from __future__ import annotations

import torch

from mbrl_agents.nn.shift import shifted


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """One image ``(height, width, channels)`` read ``down`` rows and ``right`` columns further."""
    result = torch.empty_like(image)
    height, width = image.shape[:2]
    for row in range(height):
        for column in range(width):
            at_row = min(max(row + down, 0), height - 1)
            at_column = min(max(column + right, 0), width - 1)
            result[row, column] = image[at_row, at_column]
    return result


def test_every_sequence_is_moved_as_a_whole_with_its_border_repeated() -> None:
    images = torch.randint(0, 256, (12, 3, 6, 5, 2), dtype=torch.uint8)
    found = shifted(images, 2, torch.Generator().manual_seed(0))
    assert found.dtype == torch.uint8
    moves = set()
    for sequence, result in zip(images, found, strict=True):
        matches = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if all(
                torch.equal(moved(image, down, right), now)
                for image, now in zip(sequence, result, strict=True)
            )
        ]
        assert len(matches) == 1
        moves.add(matches[0])
    assert len(moves) > 3


def test_no_pixels_leave_images_as_they_are() -> None:
    images = torch.randint(0, 256, (2, 1, 4, 4, 3), dtype=torch.uint8)
    assert torch.equal(shifted(images, 0, torch.Generator().manual_seed(0)), images)
