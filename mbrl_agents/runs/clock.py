"""How long a run has trained, its interrupted attempts included."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from mbrl_agents.runs.work import Progress
from mbrl_agents.training.checkpoints import write_text

ELAPSED_FILE = "elapsed.json"


class Clock:
    """Measures training, counting earlier attempts that left a checkpoint to go on from."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / ELAPSED_FILE
        self.seconds = self._before = 0.0
        self._began = self._written = time.perf_counter()
        if any(folder.glob("*checkpoint.safetensors")) and self.file.is_file():
            self.seconds = self._before = float(json.loads(self.file.read_text("utf-8")))

    def __enter__(self) -> Clock:
        self._began = self._written = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._write(time.perf_counter())

    def now(self) -> float:
        """Seconds of training so far."""
        return self._before + time.perf_counter() - self._began

    def wrap(self, progress: Progress | None) -> Progress:
        """``progress``, which also writes the time down: a kill gives no notice."""

        def tell(phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
            now = time.perf_counter()
            if now - self._written >= 1.0:
                self._write(now)
            if progress is not None:
                progress(phase, done, total, metrics)

        return tell

    def _write(self, now: float) -> None:
        self._written, self.seconds = now, self._before + now - self._began
        write_text(self.file, json.dumps(self.seconds))


__all__ = ["ELAPSED_FILE", "Clock"]
