"""What each way of saving time saves, on the embedded model.

``python docs/effects.py`` prints the rows of ``docs/performance.md``, or with names only some:
``prefixes``, ``compile``, ``steps``, ``precision``, ``skipped``, ``kept``. The sides of a
comparison take turns in one process, each from the base's weights; a figure is the median of some
turns, in seconds of processor time, which other processes disturb least: use one thread
(``OMP_NUM_THREADS=1``). ``python docs/effects.py embeddings MODEL`` compares a first and a second
start of a pipeline whose encoders are worth leaving out (``docs/true_shape.py``).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from tempfile import TemporaryDirectory
from typing import Any

from guardcore.bench.loops import without_zeros
from guardcore.binding import bind
from guardcore.config import RunConfig
from guardcore.errors import PreflightError
from guardcore.iteration import iterate
from guardcore.layers import laid_over, read_yaml
from guardcore.learner import Learner, load_weights
from guardcore.plugins import PluginHost
from guardcore.prompt import Prompt
from guardcore.run import Run, build_backbone, prepare_prompts, prepared
from guardcore.sampling import sample
from guardcore_plugins.profiles import profiles

TURNS = 5
PROMPTS = 8
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


def prefixes() -> None:
    """A group's images as one row until the first stochastic step."""
    compared(
        {
            "window 4, 5 of 8 steps; noise of its own": {"rollout": LATE},
            "… noise shared: a group's prefix once": {"rollout": LATE | {"same_noise": True}},
        }
    )


def compiled() -> None:
    """The blocks as inductor makes them."""
    compared({"blocks as they are": {}, "… compiled": {"backbone": {"compile": True}}})


def steps() -> None:
    """Trained steps in one forward of the update."""
    for size in (4, 12, 48):
        together = {"rollout": {"batch_size": size}, "train": {"step_gradients_every": 0}}
        compared(
            {
                f"batch {size}, {number} steps a forward": laid_over(
                    together, {"train": {"steps_per_forward": number}}
                )
                for number in (1, 2, 4)
            }
        )


def precision() -> None:
    """How far the ratios are from 1 before any update, four steps in one forward."""
    registry = PluginHost.on_demand().registry
    for dtype, size in product(("float32", "float16", "bfloat16"), (1, 3, 12)):
        tree: dict[str, Any] = read_yaml(profiles()["tiny-sd3"])
        changes = {
            "backbone": {"dtype": dtype},
            "rollout": {"groups": 2, "group_size": 12, "batch_size": size},
            "train": {"updates_per_iteration": 1, "steps_per_forward": 4},
            "tracker": [],
        }
        config = RunConfig.model_validate(laid_over(tree, changes))
        with prepared(config, bind(config, registry)) as run:
            side = Side(run)
            try:
                side.turn(1)
                found = f"first |r - 1| {side.first_ratio:.0e}"
            except PreflightError as error:
                found = str(error).split(":")[0]
        sys.stdout.write(f"{dtype}, batch {size}, 4 steps a forward: {found}\n")
        sys.stdout.flush()


def skipped() -> None:
    """Micro-batches without any advantage, left out."""
    compared({"every group": {}, "groups without a spread": {}}, ["groups without a spread"])


def kept() -> None:
    """What a rollout keeps of an image for the update, by the window of trained steps."""
    registry = PluginHost.on_demand().registry
    for name, window in {"all of 10": "all", "2 of 10": {"size": 2}}.items():
        tree: dict[str, Any] = laid_over(read_yaml(profiles()["tiny-sd3"]), SMALL)
        changes = {"rollout": {"num_inference_steps": 10, "train_steps": window}, "tracker": []}
        config = RunConfig.model_validate(laid_over(tree, changes))
        with prepared(config, bind(config, registry)) as run:
            found = sample(run, 1)
        taken = [step for trajectory in found.trajectories for step in trajectory.steps]
        tensors = [t for step in taken for t in (step.x, step.x_next, step.old.mean)]
        distinct = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        latents = sum(distinct.values()) / len(found.prompts)
        sys.stdout.write(f"trained steps {name}: {latents / 1024:.0f} KiB of latents an image\n")


def embeddings(model: str) -> None:
    """Two starts with ``text_encoders: cache``, until the embeddings of a few prompts are there."""
    from guardcore_plugins.backbones.quiet import quiet

    registry = PluginHost.on_demand().registry
    with TemporaryDirectory() as folder:
        cache = {"text_encoders": "cache", "embedding_cache": folder, "dtype": "float32"}
        tree: dict[str, Any] = read_yaml(profiles()["tiny-sd3"])
        tree["backbone"] = {"use": "sd3", "model": model, **cache}
        config = RunConfig.model_validate(tree)
        prompts = [Prompt(f"a photo of {number} red apples") for number in range(PROMPTS)]
        for start in ("first", "second"):
            with quiet():
                backbone = build_backbone(config, bind(config, registry))
            before = time.process_time()
            prepare_prompts(backbone, prompts)
            prepare = time.process_time() - before
            backbone.encode(prompts, config.rollout.height, config.rollout.width)
            encode = time.process_time() - before - prepare
            sys.stdout.write(
                f"{start} start, {PROMPTS} prompts: prepared in {prepare:.2f} s, "
                f"encoded in {encode:.3f} s\n"
            )
            sys.stdout.flush()


EFFECTS = {
    "prefixes": prefixes,
    "compile": compiled,
    "steps": steps,
    "precision": precision,
    "skipped": skipped,
    "kept": kept,
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["embeddings", model]:
            embeddings(model)
        case names if set(names) <= set(EFFECTS):
            for name in names or EFFECTS:
                EFFECTS[name]()
        case _:
            sys.exit(__doc__)
