"""FLUX.1: the parts of diffusers' own pipeline, behind GuardCore's contract.

Left out: true classifier-free guidance (FLUX is distilled to do without a second forward), IP
adapters and control nets, because nobody trains with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from guardcore import Condition, Prompt, Schedule
from guardcore_plugins.backbones.conditions import check_rows, prompt_tensors
from guardcore_plugins.backbones.embeddings import Embedding
from guardcore_plugins.backbones.exporting import write_export
from guardcore_plugins.backbones.guidance import GuidanceScale
from guardcore_plugins.backbones.images import decode_latents
from guardcore_plugins.backbones.options import FluxOptions
from guardcore_plugins.backbones.packing import position_ids, unpack
from guardcore_plugins.backbones.precision import arithmetic
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.schedules import pipeline_schedule
from guardcore_plugins.backbones.text_encoders import TextEmbeddings
from guardcore_plugins.backbones.tuning import Tuning


class Flux:
    """A ``FluxPipeline`` as a backbone.

    Latents are packed, ``[B, tokens, 4·C]``: a token is a square of 2 by 2 latents. Conditions
    and schedules are made on the model's device.

    Attributes:
        pipeline: diffusers' pipeline, whose parts do the work.
    """

    def __init__(self, pipeline: Any, tuning: Tuning, options: FluxOptions) -> None:
        self.pipeline = pipeline
        self._tuning = tuning
        self._options = options
        self._guidance = GuidanceScale(options.guidance_scale)
        self._embeddings = TextEmbeddings(pipeline, self._encode_text, options, self.device)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._entry.device

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        """Embed prompts by diffusers' ``encode_prompt``, each distinct text once.

        The condition holds T5's ``prompt_embeds [B, L, D]`` and CLIP's ``pooled_prompt_embeds
        [B, P]``. Texts are kept on the CPU up to ``embeddings.LIMIT_BYTES``.

        Raises:
            ValueError: No prompts, or a size that the model can't draw.
        """
        self._grid(height, width)
        self.prepare(prompt.text for prompt in prompts)
        tensors = prompt_tensors(self._embeddings, prompts, self.device)
        return Condition(tensors, height, width)

    def prepare(self, texts: Iterable[str]) -> None:
        """Embed texts that will be asked for, while text encoders are loaded once."""
        self._embeddings.prepare(texts)

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        """Return the sigmas ``[steps+1]`` (float32) that diffusers' pipeline would follow."""
        tokens, _ = self.latent_shape(height, width)
        scheduler = self.pipeline.scheduler
        even = not scheduler.config.get("use_flow_sigmas")
        return pipeline_schedule(scheduler, steps, tokens, self.device, even)

    def latent_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return ``(tokens, 4·C)`` for a size in pixels.

        Raises:
            ValueError: The size is no multiple of a token's side.
        """
        rows, columns = self._grid(height, width)
        return rows * columns, self.pipeline.transformer.config.in_channels

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return ``noise − x0`` as the model sees it, ``[B, tokens, 4·C]``, in its precision.

        Args:
            x: Latents ``[B, tokens, 4·C]``.
            sigma: Noise levels ``[B]``; the model takes them as they are, and multiplies itself.
            condition: What ``encode`` returned, B rows.

        Raises:
            ValueError: Rows differ.
        """
        check_rows(x, sigma, condition, "[B, tokens, C]")
        x = x.to(self._entry)
        embeds = condition.tensors["prompt_embeds"].to(self.device)
        pooled = condition.tensors["pooled_prompt_embeds"].to(self.device)
        # as diffusers rounds it: the timestep is what takes the model's precision, not sigma
        timestep = (sigma.to(self.device, torch.float32) * self._timesteps).to(x.dtype)
        with arithmetic(self._options, self.device):
            prediction: Tensor = self._tuning.network(
                hidden_states=x,
                timestep=timestep / self._timesteps,
                guidance=self._guidance_rows(len(x)),
                encoder_hidden_states=embeds,
                pooled_projections=pooled,
                txt_ids=torch.zeros(embeds.shape[1], 3, device=self.device),
                img_ids=position_ids(*self._grid(condition.height, condition.width), self.device),
                return_dict=False,
            )[0]
        return prediction

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return images ``[B, 3, H, W]`` in [0, 1], float32, of latents ``[B, tokens, 4·C]``."""
        latents = unpack(x, *self._grid(condition.height, condition.width))
        return decode_latents(self.pipeline.vae, latents, self.device, self._options.decode_batch)

    def trainable(self) -> Mapping[str, Parameter]:
        """Return the adapters' factors, or all of the transformer; float32."""
        return self._tuning.trainable()

    def reference(self) -> AbstractContextManager[None]:
        """Inside, ``velocity`` is that of the weights before any training."""
        return self._tuning.reference()

    def guidance(self, scale: float) -> AbstractContextManager[None]:
        """Inside, ``velocity`` uses another embedded guidance."""
        return self._guidance.exchanged(scale)

    def blocks(self) -> Sequence[Module]:
        """Return the transformer's blocks, in order: the joint ones, then the single ones."""
        transformer = self.pipeline.transformer
        return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]

    def save_adapter(self, directory: Path) -> None:
        """Write ``pytorch_lora_weights.safetensors`` for ``load_lora_weights(directory)``.

        In full fine-tuning, the transformer for ``FluxTransformer2DModel.from_pretrained``.
        """
        self._tuning.save(directory)

    def load_adapter(self, directory: Path) -> None:
        """Read what ``save_adapter`` wrote.

        Raises:
            GuardcoreError: Nothing is there, or it doesn't fit this model.
        """
        self._tuning.load(directory)

    def export(self, directory: Path, to: str) -> str:
        """Write what was trained as ``diffusers``, ``comfyui`` or ``merged``; return its use."""
        return write_export(self.pipeline, self._tuning, self._options, directory, to)

    @property
    def _entry(self) -> Tensor:
        """The bias that latents meet first, in the model's device and precision.

        Not ``transformer.dtype``: with float32 adapters on a half-precision base it is theirs, and
        it walks over all parameters. The bias, because a quantised base has weights of bytes.
        """
        bias: Tensor = self.pipeline.transformer.x_embedder.bias
        return bias

    @cached_property
    def _timesteps(self) -> int:
        """Timesteps per unit of sigma: 1000."""
        count: int = self.pipeline.scheduler.config.num_train_timesteps
        return count

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of tokens."""
        side = 2 * self.pipeline.vae_scale_factor
        if any(size < 1 or size % side for size in (height, width)):
            raise ValueError(
                f"height and width must be multiples of {side} pixels, received {height} x {width}"
            )
        return height // side, width // side

    def _guidance_rows(self, rows: int) -> Tensor | None:
        """Return the guidance as a model distilled for it takes it, ``[B]``; schnell isn't."""
        if not self.pipeline.transformer.config.guidance_embeds:
            return None
        return torch.full((rows,), self._guidance.value, device=self.device, dtype=torch.float32)

    @torch.no_grad()
    def _encode_text(self, text: str) -> Embedding:
        with quiet():
            embeds, pooled, _ = self.pipeline.encode_prompt(
                prompt=text,
                prompt_2=None,
                device=self.device,
                max_sequence_length=self._options.max_sequence_length,
            )
        return embeds, pooled
