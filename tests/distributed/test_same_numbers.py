"""One, two and three processes do the same: bit for bit, but for the order of a sum."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from launch import start
from runs import ONE_UPDATE, checkpoints, gradient, metrics, rows, target
from toy import toy_tree

WORLDS = (1, 2, 3)
ODD = {"groups": 7, "group_size": 5, "batch_size": 4}  # 35 images in 9 micro-batches

SMOOTH = {"reward": ["colour"], "rollout": ODD, "prompts": {"train": "words"}}
RUNS = {
    "five": SMOOTH | {"train": {"iterations": 5, "learning_rate": 0.02}},
    "first": SMOOTH | {"train": ONE_UPDATE},
    "refilled": SMOOTH
    | {
        "reward": ["picky"],
        "rollout": ODD | {"refill": 2, "same_noise": True, "offload_trajectories": True},
        "penalty": [{"use": "kl", "weight": 0.1}],
        "train": {"iterations": 2, "samples_per_update": "share", "step_gradients_every": 1},
    },
    "held-out": SMOOTH
    | {
        "prompts": {"train": "words", "eval": {"use": "words", "size": 11}},
        "train": {"iterations": 1},
        "evaluate": {"num_images": 11, "grid": 6, "kl_images": 7},
    },
    "auto": SMOOTH
    | {
        "train": {"iterations": 3},
        "strategy": None,
        "ratio": [{"use": "ppo-clip", "range": "auto", "calibration_iterations": 1}],
    },
    "nothing": SMOOTH | {"reward": ["constant"], "train": {"iterations": 2}},
    "one batch": SMOOTH | {"rollout": ODD | {"batch_size": 35}, "train": {"iterations": 2}},
    "cramped": SMOOTH | {"backbone": "cramped", "train": {"iterations": 2}},
    "broken": SMOOTH
    | {"backbone": "poisoned", "train": {"iterations": 2, "max_skipped_updates": 99}},
}
LEFT_ALONE = ("nothing", "broken")
"""Runs after which the weights are what they were."""


def job(folder, name, **more):
    tree = toy_tree(**RUNS[name], distributed={"timeout": 60})
    return {"tree": tree, "out": str(folder / name), "resume": False} | more


def work(world, folder, jobs, code=0):
    (folder / "jobs.json").write_text(json.dumps(jobs))
    ended = start(world, folder / "jobs.json", path=folder, cwd=folder, module="worker").wait()
    assert [process.code for process in ended] == [code] * world, ended[0].err + ended[-1].err
    return ended


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """By number of processes, a folder with all the runs; a last process that hears of errors."""
    made, errors = {}, {}
    for world in WORLDS:
        folder = made[world] = tmp_path_factory.mktemp(f"world-{world}")
        jobs = [job(folder, "first", out=str(folder / "rollout"), rollout=True)]
        jobs += [job(folder, name) for name in RUNS]
        errors[world] = [process.err for process in work(world, folder, jobs)]
    return made, errors


def test_rollouts_are_bit_identical_and_each_row_is_sampled_once(worlds):
    found = []
    for world in WORLDS:
        files = [load_file(path) for path in (worlds[0][world] / "rollout").glob("rank-*")]
        assert len(files) == world
        gathered = [{name: f.pop(name) for name in ("rewards", "pictures")} for f in files]
        assert sum(len(f) for f in files) == len({name for f in files for name in f})
        for own in gathered:
            assert all(torch.equal(own[name], gathered[0][name]) for name in own)
        found.append({name: row for f in [*files, gathered[0]] for name, row in f.items()})
    assert len(found[0]) > 35 * 3
    for other in found[1:]:
        assert found[0].keys() == other.keys()
        assert all(torch.equal(found[0][name], other[name]) for name in other)


@pytest.mark.parametrize("world", WORLDS[1:])
def test_the_first_gradient_differs_by_the_order_of_a_sum(worlds, world):
    alone, together = (gradient(worlds[0][n] / "first") for n in (1, world))
    assert (alone - together).norm() <= 1e-5 * alone.norm()
    assert alone.norm() > 0


@pytest.mark.parametrize("world", WORLDS[1:])
@pytest.mark.parametrize("name", [name for name in RUNS if name not in LEFT_ALONE])
def test_weights_stay_together(worlds, world, name):
    alone, together = (worlds[0][n] / name for n in (1, world))
    moved = target(alone).norm()
    # ten updates: a few roundings of a float32 sum each
    assert (target(alone) - target(together)).norm() <= 1e-5 * moved
    assert moved > 0
    assert checkpoints(alone) == checkpoints(together)


@pytest.mark.parametrize("world", WORLDS[1:])
@pytest.mark.parametrize("name", RUNS)
def test_figures_are_those_of_all_samples(worlds, world, name):
    alone, together = (worlds[0][n] / name for n in (1, world))
    expect_close(metrics(alone), metrics(together))
    expect_close(rows(alone, "steps"), rows(together, "steps"))
    found = [sorted(path.name for path in (d / "samples").iterdir()) for d in (alone, together)]
    assert found[0] == found[1]


def expect_close(ours, theirs):
    """Compare figures; a ratio beside a bound may fall to either side of it."""
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for key, value in one.items():
            loose = 0.02 if "clip" in key or key == "blocked" else 1e-6
            if isinstance(value, float | list):
                value = pytest.approx(value, rel=1e-4, abs=loose, nan_ok=True)
            assert other[key] == value, key


@pytest.mark.parametrize("world", WORLDS)
def test_memory_too_small_in_one_process_halves_the_batch_of_all(worlds, world):
    directory = worlds[0][world] / "cramped"
    assert [row["batch_size"] for row in metrics(directory)[1:]] == [2, 2]
    said = [error.count("out of memory with 4 images") for error in worlds[1][world]]
    assert said == [1] + [0] * (world - 1)


@pytest.mark.parametrize("world", WORLDS)
def test_a_gradient_that_one_process_finds_broken_is_skipped_by_all(worlds, world):
    assert metrics(worlds[0][world] / "broken")[-1]["updates/skipped"] == 4
    assert not target(worlds[0][world] / "broken").any()


@pytest.mark.parametrize("world", [1, 3])
def test_a_run_of_two_goes_on_with_another_number(worlds, world, tmp_path):
    straight, goes_on = worlds[0][1] / "five", tmp_path / "goes-on"
    shutil.copytree(worlds[0][2] / "five", goes_on)
    for later in ("checkpoints/iteration-000004", "checkpoints/iteration-000005", "adapter"):
        shutil.rmtree(goes_on / later)
    work(world, tmp_path, [job(tmp_path, "five", out=str(goes_on), resume=True)])
    expect_close(metrics(straight), metrics(goes_on))
    expect_close(rows(straight, "steps"), rows(goes_on, "steps"))
    assert (target(goes_on) - target(straight)).norm() <= 1e-5 * target(straight).norm()


def test_processes_that_begin_with_other_weights_are_refused(tmp_path):
    tree = toy_tree(backbone="unseeded", distributed={"timeout": 60})
    run = {"tree": tree, "out": str(tmp_path / "run"), "resume": False}
    ended = work(2, tmp_path, [run], code=1)
    assert all("do not have the same weights to begin with" in process.err for process in ended)
