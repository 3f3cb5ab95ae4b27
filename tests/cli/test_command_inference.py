"""``guardcore eval`` and ``guardcore sample``: a model before and after its training."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from runs import metrics
from toy import toy_tree


@pytest.fixture
def trained(guardcore, tmp_path):
    """A run of three iterations, all checkpoints kept."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree(evaluate={"every": 1})))
    done = guardcore("train", "config.yaml", "--out", "run")
    assert done.code == 0, done.err
    return tmp_path / "run"


def evaluated(guardcore, *argv):
    done = guardcore("eval", *argv, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_eval_of_a_checkpoint_is_the_evaluation_that_the_run_made(guardcore, trained):
    scores = [row["eval/brightness"] for row in metrics(trained)]
    for iteration, score in enumerate(scores):
        found = evaluated(guardcore, "run", "--checkpoint", iteration)["brightness"]
        assert found["mean"] == score
        assert found["images"] == 5
    assert evaluated(guardcore, "run")["brightness"]["mean"] == scores[-1]
    assert evaluated(guardcore, "config.yaml")["brightness"]["mean"] == scores[0]


def test_eval_prints_a_table_and_touches_nothing(guardcore, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    done = guardcore("eval", "run")
    assert done.code == 0, done.err
    assert done.out.split()[-6:][0] == "brightness"
    assert "±" in done.out
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_eval_takes_other_settings(guardcore, trained):
    found = evaluated(guardcore, "run", "--set", "evaluate.num_images=12")["brightness"]
    assert found["images"] == 12
    assert 0 < found["standard_error"] < 0.2


@pytest.mark.parametrize("argv", [["--checkpoint", "9"], ["--set", "prompts.eval=null"]])
def test_eval_of_what_is_not_there_is_one_line(guardcore, trained, argv):
    done = guardcore("eval", "run", *argv)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_eval_of_a_damaged_checkpoint_is_one_line(guardcore, trained):
    (trained / "checkpoints" / "iteration-000003" / "ema.safetensors").unlink()
    done = guardcore("eval", "run")
    assert done.code == 2
    assert "iteration-000003" in done.err
    assert len(done.err.splitlines()) == 1


def test_eval_of_a_directory_without_a_run_is_one_line(guardcore, tmp_path):
    (tmp_path / "empty").mkdir()
    done = guardcore("eval", "empty")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def tiles(path, number):
    """The mean colour of the first tiles of a grid: 128 px each behind a frame of 8."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(float)
    return [sheet[8:136, 8 + 136 * n : 136 + 136 * n].mean((0, 1)) for n in range(number)]


def test_sample_writes_an_image_a_prompt_with_the_trained_model(guardcore, tmp_path, trained):
    prompts = ("--prompt", "a cat", "--prompt", "a dog", "--number", 2)
    done = guardcore("sample", "run", *prompts, "--out", "deep/after.png")
    assert done.code == 0, done.err
    assert "4 images in deep/after.png" in done.out
    guardcore("sample", "run", *prompts, "--out", "before.png", "--checkpoint", 0)
    after, before = (np.mean(tiles(tmp_path / p, 4)) for p in ("deep/after.png", "before.png"))
    assert after > before  # three iterations of liking brightness


def test_sample_without_a_prompt_takes_the_held_out_ones(guardcore, tmp_path, trained):
    assert guardcore("sample", "run").code == 0
    assert (tmp_path / "samples.png").is_file()


def test_sample_without_any_prompt_says_what_to_give(guardcore, trained):
    done = guardcore("sample", "run", "--set", "prompts.eval=null")
    assert done.code == 2
    assert "give --prompt" in done.err


def test_the_seed_decides_the_samples(guardcore, tmp_path, trained):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        argv = ("--prompt", "x", "--out", f"{name}.png", "--set", f"seed={seed}")
        assert guardcore("sample", "run", *argv).code == 0
    content = {name: (tmp_path / f"{name}.png").read_bytes() for name in "abc"}
    assert content["a"] == content["b"] != content["c"]


BENCHMARK = [
    {"tag": "colors", "include": [{"class": "circle", "count": 1, "color": "red"}], "prompt": "ww"},
    {"tag": "colors", "include": [], "prompt": "wwwww"},
    {"tag": "counting", "include": [], "prompt": "w"},
]


@pytest.fixture
def benchmark(tmp_path):
    """A small file in the format of GenEval's evaluation_metadata.jsonl."""
    path = tmp_path / "evaluation metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in BENCHMARK))
    return path


def test_eval_of_a_metadata_file_takes_all_its_prompts_four_times(guardcore, trained, benchmark):
    limit = ("--set", "evaluate.num_images=2")
    found = evaluated(guardcore, "run", "--metadata", benchmark, *limit)["brightness"]
    assert found["images"] == 12
    assert {tag: row["images"] for tag, row in found["by_tag"].items()} == {
        "colors": 8, "counting": 4,
    }  # fmt: skip
    means = [row["mean"] for row in found["by_tag"].values()]
    assert found["over_tasks"]["mean"] == pytest.approx(sum(means) / 2)
    assert found["over_tasks"]["mean"] != pytest.approx(found["mean"], abs=1e-6)
    assert found["best_of"]["mean"] > found["mean"]
    assert (found["best_of"]["images_a_prompt"], found["best_of"]["prompts"]) == (4, 3)


def test_eval_of_a_metadata_file_judges_by_another_reward_at_any_number(guardcore, benchmark):
    done = guardcore(
        "eval", "--metadata", benchmark, "--number", 2, "--reward", "geneval",
        "--set", "evaluate.num_inference_steps=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [(*line[1:-5], *line[-2:]) for line in lines[1:]] == [
        ("colors", "4", "images"),
        ("counting", "2", "images"),
        ("mean", "of", "the", "tasks", "2", "tasks"),
        ("all", "6", "images"),
        ("best", "of", "2", "images", "3", "prompts"),
    ]
    assert lines[2][2] == "1.000"  # nothing asked, nothing wrong


def test_eval_takes_a_number_of_images_a_prompt_of_the_configs_own(guardcore, trained):
    found = evaluated(guardcore, "run", "--number", 3)["brightness"]
    assert (found["images"], found["best_of"]["images_a_prompt"]) == (15, 3)


def test_eval_of_a_metadata_file_that_is_not_there_is_one_line(guardcore, trained):
    done = guardcore("eval", "run", "--metadata", "nowhere.jsonl")
    assert done.code == 2
    [line] = done.err.splitlines()
    assert line.startswith("error: prompts.eval.path: no such file: nowhere.jsonl")
