"""``guardcore serve-reward`` as a process: who may ask, how much, what comes back, how it ends."""

import http.client
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from guardcore import GuardcoreError, Prompt, create
from guardcore_cli import serve
from guardcore_plugins.serving.formats import CONTENT_TYPES, encode
from guardcore_plugins.serving.protocol import READY, SCORE, ask
from served import Served
from stranger import install


@pytest.fixture
def serving(guardcore):
    """Start servers; those that a test leaves are killed."""
    started = []

    def begin(*argv, **more):
        started.append(Served(guardcore, *argv, **more))
        return started[-1]

    yield begin
    for served in started:
        served.end()


def question(number=2, size=8):
    return ask(torch.rand(number, 3, size, size), [Prompt("x", {"tag": "x"})] * number)


def send(port, method, path, body=None, headers=None):
    """Status, headers and JSON of one exchange."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def post(port, asked, form="safetensors", **headers):
    given = {"Content-Type": CONTENT_TYPES[form], **headers}
    return send(port, "POST", SCORE, encode(asked, form), given)


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_every_image_gets_its_number_under_its_id(serving, form):
    port, asked = serving("brightness").port, question()
    status, _, reply = post(port, asked, form)
    assert (status, reply["request"], reply["reward"]) == (200, asked.request, "toy:brightness 1.0")
    assert list(reply["scores"]) == list(asked.ids)
    images = asked.images if form == "safetensors" else (asked.images * 255).round() / 255
    assert list(reply["scores"].values()) == images.mean((1, 2, 3)).tolist()


def test_ready_tells_the_reward_and_its_options(serving):
    port = serving("jpeg-size:quality=50").port
    status, _, told = send(port, "GET", READY)
    assert status == 200
    assert told["reward"].startswith("guardcore:jpeg-size ")
    assert told["options"] == {"quality": 50, "prefer": "small"}
    assert send(port, "GET", "/health")[2] == {"alive": True}
    assert send(port, "GET", "/docs")[0] == 404


def test_many_clients_at_once_each_get_their_own(serving):
    url = serving("brightness:seconds=0.01", "--batch-size", "8").url

    def client(number):
        generator = torch.Generator().manual_seed(number)
        size = 8 if number % 2 else 16
        images = torch.rand(5, 3, size, size, generator=generator)
        judge = create("reward", "remote", urls=url, batch_size=1 + number % 4)
        found = [judge(images, [Prompt("x")] * 5) for _ in range(4)]
        judge.close()
        return all(torch.equal(scores, images.mean((1, 2, 3)).double()) for scores in found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(client, range(8)))


def test_without_the_token_nothing_but_health_is_told(serving, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    port, asked = serving("brightness", "--token-file", tmp_path / "token").port, question()
    assert send(port, "GET", "/health")[0] == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
        status, answered, told = send(port, "GET", READY, headers=headers)
        assert (status, answered["WWW-Authenticate"]) == (401, "Bearer")
        assert told == {"error": "the bearer token is missing or wrong"}
        assert post(port, asked, **headers)[0] == 401
    assert post(port, asked, Authorization="Bearer s3cret")[0] == 200
    assert post(port, question(20, 256), Authorization="Bearer wrong")[0] == 401  # 15 MB, read on


def test_what_is_too_large_is_refused_with_an_answer(serving):
    port = serving("brightness", "--max-body", "1", "--max-side", "64").port
    asked = question(2, 512)
    status, _, told = post(port, asked)
    assert (status, told) == (413, {"error": "a body of more than 1 MiB"})
    chunks = (encode(asked, "safetensors")[n : n + 2**16] for n in range(0, 6 * 2**20, 2**16))
    headers = {"Content-Type": CONTENT_TYPES["safetensors"]}
    assert send(port, "POST", SCORE, chunks, headers)[0] == 413  # of no announced length
    assert "65x65" in post(port, question(1, 65))[2]["error"]
    assert post(port, question(1, 64))[0] == 200


def test_a_full_queue_asks_to_come_back(serving):
    port = serving("brightness:seconds=0.7", "--max-queue", "1").port
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, port, question())
        time.sleep(0.3)
        status, headers, told = post(port, question())
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "the limit is 1" in told["error"]
        assert first.result()[0] == 200


def test_a_client_that_leaves_gives_its_place_back(serving):
    port = serving("brightness:seconds=1", "--max-queue", "1").port
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": CONTENT_TYPES["safetensors"]}
    connection.request("POST", SCORE, encode(question(), "safetensors"), headers)
    time.sleep(0.3)
    connection.close()
    time.sleep(0.2)
    assert post(port, question())[0] == 200


@pytest.mark.parametrize(
    ("reward", "status", "words"),
    [
        ("brightness:fault=nan", 500, "reward 'brightness' returned nan for prompt 'x'"),
        ("brightness:fault=shape", 500, "reward 'brightness' must return one number an image"),
        ("brightness:fault=raise", 500, "the judge has left the room"),
        ("geneval", 422, "reward 'geneval': prompt 'x': "),
    ],
)
def test_a_failure_is_named_and_never_a_number(serving, reward, status, words):
    found, _, told = post(serving(reward).port, question())
    assert found == status
    assert words in told["error"]


def test_sigterm_finishes_what_is_under_way(serving):
    served = serving("brightness:seconds=0.8")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(post, served.port, question())
        time.sleep(0.3)
        served.process.signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(ConnectionError):
            send(served.port, "GET", "/health")
        assert under_way.result()[0] == 200
    done = served.process.wait()
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == "finished what was under way; closing"


def test_ctrl_c_is_an_end_too(serving):
    assert serving("brightness").stop(signal.SIGINT).code == 0


SLOW = """
import time
from pathlib import Path
from guardcore import GuardcoreError, Options, hookimpl

