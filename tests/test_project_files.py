"""What a repository has beside its code: workflows, hooks, citation, notes of a release."""

from __future__ import annotations

import datetime
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import mbrl_agents
from mbrl_agents.cli.main import app

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
NOTES = ROOT / "scripts" / "release_notes.py"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        found: dict[str, Any] = tomllib.load(stream)["project"]
    return found


def released() -> dict[str, str]:
    """The sections of CHANGELOG.md by version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found: dict[str, str] = runpy.run_path(str(NOTES))["sections"](text)
    return found


class TestWorkflows:
    def test_lint_tests_and_docs_are_there(self) -> None:
        assert {path.stem for path in WORKFLOWS} >= {"lint", "tests", "docs"}

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
    def test_they_run_what_a_contributor_runs(self, path: Path) -> None:
        """A target that is renamed in the Makefile would otherwise fail there alone."""
        workflow = read(path)
        assert workflow["permissions"].keys() == {"contents"}
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"]
                    if "run" in step]  # fmt: skip
        assert commands
        for command in commands:
            program, *words = command.split()
            if program == "make":
                assert words[0] in targets, command
            elif program not in ("python", "gh"):
                assert (ROOT / program).is_file(), command
            for script in re.findall(r"scripts/\S+", command):
                assert (ROOT / script).is_file(), script

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
    def test_their_pythons_are_supported(self, path: Path) -> None:
        versions = re.findall(r"\"(3\.\d+)\"", path.read_text())
        supported = {line.rsplit(" ", 1)[1] for line in project()["classifiers"]
                     if "Python :: 3." in line}  # fmt: skip
        assert versions
        assert set(versions) <= supported


class TestForms:
    @pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
    def test_an_issue_form_has_what_the_site_asks_for(self, path: Path) -> None:
        form = read(path)
        if path.stem == "config":
            assert form.keys() <= {"blank_issues_enabled", "contact_links"}
            return
        assert form["name"]
        assert form["description"]
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids)) > 0
        for field in form["body"]:
            assert field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
            assert field["attributes"]["label"]

    def test_the_form_of_pull_requests_asks_for_a_test_and_a_line(self) -> None:
        text = (ROOT / ".github" / "pull_request_template.md").read_text()
        assert "a test fails without the change" in text
        assert "CHANGELOG.md" in text


def test_hooks_are_pinned() -> None:
    hooks: set[str] = set()
    for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert re.fullmatch(r"v\d+\.\d+\.\d+", repository["rev"])
        hooks |= {hook["id"] for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "check-yaml", "trailing-whitespace"} <= hooks


def test_the_version_is_one() -> None:
    version = project()["version"]
    assert mbrl_agents.__version__ == version
    assert next(iter(released())) == version
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == version
    heading = f"## {version} - {citation['date-released'].isoformat()}"
    assert heading in (ROOT / "CHANGELOG.md").read_text().splitlines()


def test_the_citation_is_valid() -> None:
    """The fields that the format, version 1.2.0, requires, and the kinds of those it knows."""
    citation = read(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() >= {"message", "title", "authors"}
    known = {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi",
        "identifiers", "keywords", "license", "license-url", "message", "preferred-citation",
        "references", "repository", "repository-artifact", "repository-code", "title", "type",
        "url", "version",
    }  # fmt: skip
    assert citation.keys() <= known
    assert citation["type"] in ("software", "dataset")
    assert citation["license"] == project()["license"]
    assert isinstance(citation["date-released"], datetime.date)
    for author in citation["authors"]:
        assert "name" in author or {"family-names", "given-names"} & author.keys()
    assert all(isinstance(word, str) for word in citation["keywords"])
    assert len(set(citation["keywords"])) == len(citation["keywords"])


def test_pages_name_options_that_there_are() -> None:
    shown = CliRunner().invoke(app, ["eval", "--help"], env={"COLUMNS": "200"}).output
    named = set(re.findall(r"`(--[a-z-]+)`", (ROOT / "SECURITY.md").read_text()))
    assert "--trust-pickle" in named
    assert all(option in shown for option in named)
    assert (ROOT / "CODE_OF_CONDUCT.md").is_file()


class TestReleaseNotes:
    TEXT = (
        "# Changelog\n\n## Unreleased\n\n- not yet\n\n## 1.1.0 - 2026-02-03\n\n### Added\n\n- new\n"
        "\n## [1.0.0]\n\n- old\n"
    )

    def notes(self, folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (folder / "CHANGELOG.md").write_text(text)
        return subprocess.run(
            [sys.executable, str(NOTES), "--changelog", str(folder / "CHANGELOG.md"), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    def test_the_newest_version_is_printed_and_what_is_not_released_left_out(self, tmp_path):
        assert self.notes(tmp_path, self.TEXT).stdout == "### Added\n\n- new\n"
        assert self.notes(tmp_path, self.TEXT, "--version", "1.0.0").stdout == "- old\n"

    def test_a_version_that_is_not_there_is_named(self, tmp_path):
        done = self.notes(tmp_path, self.TEXT, "--version", "2.0.0")
        assert done.returncode == 1
        assert "no section of version 2.0.0 (it has: 1.1.0, 1.0.0)" in done.stderr
        done = self.notes(tmp_path, "# Changelog\n\n## Unreleased\n\n- not yet\n")
        assert done.returncode == 1
        assert "(it has: none)" in done.stderr

    def test_the_projects_own(self):
        done = subprocess.run([sys.executable, str(NOTES)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "### Added" in done.stdout
        assert "Unreleased" not in done.stdout
