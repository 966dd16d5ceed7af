"""``mbrl inspect``: what a method would be, without training it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mbrl_agents.cli import console
from mbrl_agents.cli.options import Objective, Planner


def inspect(
    method: Annotated[str, typer.Argument(help="`mbrl methods` lists them.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings such as planner.horizon=10; env.KEY=VALUE for the environment.",
        ),
    ] = None,
    env: Annotated[str, typer.Option(help="Gymnasium id.")] = "mbrl/LiberoSpatial-v0",
    task: Annotated[str | None, typer.Option(help="Task number or name.")] = None,
    planner: Planner = None,
    objective: Objective = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what METHOD would be: spaces, parameters by component, settings.

    \b
    mbrl inspect simple-policy-cem planner.horizon=10 --json
    """
    from mbrl_agents.envs.registration import defaults

    recipe = console.check_method(method)
    console.check_env(env)
    others, taken = console.split_overrides(overrides, "env")
    console.check_env_keywords(env, taken["env"])
    env_kwargs: dict[str, Any] = dict(defaults(env).kwargs)
    env_kwargs.update(taken["env"])
    tasks = console.parse_tasks(task, env)
    if tasks:
        env_kwargs["task"] = tasks[0]

    from mbrl_agents.config import check_config, presets, resolve_config

    others += console.search_overrides(planner, objective)
    with console.usage():
        check_config(method, others)

    import mbrl_agents
    from mbrl_agents.agents.origins import tells_success
    from mbrl_agents.data.parallel import make_env
    from mbrl_agents.runs.work import nested_overrides, parameter_counts

    with console.failures():
        built = make_env(env, env_kwargs)
        config = resolve_config(method, others, success=tells_success(built))
        agent: Any = mbrl_agents.make_agent(method, built, **nested_overrides(others))
        parameters = parameter_counts(agent)
        report = {
            "method": method,
            "kind": recipe.kind,
            "summary": recipe.summary,
            "env": env,
            "env_kwargs": env_kwargs,
            "observation_space": _space(built.observation_space),
            "action_space": _space(built.action_space),
            "parameters": {**parameters, "total": sum(parameters.values())},
            "components": {**recipe.components(), **config.search},
            "presets": presets(method),
            "config": config.to_dict(),
        }
        built.close()
    if as_json:
        console.show_json(report)
        return
    typer.echo(f"{method} ({recipe.kind}): {recipe.summary}")
    typer.echo(f"environment: {env} {env_kwargs}")
    typer.echo(f"observations: {report['observation_space']}")
    typer.echo(f"actions: {report['action_space']}")
    rows = [(name, f"{count:,}") for name, count in report["parameters"].items()]  # type: ignore[attr-defined]
    typer.echo(console.table(["component", "parameters"], rows))
    typer.echo(config.to_yaml().rstrip())


def _space(space: Any) -> Any:
    if hasattr(space, "spaces"):
        return {key: _space(value) for key, value in space.spaces.items()}
    if hasattr(space, "n"):
        return {"n": int(space.n), "dtype": str(space.dtype)}
    return {"shape": list(space.shape), "dtype": str(space.dtype)}
