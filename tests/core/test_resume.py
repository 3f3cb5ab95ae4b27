"""A run that was stopped, however rudely, and resumed is the run that never was."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from guardcore import GuardcoreError, Options, checkpoint
from guardcore.errors import CheckpointError
from guardcore_cli.loading import embedded_profile
from runs import checkpoints, falling, left_over, metrics, rows, run, whole
from toy import Brightness, RewardOptions, ToyBackbone, ToyOptions, toy_host, toy_tree

SHAPES = {
    "the default": {},
    "a random window and a shared start": {
        "rollout": {
            "train_steps": {"size": 1, "choose": "random"},
            "same_noise": True,
            "groups": 2,
        }
    },
    "shares, warm-up and a rare average": {
        "train": {"samples_per_update": "share", "lr_warmup_steps": 7, "ema_every": 3}
    },
    "a penalty, no average": {
        "penalty": [{"use": "kl", "weight": 0.1}],
        "train": {"ema_decay": None},
    },
    "half precision": {"backbone": {"use": "toy", "dtype": "bfloat16"}, "strategy": "plain"},
    "a reward without an advantage": {"reward": ["constant"]},
    "no held-out prompts": {"prompts": {"eval": None}},
}
LONG = {"iterations": 6, "learning_rate": 0.02, "ema_every": 1}


def test_a_host_may_let_a_test_stand_in_for_the_toys_own_reward():
    entry = falling(1).registry.find("reward", "test:brightness")
    assert isinstance(entry.build(Options()), Brightness)


def sections(shape, **more):
    found = {"evaluate": {"every": 2, "num_images": 3}, "checkpoint": {"every": 1, "keep": 9}}
    for part in (SHAPES[shape], {"train": {**LONG, **SHAPES[shape].get("train", {})}}, more):
        for name, section in part.items():
            both = isinstance(section, dict) and isinstance(found.get(name), dict)
            found[name] = {**found[name], **section} if both else section
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The directory of the undisturbed run of some settings, made once."""
    made = {}

    def find(settings, host=None):
        key = json.dumps(settings, sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("undisturbed")
            run(made[key], host=host, **settings)
        return made[key]

    return find


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_that_fell_over_and_was_resumed_is_the_undisturbed_one_bit_for_bit(
    tmp_path, reference, shape
):
    # Stopped after two iterations by its length, which alone may change, then taken to the end.
    settings = sections(shape)
    if "eval" not in str(settings.get("prompts")):
        settings["evaluate"]["every"] = 1  # the last iteration is evaluated, whichever it is
    short = {**settings, "train": {**settings["train"], "iterations": 2}}
    run(tmp_path / "resumed", **short)
    outcome = run(tmp_path / "resumed", resume=True, **settings)
    assert outcome.finished
    assert whole(tmp_path / "resumed") == whole(reference(settings))


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("at", [1, 4, 17, 26, 31])
def test_wherever_a_reward_falls_over_the_run_goes_on_from_its_checkpoint(
    tmp_path, reference, every, at
):
    # 34 calls: one an evaluation (0, 2, 4, 6: four), five micro-batches an iteration
    settings = sections("the default", reward=["test:brightness"])
    settings |= {"checkpoint": {"every": every, "keep": 9}, "rollout": {"batch_size": 3}}
    host = falling(at)
    with pytest.raises(GuardcoreError, match="the power is gone"):
        run(tmp_path / "resumed", host=host, **settings)
    assert "the power is gone" in (tmp_path / "resumed" / "error.log").read_text()
    assert run(tmp_path / "resumed", host=host, resume=True, **settings).finished
    assert whole(tmp_path / "resumed") == whole(reference(settings, falling(0)))
    assert not (tmp_path / "resumed" / "error.log").exists()


def test_with_resume_and_no_checkpoint_the_run_begins_at_the_beginning(tmp_path, reference):
    settings = sections("the default")
    run(tmp_path / "new", resume=True, **settings)
    assert whole(tmp_path / "new") == whole(reference(settings))


def test_a_finished_run_says_so_and_touches_nothing(reference):
    settings = sections("the default")
    directory = reference(settings)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    outcome = run(directory, resume=True, **settings)
    assert (outcome.finished, outcome.iteration) == (True, 6)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", [[6], [5, 6], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("how", ["flipped", "lost", "torn"])
def test_damaged_checkpoints_are_stepped_over_with_a_warning(
    tmp_path, reference, damaged, how, caplog
):
    settings = sections("the default")
    shutil.copytree(reference(settings), tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "adapter")  # it was stopped before that
    for iteration in damaged:
        folder = tmp_path / "resumed" / "checkpoints" / f"iteration-{iteration:06d}"
        match how:
            case "flipped":
                flip(folder / "weights.safetensors")
            case "lost":
                (folder / "ema.safetensors").unlink()
            case "torn":
                (folder / "state.json").write_text('{"format"')
    with caplog.at_level(logging.WARNING, "guardcore"):
        assert run(tmp_path / "resumed", resume=True, **settings).finished
    warned = [record.getMessage() for record in caplog.records]
    for iteration in damaged:
        assert any(f"iteration-{iteration:06d}" in line for line in warned), warned
    assert whole(tmp_path / "resumed") == whole(reference(settings))


@pytest.mark.parametrize("torn", ['{"iteration": 3, "lo', "\x00" * 20, '{"iteration": 99}'])
def test_torn_lines_of_the_jsonl_files_are_cut(tmp_path, reference, torn):
    settings = sections("the default")
    run(tmp_path / "resumed", **{**settings, "train": {**LONG, "iterations": 2}})
    for name in ("metrics", "steps"):
        with (tmp_path / "resumed" / f"{name}.jsonl").open("a") as file:
            file.write(torn)
    run(tmp_path / "resumed", resume=True, **settings)
    assert whole(tmp_path / "resumed") == whole(reference(settings))


def test_a_run_goes_on_longer_than_it_was_meant_to(tmp_path, reference):
    settings = sections("the default", evaluate={"every": 1})
    for iterations in (1, 2, 4, 6):
        longer = {**settings, "train": {**LONG, "iterations": iterations}}
        assert run(tmp_path / "resumed", resume=True, **longer).iteration == iterations
    assert whole(tmp_path / "resumed") == whole(reference(settings))


def clumsy(failures):
    """A toy whose ``save_adapter`` fails half way, so many times."""
    left = [failures]

    class Clumsy(ToyBackbone):
        def save_adapter(self, directory: Path) -> None:
            super().save_adapter(directory)
            if left[0]:
                left[0] -= 1
                raise RuntimeError("half way")

    def factory(options: ToyOptions):
        return Clumsy(options)

    return toy_host(clumsy=("backbones", factory))


def test_an_adapter_is_whole_or_not_there_and_a_run_without_one_is_not_finished(
    tmp_path, reference
):
    settings = sections("the default", backbone="clumsy")
    host = clumsy(1)
    with pytest.raises(RuntimeError, match="half way"):
        run(tmp_path / "resumed", host=host, **settings)
    assert not (tmp_path / "resumed" / "adapter").exists()
    assert run(tmp_path / "resumed", host=host, resume=True, **settings).finished
    assert whole(tmp_path / "resumed") == whole(reference(settings, clumsy(0)))
    assert left_over(tmp_path / "resumed") == []


def test_the_adapter_of_a_shorter_run_is_not_taken_for_a_longer_ones(tmp_path, reference):
    settings = sections("the default", backbone="clumsy")
    run(tmp_path, host=clumsy(0), **{**settings, "train": {**LONG, "iterations": 2}})
    host = clumsy(1)
    with pytest.raises(RuntimeError, match="half way"):
        run(tmp_path, host=host, resume=True, **settings)
    before = checkpoints(tmp_path)
    assert before[-1] == 6
    run(tmp_path, host=host, resume=True, **settings)
    want = whole(reference(settings, clumsy(0)))
    assert whole(tmp_path)["adapter/toy.safetensors"] == want["adapter/toy.safetensors"]


def test_a_model_of_other_parameters_is_not_loaded_into(tmp_path):
    class Wider(ToyBackbone):
        def trainable(self):
            return {"aim": self.target}

    def renamed(options: ToyOptions):
        return Wider(options)

    def plain(options: ToyOptions):
        return ToyBackbone(options)

    settings = sections("the default", backbone="model")
    run(
        tmp_path,
        host=toy_host(model=("backbones", plain)),
        **{**settings, "train": {"iterations": 1}},
    )
    with pytest.raises(GuardcoreError, match="another model: 'aim'"):
        run(tmp_path, host=toy_host(model=("backbones", renamed)), resume=True, **settings)
    assert checkpoints(tmp_path) == [1]


# A disk that is full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB, where the tests run as root; else skip."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def filling(folder, at, leave):
    """A brightness that fills the disk at its ``at``-th call, but for ``leave`` bytes."""
    calls = []

    def factory(options: Options):
        class Filling(Brightness):
            def __call__(self, images, prompts):
                calls.append(1)
                if len(calls) == at:
                    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
                    (folder / "ballast").write_bytes(b"\0" * (free - leave))
                return super().__call__(images, prompts)

        return Filling(RewardOptions())

    return toy_host(brightness=("rewards", factory))


@pytest.mark.parametrize("leave", [0, 4096, 12288])
def test_a_full_disk_costs_one_iteration_and_one_line(reference, small_disk, leave):
    # The third iteration's first call. What is written then: rows, three tensors' files, a record;
    # at first not even the folder, later the folder and some of the files.
    settings = sections("no held-out prompts", reward=["test:brightness"])
    directory = small_disk / "run"
    with pytest.raises(GuardcoreError) as caught:
        run(directory, host=filling(small_disk, 4 * 2 + 1, leave), **settings)
    assert "No space left" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoints(directory) == [1, 2]
    (small_disk / "ballast").unlink()
    assert run(directory, host=falling(0), resume=True, **settings).finished
    assert whole_without_samples(directory) == whole_without_samples(
        reference(settings, falling(0))
    )
    assert left_over(directory) == []


def whole_without_samples(directory):
    return {k: v for k, v in whole(directory).items() if not k.startswith("samples/")}


def test_a_full_disk_says_that_the_checkpoints_before_are_untouched(small_disk):
    with pytest.raises(CheckpointError, match=r"cannot write .*iteration-000003.*untouched"):
        settings = sections("no held-out prompts", reward=["test:brightness"])
        run(small_disk / "run", host=filling(small_disk, 4 * 2 + 1, 4096), **settings)


# Signals and sudden death, in processes of their own


def slow_tree(seconds, iterations=6, **more):
    tree = toy_tree(
        reward=[{"use": "brightness", "seconds": seconds}],
        train={"iterations": iterations},
        evaluate={"every": 2, "num_images": 3, "grid": 1},
        checkpoint={"every": 1, "keep": 2},
        rollout={"batch_size": 8},
    )
    return {**tree, **more}


@pytest.fixture
def undisturbed(guardcore, tmp_path):
    """Write the config, and return what its undisturbed run leaves."""

    def finish(tree):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
        start = time.monotonic()
        done = guardcore("train", "config.yaml", "--out", "undisturbed")
        assert done.code == 0, done.err
        return whole(tmp_path / "undisturbed"), time.monotonic() - start

    return finish


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


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(lambda: slow_tree(0.01), id="toy"),
        pytest.param(small_embedded_tree, id="embedded", marks=pytest.mark.slow),
    ],
)
def test_killed_at_ten_random_moments_a_run_ends_as_if_undisturbed(
    guardcore, tmp_path, undisturbed, tree
):
    want, seconds = undisturbed(tree())
    chance, kills, finished = random.Random(0), 0, 0
    while kills < 10:
        process = guardcore.start("train", "config.yaml", "--out", f"run-{finished}", "--resume")
        time.sleep(chance.uniform(0, seconds))
        process.signal(signal.SIGKILL)
        done = process.wait()
        kills += done.code == -signal.SIGKILL
        finished += done.code == 0
        assert done.code in (0, -signal.SIGKILL), done.err
    done = guardcore("train", "config.yaml", "--out", f"run-{finished}", "--resume")
    assert done.code == 0, done.err
    for number in range(finished + 1):
        assert whole(tmp_path / f"run-{number}") == want
        assert left_over(tmp_path / f"run-{number}") == []


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
    assert 15 < changes < 60
    for number in range(1, changes + 1):
        if (folder / "report.html").is_file() and (changes - number) % 9:
            continue
        shutil.rmtree(folder)
        assert guardcore(*train, crash=(str(folder), number)).code == -signal.SIGKILL
        in_report = (folder / "adapter").is_dir()
        assert run(folder, resume=True, report=in_report, **tree).finished, number
        assert (folder / "report.html").is_file() == in_report, number
        assert whole_state(folder) == {k: v for k, v in want.items() if k != "checkpoints"}, number
        assert set(left_over(folder)) <= {".removing"}, number
        checkpoint.find(folder / "checkpoints")[-1].load()


