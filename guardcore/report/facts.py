"""What was run, as questions and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardcore.report.read import RecordedRun
from guardcore.report.windows import trained_steps
from guardcore.report.words import (
    component,
    duration,
    plural,
    rewards,
    short,
    strategy_name,
    strategy_sentence,
)


def facts(run: RecordedRun) -> dict[str, str]:
    """Return what was run, in the order in which a stranger asks."""
    config, train, rollout = run.config, run.config["train"], run.config["rollout"]
    images = rollout["groups"] * rollout["group_size"]
    steps = (
        f"{rollout['num_inference_steps']} steps, trained: {trained_steps(rollout['train_steps'])}"
    )
    name = strategy_name(config) if config.get("strategy") else "own words"
    sentence = strategy_sentence({**config, "ratio": run.words})
    found = {
        "Model": component(config["backbone"], "model", "guidance_scale", "dtype"),
        "Strategy": f"{name} — {sentence}",
        "Reward": rewards(config),
        "Sampler": f"{component(config['sampler'], 'noise_level')}; {steps}",
        "An iteration": f"{plural(rollout['groups'], 'prompt')} × {rollout['group_size']} images "
        f"= {images:,}, {rollout['width']} × {rollout['height']} px; "
        f"{plural(train['updates_per_iteration'], 'update')}, learning rate {_rate(train)}",
        "Refilling": _refilling(run),
        "Prompts": _prompts(config["prompts"]),
        "Penalty": "; ".join(component(spec, "weight") for spec in config.get("penalty") or ()),
        "Seed": str(config.get("seed", "–")),
        "Progress": f"{status(run)}; {duration(seconds(run))}",
        "Software": _software(run.manifest),
    }
    return {question: answer for question, answer in found.items() if answer}


def _rate(train: Mapping[str, Any]) -> str:
    """Return the learning rate, and how it falls; runs of before had no choice."""
    rate, scheduler = f"{float(train['learning_rate']):g}", train.get("lr_scheduler", "constant")
    return rate if scheduler == "constant" else f"{rate}, falling to 0 ({scheduler})"


def status(run: RecordedRun) -> str:
    """Return how far the run has come."""
    planned = int(run.config["train"]["iterations"])
    if run.error is not None:
        return f"failed after iteration {run.iteration} of {planned}: {run.error}"
    if run.finished:
        return f"finished, {plural(planned, 'iteration')}"
    if run.warned_off:
        return f"stopped by the watch: {run.iteration} of {plural(planned, 'iteration')}"
    return f"not finished: {run.iteration} of {plural(planned, 'iteration')}"


def seconds(run: RecordedRun) -> float:
    """Return the time that the run's iterations took."""
    return sum(run.series("seconds/total").values())


def _refilling(run: RecordedRun) -> str:
    """Return how many groups an iteration replaced; empty where it may not."""
    rounds, refilled = run.config["rollout"].get("refill", 0), run.series("rollout/refilled")
    if not rounds:
        return ""
    mean = sum(refilled.values()) / len(refilled) if refilled else 0.0
    limit = f"in at most {plural(rounds, 'round')}"
    return f"{mean:.3g} groups an iteration had one score for all images, and were replaced {limit}"


def _prompts(prompts: Mapping[str, Any]) -> str:
    held_out = prompts.get("eval")
    train = component(prompts["train"], "path", "size")
    return f"{train}; held-out: {component(held_out, 'path', 'size') if held_out else 'none'}"


def _software(manifest: Mapping[str, Any]) -> str:
    packages: Mapping[str, Any] = manifest.get("packages") or {}
    shown = [f"{short(name)} {version}" for name, version in packages.items() if version]
    commit = manifest.get("git_commit")
    return ", ".join([*shown, *([f"commit {commit[:10]}"] if commit else [])])
