"""The shipped profiles: the paper's settings, and variants for one device of a size."""

from pathlib import Path

import pytest

from guardcore.binding import bind
from guardcore.layers import laid_over, parse_config, read_yaml
from guardcore.planning.plan import make_plan
from guardcore.planning.request import Request
from guardcore.plugins import PluginHost
from guardcore_plugins.profiles import profiles

ROOT = Path(__file__).parents[2]
PROFILES = profiles()
TINY = [name for name in PROFILES if name.startswith("tiny-")]
SIZES = [name for name in PROFILES if name.endswith("gb")]
TASKS = [name for name in PROFILES if name not in (*TINY, *SIZES)]
GEOMETRY = {"groups", "group_size", "batch_size", "offload_trajectories"}
MEMORY = {
    *("gradient_checkpointing", "text_encoders", "quantization", "offload", "decode_batch"),
    *("vae_tiling", "compile", "attention"),
}


@pytest.fixture(scope="module")
def registry():
    return PluginHost.discover().registry


@pytest.fixture(autouse=True)
def _prompt_files(tmp_path, monkeypatch):
    """The files of Flow-GRPO's dataset folder, which the profiles name."""
    monkeypatch.chdir(tmp_path)
    for task in ("geneval", "ocr", "pickscore"):
        folder = tmp_path / "dataset" / task
        folder.mkdir(parents=True)
        for split in ("train", "test"):
            (folder / f"{split}.txt").write_text("a photo of a bench\n")
            (folder / f"{split}_metadata.jsonl").write_text('{"prompt": "a photo of a bench"}\n')


def layered(*names):
    tree = {}
    for name in names:
        tree = laid_over(tree, read_yaml(PROFILES[name]))
    return tree


def test_there_are_three_tasks_and_three_sizes_a_model():
    models = ("sd35m", "flux1dev")
    assert sorted(TASKS) == sorted(
        f"{model}-{task}" for model in models for task in ("geneval", "ocr", "pickscore")
    )
    assert sorted(SIZES) == sorted(f"{model}-{size}gb" for model in models for size in (24, 40, 80))


def test_the_embedded_models_profiles_differ_in_model_and_course_alone():
    sd3, flux = (read_yaml(PROFILES[name]) for name in ("tiny-sd3", "tiny-flux"))
    for profile in (sd3, flux):
        del profile["backbone"]
        for course in ("iterations", "learning_rate", "lr_scheduler"):
            profile["train"].pop(course, None)
    assert flux == sd3


def test_configs_at_the_root_is_the_same_folder():
    found = {path.stem: path.read_bytes() for path in (ROOT / "configs").glob("*.yaml")}
    assert found == {name: path.read_bytes() for name, path in PROFILES.items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_profile_is_sound_alone_and_in_every_size(name, registry):
    model = name.partition("-")[0]
    for sizes in ([], *([size] for size in SIZES if size.startswith(model))):
        binding = bind(parse_config(layered(name, *sizes)), registry)
        assert binding.warnings == ()


@pytest.mark.parametrize("size", SIZES)
def test_a_size_changes_batch_geometry_and_memory_options_alone(size):
    tree = read_yaml(PROFILES[size])
    assert set(tree) <= {"backbone", "rollout"}
    assert set(tree["backbone"]) <= MEMORY
    assert set(tree["rollout"]) <= GEOMETRY


@pytest.mark.parametrize("name", TASKS)
def test_a_profile_has_the_papers_settings(name):
    config, flux = parse_config(layered(name)), name.startswith("flux1dev")
    lora = config.backbone.options["lora"]
    assert (lora["rank"], lora["alpha"]) == (32, 64)
    assert config.train.learning_rate == (2e-4 if flux else 1e-4)
    assert (config.rollout.groups, config.rollout.group_size) == (48, 24)
    assert (config.rollout.height, config.rollout.width) == (512, 512)
    assert config.rollout.num_inference_steps == (6 if flux else 10)
    assert config.evaluate.num_inference_steps == (28 if flux else 40)
    assert config.backbone.options["guidance_scale"] == (3.5 if flux else 4.5)
    assert config.backbone.options["dtype"] == ("bfloat16" if flux else "float16")
    assert config.sampler.options["noise_level"] == (0.9 if flux else 0.7)
    assert (config.train.updates_per_iteration, config.train.ema_every) == (2, 8)
    assert config.train.ema_decay == 0.9
    assert config.penalty == ()


@pytest.mark.parametrize("name", TASKS)
def test_the_clip_range_is_the_papers(name, registry):
    binding = bind(parse_config(layered(name)), registry)
    words = {bound.entry.name: bound.options for bound in binding.ratio}
    width = 4e-6 if name.endswith("pickscore") else 2e-6
    clip = words["ppo-clip"]
    assert (clip.low, clip.high, clip.range) == (width, width, None)
    assert "ratio-norm" in words


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_size_fits_its_device_with_room_for_a_reward(size, registry):
    model, _, memory = size.partition("-")
    config = parse_config(layered(f"{model}-pickscore", size))
    room = 4_000_000_000  # PickScore's CLIP ViT-H in float32, the largest of the three rewards
    budget = int(memory.removesuffix("gb")) * 2**30 - room  # a "24 GB" device has 24 GiB
    made = make_plan(config, registry, Request(memory=budget))
    assert made.fits, made.estimate.memory.by_phase
