"""Small CLIPs with random weights, in directories as ``save_pretrained`` writes them."""

import json
import math

import pytest
import torch
import transformers

from guardcore_plugins.tiny_world.tokens import train_tokenizer

PilProcessor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
CAPTIONS = ["a red circle", "two blue squares", "a green ring above a cross", 'the number "407"']
PREPROCESSING = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}


def small_tower(**more):
    heads = {"num_attention_heads": 2, "num_hidden_layers": 2}
    return {"hidden_size": 32, "intermediate_size": 64, **heads, **more}


def small_clip(vocabulary, eos):
    text = small_tower(vocab_size=vocabulary, max_position_embeddings=77, eos_token_id=eos)
    vision = small_tower(image_size=56, patch_size=14)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():  # as trained models have it, and wide enough apart to tell scores apart
        model.logit_scale.fill_(math.log(100))
        for tower in (model.vision_model, model.text_model):
            for weight in (p for p in tower.parameters() if p.ndim > 1):
                weight.mul_(4)
    return model


@pytest.fixture(scope="session")
def clip_on_disk(tmp_path_factory):
    """A model's directory that holds its tokenizer and preprocessing, too."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = train_tokenizer(CAPTIONS)
    tokenizer.model_max_length = 77
    small_clip(len(tokenizer), tokenizer.eos_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    written = {"image_processor_type": "CLIPImageProcessor", **PREPROCESSING}
    (folder / "preprocessor_config.json").write_text(json.dumps(written))
    return folder


@pytest.fixture(scope="session")
def reference(clip_on_disk):
    """The scores of images by transformers' own forward and processor, one image at a time."""
    model = transformers.CLIPModel.from_pretrained(clip_on_disk).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_on_disk)
    processor = PilProcessor.from_pretrained(clip_on_disk)

    @torch.no_grad()
    def scores(pictures, texts):
        """``pictures`` are PIL's; the result is exp(logit_scale) · cos, ``[B]``."""
        rows = []
        for picture, text in zip(pictures, texts, strict=True):
            words = tokenizer(
                [text], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            )
            pixels = processor(picture, return_tensors="pt")
            rows.append(model(**words, **pixels).logits_per_image[0, 0])
        return torch.stack(rows)

    return scores
