"""Prints what CHANGELOG.md says of a version: the text of a release.

    python scripts/release_notes.py                    the newest version
    python scripts/release_notes.py --version 0.2.0

Needs nothing but Python: it runs where the project is not installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
HEADING = re.compile(r"^## \[?(?P<name>[^\]\s]+)\]?(?: - (?P<date>\d{4}-\d\d-\d\d))?\s*$", re.M)
UNRELEASED = "Unreleased"


def sections(text: str) -> dict[str, str]:
    """What a changelog says of each version, the newest first; what is not released is left out."""
    found = {}
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        if heading["name"] != UNRELEASED:
            found[heading["name"]] = text[heading.end() : end].strip() + "\n"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--version", help="default: the newest one")
    parser.add_argument("--changelog", type=Path, default=CHANGELOG)
    given = parser.parse_args()
    found = sections(given.changelog.read_text(encoding="utf-8"))
    version = given.version or next(iter(found), None)
    if version not in found:
        known = ", ".join(found) or "none"
        sys.exit(f"error: {given.changelog} has no section of version {version} (it has: {known})")
    print(found[version], end="")


if __name__ == "__main__":
    main()
