"""Damaged checkpoints: the run goes back to the newest whole one, and nothing is thrown away."""

import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file

from guardcore import GuardcoreError
from runs import checkpoints, falling, metrics, rows, run, state, whole
from toy import Brightness, RewardOptions, toy_host

SETTINGS = {
    "reward": ["test:brightness"],
    "train": {"iterations": 6, "learning_rate": 0.02, "ema_every": 1},
    "evaluate": {"every": 2, "num_images": 3},
    "checkpoint": {"every": 1, "keep": 9},
}


@pytest.fixture(scope="module")
def undisturbed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, host=falling(0), **SETTINGS)
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE = {
    "a flipped bit": ("weights.safetensors", lambda f: flip(f / "weights.safetensors")),
    "a cut file": (
        "optimizer.safetensors",
        lambda f: (f / "optimizer.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{"),
    ),
    "a missing file": ("ema.safetensors", lambda f: (f / "ema.safetensors").unlink()),
    "a torn record": ("state.json", lambda f: (f / "state.json").write_text('{"format"')),
    "a flipped bit in the record": ("state.json", lambda f: flip(f / "state.json")),
    "an empty directory": ("state.json", empty),
}


@pytest.fixture
def stopped(tmp_path, undisturbed_run):
    """A copy of the run as it was before it wrote its adapter."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed_run, folder)
    shutil.rmtree(folder / "adapter")
    return folder


def at(folder, iteration):
    return folder / "checkpoints" / f"iteration-{iteration:06d}"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("damaged", [[6], [5, 6], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_run_goes_on_from_the_newest_whole_one_and_sets_the_damaged_aside(
    stopped, undisturbed_run, damaged, damage, caplog
):
    file, harm = DAMAGE[damage]
    for iteration in damaged:
        harm(at(stopped, iteration))
    before = {iteration: content(at(stopped, iteration)) for iteration in damaged}
    with caplog.at_level(logging.WARNING, "guardcore"):
        assert run(stopped, resume=True, host=falling(0), **SETTINGS).finished
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == len(damaged)
    for iteration, line in zip(reversed(damaged), warned, strict=True):
        assert f"iteration-{iteration:06d}" in line
        assert "\n" not in line
        assert file in line
        aside = stopped / "damaged" / "checkpoints" / f"iteration-{iteration:06d}.1"
        assert str(aside) in line
        assert content(aside) == before[iteration]
    assert whole(stopped) == whole(undisturbed_run)


def test_rows_go_back_to_the_checkpoint_that_is_whole(stopped, undisturbed_run):
    flip(at(stopped, 6) / "weights.safetensors")
    flip(at(stopped, 5) / "weights.safetensors")
    with pytest.raises(GuardcoreError, match="the power is gone"):  # before the fifth is done
        run(stopped, resume=True, host=falling(1), **SETTINGS)
    assert [row["iteration"] for row in metrics(stopped)] == [0, 1, 2, 3, 4]
    assert max(row["iteration"] for row in rows(stopped, "steps")) == 4
    assert metrics(stopped) == metrics(undisturbed_run)[:5]


def test_damaged_twice_both_are_kept(stopped):
    for byte in (b"one", b"two"):
        (at(stopped, 6) / "weights.safetensors").write_bytes(byte)
        shutil.rmtree(stopped / "adapter", ignore_errors=True)
        run(stopped, resume=True, host=falling(0), **SETTINGS)
    kept = sorted((stopped / "damaged" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["iteration-000006.1", "iteration-000006.2"]
    assert [(path / "weights.safetensors").read_bytes() for path in kept] == [b"one", b"two"]


def test_a_line_of_the_rows_that_is_damaged_is_named(stopped):
    lines = (stopped / "metrics.jsonl").read_text().splitlines()
    lines[2] = lines[2][:-9] + "\x00"
    (stopped / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(GuardcoreError, match=r"metrics\.jsonl: line 3 is damaged"):
        run(stopped, resume=True, host=falling(0), **SETTINGS)


# The newest ones and the best

# Gold is what is not trained on, so it falls, and the first evaluation after the base's is best.


class Dull(Brightness):
    def score(self, images):
        return 1 - images.mean((1, 2, 3))


def dull(options: RewardOptions):
    return Dull(options)


BEST = {
    **SETTINGS,
    "reward": ["brightness", {"use": "test:dull", "weight": 0}],
    "watch": {"keep_best": True},
    "checkpoint": {"every": 1, "keep": 2},
}


def best_run(folder, **more):
    return run(folder, host=toy_host(dull=("rewards", dull)), **BEST, **more)


@pytest.fixture
def with_best(tmp_path):
    folder = tmp_path / "best"
    best_run(folder)
    assert checkpoints(folder) == [2, 5, 6]
    return folder


def adapter(folder):
    return load_file(folder / "adapter" / "toy.safetensors")["target"]


def test_the_best_is_kept_beside_the_newest_and_is_what_the_adapter_holds(with_best):
    assert torch.equal(adapter(with_best), state(with_best, 2)["ema.target"])


def test_where_all_newer_ones_are_damaged_the_run_goes_on_from_the_best(with_best):
    want = whole(with_best)
    shutil.rmtree(with_best / "adapter")
    for iteration in (5, 6):
        flip(at(with_best, iteration) / "weights.safetensors")
    assert best_run(with_best, resume=True).finished
    assert whole(with_best) == want


@pytest.mark.parametrize("harm", [lambda f: flip(f / "weights.safetensors"), shutil.rmtree])
def test_without_a_whole_best_the_adapter_holds_the_last_weights_and_a_warning_says_so(
    with_best, harm, caplog
):
    shutil.rmtree(with_best / "adapter")
    harm(at(with_best, 2))
    assert best_run(with_best, resume=True).finished
    assert "adapter/ holds the last weights, not those of the best" in caplog.text
    assert torch.equal(adapter(with_best), state(with_best, 6)["ema.target"])
