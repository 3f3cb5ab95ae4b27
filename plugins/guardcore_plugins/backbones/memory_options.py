"""Options that trade time for memory, the same for every backbone; docs/memory.md has the prices.

Imports neither torch nor diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from guardcore_plugins.backbones.model_options import BareModelOptions


class ModelOptions(BareModelOptions):
    """A model, what it costs in memory, and what saving that costs in time."""

    gradient_checkpointing: bool = Field(
        default=False,
        description="Keep one activation a block for the backward pass and compute the others "
        "again: a third more time in the update, the same gradient to the last bit.",
    )
    text_encoders: Literal["keep", "cache"] = Field(
        default="keep",
        description="'cache' encodes the run's prompts before the first iteration, keeps the "
        "embeddings on disk and drops the encoders. Costs disk space, and a load of the encoders "
        "for a prompt that is not there.",
    )
    embedding_cache: Path | None = Field(
        default=None,
        description="Directory of the embeddings, shared by runs and processes; null is "
        "guardcore/embeddings in the user's cache directory ($XDG_CACHE_HOME or ~/.cache).",
    )
    quantization: Literal["8bit", "4bit"] | None = Field(
        default=None,
        description="Frozen weights in 8 bit (LLM.int8) or 4 bit (NF4) by bitsandbytes: a half or "
        "a quarter of bfloat16's bytes. Another base model by rounding, slower forwards; LoRA and "
        "a CUDA device only.",
    )
    offload: Literal["blocks"] | None = Field(
        default=None,
        description="'blocks' keeps the frozen weights of the transformer's blocks in main memory "
        "and copies each block to the device for its turn: one block's bytes on the device, "
        "every block's bytes over the bus both ways in each forward. Needs "
        "gradient_checkpointing and LoRA.",
    )
    attention: str | None = Field(
        default=None,
        description="diffusers' attention backend for the transformer ('native', 'flash', "
        "'xformers', …); null leaves diffusers' choice. Some need a package of their own.",
    )
    compile: bool = Field(
        default=False,
        description="torch.compile each block: minutes at the first forward, faster ones after "
        "it. Every new shape compiles again.",
    )
    decode_batch: int = Field(
        default=16,
        ge=1,
        description="Images that the VAE decodes together: fewer need less memory.",
    )
    vae_tiling: bool = Field(
        default=False,
        description="Decode large images in overlapping tiles: memory of one tile, faint seams.",
    )

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        for holds, problem in self._conflicts():
            if holds:
                raise ValueError(problem)
        return self

    def _conflicts(self) -> list[tuple[bool, str]]:
        full = self.lora is None
        quantised, offloaded = self.quantization is not None, self.offload is not None
        return [
            (
                quantised and full,
                "quantization is for frozen weights, and lora: null trains them all; "
                "give lora a rank or leave quantization out",
            ),
            (
                offloaded and full,
                "offload is for frozen weights, and lora: null trains them all; "
                "give lora a rank or leave offload out",
            ),
            (
                offloaded and not self.gradient_checkpointing,
                "offload: a backward pass finds the weights gone unless each block is computed "
                "again; set gradient_checkpointing: true",
            ),
            (
                quantised and offloaded,
                "quantization and offload each do without the other; choose one",
            ),
            (
                self.compile and (quantised or offloaded),
                "compile goes neither with quantization nor with offload; choose one",
            ),
        ]
