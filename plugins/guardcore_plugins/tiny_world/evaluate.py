"""How well a pipeline follows captions: `python -m guardcore_plugins.tiny_world.evaluate`.

Draws held-out captions with diffusers' own pipeline and judges the pictures by the reader and
GenEval's rule, numbers by OCR. Prints a table per number of steps; `--grid` saves a sample sheet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from torch import Tensor

from guardcore import Prompt
from guardcore_plugins.rewards.geneval import judge
from guardcore_plugins.tiny_world.prompts import choose
from guardcore_plugins.tiny_world.reader import read
from guardcore_plugins.tiny_world.scenes import DIGITS, TAGS

SHIPPED = Path(__file__).parent / "sd3"
BATCH = 64
CELL, LINE = 132, 14  # pixels of a grid cell's side and of its caption


def load(folder: Path = SHIPPED) -> StableDiffusion3Pipeline:
    """The pipeline in a folder, in float32; diffusers wants to be told that there is no T5."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        folder, text_encoder_3=None, tokenizer_3=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def sample(
    pipeline: StableDiffusion3Pipeline,
    texts: Sequence[str],
    steps: int,
    guidance: float = 1.0,
    seed: int = 0,
    padding: int = 1,
) -> Tensor:
    """Images `[N, 3, 64, 64]` in [0, 1]; image i's noise depends on seed and i alone."""
    batches = []
    for start in range(0, len(texts), BATCH):
        part = list(texts[start : start + BATCH])
        seeds = [seed * 1_000_003 + start + row for row in range(len(part))]
        output = pipeline(
            prompt=part,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(number) for number in seeds],
            max_sequence_length=padding,
            output_type="pt",
        )
        batches.append(output.images.float())
    return torch.cat(batches)


def _ocr(images: Tensor, prompts: Sequence[Prompt]) -> list[tuple[float, float]]:
    from guardcore import create

    reward = create("reward", "ocr")
    scores: list[float] = reward(images, prompts).tolist()
    reward.close()
    return [(float(score == 1), score) for score in scores]


def _geneval(images: Tensor, prompts: Sequence[Prompt]) -> list[tuple[float, float]]:
    pairs = zip(prompts, read(images), strict=True)
    verdicts = [judge(prompt.metadata, found) for prompt, found in pairs]
    return [(float(verdict.correct), verdict.partial) for verdict in verdicts]


def score(images: Tensor, prompts: Sequence[Prompt]) -> list[tuple[float, float]]:
    """Strict (0 or 1) and partial credit of each image; all prompts digits, or none."""
    digits = prompts[0].metadata["tag"] == DIGITS
    return _ocr(images, prompts) if digits else _geneval(images, prompts)


def accuracy(
    pipeline: StableDiffusion3Pipeline,
    tags: Sequence[str],
    size: int,
    steps: int,
    guidance: float = 1.0,
    padding: int = 1,
) -> dict[str, tuple[float, float]]:
    """Mean strict and partial credit by tag, over `size` held-out captions each."""
    result = {}
    for tag in tags:
        prompts = choose("eval", (tag,), size, seed=0)
        texts = [prompt.text for prompt in prompts]
        scores = score(sample(pipeline, texts, steps, guidance, padding=padding), prompts)
        strict, partial = zip(*scores, strict=True)
        result[tag] = (sum(strict) / size, sum(partial) / size)
    return result


def grid(images: Tensor, captions: Sequence[str], columns: int) -> Image.Image:
    """A sheet of images, twice their size, each with its caption below."""
    rows = -(-len(captions) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + LINE)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(8)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % columns * CELL, index // columns * (CELL + LINE)
        pixels = image.mul(255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC), (x, y))
        pen.text((x + 1, y + 129), caption, "black", font)
    return sheet


def _table(title: str, result: dict[str, tuple[float, float]]) -> Table:
    table = Table("tag", "strict", "partial", title=title)
    for tag, (strict, partial) in result.items():
        table.add_row(tag, f"{strict:.3f}", f"{partial:.3f}")
    scenes = [values for tag, values in result.items() if tag != DIGITS]
    if scenes:
        means = [sum(column) / len(scenes) for column in zip(*scenes, strict=True)]
        table.add_row("scenes, mean", *(f"{mean:.3f}" for mean in means))
    return table


def _save_grid(pipeline: StableDiffusion3Pipeline, options: argparse.Namespace) -> None:
    prompts = [p for tag in options.tags for p in choose("eval", (tag,), 10, seed=1)]
    captions = [prompt.text for prompt in prompts]
    images = sample(pipeline, captions, options.steps[-1], options.guidance)
    grid(images, captions, 10).save(options.grid)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="pipeline directory")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 10, 28])
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=128, help="captions per tag")
    parser.add_argument("--padding", type=int, default=1, help="zero tokens in T5's place")
    parser.add_argument("--tags", nargs="+", choices=TAGS, default=list(TAGS))
    parser.add_argument("--grid", type=Path, help="PNG to write, ten captions per tag")
    options = parser.parse_args(arguments)
    pipeline = load(options.model)
    for steps in options.steps:
        result = accuracy(
            pipeline, options.tags, options.size, steps, options.guidance, options.padding
        )
        Console().print(_table(f"{steps} steps, guidance {options.guidance}", result))
    if options.grid:
        _save_grid(pipeline, options)


if __name__ == "__main__":
    main()
