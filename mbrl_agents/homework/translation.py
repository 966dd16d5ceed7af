"""The homework's settings in this library's words: one table, read by everything else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbrl_agents.config import ConfigError, resolve_config
from mbrl_agents.names import did_you_mean
from mbrl_agents.yaml_text import parse_yaml

METHODS: Mapping[tuple[str, str], str] = {
    ("simple", "cem"): "simple-cem",
    ("simple", "policy"): "simple-policy",
    ("simple", "policy_guided_cem"): "simple-policy-cem",
    ("dreamer", "cem"): "dreamer-cem",
    ("dreamer", "policy"): "dreamer-policy",
    ("dreamer", "policy_guided_cem"): "dreamer-policy-cem",
}
"""``model_type`` and ``planner.type``: the method."""

OBSERVATIONS: Mapping[str, str] = {"simple": "pose", "dreamer": "image"}
"""``model_type``: what its environment shows."""

Rule = Callable[[str, str, str], list[str]]
"""``(model_type, planner.type, value)`` to overrides of the method."""


def _to(key: str) -> Rule:
    return lambda model, planner, value: [f"{key}={value}"]


def _temperature(model: str, planner: str, value: str) -> list[str]:
    # At 1 the text's random search starts from a std of 1, and the guided one from the policy's.
    guided = planner == "policy_guided_cem"
    return [f"planner.{'std_scale' if guided else 'init_std'}={value}"]


def _hidden(model: str, planner: str, value: str) -> list[str]:
    width = _whole("model.hidden_dim", value)
    if model == "dreamer":
        return [f"world_model.{name}={width}" for name in ("hidden", "units")]
    return [f"world_model.hidden=[{width},{width}]"]


SETTINGS: Mapping[str, Rule] = {
    "planner.horizon": _to("planner.horizon"),
    "planner.num_samples": _to("planner.samples"),
    "planner.num_elites": _to("planner.elites"),
    "planner.num_iterations": _to("planner.iterations"),
    "planner.temperature": _temperature,
    "planner.action_std": _to("policy.min_std"),
    "training.batch_size": _to("training.batch_size"),
    "training.seq_length": _to("training.sequence_length"),
    "training.learning_rate": _to("training.learning_rate"),
    "model.hidden_dim": _hidden,
}
"""Settings of the text that are settings of the method."""

OWN: Mapping[str, str] = {
    "model_type": "simple or dreamer",
    "planner.type": "cem, policy or policy_guided_cem",
    "exp_name": "of the folder in outputs/",
    "training.num_epochs": "passes over the recorded steps",
    "load_policy": "policy.pth of an experiment",
    "load_world_model": "world_model.pth of an experiment",
    "seed": "of weights, batches and recorded episodes",
    "dataset.path": "folder of recorded episodes; collected where there is none",
    "dataset.episodes": "to collect per task",
    "eval.episodes": "on the official initial states, per task",
}
"""Settings that say what to do, and are no settings of a method."""

EPOCH_BATCH = 16
"""Sequences of a batch, the text's own number, where passes are counted and ``training.batch_size``
is not given: in 50 passes the pose model's own batches of 256 make 250 gradient steps, after which
random CEM solves nothing."""

IMAGES = ("world_model.mean_image=true",)
"""Settings of the model of images where the command does not give them: the homework looks at its
reconstructions.  Heavier pixels show more of an image and cost the policy what it reads
(docs/homework.md)."""

LOOKS = 25
"""Logs, and looks at held-out data, in a training that is counted in epochs."""

DATA_EPISODES = 50
"""Recorded per task where the command does not say how many."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Experiment:
    """One command of the text.

    Attributes:
        name: ``exp_name``, the folder in ``outputs``.
        method: of this library.
        overrides: of the method, but for the number of gradient steps.
        obs: what the environment shows, "pose" or "image".
        env: further keywords of the environment.
        epochs: passes over the recorded steps; None for the method's own numbers of steps.
        seed: of weights, batches and recorded episodes.
        data: folder of recorded episodes; None for the homework's own.
        data_episodes: to collect per task where there is none.
        episodes: of the evaluation, per task.
        load_policy, load_world_model: files of earlier experiments; None trains.
        given: the command's own words.
    """

    name: str
    method: str
    overrides: tuple[str, ...] = ()
    obs: str = "pose"
    env: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    seed: int = 0
    data: str | None = None
    data_episodes: int = DATA_EPISODES
    episodes: int = 20
    load_policy: str | None = None
    load_world_model: str | None = None
    given: tuple[str, ...] = ()

    def updates(self, steps: int) -> list[str]:
        """Overrides of the number of gradient steps: an epoch shows every step of the data once.

        Args:
            steps: recorded environment steps.
        """
        if self.epochs is None:
            return []
        settings = resolve_config(self.method, list(self.overrides))
        training = settings.training
        sequences = training.batch_size * training.sequence_length
        model_steps = self.epochs * math.ceil(steps / sequences)
        found = [f"training.model_steps={model_steps}"]
        if not any(line.startswith("training.log_every=") for line in self.overrides):
            # The methods' own runs are longer: their interval would leave a curve of one point.
            # Rounded up: the last one would be of the few steps that remain.
            found.append(f"training.log_every={math.ceil(model_steps / LOOKS)}")
        if "policy" in settings.sections:
            batches = math.ceil(steps / training.policy_batch_size)
            found.append(f"training.policy_steps={self.epochs * batches}")
        return found


