"""Runs whose reward is served, through everything that goes wrong with servers.

What is compared is a run of the same config with the same reward at home: metrics, ratios and
checkpoints, so that one number under another image would show.
"""

import signal
import threading
import time

import pytest

from guardcore import GuardcoreError, Options
from runs import checkpoints, metrics, run, state
from served import Faulty, Served
from toy import toy_host


def traces(directory):
    """All that two runs have in common when their rewards are the same."""
    rows = [
        {key.replace("remote", "brightness"): value for key, value in row.items()}
        for row in metrics(directory)
    ]
    tensors = {name: tensor.numpy().tobytes() for name, tensor in state(directory).items()}
    return rows, (directory / "steps.jsonl").read_bytes(), checkpoints(directory), tensors


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """What the run leaves when nothing is served."""
    directory = tmp_path_factory.mktemp("home") / "run"
    run(directory)
    return traces(directory)


def remote(url, **options):
    return [{"use": "remote", "urls": url, **options}]


def events(**at):
    """A host whose tracker ``events`` calls ``at["iteration_N"]`` after iteration N."""

    class Events:
        def metrics(self, step, values):
            at.get(f"iteration_{step}", lambda: None)()

        def images(self, step, name, images, captions): ...

        def close(self): ...

    def make(options: Options) -> Events:
        return Events()

    return toy_host(events=("trackers", make))


@pytest.fixture
def serving(guardcore):
    started = []

    def begin(*argv, reward="brightness", **more):
        started.append(Served(guardcore, reward, *argv, **more))
        return started[-1]

    yield begin
    for served in started:
        served.end()


FAULTS = ["500", "slow", "nan", "short", "long", "dropped", "others", "another request", "429"]


def test_one_answer_in_five_goes_wrong_and_the_run_is_the_same(tmp_path, at_home):
    server = Faulty(lambda number: FAULTS[number // 5 % len(FAULTS)] if number % 5 == 4 else "")
    try:
        run(tmp_path / "run", reward=remote(server.url, timeout=1.0, batch_size=1))
    finally:
        server.close()
    assert traces(tmp_path / "run") == at_home
    assert server.requests > 5 * len(FAULTS)  # every fault has had its turn


def test_two_servers_of_which_one_always_fails_give_the_same_run(tmp_path, at_home):
    bad, good = Faulty(lambda number: "nan"), Faulty()
    try:
        run(tmp_path / "run", reward=remote([bad.url, good.url]))
    finally:
        bad.close()
        good.close()
    assert traces(tmp_path / "run") == at_home
    assert bad.requests


def test_a_server_killed_in_the_middle_and_restarted_gives_the_same_run(
    tmp_path, at_home, serving, caplog
):
    slow = "brightness:seconds=0.1"
    served = serving(reward=slow)

    def restart():
        served.stop(signal.SIGKILL)
        time.sleep(0.3)
        serving(reward=slow, port=served.port)

    # 20 requests of 0.1 s follow iteration 1
    host = events(iteration_1=threading.Timer(0.35, restart).start)
    run(
        tmp_path / "run",
        host=host,
        reward=remote(served.url, batch_size=1),
        tracker=["events"],
    )
    assert traces(tmp_path / "run") == at_home
    assert "trying again" in caplog.text
    assert "answers again" in caplog.text


def test_a_server_that_stays_away_leaves_a_checkpoint_to_go_on_from(tmp_path, at_home, serving):
    served = serving()
    host = events(iteration_1=lambda: served.stop(signal.SIGKILL))
    parts = {"reward": remote(served.url, deadline=1.0), "tracker": ["events"]}
    with pytest.raises(GuardcoreError, match="deadline of 1 s; .*Connection refused") as caught:
        run(tmp_path / "run", host=host, **parts)
    assert "\n" not in str(caught.value)
    assert checkpoints(tmp_path / "run") == [1]
    assert "Connection refused" in (tmp_path / "run" / "error.log").read_text()
    serving(port=served.port)
    run(tmp_path / "run", host=events(), resume=True, **parts)
    assert traces(tmp_path / "run") == at_home


def test_a_server_whose_token_changes_stops_the_run_with_a_checkpoint(
    tmp_path, serving, monkeypatch
):
    token = tmp_path / "token"
    token.write_text("one")
    monkeypatch.setenv("GUARDCORE_REWARD_TOKEN", "one")
    served = serving("--token-file", token)

    def change():
        served.stop(signal.SIGTERM)
        token.write_text("two")
        serving("--token-file", token, port=served.port)

    with pytest.raises(GuardcoreError, match="answered 401 .*put the server's token into"):
        run(
            tmp_path / "run",
            host=events(iteration_2=change),
            reward=remote(served.url),
            tracker=["events"],
        )
    assert checkpoints(tmp_path / "run") == [1, 2]


def test_a_wrong_token_leaves_no_run(tmp_path, serving, monkeypatch):
    (tmp_path / "token").write_text("right")
    monkeypatch.setenv("GUARDCORE_REWARD_TOKEN", "wrong")
    served = serving("--token-file", tmp_path / "token")
    with pytest.raises(GuardcoreError, match="reward.0: .*answered 401"):
        run(tmp_path / "run", reward=remote(served.url))
    assert not (tmp_path / "run").exists()


def test_images_that_the_server_finds_too_large_stop_the_run_in_one_line(tmp_path, serving):
    served = serving("--max-side", "1")
    with pytest.raises(
        GuardcoreError, match=r"413 \(images of 16x16 .* raise --max-body or --max-s"
    ):
        run(tmp_path / "run", reward=remote(served.url))