def test_what_a_killed_run_left_half_done_is_cleared_away(tmp_path):
    settings = sections("the default")
    run(tmp_path, **{**settings, "train": {**LONG, "iterations": 5}})
    for name in (".writing", ".removing", ".adapter.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    run(tmp_path, resume=True, **{**settings, "checkpoint": {"every": 9, "keep": 9}})
    assert left_over(tmp_path) == []


def wait_for_rows(directory, number):
    path = directory / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text().count("\n") >= number):
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_iteration_saves_it_and_says_how_to_go_on(
    guardcore, tmp_path, undisturbed, number
):
    tree = slow_tree(0.02, checkpoint={"every": 100, "keep": 2})
    want, _ = undisturbed(tree)
    process = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 2)  # evaluated, and one iteration done
    process.signal(number)
    done = process.wait()
    assert done.code == 128 + number
    last = metrics(tmp_path / "run")[-1]["iteration"]
    assert last < 6
    assert checkpoints(tmp_path / "run") == [last]
    assert number.name in done.err
    assert f"after iteration {last}" in done.err
    assert "guardcore train --resume --out run" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "error.log").exists()
    done = guardcore("train", "config.yaml", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert whole_state(tmp_path / "run") == {k: v for k, v in want.items() if k != "checkpoints"}


def whole_state(directory):
    return {name: value for name, value in whole(directory).items() if name != "checkpoints"}


def test_the_resume_command_that_is_printed_works_as_it_stands(guardcore, tmp_path, undisturbed):
    want, _ = undisturbed(slow_tree(0.02))
    process = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 2)
    process.signal(signal.SIGTERM)
    printed = process.wait().err.partition("go on with: ")[2].split()
    assert printed[0] == "guardcore"
    assert guardcore(*printed[1:]).code == 0
    assert whole(tmp_path / "run") == want


