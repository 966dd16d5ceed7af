"""Kills and interrupts commands at random moments, runs them again, and counts what is left over.

Each trial starts a real command (collect, train, eval or bench, two worker processes where it takes
them), ends it with SIGKILL or, as Ctrl-C at a terminal does, with SIGINT to all of its processes,
waits for the last process to end, gives the same command again until it is through, and looks for
processes, shared memory and hidden or temporary files that stayed::

    python scripts/kill_trials.py --kills 40 --interrupts 20 --out trials.jsonl

Linux only: processes are found through /proc by a variable in their environment.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK, CACHE = "MBRL_TRIAL", ".arrays"
PATIENCE = 30.0
"""Seconds after which a process that still runs counts as an orphan."""
ENV = "mbrl/LiberoSpatial-v0"
SUITE = f"""name: trials
env: {ENV}
tasks: [2]
env_kwargs: {{obs: pose, reward: progress, assets: primitive}}
data: {{source: noisy_expert, episodes: 6}}
evaluation: {{episodes: 4, part: 2, init: benchmark}}
methods:
  - expert
  - method: simple-cem
    overrides: [training.model_steps=60, training.log_every=20, planner.samples=8, planner.elites=2]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides when each command is ended")
    parser.add_argument("--out", type=Path, help="a line of JSON for each trial")
    arguments = parser.parse_args()
    if not Path("/proc/self/environ").exists():
        sys.exit("error: this needs Linux's /proc")
    with tempfile.TemporaryDirectory(prefix="kill-trials-") as temporary:
        found = run_trials(Path(temporary), arguments)
    orphans = sum(trial["orphans"] for trial in found)
    left = sum(len(trial["left_over"]) for trial in found)
    slowest = max((t["seconds_to_end"] for t in found if t["how"] == "interrupt"), default=0.0)
    failed = sum(trial["again"] != 0 for trial in found)
    print(
        f"{len(found)} trials: {orphans} orphans, {left} files left over, {failed} second runs "
        f"failed; the slowest interrupt took {slowest:.1f} s"
    )
    sys.exit(bool(orphans or left or failed))


def run_trials(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All trials, one after another; each is printed when it is through."""
    chance = random.Random(arguments.seed)
    (folder / "suite.yaml").write_text(SUITE)
    run(["collect", str(folder / "data"), "--env", ENV, "--task", "2", "--episodes", "6"])
    hows = ["kill"] * arguments.kills + ["interrupt"] * arguments.interrupts
    found = []
    lengths: dict[str, float] = {}
    for number, how in enumerate(hows):
        verb = ("collect", "train", "eval", "bench")[number % 4]
        place = folder / f"trial-{number}"
        command = command_of(verb, folder, place)
        if verb not in lengths:  # how long it takes when nobody ends it
            began = time.monotonic()
            run(command)
            lengths[verb] = time.monotonic() - began
            shutil.rmtree(place, ignore_errors=True)
        after = chance.uniform(0.2, 0.95) * lengths[verb]
        trial = {"number": number, "verb": verb, "how": how, "after": round(after, 2)}
        trial |= one_trial(command, how, after, place)
        line = json.dumps(trial)
        print(line, flush=True)
        if arguments.out is not None:
            with arguments.out.open("a") as stream:
                stream.write(line + "\n")
        found.append(trial)
        shutil.rmtree(place, ignore_errors=True)
    return found


def command_of(verb: str, folder: Path, place: Path) -> list[str]:
    """The command line of a verb that writes into ``place``."""
    if verb == "collect":
        return ["collect", str(place), "--env", ENV, "--task", "2", "--episodes", "12",
                "--workers", "2"]  # fmt: skip
    if verb == "train":
        return ["train", "simple-cem", "--data", str(folder / "data"), "--out", str(place),
                "training.model_steps=150", "training.log_every=50"]  # fmt: skip
    if verb == "eval":
        return ["eval", "expert", "--env", ENV, "--task", "2", "--episodes", "10", "--workers", "2",
                "--out", str(place)]  # fmt: skip
    return ["bench", str(folder / "suite.yaml"), "--out", str(place), "--workers", "2"]


def one_trial(command: Sequence[str], how: str, after: float, place: Path) -> dict[str, Any]:
    """End a command after so many seconds, run it again, and say what was left."""
    mark = uuid.uuid4().hex
    shared, folders = set(os.listdir("/dev/shm")), temporary_folders()
    process = start(command, mark)
    time.sleep(after)
    began = time.monotonic()
    if how == "kill":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    exit_code = process.wait()
    while time.monotonic() - began < PATIENCE and marked(mark):
        time.sleep(0.05)
    seconds, orphans = time.monotonic() - began, marked(mark)
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    again = run(command)
    left = [str(p.relative_to(place)) for p in place.rglob("*") if temporary(p)]
    left += [f"/dev/shm/{name}" for name in set(os.listdir("/dev/shm")) - shared]
    left += sorted(temporary_folders() - folders)
    return {
        "exit": exit_code,
        "seconds_to_end": round(seconds, 2),
        "orphans": len(orphans),
        "again": again,
        "left_over": sorted(left),
    }


def start(command: Sequence[str], mark: str) -> subprocess.Popen[bytes]:
    """A command in a process group of its own, whose processes carry a mark."""
    return subprocess.Popen(
        [sys.executable, "-m", "mbrl_agents.cli.main", *command],
        env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A shell's background jobs ignore SIGINT, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(command: Sequence[str]) -> int:
    """A command to its end; its exit code."""
    return start(command, uuid.uuid4().hex).wait()


def marked(mark: str) -> list[int]:
    """Processes that run and carry a mark; those that have ended and wait to be read do not."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def temporary(path: Path) -> bool:
    """Whether a finished command should not have left this: hidden, a lock say, or unfinished.

    A collection's arrays, ``.arrays`` beside its episodes, are a cache that is meant to stay.
    """
    return CACHE not in path.parts and (path.name.startswith(".") or ".partial" in path.name)


def temporary_folders() -> set[str]:
    """The toolkit's own folders among the temporary ones."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("mbrl-*")}


if __name__ == "__main__":
    main()