class Slow:
    def __init__(self, options):
        while not Path("go").exists():
            time.sleep(0.02)
        if Path("go").read_text():
            raise GuardcoreError(Path("go").read_text())
    def __call__(self, images, prompts):
        return images.mean((1, 2, 3))
    def close(self):
        Path("closed").touch()

def slow(options: Options) -> Slow:
    return Slow(options)

@hookimpl
def guardcore_register_rewards(register):
    register("slow", slow)
"""


@pytest.fixture
def loading(guardcore, tmp_path):
    """A server whose reward is built when the file ``go`` appears."""
    install(tmp_path / "slow", "slow", {"slow_reward": SLOW})
    guardcore.path = (*guardcore.path, tmp_path / "slow")
    process = guardcore.start("serve-reward", "slow", "--port", "0")
    until = time.monotonic() + 30
    while "loading" not in (process.err.read_text() if process.err.exists() else ""):
        assert time.monotonic() < until
        time.sleep(0.02)
    return process, int(process.err.read_text().split(";")[0].rpartition(":")[2])


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_is_alive_before_it_is_ready_and_closes_the_reward(loading, tmp_path):
    process, port = loading
    assert send(port, "GET", "/health")[0] == 200
    assert send(port, "GET", READY)[2] == {"error": "the reward is loading"}
    status, headers, _ = post(port, question())
    assert (status, headers["Retry-After"]) == (503, "2")
    (tmp_path / "go").touch()
    wait_for(lambda: send(port, "GET", READY)[0] == 200)
    process.signal(signal.SIGTERM)
    assert process.wait().code == 0
    assert (tmp_path / "closed").exists()


def test_sigterm_does_not_wait_for_a_reward_that_loads(loading):
    process, _ = loading
    process.signal(signal.SIGTERM)
    assert process.wait().code == 0


def test_a_reward_that_cannot_be_built_ends_the_server(loading, tmp_path):
    process, _ = loading
    (tmp_path / "words").write_text("there are no weights")
    (tmp_path / "words").rename(tmp_path / "go")
    done = process.wait()
    assert done.code == 2
    assert done.err.splitlines()[-1] == "error: reward slow: there are no weights"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["brightness", "--host", "0.0.0.0"], "put a secret into GUARDCORE_REWARD_TOKEN"),
        (["brightness", "--host", "::"], "can be reached from elsewhere"),
        (["brightness", "--host", "some-machine"], "can be reached from elsewhere"),
        (["brightness", "--token-file", "nowhere"], "--token-file nowhere cannot be read"),
        (["brightness", "--token-file", "empty"], "--token-file empty is empty"),
        (["brightness", "--token-file", "two"], "without spaces"),
        (["brigthness"], "no reward is called 'brigthness'; did you mean 'brightness'?"),
        (["jpeg-size:quality=0"], "reward jpeg-size.quality: "),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(guardcore, tmp_path, argv, words):
    (tmp_path / "empty").touch()
    (tmp_path / "two").write_text("two words")
    done = guardcore("serve-reward", *argv)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_an_address_in_use_is_one_line(serving, guardcore):
    port = serving("brightness").port
    done = guardcore("serve-reward", "brightness", "--port", port)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in done.err


def test_without_the_extra_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(GuardcoreError, match=r"needs uvicorn; pip install 'guardcore\[serve\]'"):
        serve._check_extra()


def test_the_restart_of_a_server_is_seen_by_its_clients(serving):
    served = serving("brightness")
    judge, images = create("reward", "remote", urls=served.url), torch.rand(3, 3, 8, 8)
    judge(images, [Prompt("x")] * 3)
    served.stop(signal.SIGKILL)
    threading.Timer(0.5, lambda: serving("brightness", port=served.port)).start()
    assert torch.equal(judge(images, [Prompt("x")] * 3), images.mean((1, 2, 3)).double())
    judge.close()
