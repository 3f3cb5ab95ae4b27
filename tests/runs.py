"""Runs of the toy and what they leave behind."""

import json
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from guardcore import Options, checkpoint, train
from guardcore.layers import parse_config
from guardcore.loop import Outcome
from guardcore.run_directory import RunDirectory
from toy import Brightness, RewardOptions, ToyBackbone, ToyOptions, toy_host, toy_tree


def run(directory: Path, host=None, resume=False, report=False, **sections) -> Outcome:
    """Train the toy in ``directory``; ``host`` and ``sections`` as in ``toy``.

    Without a report, which would take ten times as long as the run.
    """
    config = parse_config(toy_tree(**sections))
    registry = (host or toy_host()).registry
    return train(config, directory, resume=resume, registry=registry, report=report)


def rows(directory: Path, name: str) -> list[dict]:
    """The rows of ``metrics`` or ``steps``, refusing what is not strict JSON."""

    def refuse(word):
        raise AssertionError(f"{name}.jsonl holds {word}")

    text = (directory / f"{name}.jsonl").read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def metrics(directory: Path) -> list[dict]:
    """The metrics without the seconds, which no two runs share."""
    return [
        {key: value for key, value in row.items() if not key.startswith("seconds/")}
        for row in rows(directory, "metrics")
    ]


def checkpoints(directory: Path) -> list[int]:
    return sorted(int(path.name[-6:]) for path in (directory / "checkpoints").iterdir())


def state(directory: Path, iteration: int | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, the newest by default, by ``file.name``."""
    iteration = checkpoints(directory)[-1] if iteration is None else iteration
    folder = directory / "checkpoints" / f"iteration-{iteration:06d}"
    return {
        f"{path.stem}.{name}": tensor
        for path in folder.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def target(directory: Path, which: str = "weights") -> torch.Tensor:
    """The toy's trained parameter."""
    return state(directory)[f"{which}.target"]


def gradient(directory: Path) -> torch.Tensor:
    """The gradient of a run's only update: AdamW's first moment is a tenth of it."""
    return state(directory)["optimizer.target.exp_avg"] / 0.1


def whole(directory: Path) -> dict[str, object]:
    """All that two runs of one config have in common, to be compared bit for bit."""
    found: dict[str, object] = {
        "metrics": metrics(directory),
        "steps": (directory / "steps.jsonl").read_bytes(),
        "checkpoints": checkpoints(directory),
        "state": {name: tensor.numpy().tobytes() for name, tensor in state(directory).items()},
    }
    for folder in ("samples", "adapter"):
        for path in (directory / folder).iterdir():
            found[f"{folder}/{path.name}"] = content(path)
    return found


def content(path: Path) -> object:
    """A file's bytes; of safetensors what they hold, since their header is in no fixed order."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata()


def left_over(directory: Path) -> list[str]:
    """What a finished run should have cleared away."""
    return [path.name for path in directory.rglob(".*") if path.name != ".lock"]


ONE_UPDATE = {"iterations": 1, "updates_per_iteration": 1, "max_grad_norm": 1e9}


class Spy(ToyBackbone):
    """A toy that remembers with what it was asked for a velocity."""

    def __init__(self, options: ToyOptions) -> None:
        super().__init__(options)
        self.seen: list[dict] = []

    def velocity(self, x, sigma, condition):
        self.seen.append(
            {
                "x": x.detach().clone(),
                "sigma": sigma.clone(),
                "lengths": condition.tensors["length"].clone(),
                "grad": torch.is_grad_enabled(),
                "trained": self._trained,
                "scale": self.scale,
                "target": self.target.detach().clone(),
            }
        )
        return super().velocity(x, sigma, condition)


def spying_host(**factories):
    """A host whose backbone ``spy`` is kept: ``host, spies``; the last of ``spies`` ran last."""
    spies: list[Spy] = []

    def spy(options: ToyOptions) -> Spy:
        spies.append(Spy(options))
        return spies[-1]

    return toy_host(spy=("backbones", spy), **factories), spies


def falling(at):
    """A brightness whose ``at``-th call raises, once in all its lives."""
    calls = []

    def factory(options: Options):
        class Falling(Brightness):
            def __call__(self, images, prompts):
                calls.append(1)
                if len(calls) == at:
                    raise RuntimeError("the power is gone")
                return super().__call__(images, prompts)

        return Falling(RewardOptions())

    return toy_host(brightness=("rewards", factory))


def slow_tree(seconds, iterations=6, **more):
    """The config tree of a toy whose reward takes its time."""
    tree = toy_tree(
        reward=[{"use": "brightness", "seconds": seconds}],
        train={"iterations": iterations},
        evaluate={"every": 2, "num_images": 3, "grid": 1},
        checkpoint={"every": 1, "keep": 2},
        rollout={"batch_size": 8},
    )
    return {**tree, **more}


def wait_for_rows(directory: Path, number: int) -> None:
    """Wait until a run in another process has finished so many iterations, its base included."""
    path = directory / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text().count("\n") >= number):
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


def wait_for_checkpoint(directory: Path, iteration: int) -> None:
    """Wait until a run in another process has saved an iteration."""
    deadline = time.monotonic() + 60
    while not (directory / "checkpoints" / f"iteration-{iteration:06d}").is_dir():
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.02)


def lost(directory: Path) -> int:
    """How many iterations that have a row have no whole checkpoint; the base needs none."""
    done = [row["iteration"] for row in RunDirectory(directory).rows("metrics")]
    saved = checkpoint.find(directory / "checkpoints")
    if saved:
        saved[-1].load()
    return max(done, default=0) - (saved[-1].iteration if saved else 0)


def whole_state(directory: Path) -> dict[str, object]:
    """``whole``, but for which checkpoints are there: that depends on where a run was stopped."""
    return {name: value for name, value in whole(directory).items() if name != "checkpoints"}
