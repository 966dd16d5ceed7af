"""What ``mbrl eval`` can evaluate: runs, reference policies, and policies of other projects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbrl_agents.cli import console

DEFAULT_ENV = "mbrl/LiberoSpatial-v0"


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated, and where unless the user says otherwise.

    Attributes:
        name: in results.
        env_id, env_kwargs: of ``gymnasium.make``.
        factory: builds the predictor for an environment.
        observation_format: what it is shown, one of `third_party.OBSERVATION_FORMATS`.
    """

    name: str
    env_id: str
    env_kwargs: Mapping[str, Any]
    factory: Callable[..., Any]
    observation_format: str = "mbrl"


def method_or_run(
    run: str,
    method: str | None,
    env: str | None,
    overrides: Sequence[str],
    *,
    device: str = "auto",
    trust_pickle: bool = False,
) -> Evaluated:
    """A reference policy, or a run's agent.

    Args:
        run: name of the policy, or folder of the run.
        method: another method on the run's weights.
        env: Gymnasium id, or None for the run's own.
        overrides: planner and objective settings.
        device, trust_pickle: see `mbrl_agents.runs.loading.load_run`.

    Raises:
        ValueError, FileNotFoundError: with what is wrong.
    """
    from mbrl_agents.config import resolve_config
    from mbrl_agents.envs.registration import defaults
    from mbrl_agents.registry import METHODS
    from mbrl_agents.runs.loading import check_acting, predictor_factory
    from mbrl_agents.runs.spec import RunInfo

    env_kwargs: dict[str, Any] = {}
    folder = None
    if run in METHODS and not METHODS[run].train:
        name, env_id = run, env or DEFAULT_ENV
        env_kwargs = dict(defaults(env_id).kwargs)
    else:
        if run in METHODS and not Path(run).exists():
            raise ValueError(f"{run!r} is a method; give the folder of its run (`mbrl train`)")
        info = RunInfo.read(run)
        name, folder = method or info.spec.method, run
        console.check_method(name)
        check_acting(run, name, overrides)
        env_id = env or info.spec.env_id
        if env is None:
            env_kwargs = dict(info.spec.env_kwargs)
    console.check_env(env_id)
    if folder is None:
        resolve_config(name, list(overrides))
    factory = predictor_factory(name, folder, overrides, device=device, trust_pickle=trust_pickle)
    return Evaluated(name, env_id, env_kwargs, factory)


def third_party(
    target: str, settings: Mapping[str, Any], observation_format: str | None, env: str | None
) -> Evaluated:
    """A policy of another project, in the environment that its observations need.

    Args:
        target: "MODULE:CLASS".
        settings: keyword arguments of the class.
        observation_format: what it is shown; None leaves it to the class.
        env: Gymnasium id, or None for libero_spatial.

    Raises:
        ValueError: with what is wrong.
    """
    from mbrl_agents.envs.libero.published import published_keywords
    from mbrl_agents.envs.libero.suites import SUITES
    from mbrl_agents.envs.registration import defaults
    from mbrl_agents.evaluation import third_party as policies

    policy_class = policies.load_policy_class(target)
    chosen = policies.format_of(policy_class, observation_format)
    policies.check_settings(policy_class, target, settings)
    env_id = env or DEFAULT_ENV
    console.check_env(env_id)
    if chosen == policies.OWN_FORMAT:
        env_kwargs = dict(defaults(env_id).kwargs)
    else:
        suites = {suite.env_id: suite.name for suite in SUITES.values()}
        if env_id not in suites:
            raise ValueError(
                f"the format {chosen!r} is of LIBERO: --env must be one of {', '.join(suites)}"
            )
        env_kwargs = published_keywords(chosen, suites[env_id])
    factory = policies.ThirdPartyPredictor(target, tuple(sorted(settings.items())), chosen)
    return Evaluated(target, env_id, env_kwargs, factory, chosen)


def task_by_task(
    chosen: Evaluated, own: Mapping[str, Any], tasks: list[int | str] | None
) -> tuple[dict[str, Any], list[int | str] | None]:
    """Where something is evaluated: the keywords of ``gymnasium.make``, and the tasks.

    A run on several tasks goes through them one at a time, unless the user names some.  Official
    initial states are numbered within a task, and an environment that draws tasks would test some
    more often than others.

    Args:
        chosen: what is evaluated.
        own: keywords that the user gives for the environment.
        tasks: those the user names, or None.
    """
    from mbrl_agents.runs.tasks import ONE_HOT, one_at_a_time, several_tasks, tasks_of

    env_kwargs = {**chosen.env_kwargs, **own}
    if not several_tasks(chosen.env_kwargs) or not console.takes(chosen.env_id, ONE_HOT):
        return env_kwargs, tasks
    if tasks is None:
        drawn = several_tasks(env_kwargs)
        tasks = tasks_of(chosen.env_id, env_kwargs) if drawn else [env_kwargs["task"]]
    return (env_kwargs if tasks is None else one_at_a_time(env_kwargs)), tasks
