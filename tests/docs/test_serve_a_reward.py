"""The page on served rewards: its own server works, and its figures are the code's."""

import json
import subprocess
import sys
import time

import pytest
import torch
import yaml

from guardcore import GuardcoreError, Prompt, create
from guardcore_plugins.rewards.remote import RemoteOptions
from guardcore_plugins.serving.app import UPLOAD_SECONDS, Settings
from guardcore_plugins.serving.formats import CONTENT_TYPES, Limits
from guardcore_plugins.serving.protocol import Reply, Request
from guardcore_plugins.serving.rotation import FIRST_REST, LONGEST_REST
from guardcore_plugins.serving.server import GRACE, listen
from pages import DOCS, blocks

PAGE = DOCS / "serve-a-reward.md"
TEXT = " ".join(PAGE.read_text().split())


@pytest.fixture
def judge():
    """The page's server as a process, and the reward ``remote`` that asks it."""
    [source] = [block.text for block in blocks(PAGE) if block.title == "judge.py"]
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    code = source.replace("8000", str(port))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        yield patiently(
            lambda: create("reward", "remote", urls=f"http://127.0.0.1:{port}", format="png")
        )
    finally:
        process.kill()
        process.wait()


def patiently(begin):
    for _ in range(200):
        try:
            return begin()
        except GuardcoreError:
            time.sleep(0.05)
    return begin()


def test_the_page_s_own_server_serves(judge):
    images = torch.cat([torch.zeros(2, 3, 32, 32), torch.rand(1, 3, 32, 32)])
    scores = judge(images, [Prompt("x")] * 3)
    assert scores[0] == scores[1] > -0.2
    assert -4 < scores[2] < -3  # 3,072 random bytes do not compress


def test_its_messages_are_messages():
    asked, answered = (json.loads(block.text) for block in blocks(PAGE) if block.language == "json")
    request, reply = Request.model_validate(asked), Reply.model_validate(answered)
    assert request.request == reply.request
    assert [entry.id for entry in request.images] == list(reply.scores)
    assert CONTENT_TYPES["safetensors"] in TEXT


def test_its_configs_are_configs():
    configs = [yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml"]
    for spec in (spec for config in configs for spec in config["reward"]):
        assert spec.pop("use") == "remote"
        spec.pop("weight", None)
        RemoteOptions.model_validate(spec)
    assert len(configs) == 3


def test_its_figures_are_the_code_s():
    limits, queue = Limits(), Settings("").max_queue
    for words in (
        f"{limits.body} MiB a request, also of its images as float32: "
        f"{limits.bytes // (3 * 512 * 512 * 4)} images of 512 px",
        f"{limits.side:,} pixels a side",
        f"{queue} requests under way; so memory is at most about 3 × {queue} × {limits.body} MiB",
        f"{UPLOAD_SECONDS:g} seconds to send",
        f"({GRACE} seconds at most)",
        f"for {FIRST_REST:g} s, doubled with each failure in a row up to {LONGEST_REST:g} s",
    ):
        assert words in TEXT, words
