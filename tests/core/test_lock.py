"""Two processes never write into one run directory."""

import errno
import os
import shutil
import signal
import socket
import time

import pytest
import yaml

from guardcore import GuardcoreError
from guardcore.lock import RunLock
from runs import run, slow_tree, wait_for_rows, whole
from toy import toy_tree


def test_the_second_is_told_who_the_first_is(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.take()
    with pytest.raises(GuardcoreError) as caught:
        second.take()
    said = str(caught.value)
    assert f"process {os.getpid()} on {socket.gethostname()} since 2" in said
    assert said.startswith(f"{tmp_path} is being written by ")
    assert not second.held
    first.give_back()
    second.take()
    second.give_back()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"pid": 3}', None])
def test_whoever_did_not_say_its_name_has_the_lock_all_the_same(tmp_path, damage):
    first = RunLock(tmp_path)
    first.take()
    if damage is None:
        (tmp_path / ".holder").unlink()
    else:
        (tmp_path / ".holder").write_text(damage)
    with pytest.raises(GuardcoreError, match="written by another process"):
        RunLock(tmp_path).take()
    first.give_back()


@pytest.mark.parametrize(
    "error", [NotImplementedError("no flock here"), OSError(errno.ENOLCK, "No locks available")]
)
def test_where_locks_are_not_supported_there_is_a_warning(tmp_path, monkeypatch, caplog, error):
    import filelock

    def refuse(self, timeout):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert run(tmp_path).finished
    assert "the file system has no locks" in caplog.text


def test_a_run_in_this_process_frees_its_directory_however_it_ends(tmp_path):
    broken = {"reward": [{"use": "brightness", "fault": "raise", "calls": 5}]}
    with pytest.raises(GuardcoreError, match="left the room"):
        run(tmp_path, **broken)
    with pytest.raises(GuardcoreError, match="left the room"):
        run(tmp_path, resume=True, **broken)


def test_a_live_run_is_not_resumed_and_a_killed_one_is(guardcore, tmp_path, undisturbed):
    want, _ = undisturbed(slow_tree(0.05))
    first = guardcore.start("train", "config.yaml", "--out", "run")
    wait_for_rows(tmp_path / "run", 1)
    start = time.monotonic()
    for more in ([], ["--resume"]):
        second = guardcore("train", "config.yaml", "--out", "run", *more)
        assert second.code == 2
        assert f"is being written by process {first.pid} on {socket.gethostname()}" in second.err
        assert second.err.count("\n") == 1
    first.signal(signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL, f"done after {time.monotonic() - start} s"
    assert (tmp_path / "run" / ".holder").is_file()  # it had no time to clear away
    done = guardcore("train", "config.yaml", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert whole(tmp_path / "run") == want


def test_of_two_that_begin_at_once_one_is_refused_and_the_run_is_sound(
    guardcore, tmp_path, undisturbed
):
    want, _ = undisturbed(slow_tree(0.02))
    both = [guardcore.start("train", "config.yaml", "--out", "run") for _ in range(2)]
    done = sorted((process.wait() for process in both), key=lambda ended: ended.code)
    assert [ended.code for ended in done] == [0, 2], [ended.err for ended in done]
    assert any(why in done[1].err for why in ("is being written by", "holds a run"))
    assert whole(tmp_path / "run") == want


def test_a_directory_that_may_not_be_written_is_a_line(guardcore, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_tree(train={"iterations": 1})))
    assert guardcore("train", "config.yaml", "--out", "run").code == 0
    shutil.rmtree(tmp_path / "run" / "adapter")
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").mkdir()  # no file can be opened there, by root neither
    done = guardcore("train", "--out", "run", "--resume")
    assert done.code == 2
    assert done.err.startswith("error: cannot write run/.lock: Is a directory")
