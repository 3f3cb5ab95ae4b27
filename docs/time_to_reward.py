"""How long until a published-style loop's final held-out score is reached.

``python docs/time_to_reward.py published SEED FOLDER`` trains the embedded model as the published
scripts do: by the bare loop of ``guardcore bench`` (plain Flow-GRPO: every step but the last one
trained, nothing skipped, float32, a learning rate that stays), with the default profile's prompts,
reward and updates. Ours is the command itself, into ``FOLDER/guardcore-SEED``::

    guardcore train --set seed=SEED --set evaluate.every=5 --set evaluate.num_images=512 --out …

``table FOLDER`` prints what ``docs/performance.md`` holds. Seconds are those of the iterations,
without evaluations and checkpoints: so many times the median between two scores, which another
process beside a part of the run doesn't change. Use one thread (``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch

from guardcore.bench.floor import bare_iteration
from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.evaluation import evaluate
from guardcore.layers import laid_over, read_yaml
from guardcore.plan import draw_prompts
from guardcore.plugins import PluginHost
from guardcore.run import Run, prepared
from guardcore_plugins.profiles import profiles

ITERATIONS, EVERY = 90, 10
"""Of the published-style loop; ours has its profile's."""
CLIP = 1e-3  # the profile's range for `plain`
IMAGES = 512  # two a held-out prompt
SCORE = "eval/geneval"

Point = Mapping[str, float]


def published(seed: int, folder: Path) -> None:
    """Train by the bare loop, AdamW and PPO's clip, and nothing else; write a line a score."""
    changes = {"seed": seed, "tracker": [], "evaluate": {"num_images": IMAGES}}
    config = RunConfig.model_validate(laid_over(read_yaml(profiles()["tiny-sd3"]), changes))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / f"published-{seed}.jsonl").open("w", encoding="utf-8") as file,
        prepared(config, bind(config, PluginHost.on_demand().registry)) as run,
    ):
        optimizer = torch.optim.AdamW(
            run.backbone.trainable().values(), lr=config.train.learning_rate, weight_decay=1e-4
        )
        torch.manual_seed(seed)
        seconds = 0.0
        for iteration in range(ITERATIONS + 1):
            if iteration:
                before = time.perf_counter()
                _iterate(run, optimizer, iteration)
                seconds += time.perf_counter() - before
            if iteration % EVERY == 0:
                point = {"iteration": iteration, "seconds": seconds, **evaluate(run).metrics()}
                print(json.dumps(point), file=file, flush=True)


def _iterate(run: Run, optimizer: torch.optim.Optimizer, iteration: int) -> None:
    rollout = run.config.rollout
    chosen = draw_prompts(len(run.train_prompts), rollout.groups, run.config.seed, iteration)
    prompts = [run.train_prompts[c] for c in chosen for _ in range(rollout.group_size)]
    bare_iteration(run, optimizer, prompts, range(rollout.num_inference_steps - 1), CLIP)


def trained(directory: Path) -> list[Point]:
    """Return the held-out scores of a run directory, and the seconds of training until each."""
    points, seconds = [], 0.0
    for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        apart = (row.get(f"seconds/{phase}", 0.0) for phase in ("evaluate", "checkpoint"))
        if row["iteration"]:
            seconds += row["seconds/total"] - sum(apart)
        if SCORE in row:
            points.append({"iteration": row["iteration"], "seconds": seconds, SCORE: row[SCORE]})
    return points


def paced(curve: Sequence[Point]) -> list[Point]:
    """Return the curve as it is at an even pace."""
    pace = statistics.median(
        (end["seconds"] - start["seconds"]) / (end["iteration"] - start["iteration"])
        for start, end in pairwise(curve)
    )
    return [{**point, "seconds": pace * point["iteration"]} for point in curve]


def reached(curve: Sequence[Point], goal: float) -> float:
    """Return the seconds until a curve is at ``goal``; infinity where it never is."""
    return next((point["seconds"] for point in curve if point[SCORE] >= goal), math.inf)


def mean(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """Return the curves' mean, point by point."""
    return [
        {key: statistics.mean(point[key] for point in points) for key in ("seconds", SCORE)}
        for points in zip(*curves, strict=True)
    ]


def table(folder: Path) -> str:
    """Return a row a seed, and one of their mean curves."""
    lines = [
        "| seed | before | published-style, at the end | after | GuardCore is there after | share "
        "| GuardCore, at the end | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    theirs, ours = [], []
    for file in sorted(folder.glob("published-*.jsonl")):
        seed = file.stem.rpartition("-")[2]
        points = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        theirs.append(paced(points))
        ours.append(paced(trained(folder / f"guardcore-{seed}")))
        lines.append(_row(seed, theirs[-1], ours[-1]))
    lines.append(_row("the seeds' mean curve", mean(theirs), mean(ours)))
    return "\n".join(lines)


def _row(name: str, theirs: Sequence[Point], ours: Sequence[Point]) -> str:
    goal, whole = theirs[-1][SCORE], theirs[-1]["seconds"]
    there = reached(ours, goal)
    found = f"{there:.0f} s | {there / whole:.2f}" if there < math.inf else "not reached |"
    return (
        f"| {name} | {theirs[0][SCORE]:.3f} | {goal:.3f} | {whole:.0f} s | {found} "
        f"| {ours[-1][SCORE]:.3f} | {ours[-1]['seconds']:.0f} s |"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["published", seed, folder]:
            published(int(seed), Path(folder))
        case ["table", folder]:
            sys.stdout.write(table(Path(folder)) + "\n")
        case _:
            sys.exit(__doc__)
