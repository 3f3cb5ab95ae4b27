"""The page: what it says, in the order in which a stranger asks, and how it becomes HTML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from guardcore.report.canvas import Plot, svg
from guardcore.report.comparison import compare
from guardcore.report.facts import facts, seconds, status
from guardcore.report.gold import alarms
from guardcore.report.groups import Group, differing, flat
from guardcore.report.plots import drift_plots, gradient_plot, score_plots, time_plot
from guardcore.report.plots_by_step import clip_plots, share_plot, step_plots
from guardcore.report.plots_of_gold import gold_plots, gold_text
from guardcore.report.read import RecordedRun
from guardcore.report.samples import comparisons, data_uri
from guardcore.report.tables import tables
from guardcore.report.verdicts import every_seed, verdicts
from guardcore.report.words import duration, strategy_sentence

_SAW = (
    "The importance ratio compares the model with the one that sampled; the clip takes the "
    "gradient from terms that moved too far. In the first update of an iteration both are the "
    "same model, so every ratio is 1 by construction: all figures here are of updates from the "
    "second on."
)
_ONE_UPDATE = (
    "This config does one update an iteration. In it the model is still the one that sampled: "
    "every ratio is 1 by construction, and no clip can act. With "
    "train.updates_per_iteration of 2 or more there is something to see here."
)
_LONG_TITLE = 60
_NOTHING_YET = "No iteration with a second update has finished yet."


@dataclass(frozen=True)
class Section:
    """A heading with a text, warnings and figures."""

    title: str
    text: str
    plots: tuple[Plot, ...]
    warnings: tuple[str, ...] = ()


def sections(groups: Sequence[Group]) -> list[Section]:
    """Draw every figure that the runs have data for."""
    last = [share_plot(groups), gradient_plot(groups), time_plot(groups)]
    went = (*score_plots(groups), *drift_plots(groups))
    gold = Section(
        "Is the reward still the goal?",
        gold_text(groups),
        tuple(gold_plots(groups)),
        tuple(alarms(groups)),
    )
    steps, text = (*step_plots(groups), *clip_plots(groups)), _SAW
    if not steps:
        single = all(r.config["train"]["updates_per_iteration"] < 2 for g in groups for r in g.runs)
        text = _ONE_UPDATE if single else _NOTHING_YET
    return [
        gold,
        Section("How it went", "", _said_once(went)),
        Section("What the clip saw", text, _said_once(steps)),
        Section("Gradient and time", "", tuple(plot for plot in last if plot)),
    ]


def render(groups: Sequence[Group], parts: Sequence[Section]) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["picture"] = lambda plot: data_uri(svg(plot.figure), "image/svg+xml")
    template = files("guardcore.report").joinpath("page.html").read_text(encoding="utf-8")
    runs = [run for group in groups for run in group.runs]
    return environment.from_string(template).render(
        title=_title(groups),
        facts=facts(runs[0]) if len(runs) == 1 else _shared(runs),
        differences=_differences(runs),
        runs=[_run(group, run) for group in groups for run in group.runs],
        strategies=[(group, strategy_sentence(group.runs[0].config)) for group in groups],
        tables=[verdicts(groups), every_seed(groups)],
        side_by_side=tables(compare(groups)) if len(groups) > 1 else [],
        comparisons=comparisons(groups),
        rewards=list(dict.fromkeys(name for run in runs for name in run.labels("eval"))),
        sections=parts,
    )


def _said_once(plots: Iterable[Plot]) -> tuple[Plot, ...]:
    """Return the plots, each with its reading only where the reader has not had it yet."""
    said: dict[str, str] = {}
    return tuple(
        plot if said.setdefault(plot.reading, plot.name) == plot.name else replace(plot, reading="")
        for plot in plots
    )


def _title(groups: Sequence[Group]) -> str:
    runs = [run for group in groups for run in group.runs]
    if len(runs) == 1:
        return runs[0].name
    labels = " · ".join(group.label for group in groups)
    return labels if len(labels) < _LONG_TITLE else f"{len(runs)} runs side by side"


def _run(group: Group, run: RecordedRun) -> dict[str, Any]:
    import yaml

    return {
        "name": run.name,
        "label": group.label,
        "colour": group.colour,
        "seed": run.config.get("seed"),
        "status": status(run),
        "time": duration(seconds(run)),
        "config": yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        "manifest": json.dumps(run.manifest, indent=1, ensure_ascii=False),
    }


def _shared(runs: Sequence[RecordedRun]) -> dict[str, str]:
    """Return the facts that all runs have in common."""
    found = [facts(run) for run in runs]
    return {
        question: answer
        for question, answer in found[0].items()
        if question != "Strategy" and all(other.get(question) == answer for other in found)
    }


def _differences(runs: Sequence[RecordedRun]) -> list[tuple[str, list[str]]]:
    """Return the config paths at which the runs differ, with each run's value."""
    leaves: list[Mapping[str, Any]] = [flat(run.config) for run in runs]
    paths = differing([run.config for run in runs])
    return [(path, [str(leaf.get(path, "–")) for leaf in leaves]) for path in paths]