def test_a_second_signal_stops_at_once(guardcore, tmp_path):
    tree = slow_tree(5)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    process = guardcore.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "run" / "checkpoints").is_dir():
        time.sleep(0.01)
    time.sleep(0.2)  # into the first evaluation, which takes five seconds
    process.signal(signal.SIGINT)
    time.sleep(0.2)
    process.signal(signal.SIGINT)
    start = time.monotonic()
    done = process.wait()
    assert time.monotonic() - start < 2
    assert done.code == 130
    assert "go on with: guardcore train --resume --out run" in done.err
    assert "Traceback" not in done.err


def test_a_signal_while_the_base_is_evaluated_is_not_lost(guardcore, tmp_path, undisturbed):
    tree = slow_tree(0.03)
    want, _ = undisturbed(tree)
    process = guardcore.start("train", "config.yaml", "--out", "run")
    while not (tmp_path / "run" / "checkpoints").is_dir():
        time.sleep(0.002)
    process.signal(signal.SIGTERM)
    done = process.wait()
    assert done.code == 128 + signal.SIGTERM
    assert guardcore("train", "--out", "run", "--resume").code == 0
    assert whole(tmp_path / "run") == want


def test_rows_are_strict_json_whatever_happened(tmp_path):
    settings = sections("the default")
    run(tmp_path, **settings)
    assert [row["iteration"] for row in rows(tmp_path, "metrics")] == list(range(7))
