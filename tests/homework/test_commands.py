"""The six commands of the homework's text, as they are written there, on LIBERO at tiny size."""

from __future__ import annotations

import csv
import html
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from mbrl_agents.agents.saving import read_saved
from mbrl_agents.cli.main import app
from mbrl_agents.data.parallel import ordered_map
from mbrl_agents.homework.ahead import train_ahead
from mbrl_agents.homework.experiment import finished
from mbrl_agents.homework.plan import PARTS, PLAN, Command, commands
from mbrl_agents.homework.running import run_homework
from mbrl_agents.homework.translation import translate

TEXT = {
    "q1_simple_cem": """
        model_type=simple planner.type=cem planner.horizon=10 planner.num_samples=100
        planner.num_elites=10 training.num_epochs=50 exp_name=q1_simple_cem""",
    "q2_policy_training": """
        model_type=simple planner.type=policy planner.horizon=10 training.num_epochs=50
        exp_name=q2_policy_training""",
    "q2_policy_cem": """
        model_type=simple planner.type=policy_guided_cem planner.horizon=10
        planner.num_samples=50 planner.num_elites=5
        load_policy=outputs/q2_policy_training/policy.pth exp_name=q2_policy_cem""",
    "q3_dreamer_cem": """
        model_type=dreamer planner.type=cem planner.horizon=10 planner.num_samples=100
        training.num_epochs=100 exp_name=q3_dreamer_cem""",
    "q4_dreamer_policy": """
        model_type=dreamer planner.type=policy planner.horizon=10 training.num_epochs=100
        exp_name=q4_dreamer_policy""",
    "q4_dreamer_policy_cem": """
        model_type=dreamer planner.type=policy_guided_cem planner.horizon=10
        planner.num_samples=50 load_policy=outputs/q4_dreamer_policy/policy.pth
        load_world_model=outputs/q3_dreamer_cem/world_model.pth
        exp_name=q4_dreamer_policy_cem""",
}
SHORT = ["env.max_episode_steps=25", "eval.episodes=1", "dataset.episodes=2"]


pytestmark = pytest.mark.slow


def mbrl(*words: str) -> Result:
    return CliRunner().invoke(app, ["train", *words, "--workers", "1"])


