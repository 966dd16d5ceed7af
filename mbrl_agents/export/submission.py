"""The zip that the course asks for: ``submit/`` with code, named experiments and a README."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mbrl_agents.data.files import atomic
from mbrl_agents.registry.hand_in import CODE

LIMIT = 50_000_000
"""Bytes that the zip must stay below."""

FOLDER = "submit"
HYDRA = ".hydra/"
OUTPUTS: Mapping[str, Sequence[str]] = {
    "q1_simple_cem": ("miniGRP.pth", "training_logs.csv", HYDRA),
    "q2_policy_training": ("miniGRP.pth", "policy.pth", "training_logs.csv"),
    "q2_policy_cem": ("evaluation_results.json",),
    "q3_dreamer_cem": ("miniGRP.pth", "training_logs.csv"),
    "q4_dreamer_policy": ("miniGRP.pth", "policy.pth"),
    "q4_dreamer_policy_cem": ("evaluation_results.json",),
}
"""What the text wants of each experiment; ``.hydra/`` goes along wherever there is one."""

README = "README.md"


@dataclass(frozen=True)
class Submission:
    """What a zip holds.

    Attributes:
        size: of the zip in bytes.
        files: names in it.
        missing: what the text asks for and is not there.
    """

    size: int
    files: list[str]
    missing: list[str]


def export_submission(
    outputs: str | Path,
    target: str | Path,
    *,
    code: str | Path | None = None,
    readme: str | Path | None = None,
    partial: bool = False,
    limit: int = LIMIT,
) -> Submission:
    """Write the zip.

    Args:
        outputs: folder with the experiments, such as ``outputs/``; or one experiment in it.
        target: the zip.
        code: folder with the files of ``hw2/``.
        readme: ``submit/README.md``; by default the one of ``code``, or a list of the contents.
        partial: write the zip although something that the text asks for is missing.
        limit: see `LIMIT`.

    Raises:
        FileNotFoundError: something is missing, and ``partial`` is not set; the message lists it.
        ValueError: the zip would not stay below ``limit``; nothing is written then.
    """
    root = Path(outputs)
    if root.name in OUTPUTS:
        root = root.parent
    wanted = _wanted(root, None if code is None else Path(code))
    missing = [name for name, path in wanted.items() if not path.exists()]
    if missing and not partial:
        listed = "\n".join(f"  {name}" for name in missing)
        raise FileNotFoundError(f"a submission needs what is not there yet:\n{listed}")
    found = {name: path for name, path in wanted.items() if path.exists()}
    if len(found) == 0:
        raise FileNotFoundError(f"{root} holds none of the experiments {', '.join(OUTPUTS)}")
    text = _readme(readme, code, found)
    with atomic(target) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, path in found.items():
                archive.write(path, f"{FOLDER}/{name}")
            archive.writestr(f"{FOLDER}/{README}", text)
            names = archive.namelist()
            sizes = {info.filename: info.compress_size for info in archive.infolist()}
        size = temporary.stat().st_size
        if size >= limit:
            largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
            told = ", ".join(f"{name} ({sizes[name] / 1e6:.1f} MB)" for name in largest)
            raise ValueError(
                f"the zip would have {size / 1e6:.1f} MB, and must stay below "
                f"{limit / 1e6:.0f} MB; largest: {told}"
            )
    return Submission(size, names, missing)


def _wanted(root: Path, code: Path | None) -> dict[str, Path]:
    """Names in ``submit/`` and the files they come from, whether or not these are there."""
    found: dict[str, Path] = {}
    for name in CODE:
        found[f"hw2/{name}"] = (code or root.parent / "hw2") / name
    for experiment, files in OUTPUTS.items():
        folder = root / experiment
        for name in files:
            if name != HYDRA:
                found[f"outputs/{experiment}/{name}"] = folder / name
        hydra = sorted((folder / HYDRA).glob("*.yaml"))
        for path in hydra or [folder / HYDRA / "config.yaml"] * (HYDRA in files):
            found[f"outputs/{experiment}/{HYDRA}{path.name}"] = path
    return found


def _readme(given: str | Path | None, code: str | Path | None, found: Mapping[str, Path]) -> str:
    beside = None if code is None else Path(code) / README
    for path in (given, beside):
        if path is not None and Path(path).is_file():
            return Path(path).read_text(encoding="utf-8")
    listed = "\n".join(f"- `{name}`" for name in sorted(found))
    return f"# Homework 2: world models and model-based planning\n\n{listed}\n"


__all__ = ["LIMIT", "Submission", "export_submission"]
