"""The client of a served reward, against a server that breaks every rule in turn."""

import logging
import threading
import time
from functools import partial

import pytest
import torch
from pydantic import ValidationError

from guardcore import GuardcoreError, Prompt, create
from guardcore_plugins.rewards.remote import RemoteOptions
from guardcore_plugins.serving import rotation
from served import Faulty

PROMPTS = [Prompt(f"image {place}", {"place": place}) for place in range(9)]


def pictures(number=9, size=8):
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def start():
    """Start faulty servers, and close them afterwards."""
    servers = []

    def begin(*arguments, **more):
        servers.append(Faulty(*arguments, **more))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def remote(*servers, **options):
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return create("reward", "remote", urls=urls, **options)


def brightness(images):
    return images.mean((1, 2, 3)).double()


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_the_scores_are_the_server_s_to_the_last_bit_whatever_the_batches(start, batch_size):
    server, images = start(), pictures()
    scores = remote(server, batch_size=batch_size)(images, PROMPTS)
    assert scores.dtype == torch.float64
    assert torch.equal(scores, brightness(images))
    assert max(server.sizes) == min(batch_size, 9)


def test_a_png_costs_half_a_step_of_255(start):
    images = pictures()
    scores = remote(start(), format="png")(images, PROMPTS)
    torch.testing.assert_close(scores, brightness(images), rtol=0, atol=1 / 510)
    assert not torch.equal(scores, brightness(images))


PASSING = ["500", "501", "429", "503", "408", "dropped", "half", "slow"]
PASSING += ["nan", "text", "short", "others", "more", "another request", "long", "no json"]


@pytest.mark.parametrize("fault", PASSING)
def test_one_bad_answer_is_asked_for_again(start, fault, caplog):
    server, images = start(lambda number: fault if number == 2 else ""), pictures()
    scores = remote(server, batch_size=3, timeout=0.5 if fault == "slow" else 30)(images, PROMPTS)
    assert torch.equal(scores, brightness(images))
    assert server.requests == 4
    assert [record.message.count("trying again") for record in caplog.records] == [1, 0]
    assert "answers again" in caplog.records[1].message


UNUSABLE = {
    "500": r"answered 500 \(the judge is out\)",
    "nan": "the reply is not valid: scores.*finite number",
    "text": "the reply is not valid: scores.*valid number",
    "short": "scores 8 of the 9 images that were sent, and 0 others",
    "others": "scores 0 of the 9 images that were sent, and 9 others",
    "more": "scores 9 of the 9 images that were sent, and 1 others",
    "another request": "is for another request",
    "long": "longer than 74752 bytes",
    "no json": "the reply is not valid",
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_bad_answers_in_a_row_are_an_error_that_says_why(start, fault):
    server = start(lambda number: fault)
    with pytest.raises(GuardcoreError, match=UNUSABLE[fault]) as caught:
        remote(server, retries=1)(pictures(), PROMPTS)
    assert server.requests == 2
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "why"),
    [("503", "answered 503"), ("dropped", "closed connection"), ("slow", "no answer within 0.4 s")],
)
def test_an_unavailable_server_is_tried_until_the_deadline(start, fault, why):
    server, began = start(lambda number: fault), time.monotonic()
    with pytest.raises(GuardcoreError, match=f"deadline of 1.2 s; .*{why}"):
        remote(server, retries=0, deadline=1.2, timeout=0.4)(pictures(), PROMPTS)
    assert server.requests >= 2
    assert 1 < time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("401", "put the server's token into GUARDCORE_REWARD_TOKEN"),
        ("403", "put the server's token into GUARDCORE_REWARD_TOKEN"),
        ("413", "lower the reward's batch_size"),
        ("422", "cannot judge this request"),
        ("404", "is that the address of a reward server"),
        ("307", "is that the address of a reward server"),
    ],
)
def test_a_refusal_is_not_asked_for_again(start, status, remedy):
    server = start(lambda number: status)
    with pytest.raises(
        GuardcoreError, match=rf"answered {status} \(the judge is out\): .*{remedy}"
    ):
        remote(server)(pictures(), PROMPTS)
    assert server.requests == 1


def test_a_refusal_of_one_part_ends_the_others_too(start):
    busy, refusing = start(lambda number: "503"), start(lambda number: "422")
    began = time.monotonic()
    with pytest.raises(GuardcoreError, match="answered 422"):
        remote(busy, refusing, deadline=60)(pictures(), PROMPTS)
    assert time.monotonic() - began < 10


def test_retry_after_is_respected(start):
    server = start(lambda number: "429" if number == 1 else "")
    remote(server)(pictures(), PROMPTS)
    assert server.times[1] - server.times[0] >= 1


