"""``guardcore export``: from a run of the embedded model to what diffusers loads."""

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from runs import state
from toy import toy_tree

TINY = {
    "rollout.groups": 2,
    "rollout.group_size": 4,
    "rollout.batch_size": 8,
    "train.iterations": 2,
    "train.ema_every": 1,
    "train.learning_rate": 2e-2,
    "evaluate.num_images": 8,
    "checkpoint.every": 1,
}


@pytest.fixture(scope="module")
def tiny(forge, tmp_path_factory):
    """A run of the embedded model, two small iterations."""
    folder = tmp_path_factory.mktemp("tiny")
    settings = [word for item in TINY.items() for word in ("--set", "{}={}".format(*item))]
    done = forge.start("train", "--out", "run", *settings, cwd=folder).wait()
    assert done.code == 0, done.err
    return folder / "run"


def test_a_lora_is_exported_with_the_averages_or_the_last_weights(tiny, guardcore, tmp_path):
    for weights in ("ema", "raw"):
        done = guardcore(
            "export", tiny, "--to", "diffusers", "--out", weights, "--weights", weights
        )
        assert done.code == 0, done.err
        assert done.out.splitlines()[0] == f"{weights}: iteration 2, {weights} weights"
        assert done.out.splitlines()[-1] == "load it with: pipeline.load_lora_weights"
        file = load_file(tmp_path / weights / "pytorch_lora_weights.safetensors")
        kept = {
            f"transformer.{name.partition('.')[2]}": tensor
            for name, tensor in state(tiny, 2).items()
            if name.startswith({"ema": "ema.", "raw": "weights."}[weights])
        }
        assert file.keys() == kept.keys()
        assert all((file[name] == kept[name]).all() for name in kept)


def test_the_default_export_is_the_runs_own_adapter(tiny, guardcore, tmp_path):
    assert guardcore("export", tiny, "--to", "diffusers", "--out", "out").code == 0
    name = "pytorch_lora_weights.safetensors"
    ours, own = load_file(tmp_path / "out" / name), load_file(tiny / "adapter" / name)
    assert ours.keys() == own.keys()
    assert all((ours[key] == own[key]).all() for key in own)


def test_comfyui_and_merged_are_exported(tiny, guardcore, tmp_path):
    done = guardcore("export", tiny, "--to", "comfyui", "--out", "comfy", "--checkpoint", 1)
    assert done.code == 0, done.err
    assert "iteration 1" in done.out
    assert "comfyui_lora.safetensors (" in done.out
    done = guardcore("export", tiny, "--to", "merged", "--out", "merged")
    assert done.code == 0, done.err
    assert (tmp_path / "merged" / "model_index.json").is_file()
    base = ["--set", "backbone.model=merged", "--set", "backbone.lora=null"]
    sources = {"run": [tiny], "merged": base, "base": [tiny, "--checkpoint", 0]}
    images = {}
    for name, source in sources.items():
        done = guardcore("sample", *source, "--prompt", "a red circle", "--out", f"{name}.png")
        assert done.code == 0, done.err
        images[name] = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)
    assert np.abs(images["run"] - images["merged"]).max() <= 1
    assert np.abs(images["run"] - images["base"]).max() > 10


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--to", "onnx"], "--to 'onnx': this backbone writes diffusers, comfyui, merged"),
        (["--to", "comfyui", "--checkpoint", "9"], "no checkpoint (wanted: 9)"),
    ],
)
def test_what_is_not_there_is_one_line(argv, line, tiny, guardcore):
    done = guardcore("export", tiny, *argv, "--out", "out")
    assert done.code == 2
    assert line in done.err
    assert len(done.err.splitlines()) == 1


def test_a_backbone_without_export_and_a_folder_without_a_run_are_one_line(guardcore, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree()))
    assert guardcore("train", "config.yaml", "--out", "run").code == 0
    done = guardcore("export", "run", "--to", "diffusers", "--out", "out")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "offers no export" in done.err
    (tmp_path / "nothing").mkdir()
    done = guardcore("export", "nothing", "--to", "diffusers", "--out", "out")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "nothing is no run directory" in done.err
