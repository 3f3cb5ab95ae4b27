"""``guardcore plan``, and configs that are laid over each other."""

import json

import pytest
import yaml

from toy import toy_tree

TINY = """
backbone: {use: sd3, model: tiny-sd3, guidance_scale: 1.0, max_sequence_length: 1}
rollout: {groups: 8, group_size: 24, batch_size: 2, height: 64, width: 64, num_inference_steps: 8}
prompts: {train: tiny-world}
reward: [ocr]
"""


@pytest.fixture(autouse=True)
def _tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)


@pytest.fixture
def config(tmp_path):
    """Write a config file; sections as in ``toy_tree``."""

    def write(**sections):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree(**sections)))

    return write


def errors(done):
    assert done.code == 2, done.err
    return [line for line in done.err.splitlines() if line.startswith("error: ")]


def test_the_embedded_model_is_planned_without_loading_it(guardcore):
    done = guardcore("plan", "tiny.yaml", "--memory", "8GB", "--flops", "1e12")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "8 prompts × 24 images = 192, in 96 micro-batches, the last of 2" in said
    assert "trained 0.3 M in float32" in said
    assert "fits 8 GB" in said
    assert "an iteration at 20% of 1 TFLOP/s" in said
    assert "not in these figures: the rewards (ocr)" in said


def test_json_is_for_machines(guardcore):
    made = json.loads(guardcore("plan", "tiny.yaml", "--json", "--memory", "8GB").out)
    assert made["backbone"] == "guardcore:sd3"
    assert made["fits"] is True
    memory = made["estimate"]["memory"]
    assert memory["peak"] == max(memory["by_phase"].values())
    assert made["estimate"]["work"]["iteration"] > 10**11


def test_what_does_not_fit_comes_with_changes_in_order(guardcore):
    done = guardcore("plan", "tiny.yaml", "--memory", "700MB", "--set", "rollout.batch_size=96")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert any(line.startswith("does not fit 700 MB") for line in lines)
    assert any("--set backbone.gradient_checkpointing=true  →" in line for line in lines)
    assert "then it fits" in lines


def test_processes_share_the_micro_batches(guardcore):
    done = guardcore("plan", "tiny.yaml", "--processes", "10")
    said = " ".join(done.out.split())
    assert "over 10 processes: 9 to 10 micro-batches each, at most 20 images; 4% of" in said


def test_a_window_that_moves_and_refilling_are_told(guardcore):
    plain = guardcore("plan", "tiny.yaml", "--json")
    flags = ("--set", "rollout.train_steps={use: sliding, size: 2}", "--set", "rollout.refill=2")
    done = guardcore("plan", "tiny.yaml", *flags)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "of them trained: 2 an iteration, of [" in said
    assert "refilled: up to 3× the rollout, decode and rewards of one round" in said
    work = [
        json.loads(text)["estimate"]["work"]["rollout"]
        for text in (plain.out, guardcore("plan", "tiny.yaml", "--json", *flags).out)
    ]
    assert work[0] == work[1]


def test_a_backbone_without_an_outline_gets_one_line(guardcore, config):
    config()
    done = guardcore("plan", "config.yaml")
    assert done.code == 0, done.err
    assert "toy:toy has no outline: memory and time can't be foretold" in done.out


@pytest.mark.parametrize("size", ["24 apples", "GB", "0GB", "-3GB"])
def test_a_size_that_is_none_is_one_line(guardcore, size):
    (line,) = errors(guardcore("plan", "tiny.yaml", f"--memory={size}"))
    assert "expected a size as 24GB" in line


def test_a_plan_finds_mistakes(guardcore):
    (line,) = errors(guardcore("plan", "tiny.yaml", "--strategy", "gaurd"))
    assert "did you mean 'guard'" in line


def test_prompts_that_are_not_here_yet_are_no_hindrance_to_a_plan(guardcore, config):
    config(prompts={"train": {"use": "text", "path": "missing.txt"}})
    done = guardcore("plan", "config.yaml")
    assert done.code == 0, done.err
    assert "note: prompts.train.path: no such file: missing.txt" in done.out
    (line,) = errors(guardcore("train", "config.yaml", "--dry-run"))
    assert "prompts.train.path: no such file" in line


def test_a_dry_run_says_what_plan_says(guardcore):
    planned = guardcore("plan", "tiny.yaml").out
    tried = guardcore("train", "tiny.yaml", "--dry-run").out
    assert tried.endswith(planned)


def shown(done):
    assert done.code == 0, done.err
    return yaml.safe_load(done.out)


def test_configs_are_laid_over_each_other(guardcore, tmp_path, config):
    config()
    (tmp_path / "over.yaml").write_text("rollout: {groups: 2}\nseed: 5\n")
    one = shown(guardcore("config", "show", "config.yaml"))
    two = shown(guardcore("config", "show", "config.yaml", "over.yaml"))
    assert (two["rollout"]["groups"], two["seed"]) == (2, 5)
    one["rollout"]["groups"], one["seed"] = 2, 5
    assert two == one


def test_another_component_does_not_inherit_options(guardcore, tmp_path, config):
    config(sampler={"use": "flow-sde", "noise_level": 0.3})
    (tmp_path / "over.yaml").write_text("sampler: {use: cps}\n")
    (tmp_path / "same.yaml").write_text("sampler: {use: flow-sde}\n")
    cps = shown(guardcore("config", "show", "config.yaml", "over.yaml"))["sampler"]
    assert cps["noise_level"] != 0.3
    same = shown(guardcore("config", "show", "config.yaml", "same.yaml"))["sampler"]
    assert same["noise_level"] == 0.3


def test_a_profile_is_found_by_its_name_and_its_prompts_are_asked_for(guardcore):
    lines = errors(guardcore("config", "check", "sd35m-ocr", "sd35m-24gb"))
    assert len(lines) == 2
    assert all("no such file: dataset/ocr/" in line for line in lines)


def test_a_misspelt_profile_is_told_what_was_meant(guardcore):
    (line,) = errors(guardcore("config", "check", "sd35m-ocx"))
    assert "did you mean 'sd35m-ocr'" in line