def is_course(words: Sequence[str]) -> bool:
    """Whether a command is written in the homework's words: settings alone, and no method."""
    return any(word.split("=")[0] in ("model_type", "planner.type", "exp_name") for word in words)


def translate(words: Sequence[str]) -> Experiment:
    """The experiment that a command of the text asks for.

    Args:
        words: ``KEY=VALUE`` as the text writes them; ``env.KEY=VALUE`` for the environment, and
            settings of this library beside them.

    Raises:
        ConfigError: for a word that is no setting, a key that neither the text nor the method
            has, or a value that does not fit; the message says what would.
    """
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{word!r} is not KEY=VALUE, as in model_type=simple")
        given[key] = value
    model = _one_of("model_type", given, OBSERVATIONS)
    planner = _one_of("planner.type", given, [p for m, p in METHODS if m == model])
    name = given.get("exp_name", f"{model}_{planner}")
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"exp_name={name!r} does not name a folder: letters, digits, '.', '_' and '-'"
        )
    method = METHODS[model, planner]
    overrides, env = _settings(given, model, planner, method)
    if "training.num_epochs" in given and "training.batch_size" not in given:
        overrides.append(f"training.batch_size={EPOCH_BATCH}")
    if model == "dreamer":
        overrides += [line for line in IMAGES if line.split("=")[0] not in given]
    experiment = Experiment(
        name=name,
        method=method,
        overrides=tuple(overrides),
        obs=OBSERVATIONS[model],
        env=env,
        epochs=_count(given, "training.num_epochs", None),
        seed=_count(given, "seed", 0, least=0) or 0,
        data=given.get("dataset.path"),
        data_episodes=_count(given, "dataset.episodes", DATA_EPISODES) or DATA_EPISODES,
        episodes=_count(given, "eval.episodes", 20) or 20,
        load_policy=given.get("load_policy"),
        load_world_model=given.get("load_world_model"),
        given=tuple(words),
    )
    if experiment.load_policy is not None and planner == "cem":
        raise ConfigError("load_policy needs planner.type=policy or policy_guided_cem")
    resolve_config(method, list(experiment.overrides))  # refuses values that do not fit
    return experiment


def _settings(
    given: Mapping[str, str], model: str, planner: str, method: str
) -> tuple[list[str], dict[str, Any]]:
    """Overrides of the method, and keywords of the environment."""
    overrides: list[str] = []
    env: dict[str, Any] = {}
    sections = resolve_config(method).sections
    for key, value in given.items():
        if key.startswith("env."):
            env[key.removeprefix("env.")] = parse_yaml(value, f"the value of {key}")
        elif key in SETTINGS:
            made = SETTINGS[key](model, planner, value)
            _check_used(key, made, planner, sections)
            overrides += made
        elif key not in OWN:
            overrides.append(f"{key}={value}")
            _check_known(key, sections)
    # Fewer samples than the method's own elites: the text names samples alone.
    settings = {line.split("=")[0]: line.split("=")[1] for line in overrides}
    samples = settings.get("planner.samples")
    if samples is not None and "planner.elites" not in settings and samples.isdigit():
        elites = min(sections["planner"].elites, int(samples))
        overrides.append(f"planner.elites={elites}")
    # A plan is executed for as long as it is, at most.
    horizon = settings.get("planner.horizon")
    if horizon is not None and horizon.isdigit() and "planner.replan" not in settings:
        overrides.append(f"planner.replan={max(1, min(sections['planner'].replan, int(horizon)))}")
    return overrides, env


def _check_used(key: str, made: Sequence[str], planner: str, sections: Mapping[str, Any]) -> None:
    for line in made:
        section, _, name = line.split("=")[0].partition(".")
        if section not in sections or not hasattr(sections[section], name):
            raise ConfigError(f"{key} says nothing about planner.type={planner}: leave it out")


def _check_known(key: str, sections: Mapping[str, Any]) -> None:
    section, _, name = key.partition(".")
    if section in sections and hasattr(sections[section], name):
        return
    own = [f"{s}.{f}" for s, settings in sections.items() for f in vars(settings)]
    valid = [*OWN, *SETTINGS, *own]
    raise ConfigError(
        f"neither the homework nor this method has a setting {key!r}{did_you_mean(key, valid)} "
        f"(the homework's: {', '.join([*OWN, *SETTINGS])}, env.KEY)"
    )


def _one_of(key: str, given: Mapping[str, str], valid: Any) -> str:
    names = list(valid)
    if key not in given:
        raise ConfigError(f"give {key}={' or '.join(names)}")
    if given[key] not in names:
        found = did_you_mean(given[key], names)
        raise ConfigError(f"{key}={given[key]!r}{found} is none of {', '.join(names)}")
    return given[key]


def _count(
    given: Mapping[str, str], key: str, default: int | None, *, least: int = 1
) -> int | None:
    return default if key not in given else _whole(key, given[key], least)


def _whole(key: str, value: str, least: int = 1) -> int:
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise ConfigError(f"{key}={value!r} must be a whole number of at least {least}")
    return number


__all__ = [
    "DATA_EPISODES",
    "METHODS",
    "OBSERVATIONS",
    "OWN",
    "SETTINGS",
    "Experiment",
    "is_course",
    "translate",
]
