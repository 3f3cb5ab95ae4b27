"""What a run would cost, and what to change where it doesn't fit."""

from __future__ import annotations

from pydantic import BaseModel, Field

from guardcore.config import RunConfig
from guardcore.planning.costs import Costs
from guardcore.planning.estimate import Estimate, costs_of, estimate, outline_of
from guardcore.planning.geometry import Geometry, geometry
from guardcore.planning.remedies import Candidate, Remedy, remedies
from guardcore.planning.request import Request
from guardcore.registry import Registry


class Plan(BaseModel):
    """What ``guardcore plan`` says."""

    backbone: str
    request: Request
    geometry: Geometry
    estimate: Estimate | None = Field(description="null for a backbone without an outline")
    fits: bool | None = Field(description="the given memory; null where none was given")
    remedies: list[Remedy] = Field(description="changes, each on top of those before it")
    fits_then: bool | None = Field(description="with all of them")
    rewards: list[str] = Field(description="whose own memory and time are not in the estimate")


def make_plan(config: RunConfig, registry: Registry, request: Request) -> Plan:
    """Return the plan of a config; no weight is loaded.

    Raises:
        GuardcoreError: The shapes of the model can't be read, or its outline fails.
    """
    outline, dealt = outline_of(config, registry), geometry(config, registry, request.processes)
    found, fits, changes, fits_then = None, None, [], None
    if outline is not None:
        costs = costs_of(config, outline)
        found = estimate(config, costs, dealt, request)
        if request.memory is not None:
            fits = found.memory.peak <= request.memory
            changes = [] if fits else _changes(config, registry, costs, request)
            peak = changes[-1].peak if changes else found.memory.peak
            fits_then = peak <= request.memory
    return Plan(
        backbone=registry.find("backbone", config.backbone.use).qualified,
        request=request,
        geometry=dealt,
        estimate=found,
        fits=fits,
        remedies=changes,
        fits_then=fits_then,
        rewards=[reward.use for reward in config.reward],
    )


def _changes(config: RunConfig, registry: Registry, costs: Costs, request: Request) -> list[Remedy]:
    candidate = Candidate(config, registry, costs, request.processes)
    return remedies(candidate, request.memory or 0)