def test_parts_are_spread_and_come_back_in_order(start):
    servers, images = [start() for _ in range(3)], pictures()
    judge = remote(*servers)
    for _ in range(2):
        assert torch.equal(judge(images, PROMPTS), brightness(images))
    assert [server.sizes for server in servers] == [[3, 3]] * 3
    for _ in range(3):
        judge(images[:1], PROMPTS[:1])  # too little to be divided: in turn
    assert [server.requests for server in servers] == [3, 3, 3]
    judge.close()


def test_a_server_that_fails_is_replaced_by_the_others(start, monkeypatch):
    # it rests longer than the others need, however slow the machine
    monkeypatch.setattr(rotation, "Rotation", partial(rotation.Rotation, first_rest=300))
    monkeypatch.setattr(rotation, "LONGEST_REST", 300)
    bad, good, images = start(lambda number: "nan"), start(), pictures()
    judge = remote(bad, good, batch_size=2, retries=1)
    assert torch.equal(judge(images, PROMPTS), brightness(images))
    assert bad.requests == 1
    assert good.requests == 5
    judge.close()


def test_another_reward_behind_the_same_address_is_not_trusted(start):
    server = start(lambda number: "another reward", identity={"reward": "brightness 1.0"})
    with pytest.raises(GuardcoreError, match=r"has 'darkness 2.0' now, where it had 'brightness"):
        remote(server, retries=0)(pictures(), PROMPTS)


def test_no_ready_server_is_an_error_before_the_run(start):
    with pytest.raises(GuardcoreError, match="no server is ready .*503.*Connection refused"):
        remote(start(ready=503), "http://127.0.0.1:9")


def test_one_ready_server_is_enough_and_the_others_are_named(start, caplog):
    images = pictures()
    judge = remote("http://127.0.0.1:9", start())
    assert "going on without http://127.0.0.1:9: Connection refused" in caplog.text
    assert torch.equal(judge(images, PROMPTS), brightness(images))


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_an_error_before_the_run(start, status):
    with pytest.raises(GuardcoreError, match=f"answered {status}"):
        remote(start(), start(ready=status))


def test_servers_of_different_rewards_are_refused(start):
    one, other = start(identity={"reward": "a 1"}), start(identity={"reward": "a 2"})
    with pytest.raises(GuardcoreError, match="different rewards .*: a 1, .*: a 2"):
        remote(one, other)
    remote(one, start())  # one that does not say may serve the same


def test_different_options_are_only_mentioned(start, caplog):
    servers = [
        start(identity={"reward": "a 1", "options": {"device": f"cuda:{n}"}}) for n in range(2)
    ]
    remote(*servers)
    assert "different options" in caplog.text
    assert "cuda:1" in caplog.text


def test_closing_ends_a_call_that_waits(start):
    judge, errors = remote(start(lambda number: "503")), []

    def call():
        try:
            judge(pictures(), PROMPTS)
        except GuardcoreError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    judge.close()
    thread.join(5)
    assert len(errors) == 1


def test_the_connection_is_kept(start, caplog):
    caplog.set_level(logging.DEBUG, "urllib3")
    judge = remote(start())
    for _ in range(3):
        judge(pictures(), PROMPTS)
    assert caplog.text.count("Starting new HTTP connection") == 1


def test_a_token_in_the_open_is_mentioned(monkeypatch, caplog):
    monkeypatch.setenv("MY_TOKEN", "secret")
    with pytest.raises(GuardcoreError, match="no server is ready"):
        remote("http://127.0.0.1:9", "http://nowhere.invalid", token_env="MY_TOKEN")
    assert "unencrypted to http://nowhere.invalid" in caplog.text
    assert "secret" not in caplog.text


def test_metadata_that_is_no_json_is_an_error(start):
    with pytest.raises(GuardcoreError, match="cannot be sent as JSON"):
        remote(start())(pictures(1), [Prompt("x", {"tensor": torch.ones(1)})])


@pytest.mark.parametrize(
    ("urls", "problem"),
    [
        ([], "at least 1"),
        (["127.0.0.1:8000"], "expected http://HOST:PORT"),
        (["ftp://host"], "expected http://HOST:PORT"),
        (["http://user:secret@host"], "no user"),
        (["http://host?token=secret"], "no user"),
        (["http://host:1", "http://host:1/"], "listed twice"),
    ],
)
def test_addresses_that_are_none_are_refused(urls, problem):
    with pytest.raises(ValidationError, match=problem):
        RemoteOptions(urls=urls)


def test_one_address_needs_no_list():
    assert RemoteOptions(urls="http://host:8000/").urls == ("http://host:8000",)