def given(name: str) -> list[str]:
    """A command of the text, at tiny size."""
    quick = [] if "load_policy" in TEXT[name] else ["training.num_epochs=2"]
    return [*TEXT[name].split(), *SHORT, *quick]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all six have been run, one after the other."""
    folder = tmp_path_factory.mktemp("homework")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in TEXT:
            result = mbrl(*given(name))
            assert result.exit_code == 0, result.output
    return folder / "outputs"


@pytest.mark.parametrize("name", TEXT)
def test_each_leaves_what_the_text_asks_for(outputs: Path, name: str) -> None:
    folder = outputs / name
    results: dict[str, Any] = json.loads((folder / "evaluation_results.json").read_text())
    assert results["episodes"] == 1
    assert 0.0 <= results["success_rate"] <= 1.0
    assert results["plan_ms_p50"] > 0.0
    with (folder / "training_logs.csv").open() as stream:
        assert {"phase", "step", "metric", "value"} <= set(next(csv.DictReader(stream)))
    config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
    assert config["exp_name"] == name
    overrides = yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())
    assert set(TEXT[name].split()) <= set(overrides)
    weights = torch.load(folder / "world_model.pth", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert (folder / "policy.pth").is_file() == ("policy" in name)
    architecture = "dreamerV3.py" if "dreamer" in name else "simple_world_model.py"
    assert (folder / "miniGRP.pth").stat().st_size > 0
    assert (folder / architecture).is_file()


@pytest.mark.parametrize("name", TEXT)
def test_the_plan_runs_the_text_s_experiments_in_its_words(name: str) -> None:
    planned = {command.experiment.name: command.experiment for command in commands(PARTS)}
    assert list(planned[name].given) == TEXT[name].split()


def test_the_planner_is_the_one_asked_for(outputs: Path) -> None:
    config = yaml.safe_load((outputs / "q2_policy_cem/config.yaml").read_text())
    planner = config["planner"]
    assert (planner["horizon"], planner["samples"], planner["elites"]) == (10, 50, 5)


def test_what_is_trained_ahead_has_the_weights_of_a_training_by_itself(
    outputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def here(work: Any, jobs: Any, *, workers: int) -> Any:
        return ordered_map(work, jobs)  # in this process: starting others takes longer than this

    shutil.copytree(outputs.parent / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mbrl_agents.homework.ahead.ordered_map", here)
    both = ["q1_simple_cem", "q2_policy_training"]
    six = [translate(given(name)) for name in TEXT]
    told: list[str] = []
    asked = [one for one in six if one.name in (*both, "q2_policy_cem")]
    assert train_ahead(asked, workers=2, tell=told.append) == set(both)
    assert {f"trained {name}" for name in both} <= set(told)
    lines = capsys.readouterr().out
    for name in both:
        assert f"    {name}: world_model" in lines
        alone, ahead = (read_saved(x / name).weights for x in (outputs, Path("outputs")))
        for part, weights in alone.items():
            assert all(torch.equal(weights[key], ahead[part][key]) for key in weights)
    # Trained, and not yet tested: nothing is finished.
    assert [finished(one) for one in asked] == [None, None, None]


def test_nothing_is_trained_ahead_of_finished_experiments(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs.parent)
    assert train_ahead([translate(given(name)) for name in TEXT], workers=2) == set()


def test_what_is_loaded_is_not_trained(outputs: Path) -> None:
    for name in ("policy", "world_model"):
        a, b = (outputs / run / f"{name}.pth" for run in ("q2_policy_training", "q2_policy_cem"))
        first, second = (torch.load(file, weights_only=True) for file in (a, b))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_they_are_what_the_zip_asks_for(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "submit.zip"
    result = CliRunner().invoke(
        app, ["export", "submission", str(outputs), "--out", str(target), "--partial"]
    )
    assert result.exit_code == 0, result.output
    names = zipfile.ZipFile(target).namelist()
    for wanted in ("q1_simple_cem/miniGRP.pth", "q4_dreamer_policy_cem/evaluation_results.json"):
        assert f"submit/outputs/{wanted}" in names
    assert not [name for name in names if name.endswith("world_model.pth")]


def test_a_finished_experiment_can_be_evaluated_like_any_run(
    outputs: Path,
) -> None:
    run = str(outputs / "q4_dreamer_policy_cem")
    result = CliRunner().invoke(app, ["eval", run, "--episodes", "1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["method"] == "dreamer-policy-cem"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["load_policy=outputs/none/policy.pth"], "does not exist"),
        (["load_policy=outputs/q1_simple_cem/world_model.pth"], "cannot use its weights"),
        (["load_policy=outputs/elsewhere/policy.pth"], "lies in no finished experiment"),
        (["load_policy=outputs/broken/policy.pth"], "not a readable state dict"),
        (
            [
                "load_policy=outputs/q2_policy_training/policy.pth",
                "load_world_model=outputs/other/world_model.pth",
            ],
            "another world model",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named(
    outputs: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("q1_simple_cem", "q2_policy_training"):
        (tmp_path / "outputs").mkdir(exist_ok=True)
        (tmp_path / "outputs" / name).symlink_to(outputs / name)
    for name in ("elsewhere", "broken", "other"):
        (tmp_path / "outputs" / name).mkdir()
    (tmp_path / "outputs/elsewhere/policy.pth").write_bytes(b"")
    (tmp_path / "outputs/broken/run.json").write_bytes(
        (outputs / "q2_policy_training/run.json").read_bytes()
    )
    for file in (outputs / "q2_policy_training").iterdir():
        if file.is_file():
            (tmp_path / "outputs/broken" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "outputs/broken/policy.pth").write_bytes(b"\x80\x02nothing")
    model = torch.load(outputs / "q1_simple_cem/world_model.pth", weights_only=True)
    shifted = {key: tensor + 1 for key, tensor in model.items()}
    torch.save(shifted, tmp_path / "outputs/other/world_model.pth")
    monkeypatch.chdir(tmp_path)
    result = mbrl("model_type=simple", "planner.type=policy_guided_cem", "exp_name=x", *words)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "outputs/x").exists()


def test_a_finished_experiment_is_left_as_it_is(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs.parent)
    results = outputs / "q2_policy_cem/evaluation_results.json"
    before = results.stat().st_mtime_ns
    words = [*TEXT["q2_policy_cem"].split(), *SHORT]
    assert mbrl(*words).exit_code == 0
    assert results.stat().st_mtime_ns == before
    other = mbrl(*words, "planner.num_iterations=1")
    assert other.exit_code == 1
    assert "holds another experiment" in other.output
    assert results.stat().st_mtime_ns == before


def test_options_that_the_text_says_otherwise_are_refused() -> None:
    result = mbrl("model_type=simple", "planner.type=cem", "--out", "runs/x")
    assert result.exit_code == 2
    assert "exp_name=NAME" in result.output


def test_settings_without_a_method_are_refused() -> None:
    result = mbrl("planner.horizon=10")
    assert result.exit_code == 2
    assert "name the method before it" in result.output


# ---------------------------------------------------------------------------------------------
# The report, on the six


@pytest.fixture(scope="module")
def report(outputs: Path) -> Path:
    """The report on the six experiments, made by the command's own code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(outputs.parent)
        _plan_of_the_six(patch)
        return run_homework(PARTS, out=outputs.parent / "report").resolve()


