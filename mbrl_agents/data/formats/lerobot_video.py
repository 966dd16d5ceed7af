"""Videos frame by frame, neither read nor written as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NEEDS = "images of LeRobot's datasets are MP4 videos: pip install 'mbrl-agents[video]'"


class VideoFrames:
    """The frames of a video, read in order; going back begins anew.

    Args:
        path: of the video.

    Raises:
        ImportError: without the extra ``video``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames: Iterator[Any] | None = None
        self._at = 0

    def read(self, first: int, count: int) -> np.ndarray:
        """``(count, H, W, 3)`` uint8, from frame number ``first`` on.

        Raises:
            FileNotFoundError: when there is no video.
            ValueError: when it cannot be read or ends before.
        """
        if self._frames is None or self._at > first:
            self._open()
        assert self._frames is not None
        found: list[np.ndarray] = []
        while len(found) < count:
            try:
                data = next(self._frames, None)
            except Exception as error:  # whatever the decoder makes of a damaged file
                self.close()
                raise ValueError(f"video {self.path} cannot be read: {error}") from error
            if data is None:
                self.close()
                raise ValueError(
                    f"video {self.path} ends after {self._at} frames; expected {first + count}"
                )
            self._at += 1
            if self._at > first:
                found.append(np.frombuffer(data, np.uint8).reshape(self._height, self._width, 3))
        return np.stack(found)

    def close(self) -> None:
        """End the decoder."""
        if self._frames is not None:
            self._frames.close()  # type: ignore[attr-defined]  # a generator
            self._frames = None

    def _open(self) -> None:
        imageio_ffmpeg = _imageio_ffmpeg()
        self.close()
        if not self.path.is_file():
            raise FileNotFoundError(f"video {self.path} is missing")
        # As many frames as there are, whatever their times say.
        frames = imageio_ffmpeg.read_frames(self.path, output_params=["-fps_mode", "passthrough"])
        try:
            self._width, self._height = next(frames)["size"]
        except Exception as error:
            frames.close()
            raise ValueError(f"video {self.path} cannot be read: {error}") from error
        self._frames, self._at = frames, 0


def write_frames(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write ``(H, W, 3)`` uint8 frames as H.264, every second one a key frame as LeRobot has it.

    Raises:
        ImportError: without the extra ``video``.
        ValueError: for sides that are not even: the encoding halves the resolution of colours.
    """
    imageio_ffmpeg = _imageio_ffmpeg()
    writer: Any = None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for frame in frames:
            if writer is None:
                height, width = frame.shape[:2]
                if height % 2 or width % 2:
                    raise ValueError(f"images are {height} x {width}; MP4 needs even sides")
                writer = imageio_ffmpeg.write_frames(
                    path,
                    (width, height),
                    fps=fps,
                    codec="libx264",
                    macro_block_size=2,
                    output_params=["-crf", "12", "-g", "2", "-bf", "0"],
                    ffmpeg_log_level="error",
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))
    finally:
        if writer is not None:
            writer.close()


def _imageio_ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(NEEDS) from error
    return imageio_ffmpeg


__all__ = ["VideoFrames", "write_frames"]
