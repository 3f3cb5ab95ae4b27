"""Write a pipeline of a published model's true shape with random weights.

``python docs/true_shape.py sd3 FOLDER`` or ``flux``: transformer and VAE have every layer of
SD3.5-Medium or FLUX.1-dev, in bfloat16; CLIP and T5 keep their widths and one layer, because a run
encodes its prompts once. What such a pipeline draws is noise, but it takes the memory and the time
of the real one, and nobody has to accept a licence for it. 6 GB of disk for sd3, 25 for flux; with
a number of blocks as a third argument less. A fourth one is the number of layers that each text
encoder keeps, then at their full size.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.nn import Module
from transformers import PreTrainedTokenizerFast

from guardcore_plugins.backbones.outline_modules import meta_pipeline
from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.backbones.shapes import shapes_of

MODELS = {
    "sd3": ("StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3.5-medium"),
    "flux": ("FluxPipeline", "black-forest-labs/FLUX.1-dev"),
}
ONE_LAYER = {"num_layers": 1, "num_hidden_layers": 1, "d_ff": 64, "intermediate_size": 64}


def tokenizer(length: int, vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer over bytes; it knows no more words than the encoder has rows."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=min(300, vocabulary),
        show_progress=False,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=alphabet,
    )
    inner.train_from_iterator(["a photo of two red apples"], trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=length,
    )


def filled(module: Module, device: str) -> Module:
    """Give a module of the ``meta`` device weights: norms 1, all else normal and small."""
    module.to_empty(device=device)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            is_norm = "norm" in name and tensor.ndim == 1 and "linear" not in name
            _ = tensor.fill_(1) if is_norm else tensor.normal_(std=0.02)
    return module


def changed(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with those of ``values`` that it has."""
    return {key: values.get(key, value) for key, value in config.items()}


def write(
    model: str, folder: Path, device: str, blocks: int | None = None, layers: int | None = None
) -> None:
    """Write the pipeline that ``model`` names to ``folder``."""
    with quiet():
        import diffusers

        class_name, published = MODELS[model]
        kept = {"num_layers": layers, "num_hidden_layers": layers} if layers else ONE_LAYER
        shapes = {
            name: changed(part, kept if name.startswith("text_encoder") else {})
            for name, part in shapes_of(published).items()
        }
        if blocks is not None:
            depth = {"num_layers": blocks, "num_single_layers": blocks}
            shapes["transformer"] = changed(shapes["transformer"], depth)
        pipeline_class: Any = getattr(diffusers, class_name)
        components = meta_pipeline(pipeline_class, shapes, torch.bfloat16).components
        for name, component in list(components.items()):
            if isinstance(component, Module):
                components[name] = filled(component, device)
            if name.startswith("text_encoder") and component is not None:
                config = component.config
                length = getattr(config, "max_position_embeddings", 512)  # T5 has none
                word = name.replace("text_encoder", "tokenizer")
                components[word] = tokenizer(length, config.vocab_size)
        pipeline_class(**components).save_pretrained(folder)


if __name__ == "__main__":
    model, folder, *numbers = sys.argv[1:]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    write(model, Path(folder), device, *(int(number) for number in numbers))
