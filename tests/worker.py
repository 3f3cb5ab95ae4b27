"""One process of several: does every job of a JSON file, all with the torch it has imported once.

A job is a run of the toy, ``{"tree": …, "out": …, "resume": …}``; or, with ``"rollout"``, the first
rollout of one, of which the process writes the rows that it has sampled.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from guardcore import train
from guardcore.binding import bind
from guardcore.joining import joined
from guardcore.layers import parse_config
from guardcore.packing import tensors_of
from guardcore.run import prepared
from guardcore.sampling import sample
from toy import Colour, ColourOptions, ToyBackbone, ToyOptions, toy_host

LAST = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1


class Cramped(ToyBackbone):
    """Has too little memory for more than two rows in an update, in the last process alone."""

    def velocity(self, x, sigma, condition):
        if LAST and len(x) > 2 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return super().velocity(x, sigma, condition)


class Poisoned(ToyBackbone):
    """Has gradients that are not finite, in the last process alone."""

    def velocity(self, x, sigma, condition):
        found = super().velocity(x, sigma, condition)
        if LAST and found.requires_grad:
            found.register_hook(lambda gradient: gradient * torch.nan)
        return found


class Unseeded(ToyBackbone):
    """Begins with other weights in every process."""

    def __init__(self, options: ToyOptions) -> None:
        super().__init__(options)
        self.target.data.fill_(float(os.environ["RANK"]))


class Picky(Colour):
    """Scores short prompts alike, so that their groups are refilled."""

    def __call__(self, images, prompts):
        long = torch.tensor([len(prompt.text) > 3 for prompt in prompts])
        return super().__call__(images, prompts).where(long, 0.5)


def cramped(options: ToyOptions) -> Cramped:
    return Cramped(options)


def poisoned(options: ToyOptions) -> Poisoned:
    return Poisoned(options)


def unseeded(options: ToyOptions) -> Unseeded:
    return Unseeded(options)


def picky(options: ColourOptions) -> Picky:
    return Picky(options)


def write_rollout(config, directory: Path) -> None:
    binding = bind(config, HOST.registry)
    with joined(config.distributed) as ranks, prepared(config, binding, ranks) as run:
        sampled = sample(run, 1)
        rows = {}
        for kept in sampled.trajectories:
            for name, tensor in tensors_of(kept).items():
                if name.endswith((".x", ".x_next", ".mean")):
                    for sample_, row in zip(kept.samples, tensor, strict=True):
                        rows[f"{sample_}.{name}"] = row.clone()
        rows["rewards"], rows["pictures"] = sampled.rewards["colour"], sampled.pictures
        save_file(rows, directory / f"rank-{ranks.number}.safetensors")


HOST = toy_host(
    cramped=("backbones", cramped),
    poisoned=("backbones", poisoned),
    unseeded=("backbones", unseeded),
    picky=("rewards", picky),
)

for job in json.loads(Path(sys.argv[1]).read_text()):
    out = Path(job["out"])
    config = parse_config(job["tree"])
    if job.get("rollout"):
        out.mkdir(exist_ok=True)
        write_rollout(config, out)
    else:
        train(config, out, resume=job["resume"], registry=HOST.registry, report=False)
