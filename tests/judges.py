"""A Mask2Former and a CLIP from small configs, with random weights, saved as real ones are."""

from pathlib import Path

import torch

from guardcore_plugins.backbones.quiet import quiet
from guardcore_plugins.rewards.color import COLORS
from guardcore_plugins.tiny_world.tokens import END, START, train_tokenizer

with quiet():
    import transformers as hf
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        SwinConfig,
    )

CLASSES = ("person", "dog", "mouse", "tv")  # as a COCO checkpoint spells them


def pil_processor(name: str):
    """The image processor that needs no torchvision: transformers 5 calls it by another name."""
    return getattr(hf, f"{name}Pil", None) or getattr(hf, name)


def save_mask2former(directory: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    backbone = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
        window_size=4, out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        dim_feedforward=32, num_queries=10, id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )  # fmt: skip
    Mask2FormerForUniversalSegmentation(config).save_pretrained(directory)
    pil_processor("Mask2FormerImageProcessor")().save_pretrained(directory)
    return directory


def save_clip(directory: Path, seed: int = 0) -> Path:
    tokenizer = train_tokenizer([f"a photo of a {c}-colored object" for c in COLORS] * 2)
    tokenizer.model_max_length = 77  # as CLIP's
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    size = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=77, num_hidden_layers=1,
        bos_token_id=start, eos_token_id=end, **size,
    )  # fmt: skip
    vision = CLIPVisionConfig(image_size=32, patch_size=8, num_hidden_layers=1, **size)
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor = pil_processor("CLIPImageProcessor")
    crop = {"height": 32, "width": 32}
    processor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(directory)
    return directory
