"""Stable Diffusion 3: the parts of diffusers' own pipeline, behind GuardCore's contract.

Left out: skip-layer guidance and IP adapters, because nobody trains with them.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from guardcore import Condition, Prompt, Schedule, promote
from guardcore_plugins.backbones.conditions import check_rows, prompt_tensors
from guardcore_plugins.backbones.embeddings import Embedding
from guardcore_plugins.backbones.exporting import write_export
from guardcore_plugins.backbones.guidance import GuidanceScale
from guardcore_plugins.backbones.images import decode_latents
from guardcore_plugins.backbones.options import SD3Options
from guardcore_plugins.backbones.precision import arithmetic
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.schedules import pipeline_schedule
from guardcore_plugins.backbones.text_encoders import TextEmbeddings
from guardcore_plugins.backbones.tuning import Tuning


class SD3:
    """A ``StableDiffusion3Pipeline`` as a backbone.

    Latents are ``[B, C, H/8, W/8]``. Conditions and schedules are made on the model's device.

    Attributes:
        pipeline: diffusers' pipeline, whose parts do the work.
    """

    def __init__(self, pipeline: Any, tuning: Tuning, options: SD3Options) -> None:
        self.pipeline = pipeline
        self._tuning = tuning
        self._options = options
        self._guidance = GuidanceScale(options.guidance_scale)
        self._embeddings = TextEmbeddings(pipeline, self._encode_text, options, self.device)
        self._last: tuple[weakref.ref[Condition], Embedding] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._entry.device

    def encode(self, prompts: Sequence[Prompt], height: int, width: int) -> Condition:
        """Embed prompts by diffusers' ``encode_prompt``, each distinct text once.

        The condition holds ``prompt_embeds [B, L, D]`` and ``pooled_prompt_embeds [B, P]``, with
        guidance also ``negative_prompt_embeds`` and ``negative_pooled_prompt_embeds``. Texts are
        kept on the CPU up to ``embeddings.LIMIT_BYTES``.

        Raises:
            ValueError: No prompts, or a size that the model can't draw.
        """
        self.latent_shape(height, width)
        self.prepare(prompt.text for prompt in prompts)
        tensors = prompt_tensors(self._embeddings, prompts, self.device)
        if self._is_guided:
            for name, negative in zip(tuple(tensors), self._negative, strict=True):
                tensors[f"negative_{name}"] = negative.expand_as(tensors[name])
        return Condition(tensors, height, width)

    def prepare(self, texts: Iterable[str]) -> None:
        """Embed texts that will be asked for, while text encoders are loaded once."""
        self._embeddings.prepare(itertools.chain([self._options.negative_prompt], texts))

    def schedule(self, steps: int, height: int, width: int) -> Schedule:
        """Return the sigmas ``[steps+1]`` (float32) that diffusers' pipeline would follow."""
        _, rows, columns = self.latent_shape(height, width)
        patch = self.pipeline.patch_size
        tokens = (rows // patch) * (columns // patch)
        return pipeline_schedule(self.pipeline.scheduler, steps, tokens, self.device)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return ``(C, H/8, W/8)`` for a size in pixels.

        Raises:
            ValueError: The size is no multiple of VAE factor times patch, or above the largest
                grid of the model's position embedding.
        """
        factor, config = self.pipeline.vae_scale_factor, self.pipeline.transformer.config
        multiple = factor * config.patch_size
        largest = config.pos_embed_max_size * multiple
        if any(size < 1 or size % multiple or size > largest for size in (height, width)):
            raise ValueError(
                f"height and width must be multiples of {multiple} up to {largest} pixels, "
                f"received {height} x {width}"
            )
        return config.in_channels, height // factor, width // factor

    def velocity(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Return ``noise − x0`` as the model sees it, ``[B, C, h, w]``.

        ``v = v_negative + guidance_scale·(v_positive − v_negative)``, both from one batch of 2B
        rows, the negative ones first; combined in float32. Without guidance the result has the
        model's precision.

        Args:
            x: Latents ``[B, C, h, w]``.
            sigma: Noise levels ``[B]``; the model's timestep is ``1000·sigma``.
            condition: What ``encode`` returned, B rows.

        Raises:
            ValueError: Rows differ, or guidance is on and the condition was encoded without.
        """
        check_rows(x, sigma, condition, "[B, C, h, w]")
        embeds, pooled = self._inputs(condition)
        x = x.to(self._entry)
        timestep = sigma.to(self.device, torch.float32) * self._timesteps
        if self._is_guided:
            x, timestep = torch.cat([x, x]), torch.cat([timestep, timestep])
        with arithmetic(self._options, self.device):
            prediction: Tensor = self._tuning.network(
                hidden_states=x,
                timestep=timestep,
                encoder_hidden_states=embeds,
                pooled_projections=pooled,
                return_dict=False,
            )[0]
        return self._guide(prediction) if self._is_guided else prediction

    def decode(self, x: Tensor, condition: Condition) -> Tensor:
        """Return images ``[B, 3, H, W]`` in [0, 1], float32, of latents ``[B, C, h, w]``."""
        return decode_latents(self.pipeline.vae, x, self.device, self._options.decode_batch)

    def trainable(self) -> Mapping[str, Parameter]:
        """Return the adapters' factors, or all of the transformer; float32."""
        return self._tuning.trainable()

    def reference(self) -> AbstractContextManager[None]:
        """Inside, ``velocity`` is that of the weights before any training."""
        return self._tuning.reference()

    def guidance(self, scale: float) -> AbstractContextManager[None]:
        """Inside, ``encode`` and ``velocity`` use another guidance scale."""
        return self._guidance.exchanged(scale)

    def blocks(self) -> Sequence[Module]:
        """Return the transformer's blocks, in order."""
        return list(self.pipeline.transformer.transformer_blocks)

    def save_adapter(self, directory: Path) -> None:
        """Write ``pytorch_lora_weights.safetensors`` for ``load_lora_weights(directory)``.

        In full fine-tuning, the transformer for ``SD3Transformer2DModel.from_pretrained``.
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
        """The weight that latents meet first, in the model's device and precision.

        Not ``transformer.dtype``: with float32 adapters on a half-precision base it is theirs, and
        it walks over all parameters.
        """
        weight: Tensor = self.pipeline.transformer.pos_embed.proj.weight
        return weight

    @property
    def _is_guided(self) -> bool:
        return self._guidance.value > 1

    @cached_property
    def _timesteps(self) -> int:
        """Timesteps per unit of sigma: 1000."""
        count: int = self.pipeline.scheduler.config.num_train_timesteps
        return count

    @cached_property
    def _negative(self) -> Embedding:
        """The negative prompt's embedding, on the device."""
        embedding = self._embeddings(self._options.negative_prompt)
        return tuple(tensor.to(self.device) for tensor in embedding)

    @torch.no_grad()
    def _encode_text(self, text: str) -> Embedding:
        with quiet():
            embeds, _, pooled, _ = self.pipeline.encode_prompt(
                prompt=text,
                prompt_2=None,
                prompt_3=None,
                device=self.device,
                do_classifier_free_guidance=False,
                max_sequence_length=self._options.max_sequence_length,
            )
        return embeds, pooled

    def _inputs(self, condition: Condition) -> Embedding:
        """Return the model's embeddings, rows doubled for guidance once per condition."""
        tensors = condition.tensors
        embeds, pooled = tensors["prompt_embeds"], tensors["pooled_prompt_embeds"]
        if not self._is_guided:
            return embeds.to(self.device), pooled.to(self.device)
        if self._last is None or self._last[0]() is not condition:
            self._last = weakref.ref(condition), self._doubled(tensors)
        return self._last[1]

    def _doubled(self, tensors: Mapping[str, Tensor]) -> Embedding:
        if "negative_prompt_embeds" not in tensors:
            raise ValueError(
                f"guidance scale is {self._guidance.value:g}, but the condition was encoded "
                "without guidance: encode and velocity need the same guidance(scale)"
            )
        names = ("prompt_embeds", "pooled_prompt_embeds")
        pairs = (torch.cat([tensors[f"negative_{name}"], tensors[name]]) for name in names)
        return tuple(pair.to(self.device) for pair in pairs)

    def _guide(self, prediction: Tensor) -> Tensor:
        negative, positive = promote(prediction).chunk(2)
        return negative + self._guidance.value * (positive - negative)