def _plan_of_the_six(patch: pytest.MonkeyPatch) -> None:
    rows = {row.name: row for row in PLAN}
    six = [Command(rows[name], translate(given(name))) for name in TEXT]
    patch.setattr("mbrl_agents.homework.running.commands", lambda parts, **sizes: six)


def test_the_report_shows_each_experiment_with_its_seed(report: Path) -> None:
    numbers = json.loads((report.parent / "report.json").read_text())
    assert set(numbers["experiments"]) == set(TEXT)
    page = report.read_text()
    for items in numbers["parts"].values():
        for item in items:
            assert item["experiments"]
            for cited in item["experiments"]:
                assert f"<code>{cited['exp_name']}</code>, seed {cited['seed']}" in page


def test_the_report_answers_what_the_text_expects(report: Path) -> None:
    numbers = json.loads((report.parent / "report.json").read_text())
    items = [item for part in numbers["parts"].values() for item in part]
    answered = {item["answer"]["expected"]: item["answer"] for item in items if item["answer"]}
    for words in ("converge", "above 0", "at least as well", "recognisable"):
        assert [text for text in answered if words in text], words
    above = next(item for text, item in answered.items() if "above 0" in text)
    won = [e["successes"] > 0 for e in numbers["experiments"].values()]
    assert above["holds"] is False or any(won)


def test_what_a_report_measures_is_what_the_experiments_did(outputs: Path, report: Path) -> None:
    numbers = json.loads((report.parent / "report.json").read_text())
    items = {item["key"]: item["numbers"] for part in numbers["parts"].values() for item in part}
    steps = len(items["paths-q2_policy_cem"]["gap_mm"])
    assert steps == 10  # the planner's horizon
    moved = items["moved-q2_policy_cem"]
    kept = [change for change in moved["changes"] if change == 0.0]
    assert moved["replaced"] == pytest.approx(1 - len(kept) / moved["searches"], abs=0.05)
    frames = json.loads((outputs / "q1_simple_cem/analysis/frames-0.json").read_text())
    record = json.loads((outputs / "q1_simple_cem/episodes.jsonl").read_text().splitlines()[0])
    assert (frames["steps"], frames["success"]) == (record["steps"], record["success"])


def test_a_report_is_made_again_without_running_anything(
    outputs: Path, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = report.read_text()
    monkeypatch.chdir(outputs.parent)
    _plan_of_the_six(monkeypatch)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was run again")

    monkeypatch.setattr("mbrl_agents.homework.analysis.load_run", refuse)
    monkeypatch.setattr("mbrl_agents.homework.analysis.make_env", refuse)
    monkeypatch.setattr("mbrl_agents.homework.experiment.evaluate", refuse)
    assert run_homework(PARTS, out=report.parent).read_text() == page


def test_the_report_is_whole_and_readable_in_a_browser(report: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    page = tmp_path / "shown.html"
    text = html.escape(report.read_text(), quote=True)
    # The report in a frame as wide as a phone; a script beside it writes down what it sees there.
    page.write_text(
        f"""<!doctype html><title>-</title><iframe srcdoc="{text}" style="width: 390px; height:
        800px; border: 0"></iframe><pre></pre><script>
        const frame = document.querySelector("iframe")
        const broken = []
        addEventListener("error", event => broken.push(String(event.message)))
        frame.addEventListener("load", () => {{
          const doc = frame.contentDocument, images = [...doc.images]
          document.querySelector("pre").textContent = JSON.stringify({{
            images: images.length,
            missing: images.filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt),
            remote: images.filter(i => !i.src.startsWith("data:")).length,
            scripts: doc.scripts.length,
            width: doc.documentElement.scrollWidth,
            shown: doc.documentElement.clientWidth,
            broken,
          }})
        }})</script>"""
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]  # fmt: skip
    run = subprocess.run(
        [chromium, *options, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(html.unescape(run.stdout.split("<pre>")[1].split("</pre>")[0]))
    assert found["images"] > 10
    assert found["missing"] == []
    assert found["broken"] == []
    assert (found["remote"], found["scripts"]) == (0, 0)
    assert 300 < found["shown"] <= 390
    assert found["width"] <= found["shown"]
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
