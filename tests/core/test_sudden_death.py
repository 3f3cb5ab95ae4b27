"""kill -9 at any moment costs the iteration at hand, and nothing else."""

import json
import random
import shutil
import signal
import time

import pytest

from faults import faulty_host
from guardcore import checkpoint
from guardcore_cli.loading import embedded_profile
from runs import content, left_over, lost, metrics, run, slow_tree, whole
from toy import toy_tree


def small_embedded_tree():
    """The embedded model, its geometry odd and small enough for many starts."""
    rollout = {"groups": 3, "group_size": 5, "batch_size": 6, "num_inference_steps": 4}
    return embedded_profile() | {
        "rollout": rollout | {"height": 64, "width": 64, "train_steps": "all"},
        "train": {"iterations": 8, "learning_rate": 1e-3},
        "evaluate": {"every": 3, "num_inference_steps": 3, "num_images": 6},
        "checkpoint": {"every": 1, "keep": 2},
        "tracker": [],
    }


def everything_tree():
    """All that a run can hold between two iterations, on a disk that is slow to sync.

    Refilled groups (the reward has few levels), a clip that calibrates itself, a random window,
    averages, gold and the best checkpoint, recordings.
    """
    return toy_tree(
        reward=[{"use": "faulty", "levels": 6}, {"use": "brightness", "weight": 0}],
        rollout={
            "groups": 3,
            "group_size": 3,
            "refill": 2,
            "train_steps": {"size": 2, "choose": "random"},
        },
        ratio=["ratio-norm", {"use": "ppo-clip", "range": "auto"}],
        gradient_weight=["inverse-dt"],
        train={"iterations": 8, "ema_decay": 0.9, "ema_every": 2, "step_gradients_every": 3},
        evaluate={"every": 2, "num_images": 3, "grid": 1, "kl_images": 2},
        watch={"keep_best": True, "window": 2},
        checkpoint={"every": 1, "keep": 1},
        record={"iterations": 3},
        tracker=[{"use": "faulty-tracker", "slow_disk": 0.01}],
    )


def test_the_run_that_holds_everything_does(tmp_path):
    run(tmp_path, host=faulty_host(), **everything_tree())
    rows = metrics(tmp_path)
    assert sum(row.get("rollout/refilled", 0) for row in rows) > 0
    assert json.loads((tmp_path / "manifest.json").read_text())["calibrated"]
    assert len(list((tmp_path / "recordings").iterdir())) == 3
    assert {"gold", "kl/base"} <= set(rows[-1])


@pytest.mark.parametrize(
    ("tree", "times"),
    [
        pytest.param(lambda: slow_tree(0.01), 10, id="toy"),
        pytest.param(everything_tree, 50, id="everything", marks=pytest.mark.slow),
        pytest.param(small_embedded_tree, 10, id="embedded", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_a_run_ends_as_if_undisturbed(
    faulty, tmp_path, undisturbed, tree, times
):
    want, seconds = undisturbed(tree())
    chance, kills, finished = random.Random(0), 0, 0
    while kills < times:
        folder = tmp_path / f"run-{finished}"
        process = faulty.start("train", "config.yaml", "--out", folder, "--resume")
        time.sleep(chance.uniform(0, seconds))
        process.signal(signal.SIGKILL)
        done = process.wait()
        kills += done.code == -signal.SIGKILL
        finished += done.code == 0
        assert done.code in (0, -signal.SIGKILL), done.err
        assert lost(folder) <= 1
    done = faulty("train", "config.yaml", "--out", f"run-{finished}", "--resume")
    assert done.code == 0, done.err
    for number in range(finished + 1):
        assert whole(tmp_path / f"run-{number}") == want
        assert recorded(tmp_path / f"run-{number}") == recorded(tmp_path / "undisturbed")
        assert left_over(tmp_path / f"run-{number}") == []


def recorded(folder):
    """Return all that is in ``recordings/``, but for checksums of files with headers in any order."""
    files = sorted((folder / "recordings").rglob("*.safetensors"))
    return {str(path.relative_to(folder)): content(path) for path in files}


@pytest.mark.usefixtures("reported")
def test_killed_before_each_change_of_a_file_a_run_ends_as_if_undisturbed(
    guardcore, tmp_path, undisturbed
):
    # Every moment that can matter: before the n-th open, rename, removal or new folder, for all n.
    # Two iterations, one checkpoint kept, so that one is removed too. Resumed in this process.
    # While the report is written, a matter of seconds, every ninth moment.
    prompts = {"train": "words", "eval": None}
    tree = slow_tree(0, iterations=2, checkpoint={"every": 1, "keep": 1}, prompts=prompts)
    want, _ = undisturbed(tree)
    folder = tmp_path / "run"
    train = ("train", "config.yaml", "--out", folder)
    changes = guardcore(*train, crash=(str(folder), 0)).code
    assert 15 < changes < 80
    for number in range(1, changes + 1):
        if (folder / "report.html").is_file() and (changes - number) % 9:
            continue
        shutil.rmtree(folder)
        assert guardcore(*train, crash=(str(folder), number)).code == -signal.SIGKILL
        in_report = (folder / "adapter").is_dir()
        assert run(folder, resume=True, report=in_report, **tree).finished, number
        assert (folder / "report.html").is_file() == in_report, number
        assert whole(folder) == want, number
        assert left_over(folder) == [], number
        checkpoint.find(folder / "checkpoints")[-1].load()
