"""Training as a process of its own that can be killed, quick to start.

Processes are forked off a server that has imported the library once; what is killed is a real
process, whose files are all that is left of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, not by every process.
_CONTEXT.set_forkserver_preload(
    [
        "PIL.Image",
        "cma",
        "imageio.v3",
        "imageio_ffmpeg",
        "killable",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "mbrl_agents.agents.agent",
        "mbrl_agents.algorithms.dreamer_lite",
        "mbrl_agents.algorithms.dreamer_v3",
        "mbrl_agents.algorithms.iris",
        "mbrl_agents.algorithms.mbpo",
        "mbrl_agents.algorithms.simple",
        "mbrl_agents.algorithms.world_models",
        "mbrl_agents.cli.main",
        "mbrl_agents.runs.training",
        "omegaconf",
        "pydantic.type_adapter",
        "torch._dynamo",
        "torch.utils.tensorboard",
        "toy_images",
        "toy_reach",
    ]
)


def _train(arguments: list[str], fatal: str, nth: int, half: bool) -> None:
    """``mbrl train``, which kills itself as it is about to put a file in place."""
    from mbrl_agents.cli.main import app

    replace, count = os.replace, 0

    def counted(source: Any, target: Any) -> None:
        nonlocal count
        count += Path(target).name == fatal
        if count == nth:
            if half:
                os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    if fatal:
        os.replace = counted
    app(arguments, standalone_mode=False)


def train(
    arguments: list[Any],
    *,
    kill_after: float | None = None,
    kill_at_file: str = "",
    nth: int = 1,
    half: bool = False,
) -> int:
    """Run ``mbrl train ARGUMENTS`` and return the exit code: -9 where it was killed.

    Args:
        kill_after: seconds from the beginning of training.
        kill_at_file: kill it when a file of this name is written, but not yet in place.
        nth: which of several times that happens.
        half: leave only half of that file.
    """
    command = ["train", *map(str, arguments)]
    process = _CONTEXT.Process(target=_train, args=(command, kill_at_file, nth, half))
    process.start()
    if kill_after is not None:
        config = Path(arguments[arguments.index("--out") + 1]) / "config.yaml"
        while not config.exists() and process.is_alive():
            time.sleep(0.002)
        time.sleep(kill_after)
        process.kill()
    process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code
