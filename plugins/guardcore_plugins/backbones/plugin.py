"""Registers the built-in backbones. Imports neither torch nor diffusers."""

from __future__ import annotations

from guardcore import Backbone, Registrar, hookimpl
from guardcore_plugins.backbones.options import FluxOptions, SD3Options


def sd3(options: SD3Options) -> Backbone:
    """Stable Diffusion 3 and 3.5, or any model of their architecture, LoRA or full fine-tuning."""
    from guardcore_plugins.backbones.quiet import quiet

    with quiet():  # transformers' image processors, unused here, ask for torchvision on import
        from diffusers import StableDiffusion3Pipeline

        from guardcore_plugins.backbones.loading import load
        from guardcore_plugins.backbones.sd3 import SD3

    pipeline, tuning = load(StableDiffusion3Pipeline, options)
    return SD3(pipeline, tuning, options)


def flux(options: FluxOptions) -> Backbone:
    """FLUX.1 dev and schnell, or any model of their architecture, LoRA or full fine-tuning."""
    from guardcore_plugins.backbones.quiet import quiet

    with quiet():
        from diffusers import FluxPipeline

        from guardcore_plugins.backbones.flux import Flux
        from guardcore_plugins.backbones.loading import load

    pipeline, tuning = load(FluxPipeline, options)
    return Flux(pipeline, tuning, options)


@hookimpl
def guardcore_register_backbones(register: Registrar) -> None:
    """Register ``sd3`` and ``flux``."""
    register("sd3", sd3)
    register("flux", flux)
