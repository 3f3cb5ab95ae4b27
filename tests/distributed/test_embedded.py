"""The embedded model: one, two and three processes; whole in each, or its blocks shared out."""

import json
from re import fullmatch

import pytest
import torch
from safetensors.torch import load_file

from guardcore_cli.loading import embedded_profile
from launch import start
from runs import metrics, rows, state

pytestmark = pytest.mark.slow

ONE = {"iterations": 1, "updates_per_iteration": 1, "max_grad_norm": 1e9, "ema_decay": None}


def tree(backbone, shard, **train):
    """A run of the profile with 15 images in 4 micro-batches, and a reward that is smooth."""
    found = embedded_profile()
    sizes = {"groups": 3, "group_size": 5, "batch_size": 4, "num_inference_steps": 4}
    found["rollout"] = {"height": 64, "width": 64} | sizes
    found["backbone"] |= backbone
    found["reward"] = ["pickscore"]
    found["penalty"] = [{"use": "kl", "weight": 0.01}]
    found["train"] |= {"iterations": 5} | train
    found["evaluate"] = {"every": 5, "num_inference_steps": 3, "num_images": 5, "kl_images": 3}
    found["distributed"] = {"shard": shard, "timeout": 280}
    return found | {"tracker": []}


FULL = {"iterations": 2, "step_gradients_every": 1}
RUNS = {
    "lora": tree({}, "none"),
    "lora, shared out": tree({}, "blocks"),
    "full": tree({"lora": None}, "none", **FULL),
    "full, shared out": tree({"lora": None}, "blocks", **FULL),
    "first": tree({}, "none", **ONE),
    "first, full": tree({"lora": None}, "none", **ONE),
    "first, shared out": tree({"lora": None}, "blocks", **ONE),
}
ALONE = ("lora", "full", "first", "first, full")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """By number of processes, a folder with the runs."""
    runs = {1: ALONE, 2: tuple(RUNS), 3: ("lora", "full, shared out", "first", "first, shared out")}
    return {
        world: made(world, tmp_path_factory.mktemp(f"world-{world}"), {n: RUNS[n] for n in names})
        for world, names in runs.items()
    }


def made(world, folder, runs, resume=False):
    jobs = [{"tree": t, "out": str(folder / name), "resume": resume} for name, t in runs.items()]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    ended = start(world, folder / "jobs.json", path=folder, cwd=folder, module="worker").wait()
    assert [process.code for process in ended] == [0] * world, ended[0].err + ended[-1].err
    return folder


def far(one, other, part):
    """The distance of two states in the names that ``part`` matches, over the first one's norm."""
    pairs = [(one[name], other[name]) for name in one if fullmatch(part, name)]
    gap = sum(float((a - b).double().square().sum()) for a, b in pairs)
    return (gap / sum(float(a.double().square().sum()) for a, _ in pairs)) ** 0.5


@pytest.mark.parametrize(
    ("world", "name", "alone"),
    [
        (2, "first", "first"),
        (3, "first", "first"),
        (2, "first, full", "first, full"),
        (2, "first, shared out", "first, full"),
        (3, "first, shared out", "first, full"),
    ],
)
def test_the_first_gradient(worlds, world, name, alone):
    ours, theirs = state(worlds[1] / alone), state(worlds[world] / name)
    assert ours.keys() == theirs.keys()
    distance = far(ours, theirs, r"optimizer.*\.exp_avg")
    print(f"{world} processes, {name}: gradient {distance:.1e}")
    assert distance <= 1e-5


@pytest.mark.parametrize(
    ("world", "name"),
    [
        (2, "lora"),
        (3, "lora"),
        (2, "lora, shared out"),
        (2, "full"),
        (2, "full, shared out"),
        (3, "full, shared out"),
    ],
)
def test_weights_averages_and_files(worlds, world, name):
    alone, together = worlds[1] / name.partition(",")[0], worlds[world] / name
    ours, theirs = state(alone), state(together)
    assert ours.keys() == theirs.keys()
    distances = {part: far(ours, theirs, f"{part}.*") for part in ("weights", "ema")}
    print(f"{world} processes, {name}:", distances)
    assert max(distances.values()) <= 1e-3
    files = [load_file(next((d / "adapter").glob("*.safetensors"))) for d in (alone, together)]
    assert far(*files, ".*") <= 1e-3
    expect_close(metrics(alone), metrics(together))
    expect_close(rows(alone, "steps"), rows(together, "steps"))


def expect_close(ours, theirs):
    """Compare the figures that do not hang on where a clip range ends."""
    names = ("reward/pickscore", "eval/pickscore", "kl/base", "diversity", "k", "grad_norm")
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in one.keys() & set(names):
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("name", ["lora, shared out", "full, shared out"])
def test_a_shared_out_run_of_two_goes_on_alone_and_with_three(worlds, name, tmp_path):
    runs = {name: RUNS[name] | {"train": RUNS[name]["train"] | {"iterations": 6}}}
    for world in (1, 3):
        folder = tmp_path / f"{world}"
        (folder / name).mkdir(parents=True)
        for path in (worlds[2] / name).rglob("*"):
            target = folder / name / path.relative_to(worlds[2] / name)
            target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
        made(world, folder, runs, resume=True)
        assert [row["iteration"] for row in metrics(folder / name)] == list(range(7))
    one, three = (state(tmp_path / f"{world}" / name) for world in (1, 3))
    assert far(one, three, "weights.*") <= 1e-3
    assert all(torch.isfinite(tensor).all() for tensor in three.values())
