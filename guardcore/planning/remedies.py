"""What to change in a config that doesn't fit, each change estimated anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, Field

from guardcore.config import RunConfig
from guardcore.errors import ConfigError
from guardcore.layers import assign, parse_config
from guardcore.option_fields import as_yaml
from guardcore.outline import Saving
from guardcore.planning.costs import Costs
from guardcore.planning.estimate import memory_of, outline_of
from guardcore.planning.geometry import geometry
from guardcore.registry import Registry

_TRAJECTORIES = Saving(
    {"rollout.offload_trajectories": True}, "copies to main memory and back", "weights"
)
_WORTH = 0.01
"""A change that saves a smaller share of the peak isn't mentioned."""


class Remedy(BaseModel):
    """A change, on top of those before it."""

    settings: dict[str, bool | int | str | None]
    cost: str
    peak: int = Field(description="bytes, after it")


class Candidate:
    """A config with its costs."""

    def __init__(self, config: RunConfig, registry: Registry, costs: Costs, processes: int) -> None:
        self.config, self.costs = config, costs
        self._registry, self._processes = registry, processes
        self.memory = memory_of(config, costs, geometry(config, registry, processes))

    def changed(self, saving: Saving) -> Candidate | None:
        """Return the config with a change; None where it is made, or options don't go together."""
        tree = self.config.model_dump(mode="json", by_alias=True)
        for path, value in saving.settings.items():
            tree = assign(tree, f"{path}={as_yaml(value)}")
        config = parse_config(tree)
        if config == self.config:
            return None
        costs = self.costs
        if config.backbone != self.config.backbone:
            try:
                outline = outline_of(config, self._registry)
            except ConfigError:
                return None
            costs = costs.changed(outline, saving.smaller) if outline else costs
        return Candidate(config, self._registry, costs, self._processes)

    def savings(self) -> Iterator[Saving]:
        """Yield what may help: the cheap, a smaller micro-batch, the last resorts."""
        offered = self.costs.outline.savings
        yield _TRAJECTORIES
        yield from (saving for saving in offered if not saving.last_resort)
        if (rows := self.config.rollout.batch_size) > 1:
            settings = {"rollout.batch_size": rows // 2}
            yield Saving(settings, "more and smaller micro-batches", "weights")
        yield from (saving for saving in offered if saving.last_resort)

    def improved(self) -> tuple[Saving, Candidate] | None:
        """Return the first change that lowers the peak."""
        for saving in self.savings():
            if saving.smaller in ("update", "decode") and saving.smaller != self.memory.phase:
                continue  # the peak is elsewhere
            candidate = self.changed(saving)
            if candidate and candidate.memory.peak < (1 - _WORTH) * self.memory.peak:
                return saving, candidate
        return None


def remedies(candidate: Candidate, budget: int) -> list[Remedy]:
    """Return changes, in order, until the peak is within ``budget`` bytes or none is left.

    One that a later one takes back isn't mentioned.
    """
    taken: list[Remedy] = []
    while candidate.memory.peak > budget:
        found = candidate.improved()
        if found is None:
            break
        saving, candidate = found
        taken = [r for r in taken if not r.settings.keys() <= saving.settings.keys()]
        peak = candidate.memory.peak
        taken.append(Remedy(settings=dict(saving.settings), cost=saving.cost, peak=peak))
    return taken


def assignments(changes: list[Remedy]) -> Mapping[str, str]:
    """Return what all changes set in the end, config path → YAML."""
    return {path: as_yaml(v) for change in changes for path, v in change.settings.items()}
