"""The tables of a report: what was run, and whether it helped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardcore.change import changes, mean_and_error
from guardcore.report.groups import Group
from guardcore.report.read import RecordedRun
from guardcore.report.words import (
    component,
    duration,
    number,
    plural,
    rewards,
    short,
    strategy_name,
    strategy_sentence,
)


@dataclass(frozen=True)
class Verdict:
    """One row of the table of held-out scores, in words."""

    who: str
    colour: str
    reward: str
    before: str
    after: str
    change: str
    reading: str
    basis: str


def facts(run: RecordedRun) -> dict[str, str]:
    """Return what was run, as questions and answers in the order a stranger asks them."""
    config, train, rollout = run.config, run.config["train"], run.config["rollout"]
    images = rollout["groups"] * rollout["group_size"]
    steps = f"{rollout['num_inference_steps']} steps, trained: {_steps(rollout['train_steps'])}"
    name = strategy_name(config) if config.get("strategy") else "own words"
    found = {
        "Model": component(config["backbone"], "model", "guidance_scale", "dtype"),
        "Strategy": f"{name} — {strategy_sentence(config)}",
        "Reward": rewards(config),
        "Sampler": f"{component(config['sampler'], 'noise_level')}; {steps}",
        "An iteration": f"{plural(rollout['groups'], 'prompt')} × {rollout['group_size']} images "
        f"= {images:,}, {rollout['width']} × {rollout['height']} px; "
        f"{plural(train['updates_per_iteration'], 'update')}, "
        f"learning rate {float(train['learning_rate']):g}",
        "Prompts": _prompts(config["prompts"]),
        "Penalty": "; ".join(component(spec, "weight") for spec in config.get("penalty") or ()),
        "Seed": str(config.get("seed", "–")),
        "Progress": f"{status(run)}; {duration(seconds(run))}",
        "Software": _software(run.manifest),
    }
    return {question: answer for question, answer in found.items() if answer}


def status(run: RecordedRun) -> str:
    """Return how far the run has come."""
    planned = int(run.config["train"]["iterations"])
    if run.error is not None:
        return f"failed after iteration {run.iteration} of {planned}: {run.error}"
    if run.finished:
        return f"finished, {plural(planned, 'iteration')}"
    return f"not finished: {run.iteration} of {plural(planned, 'iteration')}"


def seconds(run: RecordedRun) -> float:
    """Return the time that the run's iterations took."""
    return sum(run.series("seconds/total").values())


def verdicts(groups: Sequence[Group]) -> list[Verdict]:
    """Return a row per run and held-out score, and one per group of several seeds."""
    several = sum(len(group.runs) for group in groups) > 1
    rows: list[Verdict] = []
    for group in groups:
        mine = [row for run in group.runs for row in _of_run(group, run, several)]
        rows += mine + (_over_seeds(group) if len(group.runs) > 1 else [])
    return rows


def _of_run(group: Group, run: RecordedRun, several: bool) -> list[Verdict]:
    if len(run.evaluations) < 2:
        return []
    first, last = min(run.evaluations), max(run.evaluations)
    who = f"{group.label}, seed {run.config.get('seed')} ({run.name})" if several else ""
    return [
        Verdict(
            who,
            group.colour,
            row.name,
            number(row.before),
            number(row.after),
            _plus_minus(row.difference, row.error),
            _reading(row.difference, row.error),
            f"{plural(row.images, 'image')}, iteration {first} → {last}",
        )
        for row in changes(run.evaluations[first], run.evaluations[last])
    ]


def _over_seeds(group: Group) -> list[Verdict]:
    ends = [
        changes(run.evaluations[min(run.evaluations)], run.evaluations[max(run.evaluations)])
        for run in group.runs
        if len(run.evaluations) > 1
    ]
    names = dict.fromkeys(change.name for found in ends for change in found)
    rows = []
    for name in names:
        mine = [change for found in ends for change in found if change.name == name]
        if len(mine) > 1:
            before = mean_and_error([change.before for change in mine])[0]
            after = mean_and_error([change.after for change in mine])[0]
            change, error = mean_and_error([change.difference for change in mine])
            figures = number(before), number(after), _plus_minus(change, error)
            who, basis = f"{group.label}, mean", f"{len(mine)} seeds, s.e. over them"
            reading = _reading(change, error)
            rows.append(Verdict(who, group.colour, name, *figures, reading, basis))
    return rows


def _plus_minus(difference: float, error: float) -> str:
    known = f" ± {number(error)}" if math.isfinite(error) else ""
    return f"{number(difference, signed=True)}{known}"


def _reading(difference: float, error: float) -> str:
    """Return in a word what a change is, at two standard errors."""
    if not (math.isfinite(difference) and math.isfinite(error)):
        return "cannot tell"
    if difference == 0 or abs(difference) < 2 * error:
        return "no clear change"
    return "better" if difference > 0 else "worse"


def _steps(train_steps: Any) -> str:
    if isinstance(train_steps, Mapping):
        return ", ".join(f"{key} {v}" for key, v in train_steps.items() if v is not None)
    if isinstance(train_steps, str):
        return "all but the last"
    return ", ".join(str(step) for step in train_steps)


def _prompts(prompts: Mapping[str, Any]) -> str:
    held_out = prompts.get("eval")
    train = component(prompts["train"], "path", "size")
    return f"{train}; held-out: {component(held_out, 'path', 'size') if held_out else 'none'}"


def _software(manifest: Mapping[str, Any]) -> str:
    packages: Mapping[str, Any] = manifest.get("packages") or {}
    shown = [f"{short(name)} {version}" for name, version in packages.items() if version]
    commit = manifest.get("git_commit")
    return ", ".join([*shown, *([f"commit {commit[:10]}"] if commit else [])])
