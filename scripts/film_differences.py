"""Films the episodes of a benchmark that one row solves and another does not, side by side.

What a search saves that its policy alone would lose, and the other way round::

    mbrl bench few
    python scripts/film_differences.py runs/few "simple-policy (5)" "simple-policy-cem (5)"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mbrl_agents.benchmarks.differences import LARGEST_FILM, choose, film, find_differences
from mbrl_agents.evaluation.video import can_write_mp4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a benchmark's, with its jobs and models")
    parser.add_argument("one", help="a row's name, as in its table")
    parser.add_argument("other", help="the row beside it")
    parser.add_argument("--out", type=Path, default=Path("films"), help="where films go")
    parser.add_argument("--count", type=int, default=2, help="films of what each row solves alone")
    parser.add_argument("--side", type=int, default=160, help="of each picture, in pixels")
    parser.add_argument("--format", choices=("mp4", "gif"), help="mp4 where it can be written")
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.side < 16:
        parser.error("--count must be at least 1 and --side at least 16")
    try:
        found = find_differences(arguments.folder, arguments.one, arguments.other)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    for row in (arguments.one, arguments.other):
        print(f"{sum(d.solved.row == row for d in found)} episodes that {row} solves alone")
    suffix = arguments.format or ("mp4" if can_write_mp4() else "gif")
    for difference in choose(found, arguments.count):
        path = arguments.out / f"{difference.name}.{suffix}"
        solved, failed = film(difference, path, side=arguments.side, largest=LARGEST_FILM)
        print(path if solved and not failed else f"{path} (went otherwise this time)")


if __name__ == "__main__":
    main()
