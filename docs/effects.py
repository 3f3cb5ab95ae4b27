"""What each way of saving time saves, on the embedded model.

``python docs/effects.py`` prints the rows of ``docs/performance.md``. The sides of a comparison
take turns in one process, each from the base's weights; a figure is the median of some turns, in
seconds of processor time, which other processes disturb least: use one thread
(``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from guardcore.bench.loops import without_zeros
from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.iteration import iterate
from guardcore.layers import laid_over, read_yaml
from guardcore.learner import Learner, load_weights
from guardcore.plugins import PluginHost
from guardcore.run import Run, prepared
from guardcore_plugins.profiles import profiles

TURNS = 5
SMALL = {"rollout": {"groups": 4, "group_size": 12, "batch_size": 12}}
LATE = {"train_steps": {"size": 2, "from": 4}}

Tree = Mapping[str, Any]


class Side:
    """One side of a comparison: an iteration, as often as it is asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        parameters = run.backbone.trainable()
        self._weights = {name: p.detach().clone() for name, p in parameters.items()}
        self._learner = Learner(parameters, run.config.train)
        self.seconds: list[float] = []
        self.metrics: Mapping[str, float] = {}
        self.first_ratio = 0.0

    def turn(self, iteration: int) -> None:
        """Do one, and note the seconds and how far from 1 a ratio lies before any update."""
        load_weights(self._run.backbone.trainable(), self._weights)
        before = time.process_time()
        self.metrics, rows = iterate(self._run, self._learner, iteration)
        self.seconds.append(time.process_time() - before)
        ends = [row["ratio_quantiles"] for row in rows if row["update"] == 1]
        first = [abs(ratio - 1) for low, *_, high in ends for ratio in (low, high)]
        self.first_ratio = max([self.first_ratio, *first])


def compared(sides: Mapping[str, Tree], as_it_is: Collection[str] = ()) -> None:
    """Print the sides' seconds, the first one's as 1.

    Args:
        sides: What each changes of the small iteration.
        as_it_is: Sides in which a group without a spread has no advantage; in the others it has,
            so that all of them do the same work.
    """
    registry = PluginHost.on_demand().registry
    made: dict[str, Side] = {}
    with ExitStack() as stack:
        for name, changes in sides.items():
            tree: dict[str, Any] = read_yaml(profiles()["tiny-sd3"])
            small = laid_over(tree, {**SMALL, "tracker": []})
            config = RunConfig.model_validate(laid_over(small, changes))
            run = stack.enter_context(prepared(config, bind(config, registry)))
            if name not in as_it_is:
                run = replace(run, advantage=without_zeros(run.advantage))
            made[name] = Side(run)
        for turn in range(TURNS + 1):
            for side in made.values():
                side.turn(1 + turn)
    whole = statistics.median(next(iter(made.values())).seconds[1:])
    for name, side in made.items():
        seconds = statistics.median(side.seconds[1:])
        spread = f"{min(side.seconds[1:]):.2f} to {max(side.seconds[1:]):.2f}"
        sys.stdout.write(
            f"{name:<44} {seconds:7.2f} s ({spread})  {seconds / whole:5.2f}  "
            f"first |r - 1| {side.first_ratio:.0e}  "
            f"no advantage {side.metrics['advantage/zero']:.0%}\n"
        )
        sys.stdout.flush()


def main() -> None:
    """Print every comparison."""
    compared(
        {
            "window 4, 5 of 8 steps; noise of its own": {"rollout": LATE},
            "… noise shared: a group's prefix once": {"rollout": LATE | {"same_noise": True}},
        }
    )
    compared({"blocks as they are": {}, "… compiled": {"backbone": {"compile": True}}})
    for size in (4, 48):
        together = {"rollout": {"batch_size": size}, "train": {"step_gradients_every": 0}}
        compared(
            {
                f"batch {size}, {number} steps a forward": laid_over(
                    together, {"train": {"steps_per_forward": number}}
                )
                for number in (1, 2, 4)
            }
        )
    compared({"every group": {}, "groups without a spread": {}}, ["groups without a spread"])


if __name__ == "__main__":
    main()
