"""A rollout and an update of SD3.5-Medium's true transformer shape, its weights random.

Run as a script by ``test_sd3_true_shape.py``, so that the peak of memory is its own:
``python true_shape.py DIRECTORY`` prints a JSON object.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open

from guardcore.binding import bind
from guardcore.iteration import iterate
from guardcore.layers import parse_config
from guardcore.learner import Learner
from guardcore.run import prepared

TESTS = Path(__file__).parents[2]
SHAPE = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "out_channels": 16,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}


def transformer():
    """SD3.5-Medium's, in bfloat16 from the start: never a float32 copy."""
    from diffusers import SD3Transformer2DModel

    with torch.device("meta"):
        network = SD3Transformer2DModel(**SHAPE).to(torch.bfloat16)
    network.to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        is_norm = "norm" in name and tensor.ndim == 1 and "linear" not in name
        _ = tensor.fill_(1) if is_norm else tensor.normal_(std=0.02)
    return network


def save_model(directory: Path) -> int:
    """Write a pipeline of the true transformer and small everything else; return its parameters."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel

    import pipelines as small

    torch.manual_seed(0)
    first, second = (small.byte_level_tokenizer(start=True, length=77) for _ in range(2))
    third = small.byte_level_tokenizer(start=False, length=256)
    t5 = T5Config(vocab_size=len(third), d_model=4096, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    network = transformer()
    StableDiffusion3Pipeline(
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(small.clip(first, width=16, projection=768)),
        tokenizer=first,
        text_encoder_2=CLIPTextModelWithProjection(small.clip(second, width=24, projection=1280)),
        tokenizer_2=second,
        text_encoder_3=T5EncoderModel(t5),
        tokenizer_3=third,
    ).save_pretrained(directory)
    return sum(parameter.numel() for parameter in network.parameters())


def config(model: Path):
    return parse_config(
        {
            "backbone": {
                "use": "sd3",
                "model": str(model),
                "guidance_scale": 1.0,
                "max_sequence_length": 16,
                "dtype": "bfloat16",
                "device": "cpu",
                "gradient_checkpointing": True,
            },
            "sampler": {"use": "flow-sde", "noise_level": 0.7},
            "rollout": {
                "num_inference_steps": 2,
                "height": 256,
                "width": 256,
                "groups": 1,
                "group_size": 2,
                "batch_size": 2,
            },
            "strategy": "guard",
            "reward": ["brightness"],
            "prompts": {"train": {"use": "words"}},
            "train": {"iterations": 1, "updates_per_iteration": 1},
        }
    )


def unchanged(network, directory: Path) -> bool:
    """Whether every frozen weight is the file's, bit for bit."""
    stored = {}
    for path in directory.glob("transformer/*.safetensors"):
        with safe_open(path, framework="pt") as file:
            stored |= dict.fromkeys(file.keys(), path)
    for name, tensor in network.state_dict().items():
        if "lora_" not in name:
            plain = name.replace(".base_layer", "")
            with safe_open(stored[plain], framework="pt") as file:
                if not torch.equal(tensor, file.get_tensor(plain)):
                    return False
    return True


def main(directory: Path) -> None:
    sys.path.insert(0, str(TESTS))
    started = time.monotonic()
    parameters = save_model(directory)
    gc.collect()
    built = time.monotonic()
    from toy import toy_host

    settings = config(directory)
    with prepared(settings, bind(settings, toy_host().registry)) as run:
        before = {name: p.detach().clone() for name, p in run.backbone.trainable().items()}
        metrics, rows = iterate(run, Learner(run.backbone.trainable(), settings.train), 1)
        after = run.backbone.trainable()
        print(
            json.dumps(
                {
                    "parameters": parameters,
                    "frozen": unchanged(run.backbone.pipeline.transformer, directory),
                    "moved": sum(not torch.equal(before[name], after[name]) for name in before),
                    "adapters": len(before),
                    "ratio": [row["ratio_mean"] for row in rows],
                    "log_ratio": [row["log_ratio_mean"] for row in rows],
                    "grad_norm": metrics["grad_norm"],
                    "build_seconds": built - started,
                    "run_seconds": time.monotonic() - built,
                    "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
