"""A full disk costs the iteration at hand and says so in one line, whatever was being written."""

import os
import re
import subprocess

import pytest
import yaml

from faults import Faulty, FaultyOptions, faulty_host
from guardcore import GuardcoreError, Options
from guardcore.errors import WriteError
from guardcore.writing import replace
from runs import checkpoints, left_over, run, whole
from toy import toy_tree

SETTINGS = {
    "reward": ["test:filling"],
    "train": {"iterations": 4},
    "evaluate": {"every": 1, "num_images": 3, "grid": 3},
    "checkpoint": {"every": 1, "keep": 9},
    "record": {"iterations": 4},
}
A_FILE = r"(metrics\.jsonl|steps\.jsonl|samples/\S+|checkpoints/\S+|recordings/\S+|adapter)"
THIRD = 1 + 2 * (4 + 1) + 1
"""Its first call: one for the base, four micro-batches and an evaluation an iteration."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 800 kB, where the tests run as root; else skip."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def filling(folder, leave, at=THIRD):
    """A host whose reward fills the disk once, at its ``at``-th call, but for ``leave`` bytes."""
    calls = []

    def factory(options: Options):
        class Filling(Faulty):
            def __call__(self, images, prompts):
                calls.append(1)
                if len(calls) == at:
                    room = os.statvfs(folder)
                    free = room.f_bavail * room.f_bsize
                    (folder / "ballast").write_bytes(b"\0" * (free - leave))
                return super().__call__(images, prompts)

        return Filling(FaultyOptions())

    return faulty_host(filling=("rewards", factory))


@pytest.fixture(scope="module")
def undisturbed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, host=filling(folder, 0, at=0), **SETTINGS)
    return whole(folder)


def test_wherever_the_room_ends_it_is_one_line_and_the_run_goes_on_when_there_is_some(
    small_disk, tmp_path, undisturbed_run
):
    # Two pages more each time: the room ends at a recording, samples, rows, a checkpoint, the adapter.
    named = set()
    for place, leave in enumerate(range(0, 200_000, 8192)):
        folder = small_disk / f"run-{place}"
        host = filling(small_disk, leave)
        try:
            run(folder, host=host, **SETTINGS)
            break  # there was enough
        except GuardcoreError as error:
            line = str(error)
        (small_disk / "ballast").unlink()
        assert "\n" not in line
        assert re.search(r"No space left on device", line), line
        found = re.match(rf"cannot write {re.escape(str(folder))}/{A_FILE}: ", line)
        assert found, line
        named.add(found[1].split("/")[0])
        assert checkpoints(folder)[:2] == [1, 2]
        assert run(folder, host=host, resume=True, **SETTINGS).finished
        assert whole(folder) == undisturbed_run
        assert left_over(folder) == []
        subprocess.run(["rm", "-r", str(folder)], check=True)
    else:
        pytest.fail("200 kB are never enough")
    assert {"recordings", "samples", "checkpoints"} <= named, named


def limited_tree(**more):
    return toy_tree(
        reward=[{"use": "faulty", "fault": "full-disk", "at": 9}],
        prompts={"train": "words", "eval": None},
        **more,
    )


@pytest.mark.usefixtures("reported")
def test_the_command_says_one_line_and_2_and_goes_on_with_room(faulty, tmp_path, undisturbed):
    # without root: from the third iteration on no file may grow beyond 1000 bytes
    want, _ = undisturbed(toy_tree(reward=["faulty"], prompts={"train": "words", "eval": None}))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(limited_tree()))
    done = faulty("train", "config.yaml", "--out", "run")
    assert done.code == 2
    assert done.err == (
        "error: cannot write run/steps.jsonl: File too large; mend that and go on with --resume, "
        "what was saved before is untouched\n"
    )
    assert checkpoints(tmp_path / "run") == [1, 2]
    assert not (tmp_path / "run" / "report.html").exists()
    done = faulty("train", "--out", "run", "--resume")  # four calls are left: none is the ninth
    assert done.code == 0, done.err
    assert whole(tmp_path / "run") == want


def test_a_tracker_without_room_names_its_own_file(tmp_path):
    with pytest.raises(WriteError, match=r"cannot write tracked\.bin: No space left"):
        run(
            tmp_path,
            host=faulty_host(),
            tracker=[{"use": "faulty-tracker", "iteration": 2}],
            evaluate={"every": 9},
        )
    assert checkpoints(tmp_path) == [1]


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text("before")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"cannot write .*config\.yaml: No space left"):
        replace(path, "after")
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["config.yaml"]
