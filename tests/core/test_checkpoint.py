"""A checkpoint is whole or it is not there, and a damaged one is known to be damaged."""

import json
import resource
import signal

import pytest
import torch

from guardcore import checkpoint
from guardcore.errors import CheckpointError

COUNTERS = {"updates": 7, "skipped": 1, "skipped_in_a_row": 0}


def tensors(value=1.0):
    moments = {"a.exp_avg": torch.full((2,), value), "a.step": torch.tensor(value)}
    return {"weights": {"a": torch.full((3, 2), value)}, "optimizer": moments}


def save(directory, iteration, value=1.0, keep=9):
    return checkpoint.save(directory, iteration, tensors(value), COUNTERS, keep)


def iterations(directory):
    return [found.iteration for found in checkpoint.find(directory)]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


def test_what_was_saved_is_loaded(directory):
    directory.parent.mkdir()
    saved = save(directory, 12, value=0.1)
    assert saved.path.name == "iteration-000012"
    state, counters = saved.load()
    assert counters == COUNTERS
    for file, part in tensors(0.1).items():
        assert set(state[file]) == set(part)
        assert all(torch.equal(state[file][name], tensor) for name, tensor in part.items())


def test_an_optimizer_that_has_seen_nothing_is_saved_too(directory):
    directory.parent.mkdir()
    state, _ = checkpoint.save(
        directory, 1, {"weights": {"a": torch.ones(1)}, "optimizer": {}}, COUNTERS, 1
    ).load()
    assert state["optimizer"] == {}


def test_only_whole_directories_are_there_and_the_newest_are_kept(directory):
    directory.parent.mkdir()
    for iteration in (1, 2, 3, 10, 11):
        save(directory, iteration, keep=3)
    assert iterations(directory) == [3, 10, 11]
    assert sorted(path.name for path in directory.iterdir()) == [
        "iteration-000003",
        "iteration-000010",
        "iteration-000011",
    ]
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]


def test_iterations_are_ordered_as_numbers(directory):
    directory.parent.mkdir()
    for iteration in (999_999, 1_000_000, 5):
        save(directory, iteration)
    # what a resumed run saves is the newest: later ones were damaged, or it would not save it
    assert iterations(directory) == [5]
    for iteration in (999_999, 1_000_000):
        save(directory, iteration)
    assert iterations(directory) == [5, 999_999, 1_000_000]


def test_what_is_no_checkpoint_is_not_taken_for_one(directory):
    directory.mkdir(parents=True)
    for name in (
        "iteration-12",
        "iteration-000001.old",
        ".writing",
        "notes.txt",
        "iteration-abcdef",
    ):
        (directory / name).mkdir()
    assert checkpoint.find(directory) == []
    assert checkpoint.find(directory / "nowhere") == []


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


DAMAGE = {
    "a flipped bit in the weights": lambda p: flip(p / "weights.safetensors"),
    "a truncated optimizer": lambda p: (p / "optimizer.safetensors").write_bytes(b""),
    "missing weights": lambda p: (p / "weights.safetensors").unlink(),
    "a missing record": lambda p: (p / "state.json").unlink(),
    "a torn record": lambda p: (p / "state.json").write_text('{"format": 1, "iter'),
    "an empty record": lambda p: (p / "state.json").write_text(""),
    "a record of another form": lambda p: (p / "state.json").write_text("[1, 2]"),
    "a record that is not text": lambda p: (p / "state.json").write_bytes(b"\xff\xfe\x00"),
    "a record without counters": lambda p: edit(p / "state.json", lambda r: r.pop("counters")),
    "an altered counter": lambda p: edit(
        p / "state.json", lambda r: r["counters"].update(updates=8)
    ),
    "a file left out of the record": lambda p: edit(
        p / "state.json", lambda r: r["sha256"].pop("optimizer")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_checkpoint_named(directory, damage):
    directory.parent.mkdir()
    saved = save(directory, 3)
    DAMAGE[damage](saved.path)
    with pytest.raises(CheckpointError, match="iteration-000003"):
        saved.load()


def test_saving_over_a_damaged_one_replaces_it(directory):
    directory.parent.mkdir()
    flip(save(directory, 3, value=1.0).path / "weights.safetensors")
    state, _ = save(directory, 3, value=2.0).load()
    assert state["weights"]["a"][0, 0] == 2.0


def test_a_damaged_later_one_does_not_push_out_the_good_ones(directory):
    directory.parent.mkdir()
    for iteration in (4, 6):
        save(directory, iteration)
    flip(directory / "iteration-000006" / "weights.safetensors")
    save(directory, 5, keep=1)  # resumed from 4, stopped early
    assert 5 in iterations(directory)
    checkpoint.find(directory)[-1].load()


def test_an_old_one_that_is_being_removed_is_never_half_there(directory, monkeypatch):
    directory.parent.mkdir()
    save(directory, 1)

    def die_half_way(path, **options):
        if path.is_dir():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            save(directory, 2, keep=1)
    assert iterations(directory)[-1] == 2
    for found in checkpoint.find(directory):
        found.load()


def limit_file_size(size):
    """Let no file grow beyond ``size`` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return before


@pytest.mark.parametrize("size", [0, 50, 150, 300])
def test_what_cannot_be_written_leaves_the_ones_before_untouched(directory, size):
    # 50 bytes end within the first file, 150 within the second, 300 within the record
    directory.parent.mkdir()
    good = save(directory, 1)
    before = limit_file_size(size)
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .*iteration-000002.*untouched"):
            save(directory, 2, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert iterations(directory) == [1]
    good.load()
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]
    save(directory, 2, keep=1).load()
