"""What the backbones' conditions have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guardcore import Condition, Prompt
from guardcore_plugins.backbones.embeddings import Embedding


def prompt_tensors(
    embed: Callable[[str], Embedding], prompts: Sequence[Prompt], device: torch.device
) -> dict[str, Tensor]:
    """Return ``prompt_embeds [B, L, D]`` and ``pooled_prompt_embeds [B, P]`` on ``device``.

    Args:
        embed: From a text to its ``(prompt_embeds, pooled_prompt_embeds)``, one row each.
        prompts: B prompts.
        device: Where the tensors are wanted.

    Raises:
        ValueError: No prompts.
    """
    if not prompts:
        raise ValueError("encode received no prompts")
    rows = [embed(prompt.text) for prompt in prompts]
    embeds, pooled = (torch.cat(part).to(device) for part in zip(*rows, strict=True))
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def check_rows(x: Tensor, sigma: Tensor, condition: Condition, layout: str) -> None:
    """Check what ``velocity`` received.

    Args:
        x: Latents.
        sigma: Noise levels.
        condition: What ``encode`` returned.
        layout: The latents' dimensions as a user reads them: ``[B, tokens, C]``.

    Raises:
        ValueError: Another number of dimensions, or rows that differ.
    """
    dimensions = layout.count(",") + 1
    if x.ndim != dimensions or sigma.shape != x.shape[:1] or len(condition) != len(x):
        raise ValueError(
            f"velocity takes x {layout}, sigma [B] and a condition of B rows, received "
            f"{list(x.shape)}, {list(sigma.shape)} and {len(condition)} rows"
        )
