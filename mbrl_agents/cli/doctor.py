"""``mbrl doctor``: what an evaluation on LIBERO depends on, and whether it is as it should be."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mbrl_agents.cli import console


def doctor(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[env.KEY=VALUE]...",
            help="Keywords of the environment, such as env.assets=official.",
        ),
    ] = None,
    env: Annotated[
        str, typer.Option(help="Gymnasium id of a LIBERO suite.")
    ] = "mbrl/LiberoSpatial-v0",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what figures depend on here, and compare a few settled states with stock LIBERO.

    The states are of libero_spatial, whatever the suite: poses recorded under MuJoCo 3.3.0 come
    with the package.  Exit code 1 when something makes figures incomparable with published ones.

    \b
    mbrl doctor
    mbrl doctor env.assets=official env.obs=image --json
    """
    from mbrl_agents.envs.libero.suites import SUITES
    from mbrl_agents.envs.registration import defaults

    suites = {suite.env_id for suite in SUITES.values()}
    others, taken = console.split_overrides(overrides, "env")
    console.check_env(env)
    env_kwargs: dict[str, Any] = {**defaults(env).kwargs, **taken["env"]}
    with console.usage():
        if others:
            raise ValueError(f"expected env.KEY=VALUE, not {others[0]!r}")
        if env not in suites:
            raise ValueError(f"{env} is not a suite of LIBERO; valid: {', '.join(sorted(suites))}")
    console.check_env_keywords(env, taken["env"])

    from mbrl_agents.data.conditions import conditions_of
    from mbrl_agents.data.parallel import make_env
    from mbrl_agents.envs.libero.doctor import describe, examine

    with console.failures():
        examined = examine(**env_kwargs)
        env_kwargs["contact_rule"] = _askable(examined.contact_rule)
        built: Any = make_env(env, {**env_kwargs, "render_mode": "rgb_array"})
        built.reset(seed=0)
        built.render()  # now it is known what draws
        conditions = conditions_of(built) | built.unwrapped.image_conditions
        built.close()
    report = {"env": env, "conditions": conditions, **describe(examined)}
    if as_json:
        console.show_json(report)
    else:
        _show(report)
    if not examined.healthy:
        raise typer.Exit(1)


def _askable(rule: str) -> str:
    """The keyword that gives the rule in force: one that MuJoCo follows by itself is either."""
    return "reference" if rule.startswith("native") else rule


def _show(report: dict[str, Any]) -> None:
    rows = [(name.replace("_", " "), str(value)) for name, value in report["conditions"].items()]
    typer.echo(console.table([report["env"], ""], rows))
    typer.echo(
        f"{report['settled_states']} official states settled: at most {report['farthest_mm']} mm "
        f"and {report['most_turned_degrees']} degrees from stock LIBERO's"
    )
    for text in report["wrong"]:
        typer.echo(f"wrong: {text}")
    for text in report["remarks"]:
        typer.echo(f"note: {text}")
    if report["healthy"]:
        typer.echo("nothing is wrong")


__all__ = ["doctor"]
