"""How long until a published-style loop's final held-out score is reached.

``python docs/time_to_reward.py measure SEED FOLDER [ITERATIONS]`` trains the embedded model twice
from the same base: by the bare loop of ``guardcore bench`` (plain Flow-GRPO: every step but the
last trained, nothing skipped, float32), and by ``guardcore train``'s iteration as it is configured,
until it has the score at which the other ended, and for half of the iterations at least. Both have
the profile's prompts, rewards, learning rate, updates and iterations. Ours is scored on the
held-out prompts after every few iterations, the other at its ends; neither is counted.

``table FOLDER`` prints what ``docs/performance.md`` holds. A single seed's score after an iteration
is uncertain by .01 to .02 (256 images); the last row compares the seeds' means.

Seconds are processor time, because other processes disturb them far less: use one thread
(``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from guardcore.bench.floor import bare_iteration
from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.evaluation import evaluate
from guardcore.iteration import iterate_with_room
from guardcore.layers import laid_over, read_yaml
from guardcore.learner import Learner
from guardcore.plan import draw_prompts
from guardcore.plugins import PluginHost
from guardcore.run import Run, prepared
from guardcore_plugins.profiles import profiles

EVERY = 5
CLIP = 1e-3  # the profile's range for `plain`
SCORE = "eval/geneval"

Point = Mapping[str, float]


def published(run: Run) -> Callable[[int], None]:
    """Return the bare loop over the run's model: AdamW and PPO's clip, nothing else."""
    config, rollout = run.config, run.config.rollout
    parameters = run.backbone.trainable().values()
    optimizer = torch.optim.AdamW(parameters, lr=config.train.learning_rate, weight_decay=1e-4)
    torch.manual_seed(config.seed)

    def iterate(iteration: int) -> None:
        number = len(run.train_prompts)
        chosen = draw_prompts(number, rollout.groups, config.seed, iteration)
        prompts = [run.train_prompts[c] for c in chosen for _ in range(rollout.group_size)]
        bare_iteration(run, optimizer, prompts, range(rollout.num_inference_steps - 1), CLIP)

    return iterate


def trained(
    run: Run,
    iterate: Callable[[int], None],
    every: int,
    kept: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Point]:
    """Yield the held-out score of the weights that are ``kept``, and the seconds of training."""
    spent, last = 0.0, run.config.train.iterations
    for iteration in range(last + 1):
        if iteration:
            before = time.process_time()
            iterate(iteration)
            spent += time.process_time() - before
        if iteration % every == 0 or iteration == last:
            with kept():
                score = evaluate(run).metrics()[SCORE]
            yield {"iteration": iteration, "seconds": spent, SCORE: score}


def both(seed: int, iterations: int | None) -> Iterator[tuple[str, Point]]:
    """Train the embedded model both ways."""
    tree: dict[str, Any] = read_yaml(profiles()["tiny-sd3"])
    changes: dict[str, Any] = {"seed": seed, "tracker": []}
    if iterations is not None:
        changes["train"] = {"iterations": iterations}
    config = RunConfig.model_validate(laid_over(tree, changes))
    binding = bind(config, PluginHost.on_demand().registry)
    with prepared(config, binding) as run:
        for theirs in trained(run, published(run), every=config.train.iterations):
            yield "published", theirs
    with prepared(config, binding) as run:
        learner = Learner(run.backbone.trainable(), config.train)

        def iterate(iteration: int) -> None:
            iterate_with_room(run, learner, iteration)

        for ours in trained(run, iterate, EVERY, learner.averaged):
            yield "guardcore", ours
            if ours[SCORE] >= theirs[SCORE] and ours["iteration"] >= config.train.iterations / 2:
                return


def measure(seed: int, folder: Path, iterations: int | None) -> None:
    """Write a line a point."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"seed-{seed}.jsonl").open("w", encoding="utf-8") as file:
        for loop, point in both(seed, iterations):
            print(json.dumps({"loop": loop, "seed": seed, **point}), file=file, flush=True)


def reached(curve: Sequence[Point], goal: float) -> float:
    """Return the seconds until a curve is at ``goal``; infinity where it never is."""
    return next((point["seconds"] for point in curve if point[SCORE] >= goal), math.inf)


def mean(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """Return the curves' mean, as far as all of them go."""
    return [
        {key: statistics.mean(point[key] for point in points) for key in ("seconds", SCORE)}
        for points in zip(*curves, strict=False)
    ]


def table(folder: Path) -> str:
    """Return a row a seed, and one of their mean curves."""
    lines = [
        "| seed | before | published, at the end | after | guardcore is there after | share |",
        "|---|---|---|---|---|---|",
    ]
    curves: dict[str, list[list[Point]]] = {"published": [], "guardcore": []}
    for file in sorted(folder.glob("seed-*.jsonl")):
        points = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for loop, found in curves.items():
            found.append([point for point in points if point["loop"] == loop])
        lines.append(row(str(points[0]["seed"]), *(found[-1] for found in curves.values())))
    lines.append(row("mean", *(mean(found) for found in curves.values())))
    return "\n".join(lines)


def row(name: str, theirs: Sequence[Point], ours: Sequence[Point]) -> str:
    """Return a line of the table."""
    goal, whole = theirs[-1][SCORE], theirs[-1]["seconds"]
    there = reached(ours, goal)
    found = f"{there:.0f} s | {there / whole:.2f}" if there < math.inf else "not reached |"
    return f"| {name} | {theirs[0][SCORE]:.3f} | {goal:.3f} | {whole:.0f} s | {found} |"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", seed, folder, *iterations]:
            measure(int(seed), Path(folder), int(iterations[0]) if iterations else None)
        case ["table", folder]:
            sys.stdout.write(table(Path(folder)) + "\n")
        case _:
            sys.exit(__doc__)
