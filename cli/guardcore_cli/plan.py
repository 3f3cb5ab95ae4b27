"""``guardcore plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from guardcore_cli import parameters

if TYPE_CHECKING:
    from guardcore.config import RunConfig
    from guardcore.registry import Registry


def plan(
    config: parameters.Config = None,
    strategy: parameters.Strategy = None,
    backbone: parameters.Backbone = None,
    sampler: parameters.Sampler = None,
    ratio: parameters.Ratio = None,
    gradient_weight: parameters.GradientWeight = None,
    reward: parameters.Reward = None,
    assignments: parameters.Set = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes, each with its device.")] = 1,
    memory: Annotated[
        str | None, typer.Option(help="A device's, as 24GB: does it fit, else what to change?")
    ] = None,
    flops: Annotated[
        float | None, typer.Option(min=1, help="A device's FLOP/s as its maker says, as 400e12.")
    ] = None,
    utilization: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of --flops that is reached.")
    ] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    without: parameters.Without = None,
    debug: parameters.Debug = False,
) -> None:
    """Foretell a run's size, memory and time without loading a weight."""
    from guardcore.layers import Overrides
    from guardcore.planning.request import Request
    from guardcore.plugins import PluginHost
    from guardcore_cli.loading import load_config
    from guardcore_cli.sizes import parse_bytes

    overrides = Overrides(
        strategy=strategy,
        backbone=backbone,
        sampler=sampler,
        ratio=ratio or (),
        gradient_weight=gradient_weight or (),
        reward=reward or (),
        assignments=assignments or (),
    )
    settings, registry = load_config(config or (), overrides), PluginHost.on_demand().registry
    request = Request(
        processes=processes,
        memory=parse_bytes(memory) if memory else None,
        flops=flops,
        utilization=utilization,
    )
    warnings = _check(settings, registry)
    from guardcore.planning.plan import make_plan

    made = make_plan(settings, registry, request)
    if as_json:
        typer.echo(made.model_dump_json(indent=1))
        return
    from guardcore_cli.planned import print_plan

    print_plan(made, settings)
    for warning in warnings:
        typer.echo(f"note: {warning}")


def _check(config: RunConfig, registry: Registry) -> tuple[str, ...]:
    """Refuse a config that can't run; that its prompts aren't here yet is no hindrance to a plan.

    Raises:
        ConfigError: Every problem.
    """
    from guardcore.binding import bind
    from guardcore.errors import ConfigError

    try:
        return bind(config, registry).warnings
    except ConfigError as error:
        if not all(problem.startswith("prompts.") for problem in error.problems):
            raise
        return error.problems
