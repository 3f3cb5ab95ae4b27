"""``bench --processes``: real processes of torch's launcher, none of which outlives the command."""

import json
import signal
import time

import psutil
import pytest

from guardcore.bench.comparison import changes
from guardcore.bench.result import Result
from guardcore_cli.measured import print_result
from launch import start, write_config

FLAGS = "--pairs", 1, "--no-scaling", "--no-rewards"


@pytest.fixture
def bench(toy_site, tmp_path):
    """Start the command on a config of the toy."""

    def begin(config, *flags):
        argv = "bench", config, *FLAGS, "--processes", "2", *flags
        return start(1, *argv, path=toy_site, cwd=tmp_path, TMPDIR=str(tmp_path))

    return begin


def started(folder) -> list[psutil.Process]:
    """Launchers and processes of benchmarks whose command lines name this test's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        line, env = process.info["cmdline"] or [], process.info["environ"] or {}
        if "guardcore.bench.process" in line and env.get("TMPDIR") == str(folder):
            found.append(process)
    return found


def wait_for(folder, number, seconds=300):
    """Wait until so many of them are there."""
    deadline = time.monotonic() + seconds
    while len(started(folder)) != number:
        assert time.monotonic() < deadline, [p.cmdline() for p in started(folder)]
        time.sleep(0.1)


def test_an_iteration_in_one_process_and_in_two(bench, tmp_path, capsys):
    # one micro-batch: the second process has nothing to do, and waits for the reward's .2 seconds
    reward = [{"use": "colour", "seconds": 0.2}]
    config = write_config(tmp_path, reward=reward, rollout={"batch_size": 15})
    (done,) = bench(config, "--json").wait()
    assert done.code == 0, done.err
    found = Result.model_validate_json(done.out)
    one, two = found.processes
    assert (one.processes, two.processes) == (1, 2)
    assert (one.threads, two.threads) == (1, 1)
    assert (one.speedup, one.efficiency) == (1, 1)
    assert two.speedup == one.seconds / two.seconds
    assert two.efficiency == two.speedup / 2
    assert two.images_per_second == 15 / two.seconds
    assert (one.idle, two.idle) == (0, 1)
    assert two.seconds > 0.2
    assert two.waiting_share > 0.7  # one for the reward, the other for the first
    print_result(found, "toy")
    table = " ".join(capsys.readouterr().out.split())
    assert "speed-up efficiency waited" in table
    assert "toy in 2 processes: 1 of them have nothing to do; lower rollout.batch_size" in table
    names = {(change.name, change.unit) for change in changes(found, found)}
    assert {("processes=2", "s"), ("processes=2", "speed-up")} <= names
    assert not list(tmp_path.glob("guardcore-bench-*"))
    assert not started(tmp_path)


@pytest.mark.slow
def test_processes_that_fail_have_their_reason_in_the_row(bench, tmp_path):
    config = write_config(tmp_path, distributed={"shard": "blocks"})  # the toy has none
    (done,) = bench(config, "--json").wait()
    assert done.code == 0, done.err
    one, two = json.loads(done.out)["processes"]
    assert one["seconds"] > 0
    assert one["reason"] is None
    assert "this backbone has no blocks() to shard" in two["reason"]
    assert two["seconds"] is two["speedup"] is None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(bench, tmp_path, number):
    config = write_config(tmp_path, reward=[{"use": "colour", "seconds": 30}])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
    command = bench(config)
    try:
        wait_for(tmp_path, 2)  # a launcher, and one process below it
        time.sleep(5)
    finally:
        command.processes[0].send_signal(number)
    (done,) = command.wait()
    assert done.code != 0
    wait_for(tmp_path, 0, 60)
